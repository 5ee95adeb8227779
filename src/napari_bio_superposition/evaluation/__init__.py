"""What encoders, SAEs and features are worth: probes, splits, geometry, baselines. No torch."""

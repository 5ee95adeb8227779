"""The feature table (AnnData), regions, overlays, ranking. No torch."""

"""What every room shares: frozen types, AnnData keys, progress, configs, errors. No science."""

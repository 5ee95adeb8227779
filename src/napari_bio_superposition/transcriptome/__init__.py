"""scRNA-seq counts: reading, quality control, latent spaces, lineages. No torch."""

"""Embeddings of patches: PCA, UMAP, PHATE. No torch."""

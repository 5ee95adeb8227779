"""scRNA-seq counts: reading, quality control, latent spaces, lineages. No torch, no Qt."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

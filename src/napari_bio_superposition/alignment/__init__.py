"""Coupling of two modalities: geodesic costs, Gromov-Wasserstein. Public names, lazily imported."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

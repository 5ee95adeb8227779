"""See what a neural network sees in multichannel images of neurons. Public API, lazily imported."""

import importlib.metadata

import lazy_loader

__version__ = importlib.metadata.version("napari-bio-superposition")

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)

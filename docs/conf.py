"""Sphinx settings."""

project = "napari-bio-superposition"
author = "The napari-bio-superposition developers"
copyright = "2026, the napari-bio-superposition developers"
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
exclude_patterns = ["_build", "changes"]
html_theme = "alabaster"
html_theme_options = {"description": "See what a neural network sees", "fixed_sidebar": True}
autodoc_typehints = "description"
autodoc_mock_imports = []

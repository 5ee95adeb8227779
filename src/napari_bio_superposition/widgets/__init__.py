"""Dock widgets, readers, writer and sample data of the napari plugin. The only Qt and napari."""

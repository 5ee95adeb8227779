"""The only room that knows Qt and napari: the dock widgets, their layers and jobs. No science."""

"""Images: reading, channel roles, quality, patches, cell death, simulation. No torch."""

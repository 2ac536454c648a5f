"""Layers and number formats: attention, norms, convolutions in tiles, GPU kernels, weights in 8 bits."""

"""The notebook side, on real kernels."""

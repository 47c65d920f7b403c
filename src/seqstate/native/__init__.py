"""Fused kernels with their slow twins; the package works without them and says which path it took."""

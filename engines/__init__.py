"""Tensors in, tensors out: whatever runs a network or a kernel. Importing it needs no GPU, torch,
TensorRT or Open3D.
"""

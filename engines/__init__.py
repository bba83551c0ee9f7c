"""Arrays in, arrays out: networks, kernels, the body, the camera.

Importing it needs no GPU, torch, TensorRT or Open3D.
"""

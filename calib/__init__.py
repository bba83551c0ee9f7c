"""What is known about the camera and about our own errors: NumPy and OpenCV only."""

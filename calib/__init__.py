"""What is known about the camera and about our own errors.

NumPy and OpenCV at run time; fitting also needs SciPy, figures Matplotlib.
"""

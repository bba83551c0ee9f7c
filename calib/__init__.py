"""What is fitted offline: cameras, and the calibration of predicted covariances.

NumPy and OpenCV where a calibration is only read; fitting one also needs SciPy, figures Matplotlib.
"""

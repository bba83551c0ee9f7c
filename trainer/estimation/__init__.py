"""People in their images to estimates: the live system's way, fits to landmarks, whole motions."""

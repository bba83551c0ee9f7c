"""BlazePose, imported from mediapipe's files: an image in, the 33 landmarks of a person out."""

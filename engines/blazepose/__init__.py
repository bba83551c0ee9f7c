"""BlazePose, imported from the mediapipe wheel: an image in, the 33 landmarks of a person out."""

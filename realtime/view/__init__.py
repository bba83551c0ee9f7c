"""The view: one scene, drawn into a window or a video."""

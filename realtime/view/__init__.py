"""What a person sees: one scene, drawn into a window or a video."""

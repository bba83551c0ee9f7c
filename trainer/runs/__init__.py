"""A training run on disk: its configuration, its folder, where it came from."""

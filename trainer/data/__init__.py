"""Training samples: rendered, stored, augmented, with exact landmarks, and as tensors."""

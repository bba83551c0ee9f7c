"""Training pairs: what the landmark network said, beside the truth; as stored, perturbed, exact,
and as tensors.
"""

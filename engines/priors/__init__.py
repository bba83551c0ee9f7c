"""Priors over a body's pose, for NumPy: what a fit needs of them, one file a kind.

prior.py           what a prior can do: the protocols
load.py            name or file -> prior
mixture.py         Gaussian mixture over rotation vectors
turns.py           rotations to the coordinates that priors work in, and rows of them
"""

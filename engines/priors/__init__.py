"""Priors over a body's pose, for NumPy: what a fit needs of them, one file a kind.

prior.py            what a prior can do: the protocols
load.py             name or file -> prior
mixture.py          Gaussian mixture over rotation vectors
vposer.py           variational autoencoder: a latent code, and how well it reconstructs
distance_field.py   distance to the poses that people take: Pose-NDF, NRDF
flow.py             normalising flow: exact density
turns.py            rotations to coordinates, derivatives by coordinates to derivatives by turns
curvature.py        rows of an energy whose Jacobian would cost too much
layers.py           layers of networks, forward and backward
descent.py          projection by descent
"""

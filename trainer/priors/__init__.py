"""Training of the priors in `engines.priors`, one file a kind.

samples.py          poses to learn from, and to measure on
measure.py          what is measured of every kind
training.py         the loop: progress, validation, going on after a kill
curvature.py        the average curvature that an energy's rows have
mixture.py          EM
vposer.py           variational autoencoder
distance_field.py   Pose-NDF and NRDF: network and training
neighbours.py       their data: how far perturbed poses lie from recorded ones
flow.py             maximum likelihood
"""

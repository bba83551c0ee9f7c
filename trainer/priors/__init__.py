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

And of HuMoR, the prior over motion:

humor_prior.py      the kind `humor`: from motion to file and figures
humor.py            the networks' training
humor_data.py       motion to learn from
humor_state.py      what the networks see of a body, in torch
humor_network.py    encoder, prior and decoder
humor_contact.py    which feet stand
humor_start.py      the mixture over how motion begins, and the file
humor_measure.py    what is measured of it
"""

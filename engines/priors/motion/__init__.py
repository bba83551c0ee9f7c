"""HuMoR, a prior over motion at 30 frames a second, for NumPy.

prior.py      the density: energies, rows for a fit, rollouts, samples; `MotionPrior.load()`
layout.py     what states and steps consist of
state.py      states and steps of bodies, with derivatives
network.py    conditional prior and decoder, with derivatives
latents.py    the best latent of a step
start.py      how motion begins: a mixture
bodies.py     single bodies, by the same mixture
contact.py    whether feet stand
unmeasured.py joints that the recordings do not measure
"""

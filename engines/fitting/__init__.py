"""Bodies fitted to visible landmarks: hypotheses held by the flow, or bodies held by a pose prior.

fit.py           samples of the flow and landmarks -> the same samples, fitted
smplify.py       landmarks alone -> bodies, by a pose prior or in the latent space of one
initial.py       where such a fit begins
laplace.py       how uncertain its solutions are
settings.py      the options
observation.py   which landmarks count, and how sharply
gate.py          whether a frame's landmarks may move its hypotheses
anchor.py        the flow's own covariance, which holds them
residuals.py     what a fit has to explain, as rows; landmarks in the image
limits.py        how far knees and elbows bend, as rows
spheres.py       bodies that do not pass through themselves, as rows
solver.py        Levenberg-Marquardt for all bodies at once, as a Kalman update
charts.py        the coordinates that it moves bodies in: turns, or a latent code
bodies.py        bodies, moved by a step each
fused.py         the same solver on the kernels, for what the live fit needs
reference.py     the live fit in NumPy
"""

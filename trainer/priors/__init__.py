"""Training of the priors in `engines.priors`, one file a kind.

samples.py         poses to learn from, and to measure on
measure.py         what is measured of every kind
mixture.py         EM
"""

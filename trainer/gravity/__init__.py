"""Training of the gravity network: what the live flow says of synthetic people, and the fit."""

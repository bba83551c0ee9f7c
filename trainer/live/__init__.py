"""Training of the live system's flow: on synthetic samples, made anew in every step."""

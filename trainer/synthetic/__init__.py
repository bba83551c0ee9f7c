"""Samples without rendering: posed bodies, cameras, occluders, and a model of the network's errors.

A batch is made in the training process, some 50,000 samples a second on one core, so no sample is
ever used twice.
"""

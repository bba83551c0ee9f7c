"""Landmarks to hypotheses: the flow's features, its sampler, and the recalibration of what it
draws.
"""

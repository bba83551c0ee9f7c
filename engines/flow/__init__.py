"""Landmarks to hypotheses: features, the flow's model and sampler, statistics, recalibration."""

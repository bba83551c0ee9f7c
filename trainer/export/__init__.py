"""Trained methods to the graphs that engines run."""

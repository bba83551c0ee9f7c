"""Inference engines: one protocol (`engine.py`), and one file for each backend."""

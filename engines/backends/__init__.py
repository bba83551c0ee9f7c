"""What runs a network: one protocol (`engine.py`), one file a backend."""

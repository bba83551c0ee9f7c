"""Several people through consecutive images; `tracker.py` says what the rules are."""

"""Calibrated cameras around a person, and who is put into their footage."""

"""Estimates to bytes, over ZeroMQ, and back."""

"""Tests, in folders as the sources; `support/` holds what several of them share."""

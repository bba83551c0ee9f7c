"""Random inputs, fakes and paths that several test files share."""

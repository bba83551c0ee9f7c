"""The view in a browser; imported only when it is asked for, because viser is an extra."""

"""How a caller bears that others fail: a pattern a file, and `channel`, which applies them to calls."""

"""How a service bears that others fail, and that too much is asked of it.

Each pattern is in a file of its own and usable alone; `channel` applies those of a caller to its calls.
"""

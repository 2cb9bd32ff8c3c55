"""How a service bears that others fail, and that too much is asked of it: each pattern in a file of its own."""

"""Runs the whole suite on one machine: engines from wheels, a supervisor and the `mercato` command."""

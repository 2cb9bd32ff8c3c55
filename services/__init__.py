"""Every folder here is a service, and nothing else is."""

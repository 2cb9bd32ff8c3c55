"""The one door to all services: HTTP/JSON and gRPC, derived from their contracts and from nothing else."""

"""Telemetry: what the services are seen to do, taken in by OTLP and told by queries."""

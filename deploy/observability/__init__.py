"""What watches a fleet: rules, dashboards and configurations for Prometheus, Grafana and others beside them."""

"""Private database servers: the only place that knows their binaries."""

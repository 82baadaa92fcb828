"""The audit: connection mistakes in handlers and templates, found by reading code and never by running it."""

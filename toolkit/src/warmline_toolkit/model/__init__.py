"""The words of the project as frozen values: what the lab records, what measure reads, what every report shows."""

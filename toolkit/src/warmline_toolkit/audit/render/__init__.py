"""The audit's output: a terminal, one JSON document, SARIF 2.1.0, and a diff of safe fixes."""

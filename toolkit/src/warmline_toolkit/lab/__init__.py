"""Execution environments as AWS Lambda runs them, and the experiments made with them."""

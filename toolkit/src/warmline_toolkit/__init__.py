"""Run, measure, plan and audit the database connections of AWS Lambda functions."""

__version__ = "0.1.0"

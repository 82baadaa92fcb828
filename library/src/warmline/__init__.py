"""Database connections that are right inside an AWS Lambda function."""

__version__ = "0.1.0"

"""Close after each request: every invocation connects, works and closes."""

import json
import os

import psycopg
from psycopg.rows import dict_row


def connect():
    return psycopg.connect(
        host=os.environ["DB_HOST"],
        port=os.environ["DB_PORT"],
        user=os.environ["DB_USER"],
        password=os.environ["DB_PASS"],
        dbname=os.environ["DB_NAME"],
        sslmode="disable",
        row_factory=dict_row,
    )


def handler(event, context):
    connection = connect()
    try:
        users = connection.execute("SELECT id, name, email FROM users").fetchall()
        return {"statusCode": 200, "body": json.dumps(users)}
    finally:
        connection.close()


def transfer(event, context):
    """Hold a row's lock while the work takes `seconds`: what a timeout in the middle leaves behind."""
    connection = connect()
    try:
        connection.execute("UPDATE users SET visits = visits + 1 WHERE id = 1")
        connection.execute("SELECT pg_sleep(%s)", (event.get("seconds", 0),))
        connection.commit()
        return {"statusCode": 200, "body": "{}"}
    finally:
        connection.close()

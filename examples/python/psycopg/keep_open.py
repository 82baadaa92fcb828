"""Keep the connection open outside the handler: connect once an environment, then use it for every invocation."""

import json
import os

import psycopg
from psycopg.rows import dict_row

connection = None


def connect():
    global connection
    if connection is None:
        connection = psycopg.connect(
            host=os.environ["DB_HOST"],
            port=os.environ["DB_PORT"],
            user=os.environ["DB_USER"],
            password=os.environ["DB_PASS"],
            dbname=os.environ["DB_NAME"],
            sslmode="disable",
            autocommit=True,
            row_factory=dict_row,
        )
    return connection


def handler(event, context):
    users = connect().execute("SELECT id, name, email FROM users").fetchall()
    return {"statusCode": 200, "body": json.dumps(users)}


def transfer(event, context):
    """Hold a row's lock while the work takes `seconds`: what a timeout in the middle leaves behind."""
    database = connect()
    with database.transaction():
        database.execute("UPDATE users SET visits = visits + 1 WHERE id = 1")
        database.execute("SELECT pg_sleep(%s)", (event.get("seconds", 0),))
    return {"statusCode": 200, "body": "{}"}

"""Close after each request, with warmline: alive before it is used, and nothing left behind."""

import json
import os

import warmline
from psycopg.rows import dict_row

db = warmline.Database(
    os.environ["DATABASE_URL"],
    strategy="per-request",
    tls="disable",
    driver_options={"row_factory": dict_row},
)


@db.handler
def handler(event, context):
    with db.connection() as connection:
        users = connection.execute("SELECT id, name, email FROM users").fetchall()
    return {"statusCode": 200, "body": json.dumps(users)}


@db.handler
def transfer(event, context):
    """Hold a row's lock while the work takes `seconds`: what a timeout in the middle leaves behind."""
    with db.transaction() as connection:
        connection.execute("UPDATE users SET visits = visits + 1 WHERE id = 1")
        connection.execute("SELECT pg_sleep(%s)", (event.get("seconds", 0),))
    return {"statusCode": 200, "body": "{}"}

"""A pool in the environment, as the guide's mysql2 pool: at most ten connections, one lent to each invocation."""

import json
import os

from psycopg.rows import dict_row
from psycopg_pool import ConnectionPool

pool = ConnectionPool(
    kwargs={
        "host": os.environ["DB_HOST"],
        "port": os.environ["DB_PORT"],
        "user": os.environ["DB_USER"],
        "password": os.environ["DB_PASS"],
        "dbname": os.environ["DB_NAME"],
        "sslmode": "disable",
        "row_factory": dict_row,
    },
    min_size=0,
    max_size=10,
    timeout=30,
    open=False,
)


def handler(event, context):
    pool.open()
    connection = pool.getconn()
    try:
        users = connection.execute("SELECT id, name, email FROM users").fetchall()
        return {"statusCode": 200, "body": json.dumps(users)}
    finally:
        pool.putconn(connection)


def transfer(event, context):
    """Hold a row's lock while the work takes `seconds`: what a timeout in the middle leaves behind."""
    pool.open()
    with pool.connection() as connection:
        connection.execute("UPDATE users SET visits = visits + 1 WHERE id = 1")
        connection.execute("SELECT pg_sleep(%s)", (event.get("seconds", 0),))
    return {"statusCode": 200, "body": "{}"}

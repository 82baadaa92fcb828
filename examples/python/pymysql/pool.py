"""A pool in the environment, as the guide's mysql2 pool: at most ten connections, one lent to each invocation.

PyMySQL has no pool of its own, so this one is SQLAlchemy's, used for its pool alone.
"""

import json
import os

import pymysql
from sqlalchemy.pool import QueuePool


def connect():
    return pymysql.connect(
        host=os.environ["DB_HOST"],
        port=int(os.environ["DB_PORT"]),
        user=os.environ["DB_USER"],
        password=os.environ["DB_PASS"],
        database=os.environ["DB_NAME"],
        ssl_disabled=True,
        cursorclass=pymysql.cursors.DictCursor,
    )


pool = QueuePool(connect, pool_size=10, max_overflow=0, timeout=30)


def handler(event, context):
    connection = pool.connect()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT id, name, email FROM users")
            users = cursor.fetchall()
        return {"statusCode": 200, "body": json.dumps(users)}
    finally:
        connection.close()  # back to the pool


def transfer(event, context):
    """Hold a row's lock while the work takes `seconds`: what a timeout in the middle leaves behind."""
    connection = pool.connect()
    try:
        with connection.cursor() as cursor:
            cursor.execute("UPDATE users SET visits = visits + 1 WHERE id = 1")
            cursor.execute("SELECT SLEEP(%s)", (event.get("seconds", 0),))
        connection.commit()
        return {"statusCode": 200, "body": "{}"}
    finally:
        connection.close()  # back to the pool

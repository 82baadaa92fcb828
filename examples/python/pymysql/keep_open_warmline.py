"""Keep the connection open outside the handler, with warmline: alive before it is used, and nothing left behind."""

import json
import os

import pymysql
import warmline

db = warmline.Database(
    os.environ["DATABASE_URL"],
    strategy="keep-open",
    tls="disable",
    driver_options={"cursorclass": pymysql.cursors.DictCursor},
)


@db.handler
def handler(event, context):
    with db.connection() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id, name, email FROM users")
        users = cursor.fetchall()
    return {"statusCode": 200, "body": json.dumps(users)}


@db.handler
def transfer(event, context):
    """Hold a row's lock while the work takes `seconds`: what a timeout in the middle leaves behind."""
    with db.transaction() as connection, connection.cursor() as cursor:
        cursor.execute("UPDATE users SET visits = visits + 1 WHERE id = 1")
        cursor.execute("SELECT SLEEP(%s)", (event.get("seconds", 0),))
    return {"statusCode": 200, "body": "{}"}

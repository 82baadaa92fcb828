"""Keep the connection open outside the handler: connect once an environment, then use it for every invocation."""

import json
import os

import pymysql

connection = None


def connect():
    global connection
    if connection is None:
        connection = pymysql.connect(
            host=os.environ["DB_HOST"],
            port=int(os.environ["DB_PORT"]),
            user=os.environ["DB_USER"],
            password=os.environ["DB_PASS"],
            database=os.environ["DB_NAME"],
            ssl_disabled=True,
            autocommit=True,
            cursorclass=pymysql.cursors.DictCursor,
        )
    return connection


def handler(event, context):
    with connect().cursor() as cursor:
        cursor.execute("SELECT id, name, email FROM users")
        users = cursor.fetchall()
    return {"statusCode": 200, "body": json.dumps(users)}


def transfer(event, context):
    """Hold a row's lock while the work takes `seconds`: what a timeout in the middle leaves behind."""
    database = connect()
    database.begin()
    with database.cursor() as cursor:
        cursor.execute("UPDATE users SET visits = visits + 1 WHERE id = 1")
        cursor.execute("SELECT SLEEP(%s)", (event.get("seconds", 0),))
    database.commit()
    return {"statusCode": 200, "body": "{}"}

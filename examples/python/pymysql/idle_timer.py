"""A kept connection that a timer closes after a second of idleness, so that it "does not hold a slot for nothing".

In a frozen environment the timer cannot run: `warmline lab run --scenario idle-timer` shows what happens instead.
"""

import json
import os
import threading

import pymysql

IDLE_TIMEOUT_S = 1.0

connection = None
timer = None


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


def close_idle():
    global connection
    idle, connection = connection, None
    if idle is not None:
        idle.close()


def handler(event, context):
    global timer
    if timer is not None:
        timer.cancel()
        timer.join()
    with connect().cursor() as cursor:
        cursor.execute("SELECT id, name, email FROM users")
        users = cursor.fetchall()
    timer = threading.Timer(IDLE_TIMEOUT_S, close_idle)
    timer.daemon = True
    timer.start()
    return {"statusCode": 200, "body": json.dumps(users)}

"""A kept connection that a timer closes after a second of idleness, so that it "does not hold a slot for nothing".

In a frozen environment its timer cannot run: `warmline lab run --scenario idle-timer` shows what happens instead.
"""

import json
import os
import threading

import psycopg
from psycopg.rows import dict_row

IDLE_TIMEOUT_S = 1.0

connection = None
timer = None


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
    users = connect().execute("SELECT id, name, email FROM users").fetchall()
    timer = threading.Timer(IDLE_TIMEOUT_S, close_idle)
    timer.daemon = True
    timer.start()
    return {"statusCode": 200, "body": json.dumps(users)}

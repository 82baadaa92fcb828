"""A pool in the environment, with an ORM: as the guide's mysql2 pool, at most ten connections."""

import json

from models import User, url
from sqlalchemy import create_engine, func, select, update
from sqlalchemy.orm import Session

engine = create_engine(url(), pool_size=10, max_overflow=0, pool_timeout=30)


def handler(event, context):
    with Session(engine) as session:
        users = session.scalars(select(User)).all()
        return {"statusCode": 200, "body": json.dumps([user.as_dict() for user in users])}


def transfer(event, context):
    """Hold a row's lock while the work takes `seconds`: what a timeout in the middle leaves behind."""
    sleep = func.sleep if engine.dialect.name == "mysql" else func.pg_sleep
    with Session(engine) as session:
        session.execute(update(User).where(User.id == 1).values(visits=User.visits + 1))
        session.execute(select(sleep(event.get("seconds", 0))))
        session.commit()
    return {"statusCode": 200, "body": "{}"}

"""The guide's `User` entity, and the engine's URL from the function's environment."""

import os

from sqlalchemy import URL, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "users"

    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(100))
    email: Mapped[str] = mapped_column(String(200))
    visits: Mapped[int]

    def as_dict(self):
        return {"id": self.id, "name": self.name, "email": self.email}


def url():
    mysql = os.environ["DATABASE_URL"].startswith("mysql")
    return URL.create(
        "mysql+pymysql" if mysql else "postgresql+psycopg",
        host=os.environ["DB_HOST"],
        port=int(os.environ["DB_PORT"]),
        username=os.environ["DB_USER"],
        password=os.environ["DB_PASS"],
        database=os.environ["DB_NAME"],
        query={"ssl_disabled": "true"} if mysql else {"sslmode": "disable"},
    )

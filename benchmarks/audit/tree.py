"""A tree of files such as a monorepo of functions: mostly code without a database, some handlers, templates."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

SEED = 20261122
FILES_PER_SERVICE = 25
DATABASE_SHARE = 0.3
"""Of the services; in each, three of 25 files name a driver and a template names the handler."""

PLAIN_PYTHON = '''"""Business rules of {name}."""

import json
import logging
from dataclasses import dataclass
from decimal import Decimal

from {package} import {other}

logger = logging.getLogger(__name__)


@dataclass
class {klass}:
    identifier: str
    amount: Decimal
    tags: list[str]

    def total(self, rate):
        """Return the amount with tax."""
        if rate < 0:
            raise ValueError("rate must not be negative")
        return self.amount * (1 + rate)
{functions}
'''
PLAIN_FUNCTION = '''

def step_{number}(items, limit=10):
    """Group *items* by their first letter."""
    groups = {{}}
    for item in items:
        key = item["name"][:1].lower()
        groups.setdefault(key, []).append(item)
        if len(groups[key]) > limit:
            logger.warning("group %s is full", key)
    return json.dumps({{key: len(value) for key, value in sorted(groups.items())}})
'''
PLAIN_SCRIPT = """import {{ format }} from "./{other}";

const LIMIT = {number};
{functions}
export default {{ LIMIT }};
"""
PLAIN_SCRIPT_FUNCTION = """
export function step{number}(items) {{
  const groups = new Map();
  for (const item of items) {{
    const key = item.name.slice(0, 1).toLowerCase();
    if (!groups.has(key)) groups.set(key, []);
    groups.get(key).push(format(item));
  }}
  return [...groups].filter(([, list]) => list.length > LIMIT);
}}
"""
PYTHON_HANDLER = """import json

from {package} import service


def lambda_handler(event, context):
    rows = service.load(event["id"])
    return {{"statusCode": 200, "body": json.dumps(rows, default=str)}}
"""
PYTHON_SERVICE = """from {package} import store


def load(identifier):
    with store.connect() as cursor:
        cursor.execute("SELECT id, name FROM orders WHERE id = %s", (identifier,))
        return cursor.fetchall()
"""
PYTHON_STORE = """import os

import pymysql


def connect():
    return pymysql.connect(host=os.environ["DB_HOST"], user="app", connect_timeout=3).cursor()
"""
SCRIPT_HANDLER = """import mysql from "mysql2/promise";

const pool = mysql.createPool({{ host: process.env.DB_HOST, connectionLimit: {number} }});

export const handler = async (event) => {{
  const [rows] = await pool.query("SELECT id, name FROM orders WHERE id = ?", [event.id]);
  return {{ statusCode: 200, body: JSON.stringify(rows) }};
}};
"""
TEMPLATE = """Transform: AWS::Serverless-2016-10-31
Globals:
  Function:
    Runtime: python3.13
    Timeout: 10
Resources:
  Python:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: .
      Handler: {package}.handler.lambda_handler
      ReservedConcurrentExecutions: 20
  Script:
    Type: AWS::Serverless::Function
    Properties:
      CodeUri: web
      Handler: index.handler
      Runtime: nodejs22.x
      ReservedConcurrentExecutions: 20
"""


def write_tree(root: Path, files: int) -> int:
    """Write about *files* files below *root* and return how many; the same every time."""
    chosen = random.Random(SEED)  # noqa: S311 - a repeatable tree, not a secret
    written = 0
    for service in range(max(1, files // FILES_PER_SERVICE)):
        folder = root / f"team{service % 20}" / f"service{service}"
        package = f"package{service}"
        texts: dict[str, str] = {}
        if chosen.random() < DATABASE_SHARE:
            texts["template.yaml"] = TEMPLATE.format(package=package)
            texts[f"{package}/handler.py"] = PYTHON_HANDLER.format(package=package)
            texts[f"{package}/service.py"] = PYTHON_SERVICE.format(package=package)
            texts[f"{package}/store.py"] = PYTHON_STORE
            texts["web/index.mjs"] = SCRIPT_HANDLER.format(number=chosen.choice([1, 10]))
        number = 0
        while len(texts) < FILES_PER_SERVICE:
            number += 1
            functions = chosen.randint(2, 10)
            if number % 3:
                body = "".join(PLAIN_FUNCTION.format(number=index) for index in range(functions))
                texts[f"{package}/part{number}.py"] = PLAIN_PYTHON.format(
                    name=f"part {number}", package=package, other=f"part{max(1, number - 1)}", klass=f"Item{number}",
                    functions=body,
                )  # fmt: skip
            else:
                body = "".join(PLAIN_SCRIPT_FUNCTION.format(number=index) for index in range(functions))
                texts[f"web/part{number}.js"] = PLAIN_SCRIPT.format(
                    other=f"part{number + 3}", number=number, functions=body
                )
        for name, text in texts.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            written += 1
    return written

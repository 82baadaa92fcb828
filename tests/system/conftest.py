from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from pathlib import Path


@dataclass
class Ran:
    """What a command came to."""

    code: int
    out: str
    err: str

    def json(self) -> Any:
        return json.loads(self.out)

    def strategies(self) -> dict[str, dict[str, Any]]:
        return {strategy["strategy"]: strategy for strategy in self.json()["strategies"]}


@pytest.fixture
def warmline(tmp_path: Path):
    """Run the `warmline` command as a user does, in an empty folder."""

    def run(*arguments: str, timeout_s: float = 110) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "warmline_toolkit", *arguments],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run

"""The limit of a live server, as the server itself enforces it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from warmline_toolkit.servers import start


def warmline(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "warmline_toolkit", "plan", *arguments], capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize("engine", ["mariadb", "postgres"])
def test_the_limit_is_what_the_server_says(engine):
    with start(engine, max_connections=23) as server:
        done = warmline("limits", "--url", server.url, "--format", "json")
        (found,) = json.loads(done.stdout)["limits"]
        assert found["for_functions"] == 23
        sized = warmline("size", "--rate", "20", "--url", server.url, "--format", "json")
        assert json.loads(sized.stdout)["databases"][0]["limit"]["for_functions"] == 23


@pytest.mark.parametrize("scheme", ["mysql", "postgresql"])
def test_a_server_that_does_not_answer_is_said_so(scheme):
    done = warmline("limits", "--url", f"{scheme}://nobody:secret@127.0.0.1:1/app")
    assert done.returncode == 3
    assert "127.0.0.1:1 did not answer" in done.stderr
    assert "secret" not in done.stderr

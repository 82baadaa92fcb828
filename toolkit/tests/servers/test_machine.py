"""What the machine has: found by what programs say, not by their names; and what doctor tells."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from click.testing import CliRunner
from warmline_toolkit.cli import doctor
from warmline_toolkit.servers import default_engine, errors, find, installed, machine


@pytest.mark.parametrize("engine", ["mariadb", "mysql", "postgres"])
def test_every_engine_is_found_with_its_version_and_path(engine):
    program = installed(engine)
    assert program.engine == engine
    assert program.number >= find.OLDEST[engine]
    assert program.path.exists()


def test_a_mysqld_that_is_mariadbs_is_not_taken_for_mysql(tmp_path):
    link = tmp_path / "mysqld"
    link.symlink_to(installed("mariadb").path)
    assert find._program("mysql", link) is None
    assert find._program("mariadb", link).engine == "mariadb"


def test_a_server_that_is_too_old_is_not_taken(tmp_path):
    old = tmp_path / "mysqld"
    old.write_text("#!/bin/sh\necho 'mysqld  Ver 5.7.44 for Linux on x86_64 (MySQL Community Server)'\n")
    old.chmod(0o755)
    assert find._program("mysql", old) is None


@pytest.fixture
def bare_machine(monkeypatch, tmp_path):
    """A machine on which no server is found: nothing on the path, nothing in the folders, an empty cache."""
    monkeypatch.setattr(find, "_candidates", lambda _: [])
    monkeypatch.setattr(find, "_embedded_postgres", lambda: None)
    monkeypatch.setenv("WARMLINE_CACHE", str(tmp_path))


@pytest.mark.parametrize(
    ("engine", "install"),
    [
        ("mariadb", "apt-get install mariadb-server-core"),
        ("mysql", "warmline doctor --unpack mysql-server-core"),
        ("postgres", "apt-get install postgresql"),
    ],
)
def test_without_a_program_the_error_has_the_line_that_installs_one(bare_machine, start_server, engine, install):
    with pytest.raises(errors.NoServerProgram, match=engine) as caught:
        start_server(engine)
    assert install in caught.value.next_step


def test_the_default_engine_is_one_this_machine_has(bare_machine, monkeypatch):
    assert default_engine() == "mariadb"
    postgres = find.Program(engine="postgres", version="18.1", path=Path("/p"), command=("/p",))
    monkeypatch.setattr(find, "_embedded_postgres", lambda: postgres)
    assert default_engine() == "postgres"


def test_doctor_finds_this_machine_able():
    result = CliRunner().invoke(doctor.command, ["--format", "json"])
    told = json.loads(result.stdout)
    assert result.exit_code == 0
    assert told["ok"] is True
    by_name = {check["name"]: check for check in told["checks"]}
    assert by_name["mariadb"]["ok"]
    assert by_name["freeze and thaw"]["ok"]
    assert by_name["Python"]["found"].startswith("3.")


def test_doctor_exits_3_without_any_server_and_says_what_to_install(bare_machine):
    result = CliRunner().invoke(doctor.command, [])
    assert result.exit_code == 3
    assert "MISSING" in result.stdout
    assert "mariadb-server-core" in result.stdout
    assert max(len(line) for line in result.stdout.splitlines()) <= 80


def test_one_server_is_enough(bare_machine, monkeypatch):
    postgres = find.Program(engine="postgres", version="18.1", path=Path("/p"), command=("/p",))
    monkeypatch.setattr(find, "_embedded_postgres", lambda: postgres)
    lacking = [check for check in machine.checks() if not check.ok and check.need == "required"]
    assert lacking == []


def test_memory_is_read_where_linux_tells_it():
    total, available = machine.memory_mib()
    assert 0 < available <= total <= os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 1024**2

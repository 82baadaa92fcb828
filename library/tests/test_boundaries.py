"""What the library may import and cost, checked in fresh interpreters."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import venv
import zipfile
from pathlib import Path

import pytest

LIBRARY = Path(__file__).parents[1]
SOURCES = LIBRARY / "src"

ALLOWED = {
    *("__future__", "_abc", "_collections", "_collections_abc", "_contextvars", "_functools", "_operator", "_stat"),
    *(
        "_thread",
        "_warnings",
        "_weakref",
        "_weakrefset",
        "abc",
        "collections",
        "contextvars",
        "copyreg",
        "enum",
        "errno",
    ),
    *(
        "functools",
        "genericpath",
        "importlib",
        "itertools",
        "keyword",
        "operator",
        "os",
        "posixpath",
        "reprlib",
        "select",
    ),
    *("stat", "sys", "threading", "time", "types", "warmline", "warnings", "weakref"),
}

DATABASE = "import warmline; warmline.Database('mysql+pymysql://a@b/c')"


def imported(statement):
    code = f"""
import sys
sys.path.insert(0, {str(SOURCES)!r})
before = set(sys.modules)
{statement}
loaded = sorted({{m.split(".")[0] for m in set(sys.modules) - before}})
import json
print(json.dumps(loaded))
"""
    # -S -E: nothing that a site's packages import beforehand hides what the library imports
    out = subprocess.run([sys.executable, "-S", "-E", "-c", code], capture_output=True, text=True, check=True)
    return set(json.loads(out.stdout))


def test_importing_it_imports_only_small_standard_modules():
    assert imported("import warmline") <= {"__future__", "warmline"}


def test_making_a_database_imports_no_driver_and_nothing_else():
    made = imported("import warmline; warmline.Database('mysql+pymysql://a@b/c')")
    assert made - ALLOWED == set()


@pytest.mark.parametrize("version", ["3.10", "3.12", "3.13"])
def test_it_works_on_other_pythons_where_they_are_installed(version):
    """Where none is, this Python runs the same check: `make test` must not need them."""
    found = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python"))
    python = str(found[-1]) if found else sys.executable
    code = f"""
import sys; sys.path.insert(0, {str(SOURCES)!r})
import warmline
from warmline.testing import Context, FakeClock, FakeDriver
clock, driver = FakeClock(), FakeDriver()
db = warmline.Database("mysql://app@db/shop", clock=clock, driver=driver)
with db.invocation(Context(3, clock=clock)), db.transaction() as connection:
    connection.cursor().execute("SELECT 1")
import warmline._async, warmline._async_connect, warmline._async_pool
warmline.AsyncDatabase("mysql://app@db/shop", clock=clock)
print(driver.sent)
"""
    out = subprocess.run([python, "-E", "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert out.returncode == 0, out.stderr
    assert out.stdout.strip() == "['BEGIN', 'SELECT 1', 'COMMIT']"


def cpu_s(statement):
    code = f"import sys; sys.path.insert(0, {str(SOURCES)!r}); import time; t = time.process_time()\n{statement}\n"
    code += "print(time.process_time() - t)"
    return float(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def test_importing_it_takes_less_than_a_third_of_the_cheapest_drivers_import():
    """CPU time, interleaved, median of seven: a ratio on one machine at one time, not a limit in milliseconds."""
    statements = ("import warmline", "import MySQLdb", DATABASE, "import pymysql", "import psycopg", "import asyncpg")
    samples = [[cpu_s(statement) for statement in statements] for _ in range(7)]
    package, cheapest, used, *python_drivers = (statistics.median(column) for column in zip(*samples, strict=True))
    assert package < cheapest / 3
    assert used < min(python_drivers) / 2


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(folder), str(LIBRARY)]
    subprocess.run(command, check=True, capture_output=True)
    [built] = folder.glob("warmline-*.whl")
    return built


def test_the_wheel_is_small_and_needs_nothing(wheel):
    assert wheel.stat().st_size < 100_000
    with zipfile.ZipFile(wheel) as archive:
        [metadata] = [name for name in archive.namelist() if name.endswith("METADATA")]
        lines = archive.read(metadata).decode().splitlines()
        assert not [line for line in lines if line.startswith("Requires-Dist") and "extra ==" not in line]
        assert any(name.endswith("py.typed") for name in archive.namelist())


def test_the_wheel_works_alone_in_an_empty_environment(wheel, tmp_path):
    venv.create(tmp_path / "empty", with_pip=False)
    python = tmp_path / "empty" / "bin" / "python"
    [site] = (tmp_path / "empty" / "lib").glob("python*/site-packages")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(site)
    code = (
        "import warmline\n"
        "try:\n    warmline.Database('mysql://app@db/shop').connection().__enter__()\n"
        "except warmline.DriverMissing as error: print(error.code, 'pip install' in str(error))"
    )
    out = subprocess.run([python, "-E", "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "WL-C002 True"

"""The cache holds whole things only, made once, whoever comes at the same time and whoever is cut."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading

import pytest
from warmline_toolkit.servers import cache, errors, unpack


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.setenv("WARMLINE_CACHE", str(tmp_path))


def test_what_is_there_is_not_built_again(tmp_path):
    built = []

    def build(directory):
        built.append(directory)
        (directory / "whole").touch()

    assert cache.get("things/one", build) == cache.get("things/one", build) == tmp_path / "things" / "one"
    assert len(built) == 1


def test_a_failed_build_leaves_nothing_and_the_next_one_works(tmp_path):
    def fail(directory):
        (directory / "half").touch()
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        cache.get("things/one", fail)
    assert list((tmp_path / "things").iterdir()) == []
    assert cache.get("things/one", lambda directory: (directory / "whole").touch()).is_dir()


def test_ten_processes_at_once_build_it_once(tmp_path):
    script = """
import os, sys
from warmline_toolkit.servers import cache
def build(directory):
    with open(sys.argv[1], "a") as log:
        log.write("built\\n")
    (directory / "whole").touch()
assert (cache.get("things/one", build) / "whole").exists()
"""
    log = tmp_path / "log"
    makers = [subprocess.Popen([sys.executable, "-c", script, str(log)]) for _ in range(10)]
    assert [maker.wait() for maker in makers] == [0] * 10
    assert log.read_text() == "built\n"


def test_a_build_cut_by_sigkill_is_not_taken_for_whole(tmp_path):
    script = """
import os, signal
from warmline_toolkit.servers import cache
def build(directory):
    (directory / "half").touch()
    os.kill(os.getpid(), signal.SIGKILL)
cache.get("things/one", build)
"""
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == -signal.SIGKILL
    assert not (tmp_path / "things" / "one").exists()
    made = cache.get("things/one", lambda directory: (directory / "whole").touch())
    assert [path.name for path in made.iterdir()] == ["whole"]
    tick = threading.Event()
    for _ in range(1000):  # the guardian of the one that was killed removes what it left
        if [path.name for path in (tmp_path / "things").iterdir()] == ["one"]:
            break
        tick.wait(0.01)
    assert [path.name for path in (tmp_path / "things").iterdir()] == ["one"]


def test_only_names_of_packages_are_fetched():
    with pytest.raises(errors.CannotUnpack, match="not names of packages"):
        unpack.unpack("--option")
    with pytest.raises(errors.CannotUnpack):
        unpack.unpack()


@pytest.mark.parametrize(
    ("file", "content"),
    [
        (
            "sources.list",
            "# deb http://old.example/debian sid main\ndeb [arch=amd64] http://one.example/debian stable main\n",
        ),
        ("sources.list.d/debian.sources", "Types: deb\nURIs: http://one.example/debian/\nSuites: stable\n"),
    ],
)
def test_the_mirror_is_the_one_this_machine_uses(monkeypatch, tmp_path, file, content):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / file).write_text(content)
    monkeypatch.setattr(unpack, "SOURCES", tmp_path)
    assert unpack.debian_mirror().rstrip("/") == "http://one.example/debian"


def test_a_machine_without_a_debian_archive_is_told_so(monkeypatch, tmp_path):
    monkeypatch.setattr(unpack, "SOURCES", tmp_path)
    with pytest.raises(errors.CannotUnpack, match="no Debian archive"):
        unpack.unpack("mysql-server-core")

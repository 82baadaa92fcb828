"""Nothing outlives its parent: real parents, really killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from warmline_toolkit.servers import guardian

PARENT = """
import os, signal, sys
from warmline_toolkit.servers import start
servers = [start(engine) for engine in sys.argv[2].split(",")]
if "freeze" in sys.argv[1]:
    servers[-1].freeze()
for server in servers:
    print(server.log.parent, *server.processes(), flush=True)
print("ready", flush=True)
if "exit" in sys.argv[1]:
    sys.exit(0)
signal.pause()
"""


def parent(how: str, engines: str):
    """Start a parent with servers; return it, their processes and their directories."""
    started = subprocess.Popen([sys.executable, "-c", PARENT, how, engines], stdout=subprocess.PIPE, text=True)
    pids, directories = set(), []
    for line in started.stdout:
        if line == "ready\n":
            break
        directory, *numbers = line.split()
        directories.append(Path(directory))
        pids |= {int(number) for number in numbers}
    assert pids
    return started, pids, directories


@pytest.mark.parametrize(
    ("how", "engines"), [("run", "mariadb,postgres"), ("freeze", "mariadb"), ("freeze", "postgres")]
)
def test_sigkill_of_the_parent_ends_its_servers_and_removes_their_directories(how, engines):
    started, pids, directories = parent(how, engines)
    assert all(alive(pid) for pid in pids)
    started.kill()
    started.communicate()
    until(lambda: not any(alive(pid) for pid in pids))
    until(lambda: not any(directory.exists() for directory in directories))


@pytest.mark.parametrize("how", ["exit", "interrupt"])
def test_a_parent_that_forgets_its_servers_leaves_none_when_it_has_ended(how):
    started, pids, directories = parent(how, "mariadb,postgres")
    if how == "interrupt":
        started.send_signal(signal.SIGINT)
    started.communicate()
    assert started.returncode == (0 if how == "exit" else -signal.SIGINT)
    assert not any(alive(pid) for pid in pids)  # the guardian is waited for: at once, not soon
    assert not any(directory.exists() for directory in directories)


def test_sigkill_right_after_spawning_leaves_nothing(tmp_path):
    """The gap: parents that die in the same instant in which they start a child, fifteen times."""
    spawn_and_die = """
import os, signal, subprocess, sys
from warmline_toolkit.servers import guardian
command, stdin = guardian.guarded_command([sys.executable, "-c", "import time; time.sleep(600)", sys.argv[1]])
pid = os.posix_spawn(command[0], command, os.environ, file_actions=[(os.POSIX_SPAWN_DUP2, stdin, 0)], setsid=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    mark = str(tmp_path)
    parents = [subprocess.Popen([sys.executable, "-c", spawn_and_die, mark]) for _ in range(15)]
    for started in parents:
        assert started.wait() == -signal.SIGKILL
    until(lambda: not running_with(mark))


def test_a_process_that_left_its_group_is_killed_with_its_parent(tmp_path):
    """As a PostgreSQL backend does: it leads a session of its own."""
    script = f"""
import os, signal, subprocess, sys
from warmline_toolkit.servers import guardian
sleep = "import time; time.sleep(600)"
inner = "import subprocess, sys; subprocess.run([sys.executable, '-c', *sys.argv[1:]], start_new_session=True)"
command, stdin = guardian.guarded_command([sys.executable, "-c", inner, sleep, {str(tmp_path)!r}])
subprocess.Popen(command, stdin=stdin, start_new_session=True)
print("started", flush=True)
signal.pause()
"""
    started = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    started.stdout.readline()
    until(lambda: len(running_with(str(tmp_path))) == 2)
    started.kill()
    started.communicate()
    until(lambda: not running_with(str(tmp_path)))


def test_released_groups_and_directories_outlive_the_parent(tmp_path):
    kept, removed = tmp_path / "kept", tmp_path / "removed"
    script = f"""
import os, pathlib, signal, subprocess, sys
from warmline_toolkit.servers import guardian
for name in ({str(kept)!r}, {str(removed)!r}):
    pathlib.Path(name).mkdir()
    guardian.guard_directory(name)
guardian.release_directory({str(kept)!r})
sleep = [sys.executable, "-c", "import time; time.sleep(600)"]
child = subprocess.Popen(sleep, stdout=subprocess.DEVNULL, start_new_session=True)
guardian.guard_process_group(child.pid)
guardian.release_process_group(child.pid)
print(child.pid, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    ended = subprocess.run([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True, check=False)
    child = int(ended.stdout)
    until(lambda: not removed.exists())
    assert kept.exists()
    assert alive(child)
    os.kill(child, signal.SIGKILL)


def test_a_killed_guardian_is_replaced_and_told_everything_again(tmp_path):
    script = f"""
import os, pathlib, signal, subprocess, sys
from warmline_toolkit.servers import guardian
first, second = pathlib.Path({str(tmp_path / "first")!r}), pathlib.Path({str(tmp_path / "second")!r})
first.mkdir(); second.mkdir()
guardian.guard_directory(first)
os.kill(guardian._client.process.pid, signal.SIGKILL)
guardian._client.process.wait()
guardian.guard_directory(second)
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", script], check=False)
    until(lambda: not any(tmp_path.iterdir()))


def test_a_forked_child_does_not_hide_its_parents_death(tmp_path):
    directory = tmp_path / "guarded"
    script = f"""
import os, pathlib, signal, time
from warmline_toolkit.servers import guardian
pathlib.Path({str(directory)!r}).mkdir()
guardian.guard_directory({str(directory)!r})
child = os.fork()
if child == 0:
    time.sleep(600)
print(child, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    started = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE)
    child = int(started.stdout.readline())
    started.stdout.close()
    started.wait()
    until(lambda: not directory.exists())
    assert alive(child)
    os.kill(child, signal.SIGKILL)


def test_a_number_that_went_to_another_process_is_left_alone():
    """The guardian compares start times: a group whose leader is younger than its registration is someone else's."""
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True)
    ticks = guardian._start_ticks(child.pid)
    guardian.kill_and_remove({child.pid: ticks - 1}, [])
    assert child.poll() is None
    guardian.kill_and_remove({child.pid: ticks}, [])
    assert child.wait() == -signal.SIGKILL


@pytest.mark.parametrize("path", ["/", "/home", "/srv/a\nb"])
def test_a_directory_nobody_means_is_refused(path):
    with pytest.raises(ValueError, match="not a directory to remove"):
        guardian.guard_directory(path)


def running_with(mark: str) -> list[int]:
    """Return the living processes with *mark* in their command line that are Python's (not a shell about to be)."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid() and alive(int(entry.name)):
            try:
                words = (entry / "cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if mark.encode() in words and any(b"sleep(600)" in word for word in words):
                found.append(int(entry.name))
    return found


def alive(pid) -> bool:
    """Tell whether *pid* runs; an orphan that its new parent has not waited for yet does not."""
    stat = guardian.proc_stat(pid)
    return stat is not None and stat[0] not in "ZX"


def until(condition, *, timeout_s: float = 30) -> None:
    """Wait for *condition*; the limit is a hang's, not a measurement."""
    tick = threading.Event()
    for _ in range(int(timeout_s / 0.01)):
        if condition():
            return
        tick.wait(0.01)
    raise AssertionError("the condition never became true")

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from typing import TYPE_CHECKING

import pytest
from run_builder import RunBuilder
from warmline_toolkit.measure.record import CannotRecord, NotARunFile, Recorder, read
from warmline_toolkit.model.events import Frozen

if TYPE_CHECKING:
    from pathlib import Path

    from warmline_toolkit.model.events import Event


@pytest.fixture
def events() -> list[Event]:
    return RunBuilder(trials=1).events()


@pytest.fixture
def run_file(tmp_path: Path, events: list[Event]) -> Path:
    path = tmp_path / "runs" / "run.jsonl"
    with Recorder(path) as record:
        for event in events:
            record(event)
    return path


def test_what_is_read_is_what_was_recorded(run_file: Path, events: list[Event]) -> None:
    assert list(read(run_file)) == events


def test_a_folder_stands_for_the_run_file_in_it(run_file: Path, events: list[Event]) -> None:
    assert list(read(run_file.parent)) == events


def test_a_folder_with_two_other_run_files_is_refused_with_their_count(run_file: Path) -> None:
    run_file.rename(run_file.with_name("a.jsonl"))
    run_file.with_name("b.jsonl").touch()
    with pytest.raises(NotARunFile, match="2 files"):
        list(read(run_file.parent))


def test_a_cut_last_line_is_left_out(run_file: Path, events: list[Event]) -> None:
    whole = run_file.read_bytes()
    run_file.write_bytes(whole[:-7])
    assert list(read(run_file)) == events[:-1]


def test_a_first_line_that_was_cut_is_no_run_file(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    path.write_bytes(b'{"kind":"run-started","at_s":0.0,"sch')
    with pytest.raises(NotARunFile, match="line 1: not a JSON line"):
        list(read(path))


def test_a_time_that_is_no_number_is_refused(run_file: Path) -> None:
    with run_file.open("ab") as file:
        file.write(b'{"kind":"frozen","at_s":"soon","environment":"e1"}\n')
    with pytest.raises(NotARunFile, match="at_s is no number"):
        list(read(run_file))


def test_a_bad_line_in_the_middle_is_refused_with_its_number(run_file: Path) -> None:
    lines = run_file.read_bytes().splitlines(keepends=True)
    lines[4] = b'{"kind":"frozen","at_s"\n'
    run_file.write_bytes(b"".join(lines))
    with pytest.raises(NotARunFile, match="line 5: not a JSON line"):
        list(read(run_file))


def test_an_unknown_event_is_refused_by_name(run_file: Path) -> None:
    with run_file.open("ab") as file:
        file.write(b'{"kind":"melted","at_s":1}\n')
    with pytest.raises(NotARunFile, match="unknown event kind 'melted'"):
        list(read(run_file))


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "is empty"),
        (b"root:x:0:0\n", "line 1: not a JSON line"),
        (b"[1, 2]\n", "line 1: not a JSON object"),
        (b"\xff\xfe\n", "line 1: not a JSON line"),
        (b'{"kind":"frozen","at_s":1,"environment":"e1"}\n', "begins with a run-started event"),
    ],
)
def test_another_file_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    path = tmp_path / "other"
    path.write_bytes(content)
    with pytest.raises(NotARunFile, match=says) as refused:
        list(read(path))
    assert refused.value.exit_code == 2


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NotARunFile, match="No such file"):
        list(read(tmp_path / "none.jsonl"))


def test_a_file_of_another_schema_is_refused_with_both_numbers(run_file: Path) -> None:
    lines = run_file.read_text().splitlines(keepends=True)
    head = json.loads(lines[0]) | {"schema": 99}
    run_file.write_text(json.dumps(head) + "\n" + "".join(lines[1:]))
    with pytest.raises(NotARunFile, match="schema 99; this warmline reads schema 1"):
        list(read(run_file))


def test_a_run_never_overwrites_another(run_file: Path) -> None:
    before = run_file.read_bytes()
    with pytest.raises(CannotRecord, match="File exists"):
        Recorder(run_file)
    assert run_file.read_bytes() == before


def test_a_run_file_that_cannot_be_made_says_where_and_why(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CannotRecord, match=r"run\.jsonl cannot be written: (Not a directory|File exists)"):
        Recorder(tmp_path / "file" / "run.jsonl")


def test_a_full_disk_is_told_as_such(events: list[Event]) -> None:
    record = Recorder.__new__(Recorder)
    Recorder.__init__(record, _Full())  # type: ignore[arg-type]
    with pytest.raises(CannotRecord, match="No space left"):
        record(events[0])
    record.close()


class _Full:
    """The kernel's own full disk, where opening for exclusive creation is not possible."""

    parent = type("Parent", (), {"mkdir": staticmethod(lambda **_: None)})

    def open(self, _mode: str, buffering: int) -> object:
        return open("/dev/full", "wb", buffering=buffering)  # noqa: PTH123 - closed by the recorder

    def __str__(self) -> str:
        return "/dev/full"


def test_a_killed_recorder_has_kept_every_event(tmp_path: Path) -> None:
    path = tmp_path / "run.jsonl"
    program = f"""
import sys
from pathlib import Path
sys.path[:0] = {sys.path!r}
from run_builder import RunBuilder
from warmline_toolkit.measure.record import Recorder
record = Recorder(Path({str(path)!r}))
events = RunBuilder(trials=1).events()
for event in events:
    record(event)
print(len(events), flush=True)
sys.stdin.read()
"""
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as writer:
        assert writer.stdout is not None
        count = int(writer.stdout.readline())
        os.kill(writer.pid, signal.SIGKILL)
    assert len(list(read(path))) == count


def test_events_from_several_threads_do_not_mix(tmp_path: Path, events: list[Event]) -> None:
    path = tmp_path / "run.jsonl"
    with Recorder(path) as record:
        record(events[0])

        def many(name: str) -> None:
            for number in range(500):
                record(Frozen(at_s=number, environment=name))

        threads = [threading.Thread(target=many, args=(f"e{i}",)) for i in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(list(read(path))) == 1 + 4 * 500

"""The run file: events appended as JSON lines while a run goes on, and read back afterwards."""

from __future__ import annotations

import json
import os
from typing import TYPE_CHECKING

from warmline_toolkit.errors import MachineError, UsageError
from warmline_toolkit.model import events
from warmline_toolkit.model.events import Event, RunStarted

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path
    from types import TracebackType
    from typing import Self

SCHEMA = 1
"""The version of the events that this code writes and reads; `RunStarted.schema` carries it."""

RUN_FILE_NAME = "run.jsonl"
"""What a run file is called inside a run's folder."""


class NotARunFile(UsageError):
    """The file is missing, is no run file, or has a line that is no event."""

    code = "WL-R001"


class CannotRecord(MachineError):
    """The run file cannot be written: no space, no permission, no such folder."""

    code = "WL-R005"


class Recorder:
    """Append events to a run file: `record(event)`.

    Every event is one `write` to the operating system, so a lab that is killed loses none that it recorded, and events
    from several threads do not mix. Costs some ten microseconds an event, no fsync: a power cut may lose the last
    seconds. Raises `CannotRecord` where the file cannot be made or grows no more.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=str).encode
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = path.open("xb", buffering=0)
        except OSError as error:
            raise _cannot_record(path, error) from error

    def __call__(self, event: Event) -> None:
        """Append *event*."""
        line = (self._encode({"kind": event.kind, **vars(event)}) + "\n").encode()
        try:
            written = self._file.write(line)
            while written < len(line):  # a disk that fills up takes part of a line before it refuses
                line = line[written:]
                written = self._file.write(line)
        except OSError as error:
            raise _cannot_record(self.path, error) from error

    def close(self) -> None:
        """Close the file; closing twice is fine."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def read(path: Path) -> Iterator[Event]:
    """Yield the events of the run file at *path*, or of the one in the folder *path*.

    A last line that was cut (the lab was killed while it wrote) is left out. Raises `NotARunFile`, with the line's
    number, for anything else that is not an event, and before the first event where the file is no run file at all.
    """
    file = _run_file(path)
    try:
        with file.open("rb") as lines:
            yield from _events(file, lines)
    except OSError as error:
        raise NotARunFile(
            f"{file} cannot be read: {error.strerror}.", next_step="Name a run file that `warmline lab run` wrote."
        ) from error


def _run_file(path: Path) -> Path:
    if not path.is_dir():
        return path
    inside = path / RUN_FILE_NAME
    if inside.exists():
        return inside
    candidates = sorted(path.glob("*.jsonl"))
    if len(candidates) == 1:
        return candidates[0]
    found = f"{len(candidates)} files that end in .jsonl" if candidates else "no file that ends in .jsonl"
    raise NotARunFile(f"The folder {path} holds {found}.", next_step="Name the run file itself.")


def _events(file: Path, lines: Iterable[bytes]) -> Iterator[Event]:
    number = 0
    for number, line in enumerate(lines, start=1):
        try:
            event = events.from_json(_object(line))
        except ValueError as error:
            if number > 1 and not line.endswith(b"\n"):
                return
            raise NotARunFile(
                f"{file}, line {number}: {error}.",
                next_step="Name a run file that `warmline lab run` wrote, unchanged."
                if number == 1
                else "The file was changed or mixed with another after the run; run again, or delete that line.",
            ) from error
        if not isinstance(event.at_s, (int, float)):
            raise NotARunFile(
                f"{file}, line {number}: at_s is no number.", next_step="The file was changed after the run; run again."
            )
        if number == 1:
            _check_head(file, event)
        yield event
    if number == 0:
        raise NotARunFile(f"{file} is empty.", next_step="Name a run file that `warmline lab run` wrote.")


def _object(line: bytes) -> dict[str, object]:
    try:
        value = json.loads(line)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError("not a JSON line") from error
    if not isinstance(value, dict):
        raise ValueError("not a JSON object")  # noqa: TRY004 - the caller handles one kind of badness
    return value


def _check_head(file: Path, event: Event) -> None:
    if not isinstance(event, RunStarted):
        raise NotARunFile(
            f"{file}, line 1: a run file begins with a run-started event, this one with {event.kind}.",
            next_step="Name a run file that `warmline lab run` wrote, unchanged.",
        )
    if event.schema != SCHEMA:
        raise NotARunFile(
            f"{file} has schema {event.schema}; this warmline reads schema {SCHEMA}.",
            next_step="Use the warmline version that recorded it (its provenance names it), or run again.",
        )


def _cannot_record(path: Path, error: OSError) -> CannotRecord:
    reason = error.strerror or os.strerror(error.errno or 0)
    return CannotRecord(
        f"The run file {path} cannot be written: {reason}.",
        next_step="Choose another folder with --output, or make room.",
    )

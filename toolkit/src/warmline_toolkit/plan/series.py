"""Recorded arrivals: a CSV of times, a CSV of counts, or a CloudWatch export of Invocations (CSV or JSON).

Taken forms:
- times: one column of seconds or ISO 8601 times, one row an arrival;
- counts: two columns, a time and a count, each row until the next (header names are free);
- CloudWatch: the console's CSV (its five heading lines are skipped), the JSON of `aws cloudwatch get-metric-statistics`
  or of `get-metric-data`.
"""

from __future__ import annotations

import csv
import io
import itertools
import json
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any, NoReturn

from warmline_toolkit.plan.errors import BadSeries

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

FORMS = "expected times, times with counts, or a CloudWatch export"
DATE_FORMS = ("%Y/%m/%d %H:%M:%S", "%Y-%m-%d %H:%M:%S", "%Y/%m/%d %H:%M", "%m/%d/%Y %H:%M")


@dataclass(frozen=True, kw_only=True)
class Series:
    """Arrivals from a file, from time 0 on."""

    times_s: tuple[float, ...] | None = None
    counts: tuple[tuple[float, float, float], ...] | None = None
    """(start_s, end_s, arrivals), in order."""

    @property
    def duration_s(self) -> float:
        """How long the record is."""
        if self.counts:
            return self.counts[-1][1]
        return self.times_s[-1] if self.times_s else 0.0

    @property
    def rate_per_s(self) -> float:
        """The mean rate over the record."""
        amount = sum(count for _, _, count in self.counts) if self.counts else len(self.times_s or ())
        return amount / self.duration_s if self.duration_s else 0.0

    @property
    def peak_rate_per_s(self) -> float:
        """The highest rate in one of the record's periods; in the busiest minute for single times."""
        if self.counts:
            return max(count / (end - start) for start, end, count in self.counts)
        minutes: dict[int, int] = {}
        for time_s in self.times_s or ():
            minutes[int(time_s // 60)] = minutes.get(int(time_s // 60), 0) + 1
        return max(minutes.values(), default=0) / 60


def read(file: Path) -> Series:
    """Return the arrivals in *file*, or raise `BadSeries` with the line."""
    try:
        text = file.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8 text"
        raise BadSeries(
            f"{file} cannot be read: {reason}.", next_step="Name a file of arrivals that exists."
        ) from error
    return parse(text, file=str(file))


def parse(text: str, *, file: str) -> Series:
    """Return the arrivals in *text*."""
    if text.lstrip().startswith(("{", "[")):
        return _from_json(text, file)
    return _from_csv(text, file)


def from_points(points: Sequence[tuple[float, float]], *, period_s: float) -> Series:
    """Return counts from (time, count) pairs in any order, each lasting *period_s*; the first starts at 0."""
    ordered = sorted(points)
    first = ordered[0][0]
    return Series(counts=tuple((at - first, at - first + period_s, count) for at, count in ordered))


def _from_csv(text: str, file: str) -> Series:
    rows = [
        (number, [cell.strip() for cell in row]) for number, row in enumerate(csv.reader(io.StringIO(text)), start=1)
    ]
    rows = [(number, row) for number, row in rows if any(row) and not row[0].startswith("#")]
    while rows and _time(rows[0][1][0]) is None:  # headings, however many a console writes
        rows.pop(0)
    if not rows:
        _bad(file, 1, "there is no row that starts with a time")
    columns = len(rows[0][1])
    times = _times(rows, file)
    if columns == 1:
        return Series(times_s=tuple(at - (times[0] if times[0] > _EPOCH else 0.0) for at in times))
    if len(times) == 1:
        _bad(file, rows[0][0], "one row of counts has no period")
    period_s = min(later - earlier for earlier, later in itertools.pairwise(times))
    if period_s <= 0:
        _bad(file, rows[0][0], "two rows have the same time")
    return from_points(list(zip(times, _amounts(rows, file), strict=True)), period_s=period_s)


def _times(rows: list[tuple[int, list[str]]], file: str) -> list[float]:
    times: list[float] = []
    for number, row in rows:
        at = _time(row[0])
        if at is None:
            _bad(file, number, f"{row[0]!r} is not a time")
        if times and at < times[-1]:
            _bad(file, number, f"{row[0]!r} is before the row above")
        times.append(at)
    return times


def _amounts(rows: list[tuple[int, list[str]]], file: str) -> list[float]:
    amounts: list[float] = []
    for number, row in rows:
        amount = _number(row[1]) if len(row) > 1 else None
        if amount is None or amount < 0:
            _bad(file, number, f"{row[1] if len(row) > 1 else ''!r} is not a count")
        amounts.append(amount)
    return amounts


_EPOCH = 1e9
"""Numbers above this are seconds since 1970, below it seconds since the start."""


def _from_json(text: str, file: str) -> Series:
    try:
        document = json.loads(text)
    except ValueError as error:
        _bad(file, getattr(error, "lineno", 1), f"this is not JSON: {error}")
    points: list[tuple[Any, Any]] = []
    if isinstance(document, dict) and isinstance(document.get("Datapoints"), list):
        points = [
            (point.get("Timestamp"), point.get("Sum")) for point in document["Datapoints"] if isinstance(point, dict)
        ]
    elif (
        isinstance(document, dict)
        and isinstance(document.get("MetricDataResults"), list)
        and document["MetricDataResults"]
    ):
        result = document["MetricDataResults"][0]
        points = list(zip(result.get("Timestamps", []), result.get("Values", []), strict=False))
    times = [(_time(str(at)), amount) for at, amount in points]
    good = [
        (at, float(amount))
        for at, amount in times
        if at is not None and isinstance(amount, (int, float)) and amount >= 0
    ]
    if len(good) < 2 or len(good) != len(points):  # noqa: PLR2004 - a period needs two points
        _bad(file, 1, f"{len(good)} of {len(points)} data points have a time and a Sum, and at least two are needed")
    ordered = sorted(good)
    period_s = min(later[0] - earlier[0] for earlier, later in itertools.pairwise(ordered))
    if period_s <= 0:
        _bad(file, 1, "two data points have the same time")
    return from_points(ordered, period_s=period_s)


def _time(text: str) -> float | None:
    number = _number(text)
    if number is not None:
        return number if number >= 0 else None
    try:
        moment = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        for form in DATE_FORMS:
            try:
                moment = datetime.strptime(text, form).replace(tzinfo=timezone.utc)
                break
            except ValueError:
                continue
        else:
            return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=timezone.utc)
    return moment.timestamp()


def _number(text: str) -> float | None:
    try:
        value = float(text)
    except ValueError:
        return None
    return value if value == value and abs(value) != float("inf") else None  # noqa: PLR0124 - not a number


def _bad(file: str, line: int, what: str) -> NoReturn:
    raise BadSeries(f"{file}, line {line}: {what}; {FORMS}.", next_step="See docs/reference/workload-file.md#arrivals.")

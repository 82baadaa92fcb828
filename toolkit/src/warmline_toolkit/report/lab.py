"""The report of a lab run as a neutral document: answer, verdicts, numbers, figures, how each number came about."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from warmline_toolkit.measure.agree import disagreements
from warmline_toolkit.measure.answer import formula, sentences
from warmline_toolkit.measure.quantiles import Spread, spread
from warmline_toolkit.measure.verdict import Advice, Rating, rate
from warmline_toolkit.report.document import Block, Cell, Document, Highlight, Notes, Section, Table, Tone
from warmline_toolkit.report.lab_data import lab_data
from warmline_toolkit.report.lab_figures import connections_figure, failures_figure, latency_figure
from warmline_toolkit.report.lab_method import METHOD
from warmline_toolkit.report.wording import UNKNOWN, fact, number, plural, spread_range

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from warmline_toolkit.measure.quantiles import Latency
    from warmline_toolkit.measure.summary import RunSummary, StrategySummary
    from warmline_toolkit.measure.verdict import Verdict
    from warmline_toolkit.model.events import Noted

_TONES = {Rating.GOOD: Tone.GOOD, Rating.FAIR: Tone.FAIR, Rating.POOR: Tone.POOR, Rating.UNRATED: Tone.NEUTRAL}
_ADVICE_TONES = {
    Advice.RECOMMENDED: Tone.GOOD,
    Advice.ACCEPTABLE: Tone.FAIR,
    Advice.AVOID: Tone.POOR,
    Advice.NOT_ALONE: Tone.POOR,
}


def lab_document(summary: RunSummary) -> Document:
    """Return the report of *summary*. Pure: the same run gives the same report anywhere."""
    return Document(
        title=summary.title,
        subtitle=f"Scenario {summary.scenario} on {_servers(summary)}",
        expectation=summary.expectation,
        lead=sentences(summary),
        provenance=tuple(_facts(summary)),
        highlights=tuple(
            Highlight(
                name=one.strategy,
                number=f"{one.connections_opened.median:,.10g}",
                what="connections opened",
                formula=formula(one) or spread_range(one.connections_opened),
                trouble=f"{number(one.refused.median)} refused" if one.refused.highest else "",
            )
            for one in summary.strategies
        ),
        warnings=tuple(_warnings(summary)),
        sections=tuple(_sections(summary)),
        accents=tuple(strategy.strategy for strategy in summary.strategies),
        data=lab_data(summary),
    )


_ENGINES = {"mariadb": "MariaDB", "mysql": "MySQL", "postgres": "PostgreSQL"}


def _servers(summary: RunSummary) -> str:
    """Name the servers as people do: "mariadb 10.11.19-MariaDB-0+deb12u1" is MariaDB 10.11.19."""
    names = []
    for told in dict.fromkeys(strategy.server for strategy in summary.strategies):
        engine, _, version = told.partition(" ")
        number_ = re.match(r"[\d.]+", version)
        names.append(f"{_ENGINES.get(engine, engine)} {number_[0] if number_ else version}".strip())
    return ", ".join(names)


def _facts(summary: RunSummary) -> Iterator[tuple[str, str]]:
    """Yield what heads every output: the server, the machine, the versions, the settings that say something."""
    told = ", ".join(dict.fromkeys(strategy.server for strategy in summary.strategies))
    yield "server", str(summary.provenance.get("server", told))
    for name, value in summary.provenance.items():
        if name != "server" and value not in _SAYING_NOTHING:
            yield _label(name), fact(value)
    yield "trials a strategy", str(summary.trial_count)
    settings = {
        _label(name): value
        for name, value in summary.settings.items()
        if name not in _SHOWN_ELSEWHERE and value not in _SAYING_NOTHING
    }
    yield "settings", fact(settings)


_SAYING_NOTHING: tuple[object, ...] = (None, "", [], {}, ())
_SHOWN_ELSEWHERE = ("trials", "strategies", "handlers")


def _sections(summary: RunSummary) -> list[Section]:
    sections = [Section(title="Verdicts", blocks=(_verdicts(summary),))]
    sections.append(Section(title="Connections over time", blocks=(connections_figure(summary),)))
    sections.append(Section(title="Latency", blocks=(latency_figure(summary),)))
    failures = failures_figure(summary)
    if failures is not None:
        sections.append(Section(title="Refusals, errors and ghosts", blocks=(failures,)))
    sections.append(Section(title="Measured", blocks=(_measured(summary),)))
    sections.append(Section(title="Latency, warm and cold", blocks=(_latencies(summary),), detail=True))
    noted = _noted(summary)
    if noted:
        sections.append(Section(title="Also measured in this scenario", blocks=tuple(noted)))
    sections.append(Section(title="How each number was computed", blocks=(Notes(items=METHOD),), detail=True))
    return sections


def _warnings(summary: RunSummary) -> list[str]:
    warnings = [f"The server and the relay disagree. {one}." for one in disagreements(summary)]
    if not summary.complete:
        warnings.append("The run was cut before its end; these are the trials that finished.")
    if summary.unfinished:
        warnings.append(f"Left out, because unfinished: {'; '.join(summary.unfinished)}.")
    untold = [strategy.strategy for strategy in summary.strategies if not strategy.opened_by_server]
    if untold:
        warnings.append(
            f"The server told no counters for {', '.join(untold)}: connections and refusals are the relay's counts."
        )
    return warnings


def _verdicts(summary: RunSummary) -> Table:
    rows = []
    for verdicts in rate(summary):
        cells = [_verdict(verdict) for verdict in (verdicts.performance, verdicts.latency, verdicts.load)]
        advice = Cell(verdicts.advice.value, verdicts.because, _ADVICE_TONES[verdicts.advice])
        rows.append((Cell(verdicts.strategy), *cells, advice))
    return Table(
        columns=("Strategy", "Performance", "Latency", "Database load", "Recommendation"),
        rows=tuple(rows),
        caption="Each verdict follows from the numbers beside it by a rule: docs/reference/verdicts.md.",
    )


def _verdict(verdict: Verdict) -> Cell:
    return Cell(verdict.word, verdict.because, _TONES[verdict.rating])


def _measured(summary: RunSummary) -> Table:
    strategies = summary.strategies
    rows: list[tuple[Cell, ...]] = []

    def count(label: str, pick: Callable[[StrategySummary], Spread | None], tone: Tone = Tone.NEUTRAL) -> None:
        rows.append((Cell(label), *(_spread_cell(pick(strategy), tone) for strategy in strategies)))

    def codes(pick: Callable[[StrategySummary], dict[str, Spread]]) -> None:
        for code in dict.fromkeys(code for strategy in strategies for code in pick(strategy)):
            none = tuple(spread([0] * len(strategy.trials)) for strategy in strategies)
            values = [pick(strategy).get(code, zero) for strategy, zero in zip(strategies, none, strict=True)]
            rows.append((Cell(f"  {code}"), *(_spread_cell(value, Tone.NEUTRAL) for value in values)))

    count("Invocations", lambda s: s.invocations)
    count("Environments", lambda s: s.environments)
    count("Cold starts", lambda s: s.cold_starts)
    count("Connections opened", lambda s: s.connections_opened)
    if any(strategy.path == "proxy" for strategy in strategies):
        count("  by the function", lambda s: s.client_connections_opened)
    count("  peak, every event (relay)", lambda s: s.connections_peak_relay)
    count("  peak, sampled (server)", lambda s: s.connections_peak_server)
    count("  still open at the end", lambda s: s.still_open)
    count("Ghosts left by reaps", lambda s: s.ghosts, Tone.POOR)
    if any(strategy.ghosts.highest for strategy in strategies):
        count("  open at the end", lambda s: s.ghosts_at_end, Tone.POOR)
    count("Refused by the server", lambda s: s.refused, Tone.POOR)
    codes(lambda s: s.refused_by_code)
    count("Failed invocations", lambda s: s.errors, Tone.POOR)
    codes(lambda s: s.errors_by_code)
    count("Throttled (429)", lambda s: s.throttled)
    count("Dropped arrivals", lambda s: s.dropped)
    if any(strategy.resets.highest for strategy in strategies):
        count("Environments reset", lambda s: s.resets)
    rows.extend(_times(strategies, "Handler latency", lambda s: s.latency))
    count("Answers per busy second", lambda s: s.answers_per_busy_second)
    if any(strategy.answers_per_busy_second_warm for strategy in strategies):
        count("  warm", lambda s: s.answers_per_busy_second_warm)
    count("Round trips per invocation", lambda s: s.round_trips_per_invocation)
    count("Server CPU ms per invocation", lambda s: s.server_cpu_ms_per_invocation)
    trials = plural(summary.trial_count, "trial")
    ranges = ", with the lowest and highest trial where they differ; latencies over all trials together"
    caption = f"Median of {trials}{ranges}." if summary.trial_count > 1 else "One trial: no spread."
    return Table(columns=("", *(s.strategy for s in strategies)), rows=tuple(rows), caption=caption, numeric=True)


def _latencies(summary: RunSummary) -> Table:
    strategies = summary.strategies
    return Table(
        columns=("", *(s.strategy for s in strategies)),
        rows=(
            *_times(strategies, "Handler, warm", lambda s: s.latency_warm),
            *_times(strategies, "Handler, cold start", lambda s: s.latency_cold),
            *_times(strategies, "Caller waits", lambda s: s.caller_latency),
            *_times(strategies, "Init", lambda s: s.init),
        ),
        caption="Over all trials together, with the lowest and highest trial's own quantile.",
        numeric=True,
    )


def _times(
    strategies: Sequence[StrategySummary], label: str, pick: Callable[[StrategySummary], Latency | None]
) -> list[tuple[Cell, ...]]:
    if not any(pick(strategy) for strategy in strategies):
        return []
    rows = [(Cell(f"{label}: n"), *(_n_cell(pick(strategy)) for strategy in strategies))]
    rows += [
        (Cell(f"  {name} ms"), *(_time_cell(pick(strategy), name) for strategy in strategies))
        for name in ("p50", "p95", "p99", "max")
    ]
    return rows


def _spread_cell(value: Spread | None, bad: Tone) -> Cell:
    if value is None:
        return Cell(UNKNOWN)
    return Cell(number(value.median), spread_range(value), bad if value.highest > 0 else Tone.NEUTRAL)


def _n_cell(value: Latency | None) -> Cell:
    return Cell(number(value.n) if value else "0")


def _time_cell(value: Latency | None, name: str) -> Cell:
    if value is None:
        return Cell("–")
    return Cell(number(getattr(value, name)), spread_range(value.spread[name]))


def _noted(summary: RunSummary) -> list[Block]:
    blocks: list[Block] = []
    own = [note for note in summary.notes if note.strategy]
    if own:
        blocks.append(_noted_table(summary, own))
    of_the_run = [note for note in summary.notes if not note.strategy]
    if of_the_run:
        blocks.append(Notes(items=tuple((_label(note.name), _value(note.value, note.unit)) for note in of_the_run)))
    return blocks


def _noted_table(summary: RunSummary, notes: Sequence[Noted]) -> Table:
    rows = []
    for name in dict.fromkeys(note.name for note in notes):
        unit = next((note.unit for note in notes if note.name == name and note.unit), "")
        cells = [
            _noted_cell([note.value for note in notes if note.name == name and note.strategy == strategy.strategy])
            for strategy in summary.strategies
        ]
        rows.append((Cell(_label(name) + (f", {unit}" if unit else "")), *cells))
    columns = ("", *(strategy.strategy for strategy in summary.strategies))
    return Table(columns=columns, rows=tuple(rows), numeric=True)


def _noted_cell(values: Sequence[Any]) -> Cell:
    numbers = [value for value in values if isinstance(value, (int, float)) and not isinstance(value, bool)]
    if not values:
        return Cell("–")
    if len(numbers) < len(values):
        return Cell(", ".join(dict.fromkeys(fact(value) for value in values)))
    return _spread_cell(spread(numbers), Tone.NEUTRAL)


def _value(value: object, unit: str) -> str:
    text = number(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else fact(value)
    return f"{text} {unit}".rstrip()


def _label(name: str) -> str:
    """Make a key readable: `memory_gib` is "memory, GiB", `max_connections` stays the server's own name."""
    if name in _LABELS:
        return _LABELS[name]
    return name.replace("_", " ").replace("-", " ")


_LABELS = {
    "memory_gib": "memory, GiB",
    "load_1m": "host load, 1 min",
    "cpu": "CPU",
    "commit_dirty": "uncommitted changes",
    "max_connections": "max_connections",
    "server_max_connections": "server max_connections",
    "rtt_ms": "added round trip ms",
    "timeout_s": "timeout s",
    "idle_timeout_s": "idle timeout s",
    "rate_per_s": "arrivals/s",
    "duration_s": "duration s",
    "scale_out_per_s": "scale-out/s",
}

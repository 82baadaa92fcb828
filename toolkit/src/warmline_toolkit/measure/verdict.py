"""Verdicts on strategies, each by a rule from measured numbers. The rules, in prose: docs/reference/verdicts.md."""

from __future__ import annotations

import enum
import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from warmline_toolkit.measure.trials import MS_PER_S

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from warmline_toolkit.measure.quantiles import Spread
    from warmline_toolkit.measure.summary import RunSummary, StrategySummary

FAIR_RATIO = 1.25
"""Worse than the best strategy by more than this is fair, not good."""

POOR_RATIO = 2.0
"""Worse than the best strategy by more than this is poor."""

FAIR_REOPENS = 0.1
"""More connections than this, beyond one per environment, for each warm invocation: medium load."""

POOR_REOPENS = 0.5
"""More connections than this, beyond one per environment, for each warm invocation: high load."""

NEAR_LIMIT = 0.8
"""A peak of at least this share of the limit leaves too little room: medium load."""

FAIR_FAILED = 0.01
"""A larger share of failed invocations than this is fair performance at best."""

POOR_FAILED = 0.1
"""A larger share of failed invocations than this is poor performance."""

BUSY_SERVER = 0.05
"""A server that used less of one core than this in every trial did mostly its own housekeeping: no rating by CPU."""

FEW = 5
"""Fewer warm invocations than this in a trial say nothing about a tail: all invocations are taken."""


class Rating(enum.Enum):
    """How a strategy does in one respect. UNRATED where there is nothing to compare it with."""

    GOOD = "good"
    FAIR = "fair"
    POOR = "poor"
    UNRATED = "unrated"


_ORDER = (Rating.UNRATED, Rating.GOOD, Rating.FAIR, Rating.POOR)


class Advice(enum.Enum):
    """The recommendation."""

    RECOMMENDED = "recommended"
    ACCEPTABLE = "acceptable"
    AVOID = "avoid"
    NOT_ALONE = "not alone"
    """It failed, and so did every other: what it needs is outside the function."""


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """One rating with the numbers it follows from, as words."""

    rating: Rating
    word: str
    because: str


@dataclass(frozen=True, kw_only=True)
class Verdicts:
    """What the guide's table says of one strategy."""

    strategy: str
    performance: Verdict
    latency: Verdict
    load: Verdict
    advice: Advice
    because: str


def rate(summary: RunSummary) -> tuple[Verdicts, ...]:
    """Rate every strategy of the run, in its order. Pure; costs nothing worth naming."""
    strategies = summary.strategies
    return tuple(_rate(strategy, strategies) for strategy in strategies)


def _rate(strategy: StrategySummary, all_of_them: Sequence[StrategySummary]) -> Verdicts:
    performance = _performance(strategy, all_of_them)
    tail = _latency(strategy, all_of_them)
    load = _load(strategy, all_of_them)
    advice, because = _advice(strategy, all_of_them, (performance, tail, load))
    return Verdicts(
        strategy=strategy.strategy, performance=performance, latency=tail, load=load, advice=advice, because=because
    )


def _performance(strategy: StrategySummary, all_of_them: Sequence[StrategySummary]) -> Verdict:
    warm = _all_have_warm(all_of_them)

    def answers(one: StrategySummary) -> Spread | None:
        return one.answers_per_busy_second_warm if warm else one.answers_per_busy_second

    mine = answers(strategy)
    if mine is None:
        return Verdict(rating=Rating.UNRATED, word="not measured", because="no invocation ended")
    compared = _compare(strategy, all_of_them, answers, larger_is_better=True)
    rating, because = compared.rating, f"{_rate_of(mine.median)} {'warm ' if warm else ''}answers/s while busy"
    if strategy.errors.highest > 0:
        rating = max(rating, _step(_failed_share(strategy), FAIR_FAILED, POOR_FAILED), key=_ORDER.index)
        because = f"{_failed(strategy)}, {because}"
    return Verdict(rating=rating, word=_WORDS[rating], because=because + compared.remark)


def _latency(strategy: StrategySummary, all_of_them: Sequence[StrategySummary]) -> Verdict:
    warm = _all_have_warm(all_of_them)
    which = "warm p95" if warm else "p95"

    def tail(one: StrategySummary) -> Spread | None:
        latency = one.latency_warm if warm else one.latency
        return latency.spread["p95"] if latency else None

    mine = tail(strategy)
    if mine is None:
        return Verdict(rating=Rating.UNRATED, word="not measured", because="no invocation ended")
    if _failed_share(strategy) > POOR_FAILED:
        because = f"{which} {milliseconds(mine.median)}, of failures too"
        return Verdict(rating=Rating.UNRATED, word="not rated", because=because)
    working = [one for one in all_of_them if _failed_share(one) <= POOR_FAILED]
    compared = _compare(strategy, working, tail, larger_is_better=False)
    word = _LEVELS.get(compared.rating, _WORDS[compared.rating])
    because = f"{which} {milliseconds(mine.median)}{compared.remark}"
    return Verdict(rating=compared.rating, word=word, because=because)


def _all_have_warm(strategies: Sequence[StrategySummary]) -> bool:
    """Tell whether every trial has enough warm invocations to be rated by them alone."""
    return all(sum(not event.cold for event in trial.invoked) >= FEW for one in strategies for trial in one.trials)


def _load(strategy: StrategySummary, all_of_them: Sequence[StrategySummary]) -> Verdict:
    """Take the worst of: refusals, connections reopened, slots held against the limit, server CPU."""
    reasons: list[tuple[Rating, str]] = []
    if strategy.refused.highest > 0:
        reasons.append((Rating.POOR, f"{_count(strategy.refused)} refused"))
    reasons.append(
        (_step(reopens(strategy), FAIR_REOPENS, POOR_REOPENS), f"{_count(strategy.connections_opened)} opened")
    )
    peak = f"peak {_count(strategy.connections_peak)}"
    if strategy.limit:
        near = strategy.connections_peak.highest >= NEAR_LIMIT * strategy.limit
        reasons.append((Rating.FAIR if near else Rating.GOOD, f"{peak} of {strategy.limit}"))
    else:
        reasons.append((Rating.UNRATED, peak))
    cpu = _compare(strategy, all_of_them, lambda one: one.server_cpu_ms_per_invocation, larger_is_better=False).rating
    mine = strategy.server_cpu_ms_per_invocation
    if cpu in (Rating.FAIR, Rating.POOR) and mine is not None and _server_share(strategy) >= BUSY_SERVER:
        reasons.append((cpu, f"{milliseconds(mine.median)} server CPU"))
    worst = max((rating for rating, _ in reasons), key=_ORDER.index)
    return Verdict(rating=worst, word=_LEVELS[worst], because=", ".join(text for _, text in reasons))


def _server_share(strategy: StrategySummary) -> float:
    """Return the most of one core that the server used in any trial."""
    return max(
        (
            trial.counted.cpu_ms / (trial.duration_s * MS_PER_S)
            for trial in strategy.trials
            if trial.counted is not None and trial.counted.cpu_ms is not None and trial.duration_s > 0
        ),
        default=0.0,
    )


def reopens(strategy: StrategySummary) -> float:
    """Tell the connections opened beyond one per environment, for each invocation beyond the first of its environment.

    0 where every environment opens one connection and keeps it; 1 where every invocation opens one; the median over
    the trials. 0 where there were fewer than
    `FEW` such invocations.
    """
    shares = sorted(
        max(0.0, (opened or 0) - environments) / (invocations - environments) if invocations > environments else 0.0
        for opened, environments, invocations in zip(
            strategy.connections_opened.per_trial,
            (trial.environments for trial in strategy.trials),
            (len(trial.invoked) for trial in strategy.trials),
            strict=True,
        )
    )
    return shares[len(shares) // 2]


def _advice(
    strategy: StrategySummary, all_of_them: Sequence[StrategySummary], verdicts: Sequence[Verdict]
) -> tuple[Advice, str]:
    if _fails(strategy):
        because = [f"{_count(strategy.refused)} refused"] if strategy.refused.highest > 0 else []
        because += [_failed(strategy)] if strategy.errors.highest > 0 else []
        if any(not _fails(other) for other in all_of_them):
            return Advice.AVOID, ", ".join(because)
        way_out = "; cap the environments or add a proxy" if strategy.refused.highest > 0 else ""
        return Advice.NOT_ALONE, ", ".join(because) + way_out
    ratings = [verdict.rating for verdict in verdicts]
    if Rating.POOR in ratings:
        names = ("performance", "latency", "load")
        poor = [name for name, rating in zip(names, ratings, strict=True) if rating is Rating.POOR]
        return Advice.AVOID, f"worst in {', '.join(poor)}"
    if ratings[0] is ratings[1] is Rating.GOOD:
        return Advice.RECOMMENDED, "nothing failed"
    return Advice.ACCEPTABLE, "nothing failed"


def _fails(strategy: StrategySummary) -> bool:
    """Tell whether anything was refused or failed in any trial."""
    return strategy.refused.highest > 0 or strategy.errors.highest > 0


def _failed(strategy: StrategySummary) -> str:
    return f"{_count(strategy.errors)} of {_count(strategy.invocations)} failed"


def _failed_share(strategy: StrategySummary) -> float:
    failed = sum(count or 0 for count in strategy.errors.per_trial)
    return failed / max(1, sum(count or 0 for count in strategy.invocations.per_trial))


@dataclass(frozen=True, kw_only=True)
class _Compared:
    """A rating against the best strategy, and what to say of it where the trials do not prove a difference."""

    rating: Rating
    remark: str = ""


def _compare(
    mine: StrategySummary,
    all_of_them: Sequence[StrategySummary],
    number: Callable[[StrategySummary], Spread | None],
    *,
    larger_is_better: bool,
) -> _Compared:
    """Rate by the median over the trials of how many times worse than the best strategy in the same trial.

    Trial by trial, because a slow moment of the machine meets all strategies of one trial; and good where not every
    trial was worse, because then chance explains the difference.
    """
    known = {one.strategy: value for one in all_of_them if (value := number(one)) is not None}
    if mine.strategy not in known or len(known) < 2:  # noqa: PLR2004 - a comparison takes two
        return _Compared(rating=Rating.UNRATED)
    sign = -1 if larger_is_better else 1
    best = min((one for one in all_of_them if one.strategy in known), key=lambda one: sign * known[one.strategy].median)
    theirs = _by_trial(best, known[best.strategy])
    ratios = [
        _times_worse(own, theirs[trial], larger_is_better=larger_is_better)
        for trial, own in _by_trial(mine, known[mine.strategy]).items()
        if trial in theirs
    ]
    if not ratios:
        return _Compared(rating=Rating.UNRATED)
    rating = _step(statistics.median(ratios), FAIR_RATIO, POOR_RATIO)
    if rating is not Rating.GOOD and min(ratios) <= 1:
        return _Compared(rating=Rating.GOOD, remark=", within the noise")
    return _Compared(rating=rating)


def _by_trial(strategy: StrategySummary, value: Spread) -> dict[int, float]:
    pairs = zip(strategy.trials, value.per_trial, strict=True)
    return {trial.number: one for trial, one in pairs if one is not None}


def _times_worse(own: float, best: float, *, larger_is_better: bool) -> float:
    better, worse = (best, own) if larger_is_better else (own, best)
    if worse == 0:
        return 1.0 if better == 0 else float("inf")
    return better / worse


def _step(value: float, fair_above: float, poor_above: float) -> Rating:
    if value > poor_above:
        return Rating.POOR
    return Rating.FAIR if value > fair_above else Rating.GOOD


_LEVELS = {Rating.GOOD: "low", Rating.FAIR: "medium", Rating.POOR: "high"}
_WORDS = {Rating.GOOD: "good", Rating.FAIR: "fair", Rating.POOR: "poor", Rating.UNRATED: "no comparison"}


def _rate_of(value: float) -> str:
    """Write a rate: whole from ten on, else with two significant digits."""
    return f"{value:,.0f}" if value >= 10 or value == 0 else f"{value:.2g}"  # noqa: PLR2004 - two digits are enough


def _count(value: Spread) -> str:
    """Write a count: its median, with the range over the trials where they differ."""
    if value.same:
        return f"{value.median:,.0f}"
    return f"{value.median:,.10g} ({value.lowest:,.0f} to {value.highest:,.0f})"


def milliseconds(value: float) -> str:
    """Write a time: three significant digits, with its unit."""
    for top, digits in ((1.0, 3), (10.0, 2), (100.0, 1)):
        if value < top:
            return f"{value:.{digits}f} ms"
    return f"{value:,.0f} ms"

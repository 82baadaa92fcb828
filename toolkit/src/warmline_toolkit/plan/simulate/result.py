"""What a simulation found: counts, time-weighted distributions, latency histograms and lines over time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from warmline_toolkit.plan.simulate.layout import (
    LATENCY_BINS_PER_DECADE,
    LATENCY_FIRST_S,
    Count,
    Line,
)

if TYPE_CHECKING:
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Simulation:
    """One run of the model on one database. Counts are per function, everything else over all of them."""

    functions: tuple[str, ...]
    duration_s: float
    seed: int
    events: int
    """How many events the engine handled."""
    counts: NDArray[np.int64]
    environment_time_s: NDArray[np.float64]
    """Seconds with exactly k environments."""
    connection_time_s: NDArray[np.float64]
    """Seconds with exactly k connections."""
    mean_running: float
    running_peak: int
    waiting_peak: int
    ghosts_peak: int
    in_flight: int
    connections_at_end: int
    environments_at_end: int
    backlog: int
    server_cpu_s: float
    lifespan_s: float
    """Life of all reaped environments together."""
    latency: NDArray[np.int64]
    wait: NDArray[np.int64]
    lines: NDArray[np.int64]
    flows: NDArray[np.int64]

    def count(self, what: Count, function: int | None = None) -> int:
        """Return a counter, of one function or of all."""
        column = self.counts[:, what]
        return int(column.sum() if function is None else column[function])

    @property
    def mean_environments(self) -> float:
        """Mean number of environments, over time."""
        return weighted_mean(self.environment_time_s)

    @property
    def environments_peak(self) -> int:
        """The most environments at once."""
        return len(self.environment_time_s) - 1

    @property
    def mean_connections(self) -> float:
        """Mean number of connections on the server, ghosts included."""
        return weighted_mean(self.connection_time_s)

    @property
    def connections_peak(self) -> int:
        """The most connections on the server at once, ghosts included."""
        return int(self.lines[Line.CONNECTIONS].max(initial=0))

    @property
    def cold_probability(self) -> float:
        """Share of the attempts that got an environment, and waited for a new one."""
        invoked = self.count(Count.INVOKED)
        return self.count(Count.COLD) / invoked if invoked else 0.0

    @property
    def mean_lifespan_s(self) -> float:
        """Mean life of the environments that were reaped."""
        reaped = self.count(Count.REAPED)
        return self.lifespan_s / reaped if reaped else 0.0

    @property
    def failed(self) -> int:
        """Attempts that got no connection."""
        return self.count(Count.REFUSED) + self.count(Count.BORROW_TIMEOUT)

    @property
    def throttled(self) -> int:
        """Attempts that got no environment."""
        return self.count(Count.THROTTLED_CAP) + self.count(Count.THROTTLED_SCALE_OUT)

    def connections_quantile(self, share: float) -> int:
        """Return the number of connections that is not exceeded for *share* of the time."""
        return weighted_quantile(self.connection_time_s, share)

    def environments_quantile(self, share: float) -> int:
        """Return the number of environments that is not exceeded for *share* of the time."""
        return weighted_quantile(self.environment_time_s, share)

    def latency_ms(self, share: float, function: int | None = None) -> float | None:
        """Return a latency quantile in ms, to 2 %: from arrival to the handler's end, waits and Init included."""
        return histogram_quantile_ms(self._rows(self.latency, function), share)

    def wait_ms(self, share: float, function: int | None = None) -> float | None:
        """Return a quantile of the wait for the proxy in ms, to 2 %; None where nothing used a proxy."""
        return histogram_quantile_ms(self._rows(self.wait, function), share)

    @staticmethod
    def _rows(histogram: NDArray[np.int64], function: int | None) -> NDArray[np.int64]:
        rows: Any = histogram.sum(axis=0) if function is None else histogram[function]
        return np.asarray(rows)


def weighted_mean(time_s: NDArray[np.float64]) -> float:
    """Return the mean level of a time-weighted distribution over 0, 1, 2, …."""
    total = float(time_s.sum())
    return float(np.arange(len(time_s)) @ time_s) / total if total else 0.0


def weighted_quantile(time_s: NDArray[np.float64], share: float) -> int:
    """Return the lowest level that holds or is undercut for *share* of the time."""
    reached = np.cumsum(time_s)
    return int(np.searchsorted(reached, share * float(reached[-1]) - 1e-9)) if len(reached) and reached[-1] else 0


def histogram_quantile_ms(histogram: NDArray[np.int64], share: float) -> float | None:
    """Return a quantile of a latency histogram: the geometric middle of its bin. None for an empty one."""
    total = int(histogram.sum())
    if total == 0:
        return None
    place = int(np.searchsorted(np.cumsum(histogram), max(1, int(np.ceil(share * total)))))
    if place == 0:
        return 0.0
    return float(LATENCY_FIRST_S * 10 ** ((place - 0.5) / LATENCY_BINS_PER_DECADE) * 1000)


def histogram_mean_ms(histogram: NDArray[np.int64]) -> float:
    """Return the mean of a latency histogram, to 1 %."""
    total = int(histogram.sum())
    if total == 0:
        return 0.0
    middles = LATENCY_FIRST_S * 10 ** ((np.arange(len(histogram)) - 0.5) / LATENCY_BINS_PER_DECADE)
    middles[0] = 0.0
    return float(middles @ histogram) / total * 1000

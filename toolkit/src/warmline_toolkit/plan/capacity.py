"""Closed forms: queues, loss, cold starts, and the fleet that arrivals keep alive. Pure; seconds and 1/s."""

from __future__ import annotations

import math
from dataclasses import dataclass


def little(rate_per_s: float, mean_s: float) -> float:
    """Return the mean number in flight: rate times time (Little)."""
    return rate_per_s * mean_s


def erlang_b(load: float, servers: int) -> float:
    """Return the share of arrivals refused by *servers* places without a queue: a hard connection limit."""
    blocked = 1.0
    for server in range(1, servers + 1):
        blocked = load * blocked / (server + load * blocked)
    return blocked


def erlang_c(load: float, servers: int) -> float:
    """Return the share of arrivals that wait for one of *servers*: a pool or proxy with a queue. 1 when overloaded."""
    if load >= servers:
        return 1.0
    blocked = erlang_b(load, servers)
    return servers * blocked / (servers - load * (1 - blocked))


def mmc_mean_wait_s(rate_per_s: float, hold_s: float, servers: int) -> float:
    """Return the mean wait of M/M/c; infinite when overloaded."""
    load = rate_per_s * hold_s
    if load >= servers:
        return math.inf
    return erlang_c(load, servers) * hold_s / (servers - load)


def mmc_wait_exceeds(rate_per_s: float, hold_s: float, servers: int, wait_s: float) -> float:
    """Return P(W > wait) of M/M/c: the share of borrows that pass a borrow timeout. 1 when overloaded."""
    load = rate_per_s * hold_s
    if load >= servers:
        return 1.0
    return erlang_c(load, servers) * math.exp(-(servers - load) / hold_s * wait_s)


def md1_mean_wait_s(rate_per_s: float, work_s: float) -> float:
    """Return the mean wait of M/D/1: one processor, fixed work."""
    load = rate_per_s * work_s
    return math.inf if load >= 1 else load * work_s / (2 * (1 - load))


def low_load_cold_probability(rate_per_s: float, idle_timeout_s: float) -> float:
    """Return P(cold) where invocations never overlap: nothing arrived for a whole idle timeout."""
    return math.exp(-rate_per_s * idle_timeout_s)


def servers_for(rate_per_s: float, hold_s: float, *, wait_s: float, share: float) -> int:
    """Return the fewest servers with P(W > wait) of at most *share* (M/M/c)."""
    servers = max(1, math.floor(rate_per_s * hold_s) + 1)
    while mmc_wait_exceeds(rate_per_s, hold_s, servers, wait_s) > share:
        servers += 1
    return servers


@dataclass(frozen=True, kw_only=True)
class Fleet:
    """What Poisson arrivals keep alive: the closed form of "alive = the most in flight within the idle timeout"."""

    in_flight: float
    mean_environments: float
    cold_probability: float


def keeps_alive(rate_per_s: float, service_s: float, idle_timeout_s: float) -> Fleet:
    """Return the mean fleet and its cold-start probability under most-recently-used reuse.

    An environment lives while the number in flight comes back to its level within the idle timeout. The number in
    flight is Poisson (M/G/∞), and how long it stays below a level follows from the birth-death chain's first-passage
    times: exact for exponential service as the level is rare, good to 3 % elsewhere (tests).
    """
    if rate_per_s <= 0:
        return Fleet(in_flight=0.0, mean_environments=0.0, cold_probability=0.0)
    load = rate_per_s * service_s
    mean = cold = 0.0
    for level in _levels(rate_per_s, service_s):
        within = level.at_or_below * math.exp(-idle_timeout_s / level.to_exceed_s)
        mean += 1 - within
        # cold: a new arrival at this level while the last window never went above it
        cold += level.exactly * level.from_here_s / level.to_exceed_s * math.exp(-idle_timeout_s / level.to_exceed_s)
        if within > 1 - 1e-9:
            break
    return Fleet(in_flight=load, mean_environments=mean, cold_probability=min(1.0, cold))


def highest_in_flight(rate_per_s: float, service_s: float, window_s: float, *, share: float) -> int:
    """Return the number in flight that is not exceeded in *share* of all windows of this length."""
    if rate_per_s <= 0:
        return 0
    for level in _levels(rate_per_s, service_s):
        if level.at_or_below * math.exp(-window_s / level.to_exceed_s) >= share:
            return level.number
    raise AssertionError  # _levels does not end before the probability reaches 1


@dataclass(frozen=True)
class _Level:
    number: int
    exactly: float
    """P(in flight = number)."""
    at_or_below: float
    from_here_s: float
    """Mean time from this level until it is exceeded for the first time."""
    to_exceed_s: float
    """Mean time from the usual number in flight until this level is exceeded."""


def _levels(rate_per_s: float, service_s: float) -> list[_Level]:
    load = rate_per_s * service_s
    usual = math.floor(load)
    levels: list[_Level] = []
    below = 0.0
    from_here_s = 0.0
    passage_s = 0.0
    number = 0
    while True:
        exactly = math.exp(number * math.log(load) - load - math.lgamma(number + 1))
        below = min(1.0, below + exactly)
        from_here_s = (1 + number / service_s * from_here_s) / rate_per_s
        passage_s = passage_s + from_here_s if number > usual else from_here_s
        levels.append(_Level(number, exactly, below, from_here_s, passage_s))
        if passage_s > 1e16:  # noqa: PLR2004 - three hundred million years: never
            return levels
        number += 1

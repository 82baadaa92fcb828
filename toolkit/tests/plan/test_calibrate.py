"""Costs and durations from measurements flow into the model."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys

import pytest
import yaml
from warmline_toolkit.model.events import Initialised, Invoked, RunEnded, RunStarted, ServerCounted, TrialStarted
from warmline_toolkit.plan.calibrate import costs_of_run, data_file, samples_of, times_of
from warmline_toolkit.plan.errors import NotMeasured
from warmline_toolkit.plan.reference import with_overrides
from warmline_toolkit.plan.size import costs_of
from warmline_toolkit.plan.workload import Database


def run_events(strategies=("per-request", "keep-open"), invocations=20):
    """A run with a connect of 5 ms and 0.4 ms of CPU, and queries of 0.1 ms of CPU."""
    yield RunStarted(
        at_s=0,
        scenario="guide",
        title="",
        expectation="",
        started="",
        settings={},
        provenance={"server": "mariadb 10.11"},
    )
    for trial in (1, 2):
        for strategy in strategies:
            common = {"at_s": 1.0, "trial": trial, "strategy": strategy}
            yield TrialStarted(**common, limit=5, server="mariadb 10.11")
            yield Initialised(**common, environment="e1", duration_ms=250, outcome="ok")
            for number in range(invocations):
                slower = 5 if strategy == "per-request" else 0
                yield Invoked(
                    **common,
                    invocation=f"i{number}",
                    environment="e1",
                    cold=number == 0,
                    thawed=True,
                    wait_ms=0,
                    handler_ms=10 + slower,
                    outcome="error" if number == 1 else "ok",
                )
            opened = invocations if strategy == "per-request" else trial
            cpu_ms = opened * 0.4 + invocations * 0.1
            yield ServerCounted(**common, opened=opened, refused={}, still_open=0, ghosts=0, cpu_ms=cpu_ms)
    yield RunEnded(at_s=9, complete=True)


def write(path, events):
    path.write_text("".join(json.dumps({"kind": one.kind, **dataclasses.asdict(one)}) + "\n" for one in events))
    return path


def warmline(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "warmline_toolkit", "plan", *arguments], capture_output=True, text=True, check=False
    )


def test_costs_come_out_of_a_run_as_they_went_in():
    costs = costs_of_run(times_of(run_events()))
    assert costs.connect_ms == pytest.approx(5)
    assert costs.connect_cpu_ms == pytest.approx(0.4)
    assert costs.query_cpu_ms == pytest.approx(0.1)
    assert "guide" in costs.source
    assert "mariadb" in costs.source


def test_only_warm_invocations_that_succeeded_are_drawn_from():
    samples_ms, init_ms = samples_of(times_of(run_events()), "keep-open")
    assert samples_ms == (10,) * 36
    assert init_ms == 250


def test_a_calibrated_data_file_is_what_the_planner_then_uses(tmp_path):
    file = tmp_path / "costs.yaml"
    costs = costs_of_run(times_of(run_events()))
    file.write_text(data_file(costs, ["mariadb"], as_of="2026-11-22"))
    assert costs_of(Database(engine="mariadb"), with_overrides(file)).connect_cpu_ms == pytest.approx(0.4)


@pytest.mark.parametrize(
    ("events", "expected"),
    [
        ({"strategies": ("keep-open",)}, "costs need per-request"),
        ({"strategies": ("per-request",)}, "costs need per-request"),
        ({"invocations": 4}, "at least 5"),
    ],
)
def test_a_run_that_cannot_tell_is_refused_with_what_it_lacks(events, expected):
    with pytest.raises(NotMeasured) as caught:
        costs_of_run(times_of(run_events(**events)))
    assert expected in caught.value.what


def test_simulate_draws_its_durations_from_a_run(tmp_path):
    run = write(tmp_path / "run.jsonl", run_events())
    done = warmline("simulate", "--rate", "5", "--from-run", str(run), "--format", "json")
    found = json.loads(done.stdout)
    assert found["latency_ms"]["p50"] == pytest.approx(10, rel=0.02)
    assert found["mean_running"] == pytest.approx(0.05, rel=0.1)
    other = warmline("simulate", "--rate", "5", "--from-run", str(run), "--strategy", "proxy")
    assert other.returncode == 2
    assert "per-request, keep-open" in other.stderr


def test_calibrate_reads_a_run_and_writes_the_file(tmp_path):
    run = write(tmp_path / "run.jsonl", run_events())
    target = tmp_path / "costs.yaml"
    done = warmline("calibrate", str(run), "--output", str(target))
    assert done.returncode == 0, done.stderr
    assert yaml.safe_load(target.read_text())["costs"]["mariadb"]["connect_cpu_ms"] == pytest.approx(0.4)


@pytest.mark.parametrize("engine", ["mariadb", "postgres"])
def test_calibrate_measures_a_real_server(engine):
    done = warmline("calibrate", "--database", engine, "--connects", "50", "--queries", "500")
    assert done.returncode == 0, done.stderr
    costs = yaml.safe_load(done.stdout)["costs"][engine]
    assert costs["connect_ms"] > 0
    assert costs["connect_cpu_ms"] > costs["query_cpu_ms"] > 0

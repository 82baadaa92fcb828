"""The sweep: every combination once, the frontier is what nothing beats, and it is the same on all workers."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from warmline_toolkit.plan import sweep
from warmline_toolkit.plan.errors import BadWorkload
from warmline_toolkit.plan.reference import shipped
from warmline_toolkit.plan.workload import Database, Function, Workload

LOAD = Workload(
    functions=(Function(name="api", database="orders", rate_per_s=20, warm_ms=200),),
    databases=(Database(name="orders", engine="mysql", instance_class="db.t4g.small"),),
)
OPTIONS = (
    *(["--rate", "20", "--warm-ms", "200", "--class", "db.t4g.small", "--duration", "600", "--format", "json"]),
    *(["--vary", "strategy=per-request,keep-open,proxy", "--vary", "max_connections=3,10,none"]),
)


def swept(*arguments: str) -> dict:
    command = [sys.executable, "-m", "warmline_toolkit", "plan", "sweep", *OPTIONS, *arguments]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def test_the_grid_holds_every_combination_once():
    axes = [
        sweep.axis("api.pool_size=1,2,3", LOAD),
        sweep.axis("orders.instance_class=db.t4g.small,db.t4g.large", LOAD),
    ]
    found = sweep.jobs(LOAD, axes, shipped(), duration_s=60, seed=1)
    pairs = {(job.workload.functions[0].pool_size, job.workload.databases[0].instance_class) for job in found}
    assert len(found) == len(pairs) == 6


@pytest.fixture(scope="module")
def alone() -> dict:
    return swept("--workers", "1")


def test_two_processes_find_what_one_finds(alone):
    assert swept("--workers", "2") == alone


def test_more_room_turns_fewer_away_and_the_recommended_point_turns_few_enough_away(alone):
    found = alone
    kept = [one for one in found["points"] if one["settings"]["strategy"] == "keep-open"]
    assert [one["failed_share"] > 0 for one in kept] == [True, True, False]
    assert found["points"][found["recommended"]]["failed_share"] <= 0.001
    assert found["recommended"] in found["frontier"]


def point(cost: float, p99: float, failed: float) -> sweep.Point:
    return sweep.Point(
        values=(),
        usd_per_month=cost,
        p99_ms=p99,
        mean_ms=0,
        lost_share=failed,
        failed_share=failed,
        connections_peak=0,
        mean_environments=0,
        cold_probability=0,
    )


@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 5), st.integers(0, 3)), min_size=1, max_size=20))
def test_the_frontier_is_exactly_what_nothing_beats(values):
    points = [point(*value) for value in values]
    best = {values[index] for index in sweep.frontier(points)}
    for value in values:
        beaten = any(all(a <= b for a, b in zip(other, value, strict=True)) and other != value for other in values)
        assert (value in best) == (not beaten)


def test_each_goal_takes_its_best_point_and_none_takes_one_that_fails():
    points = [point(1, 9, 0.5), point(2, 8, 0), point(3, 5, 0.0005), point(4, 6, 0)]
    assert [sweep.choose(points, goal, tolerated_share=0.001) for goal in ("cost", "latency", "safety")] == [1, 2, 1]
    assert sweep.choose(points[:1], "cost", tolerated_share=0.001) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("pool_size", "expected setting=value"),
        ("pool=1", "'pool' is no setting"),
        ("web.pool_size=1", "there is no 'web'; expected one of api"),
        ("pool_size=0", "pool_size is 0"),
        ("strategy=fast", "strategy is 'fast'"),
    ],
)
def test_an_axis_that_cannot_be_is_refused(text, expected):
    with pytest.raises(BadWorkload) as caught:
        sweep.axis(text, LOAD)
    assert expected in caught.value.what


def test_a_grid_that_never_ends_is_refused():
    axes = [sweep.axis(f"{name}=" + ",".join(map(str, range(1, 201))), LOAD) for name in ("pool_size", "warm_ms")]
    with pytest.raises(BadWorkload, match="40,000 points"):
        sweep.jobs(LOAD, axes, shipped(), duration_s=60, seed=1)


def test_a_dask_cluster_finds_what_this_machine_finds(alone):
    """A scheduler and a worker in processes of their own, by address, as a user has them."""
    script = (
        "import sys\n"
        "from distributed import LocalCluster\n"
        "if __name__ == '__main__':\n"
        "    with LocalCluster(n_workers=1, dashboard_address=None, host='127.0.0.1') as cluster:\n"
        "        print(cluster.scheduler_address, flush=True)\n"
        "        sys.stdin.read()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as cluster:
        address = cluster.stdout.readline().strip()
        assert swept("--dask", address) == alone
        cluster.stdin.close()


def test_a_scheduler_that_is_not_there_is_said_so():
    command = [sys.executable, "-m", "warmline_toolkit", "plan", "sweep", *OPTIONS, "--dask", "tcp://127.0.0.1:1"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 3
    assert "WL-N010" in done.stderr

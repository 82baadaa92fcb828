"""The Python control plane: what it writes is what the daemon reads; its errors are the daemon's and the target's."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path

import psycopg
import pytest
import warmline_proxy
from click.testing import CliRunner
from warmline_toolkit.cli.proxy import command


@pytest.fixture(autouse=True)
def tested_daemon(daemon_program, monkeypatch):
    monkeypatch.setenv("WARMLINE_PROXYD", str(daemon_program))


def test_settings_arrive_as_they_were_written(postgres):
    settings = {
        "max_connections_percent": 50,
        "idle_client_timeout_s": 77.5,
        "session_pinning_filters": ["EXCLUDE_VARIABLE_SETS"],
        "users": [
            {"name": 'o\'dd "user"', "password": "p\\w\n"},
            {"name": postgres.user, "password": postgres.password},
        ],
        "target_tls": {"mode": "disable"},
    }
    with warmline_proxy.Proxy(postgres.url, settings=settings) as proxy:
        found = proxy.admin.ask("settings")
        limit = proxy.admin.ask("stats")["max_database_connections_allowed"]
    assert found["max_connections_percent"] == 50
    assert found["idle_client_timeout_s"] == 77.5
    assert [user["name"] for user in found["users"]] == ['o\'dd "user"', postgres.user]
    assert "password" not in json.dumps(found).replace("target_password", "")
    assert limit == 15


@pytest.mark.parametrize(
    "wrong", [{"max_connections_percent": 101}, {"connection_borrow_timeout_s": 301}, {"no_such_setting": 1}]
)
def test_settings_out_of_range_or_unknown_are_refused_by_name(postgres, wrong):
    (name,) = wrong
    with pytest.raises(warmline_proxy.BadSettings, match=name):
        warmline_proxy.Proxy(postgres.url, settings=wrong)


def test_a_target_that_refuses_is_quoted(postgres):
    wrong = postgres.url.replace(f":{postgres.password}@", ":wrong@")
    with pytest.raises(warmline_proxy.ProxyDidNotStart, match="password authentication failed"):
        warmline_proxy.Proxy(wrong, ready_within_s=2)


def test_check_says_what_will_be_available(postgres):
    result = CliRunner().invoke(command, ["check", "--target", postgres.url, "--format", "json"])
    found = json.loads(result.stdout)
    assert found["max_connections_of_target"] == 30
    assert found["server"]["server_version"] in postgres.version


def test_stats_and_pins_show_a_running_proxy(postgres):
    with warmline_proxy.Proxy(postgres.url) as proxy:
        url = postgres.url.replace(f":{postgres.port}/", f":{proxy.port}/")
        with psycopg.connect(url, autocommit=True) as client:
            client.execute("select pg_advisory_lock(1)")
            client.execute("select 1")
            shown = CliRunner().invoke(command, ["pins", "--admin", str(proxy.admin.path)]).stdout
            stats = CliRunner().invoke(command, ["stats", "--admin", str(proxy.admin.path)]).stdout
    assert "advisory-lock" in shown
    assert "ends with releasing the lock" in shown
    assert "1/30 borrowed, 1 pinned" in stats


def test_metrics_have_rds_proxys_24_names(postgres, run_proxy):
    proxy = run_proxy(postgres)
    proxy.connect()  # from here on the target was reached
    events = [json.loads(line) for line in proxy.log.read_text().splitlines()]
    address = next(event["http"] for event in events if event["event"] == "serving")
    with urllib.request.urlopen(f"http://{address}/metrics", timeout=10) as answer:
        page = answer.read().decode()
    wanted = (Path(__file__).parent / "rds_proxy_metrics.txt").read_text().split()
    assert len(wanted) == 24
    missing = [name for name in wanted if f"# TYPE warmline_proxy_{name}" not in page]
    assert missing == []
    with urllib.request.urlopen(f"http://{address}/readyz", timeout=10) as answer:
        assert answer.read() == b"ready\n"

"""A short run of `benchmarks/ledger`: transfers while sessions are killed at random, every outcome as it was told."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "benchmarks" / "ledger" / "ledger.py"


@pytest.fixture(scope="module")
def ledger():
    spec = importlib.util.spec_from_file_location("warmline_ledger", SOURCE)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.parametrize("engine", ["mariadb", "postgres"])
def test_every_acknowledged_transfer_is_there_once_and_no_other_is_denied(ledger, engine, request):
    server = request.getfixturevalue(engine)
    counted = ledger.measure(server, ledger.with_warmline, transfers=200, pause_s=0.15)
    assert counted["sessions_killed"] > 0
    assert counted["acknowledged"] + counted["reported_unknown"] == counted["transfers"] == 200
    wrong = {key: counted[key] for key in ("acknowledged_but_missing", "failed_but_there", "amount_wrong")}
    assert wrong == dict.fromkeys(wrong, 0)

"""`warmline plan`: predict connections, latency and cost before a deploy."""

from __future__ import annotations

import click

from warmline_toolkit.cli._plan.calibrate import calibrate
from warmline_toolkit.cli._plan.importing import import_
from warmline_toolkit.cli._plan.limits import limits
from warmline_toolkit.cli._plan.simulate import simulate
from warmline_toolkit.cli._plan.size import size
from warmline_toolkit.cli._plan.sweep import sweep


@click.group(name="plan", short_help="Predict a fleet's connections, and what to change.")
def command() -> None:
    """Predict: the connections a fleet will hold, what breaks first, and what to change.

    Give a workload file (docs/reference/workload-file.md) or options; with both, an option applies to every function or
    database of the file.
    """


for _sub in (size, simulate, sweep, limits, calibrate, import_):
    command.add_command(_sub)

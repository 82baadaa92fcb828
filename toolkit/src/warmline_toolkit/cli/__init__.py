"""The `warmline` command: one module a sub-command, found by its name and imported only when it is called."""

from __future__ import annotations

import importlib
import pkgutil
import sys

import click

from warmline_toolkit import __version__
from warmline_toolkit.errors import ToolkitError


class CommandsByModule(click.Group):
    """A group whose commands are the modules of this package; each module's `command` is one of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Name every public module of this package, without importing one."""
        del ctx
        return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import the one module that is asked for."""
        if cmd_name not in self.list_commands(ctx):
            return None
        command = importlib.import_module(f"{__name__}.{cmd_name}").command
        assert isinstance(command, click.Command)  # noqa: S101 - a programming error of ours, not a user's
        return command


@click.group(cls=CommandsByModule, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="warmline")
def cli() -> None:
    """Database connections from AWS Lambda: run them, measure them, plan them, audit them."""


def main() -> None:
    """Run the command line: results to stdout, progress to stderr.

    Exit codes: 0 ok, 1 findings or a failed expectation, 2 usage, 3 this machine cannot run it.
    """
    try:
        code = cli.main(prog_name="warmline", standalone_mode=False)  # what a command gave to context.exit, or None
    except click.ClickException as error:
        error.show()
        sys.exit(error.exit_code)
    except (click.Abort, KeyboardInterrupt):
        click.echo("Interrupted: everything that was started has been stopped.", err=True)
        sys.exit(130)
    except ToolkitError as error:
        click.echo(f"warmline: {error}", err=True)
        sys.exit(error.exit_code)
    sys.exit(code)

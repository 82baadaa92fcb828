"""`warmline explain`: the page of an error's or a rule's code, offline."""

from __future__ import annotations

import click


@click.command(name="explain", short_help="Show the page of an error's or a rule's code.")
@click.argument("code", required=False)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "markdown"]),
    default="text",
    show_default=True,
    help="Rendered for a terminal, or the page as it is written.",
)
def command(code: str | None, format_: str) -> None:
    """Show what CODE (WL-R001, or R001) means and what to do about it. Without CODE, list every code."""
    from warmline_toolkit.report import pages  # noqa: PLC0415 - `warmline --help` stays fast

    if code is None:
        for page in pages.pages():
            click.echo(f"{page.code}  {page.title}")
        return
    page = pages.page(code)
    if format_ == "markdown":
        click.echo(page.markdown, nl=False)
        return
    from warmline_toolkit.report import console, terminal  # noqa: PLC0415

    click.echo(terminal.render_markdown(page.markdown, width=console.width(), colour=console.colour()), nl=False)

"""`warmline audit`: connection mistakes in handlers and templates, found without running anything."""

from __future__ import annotations

import difflib
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from collections.abc import Iterable

    from rich.console import Console

    from warmline_toolkit.audit.engine import Report
    from warmline_toolkit.audit.finding import Rule


@click.command(name="audit", short_help="Find connection mistakes in handlers and templates.")
@click.argument("path", type=click.Path(path_type=Path), required=False)
@click.option(
    "--format",
    "format_",
    type=click.Choice(["text", "json", "sarif"]),
    default="text",
    show_default=True,
    help="What to write to stdout.",
)
@click.option(
    "--select", multiple=True, metavar="CODE", help="Only these rules; may be given several times or as a comma list."
)
@click.option("--ignore", multiple=True, metavar="CODE", help="Not these rules.")
@click.option(
    "--severity",
    type=click.Choice(["error", "warning", "note"]),
    default="note",
    show_default=True,
    help="The least severe findings to report.",
)
@click.option(
    "--baseline", type=click.Path(path_type=Path), help="Report only what this file of accepted findings does not hold."
)
@click.option(
    "--write-baseline",
    type=click.Path(path_type=Path),
    help="Accept today's findings: write them to this file and exit 0.",
)
@click.option("--fix", is_flag=True, help="Show the safe fixes as a diff and, after a question, write them.")
@click.option("--diff", "only_diff", is_flag=True, help="Show the safe fixes as a diff and write nothing.")
@click.option("--yes", is_flag=True, help="With --fix: write without asking.")
@click.option("--prove", is_flag=True, help="Run each finding's lab scenario with its handler, where the lab can.")
@click.option("--jobs", type=click.IntRange(1, 64), help="Processes that read files (default: one a core).")
@click.option("--list-rules", is_flag=True, help="List the rules and stop.")
def command(  # noqa: C901, PLR0912, PLR0913, PLR0917 - one parameter and one branch an option
    path: Path | None,
    format_: str,
    select: tuple[str, ...],
    ignore: tuple[str, ...],
    severity: str,
    baseline: Path | None,
    write_baseline: Path | None,
    fix: bool,  # noqa: FBT001 - click passes by name
    only_diff: bool,  # noqa: FBT001
    yes: bool,  # noqa: FBT001
    prove: bool,  # noqa: FBT001
    jobs: int | None,
    list_rules: bool,  # noqa: FBT001
) -> None:
    """Find database connection mistakes in the handlers and templates under PATH, without running any of them.

    Reads Python, JavaScript and TypeScript, and SAM, CloudFormation, Serverless Framework and Terraform templates.
    Exit code 0 without findings, 1 with findings, 2 for a usage error.
    """
    from warmline_toolkit.audit import engine  # noqa: PLC0415 - `warmline --help` stays fast
    from warmline_toolkit.audit.errors import NoSuchPath  # noqa: PLC0415
    from warmline_toolkit.audit.finding import Severity  # noqa: PLC0415
    from warmline_toolkit.audit.render.terminal import TerminalRenderer  # noqa: PLC0415
    from warmline_toolkit.audit.suppress import read_baseline  # noqa: PLC0415
    from warmline_toolkit.audit.suppress import write_baseline as accept  # noqa: PLC0415

    rules = _chosen(select, ignore)
    if list_rules:
        for rule in rules:
            click.echo(f"{rule.code}  {rule.severity.value:<8} {rule.title}")
        return
    if path is None:
        raise click.UsageError("PATH is missing: what shall be audited? (`warmline audit .`)")
    if not path.exists():
        raise NoSuchPath(path)
    least = Severity(severity).rank
    accepted = read_baseline(baseline) if baseline is not None else None
    console = _console()
    renderer = TerminalRenderer(console, path)
    streams = format_ == "text" and accepted is None and write_baseline is None and not (fix or only_diff)
    report = engine.audit(
        path,
        rules=rules,
        workers=jobs,
        on_finding=(lambda finding: renderer.finding(finding) if finding.severity.rank <= least else None)
        if streams
        else None,
    )
    report.findings = [finding for finding in report.findings if finding.severity.rank <= least]
    if write_baseline is not None:
        click.echo(f"{accept(write_baseline, report.findings)} findings accepted in {write_baseline}", err=True)
        return
    if accepted is not None:
        from warmline_toolkit.audit.suppress import split_by_baseline  # noqa: PLC0415

        report.findings, report.baselined = split_by_baseline(report.findings, accepted)
    if fix or only_diff:
        _fix(path, report, ask=fix and not yes, write=fix)
        sys.exit(1 if report.findings else 0)
    proofs = _proofs(path, report) if prove else None
    if format_ == "json":
        from warmline_toolkit.audit.render.json import render_json  # noqa: PLC0415

        click.echo(render_json(report, proofs=proofs))
    elif format_ == "sarif":
        from warmline_toolkit.audit.render.sarif import render_sarif  # noqa: PLC0415

        click.echo(render_sarif(report))
    else:
        if not streams:
            for finding in report.findings:
                renderer.finding(finding)
        renderer.summary(report)
        for proof in proofs or ():
            renderer.proof(proof)
    sys.exit(1 if report.findings else 0)


def _chosen(select: Iterable[str], ignore: Iterable[str]) -> tuple[Rule, ...]:
    from warmline_toolkit.audit.errors import UnknownRule  # noqa: PLC0415
    from warmline_toolkit.audit.rules import all_rules  # noqa: PLC0415

    rules = {rule.code: rule for rule in all_rules()}

    def codes(given: Iterable[str]) -> set[str]:
        found = set()
        for code in (part.strip().upper() for item in given for part in item.split(",") if part.strip()):
            full = code if code.startswith("WL-") else f"WL-{code}"
            if full not in rules:
                raise UnknownRule(code, len(rules), next(iter(difflib.get_close_matches(full, rules, n=1)), None))
            found.add(full)
        return found

    wanted, unwanted = codes(select) or set(rules), codes(ignore)
    return tuple(rule for code, rule in rules.items() if code in wanted - unwanted)


def _console() -> Console:
    from rich.console import Console  # noqa: PLC0415

    from warmline_toolkit.report import console  # noqa: PLC0415

    return Console(width=console.width(), no_color=not console.colour(), highlight=False, soft_wrap=False)


def _fix(path: Path, report: Report, *, ask: bool, write: bool) -> None:
    from warmline_toolkit.audit import fix as fixes  # noqa: PLC0415

    fixed = fixes.fixed_files(path, report.findings)
    if not fixed:
        click.echo("No finding has a safe fix; the others need a decision of yours.", err=True)
        return
    for item in fixed:
        click.echo(item.diff, nl=False)
    count = sum(item.fixes for item in fixed)
    if write and (not ask or click.confirm(f"Write {count} fixes to {len(fixed)} files?", err=True)):
        fixes.write(path, fixed)
        click.echo(f"{count} fixes written to {len(fixed)} files.", err=True)


def _proofs(path: Path, report: Report) -> list[dict[str, object]]:
    from warmline_toolkit.audit.prove import prove  # noqa: PLC0415

    told = lambda text: click.echo(text, err=True)  # noqa: E731 - progress goes to stderr
    return [proof.document() for proof in prove(path, report.findings, progress=told)]

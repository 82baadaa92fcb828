"""The audit's run: look at files in parallel, join what they say, ask the rules, tell findings as soon as possible."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from warmline_toolkit.audit.context import Project
from warmline_toolkit.audit.facts import CodeFacts, Scan, TemplateFacts, Unreadable
from warmline_toolkit.audit.files import is_template, look, walk
from warmline_toolkit.audit.handlers import handler_files
from warmline_toolkit.audit.modules import ModuleIndex
from warmline_toolkit.audit.rules import all_rules
from warmline_toolkit.audit.suppress import is_ignored

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator
    from pathlib import Path

    from warmline_toolkit.audit.files import Looked
    from warmline_toolkit.audit.finding import Finding, Rule

_CHUNK = 150
_HANDLER_STEMS = frozenset({"handler", "lambda_function", "app", "main", "index", "lambda", "lambda_handler"})
_SMALL = 400
"""Trees with fewer files than this are read in this process: starting workers would cost more than it saves."""

_shared: list[object] = []
"""What forked workers inherit: the root before reading, the joined project before asking the rules."""


@dataclass(slots=True)
class Report:
    """What an audit found: findings by severity and place, files that could not be read, and what was looked at."""

    root: str
    findings: list[Finding] = field(default_factory=list)
    ignored: int = 0
    baselined: int = 0
    unreadable: list[Unreadable] = field(default_factory=list)
    files: int = 0
    parsed: int = 0
    handlers: int = 0
    rules: int = 0
    seconds: float = 0.0


def audit(
    root: Path,
    *,
    rules: Iterable[Rule] | None = None,
    workers: int | None = None,
    on_finding: Callable[[Finding], None] | None = None,
) -> Report:
    """Audit the tree (or the one file) at *root* and return the report.

    Reads files, never runs them; starts *workers* processes (default: one a core) for trees of some size. *on_finding*
    is called with each finding once, as soon as nothing that is still unread can change it. Memory grows with the
    files that mention a driver, not with the tree.
    """
    started = time.monotonic()
    chosen = tuple(rules) if rules is not None else all_rules()
    report = Report(root=str(root), rules=len(chosen))
    teller = _Teller(report, on_finding)
    base = root.parent if root.is_file() else root
    paths = walk(root)
    report.files = len(paths)
    reading = _Reading(base, paths, workers=_worker_count(workers, len(paths)))
    reading.templates()
    if on_finding is not None and reading.workers > 1:
        _tell_early(reading, chosen, teller)
    reading.code()
    reading.links()
    report.unreadable = sorted(reading.unreadable.values(), key=lambda item: item.path)
    report.parsed = len(reading.facts) + len(reading.template_facts)
    project = reading.project()
    report.handlers = len(project.handlers)
    for finding in _ask(project, chosen, workers=reading.workers):
        teller.tell(project, finding)
    report.findings.sort(key=lambda item: (item.severity.rank, item.path, item.line, item.code))
    report.seconds = time.monotonic() - started
    return report


class _Teller:
    """Keeps each finding once and tells it once, unless an inline comment says to ignore it."""

    def __init__(self, report: Report, on_finding: Callable[[Finding], None] | None) -> None:
        self.report = report
        self.on_finding = on_finding
        self.seen: set[tuple[str, str, int]] = set()

    def tell(self, project: Project, finding: Finding) -> None:
        key = (finding.code, finding.path, finding.line)
        if key in self.seen:
            return
        self.seen.add(key)
        if is_ignored(project, finding):
            self.report.ignored += 1
            return
        self.report.findings.append(finding)
        if self.on_finding is not None:
            self.on_finding(finding)


class _Reading:
    """The files' facts, gathered in rounds: templates, code that mentions a driver, code that leads to such code."""

    def __init__(self, base: Path, paths: list[str], *, workers: int) -> None:
        self.base = base
        self.paths = paths
        self.workers = workers
        self.facts: dict[str, CodeFacts] = {}
        self.template_facts: list[TemplateFacts] = []
        self.scans: dict[str, Scan] = {}
        self.unreadable: dict[str, Unreadable] = {}
        self.modules = ModuleIndex(path for path in paths if not is_template(path))

    def templates(self) -> None:
        """Read every file that may be a template."""
        wanted = [path for path in self.paths if is_template(path)]
        # Terraform's modules are folders: the files of a folder are joined before they mean anything.
        self._read(wanted, parse=False)
        if any(template.language == "terraform" for template in self.template_facts):
            from warmline_toolkit.audit.sources.terraform import join_modules  # noqa: PLC0415 - for such trees only

            self.template_facts = join_modules(self.template_facts)
        self.template_facts.sort(key=lambda item: item.path)

    def code(self) -> None:
        """Look at every source file; parse those that mention a driver."""
        self._read([path for path in self.paths if not is_template(path) and path not in self.facts], parse=False)

    def links(self) -> None:
        """Parse what files that mention a driver import, and what imports them, directly or through others."""
        importers: dict[str, list[str]] = {}
        stems = {_stem(path) for path in self.modules.paths}
        for scan in self.scans.values():
            for module in scan.imports:
                if _tail(module) in stems:
                    target = self.modules.find(module, scan.path)
                    if target is not None:
                        importers.setdefault(target, []).append(scan.path)
        wanted: dict[str, None] = {}
        for facts in list(self.facts.values()):
            # Settings and base classes stand in files that the code imports
            for imported in facts.imports:
                for module in (imported.module, f"{imported.module}.{imported.member}"):
                    target = self.modules.find(module, facts.path) if _tail(module) in stems else None
                    if target is not None and target not in self.facts:
                        wanted[target] = None
        pending = list(self.facts)
        while pending:
            for importer in importers.get(pending.pop(), ()):
                if importer not in wanted:
                    wanted[importer] = None
                    pending.append(importer)
        self._read([path for path in wanted if path not in self.facts], parse=True)
        self.scans.clear()

    def parse_now(self, path: str) -> CodeFacts | None:
        """Parse one file in this process, ahead of the rounds."""
        if path not in self.facts:
            self._take(look(str(self.base), path, parse=True))
        return self.facts.get(path)

    def project(self) -> Project:
        """Join what has been read so far."""
        return Project(dict(sorted(self.facts.items())), self.template_facts, self.modules)

    def _read(self, paths: list[str], *, parse: bool) -> None:
        if self.workers <= 1 or len(paths) < _SMALL:
            for path in paths:
                self._take(look(str(self.base), path, parse=parse))
            return
        chunks = [
            (str(self.base), tuple(paths[start : start + _CHUNK]), parse) for start in range(0, len(paths), _CHUNK)
        ]
        with ProcessPoolExecutor(self.workers, mp_context=_context()) as pool:
            for results in pool.map(_look_at_chunk, chunks):
                for result in results:
                    self._take(result)

    def _take(self, result: Looked) -> None:
        match result:
            case CodeFacts():
                self.facts[result.path] = result
            case TemplateFacts():
                self.template_facts.append(result)
            case Scan():
                self.scans[result.path] = result
            case Unreadable():
                self.unreadable[result.path] = result
            case None:
                pass


def _look_at_chunk(chunk: tuple[str, tuple[str, ...], bool]) -> list[Looked]:
    root, paths, parse = chunk
    return [found for path in paths if (found := look(root, path, parse=parse)) is not None]


def _tell_early(reading: _Reading, rules: tuple[Rule, ...], teller: _Teller) -> None:
    """Tell the first finding before the tree is read: take handlers one by one with just the files they load.

    Sound, because a rule that sees one handler sees only what that handler loads, and all of that is read here.
    """
    per_handler = [rule for rule in rules if rule.per_handler is not None]
    deadline = time.monotonic() + 0.5
    for path in _likely_handlers(reading):
        if time.monotonic() > deadline:
            return
        pending, closure = [path], dict[str, CodeFacts]()
        while pending and len(closure) < 40:  # noqa: PLR2004 - a larger closure would not be early
            current = pending.pop()
            facts = reading.parse_now(current) if current not in closure else None
            if facts is None:
                continue
            closure[current] = facts
            for imported in facts.imports:
                for module in (imported.module, f"{imported.module}.{imported.member}"):
                    target = reading.modules.find(module, current)
                    if target is not None:
                        pending.append(target)
        if pending:
            continue
        project = Project(closure, reading.template_facts, reading.modules)
        for handler in project.handlers:
            if handler.path != path:
                continue
            reach = project.reach(handler)
            for rule in per_handler:
                assert rule.per_handler is not None  # noqa: S101 - filtered above
                for finding in rule.per_handler(project, reach):
                    teller.tell(project, finding)
                    deadline = 0.0


def _likely_handlers(reading: _Reading) -> Iterator[str]:
    for template in reading.template_facts:
        for resource in template.resources:
            if resource.type == "AWS::Lambda::Function":
                for path, _ in handler_files(template, resource, reading.modules.paths)[:1]:
                    yield path
    for path in reading.paths:
        if _stem(path) in _HANDLER_STEMS and not is_template(path):
            yield path


def _ask(project: Project, rules: tuple[Rule, ...], *, workers: int) -> Iterator[Finding]:
    """Ask every rule about every handler, then about the whole; over several processes where they can share it."""
    handlers = project.handlers
    forks = sys.platform == "linux" and "fork" in multiprocessing.get_all_start_methods()
    if workers > 1 and forks and len(handlers) > 4 * workers:
        _shared[:] = [project, rules]
        share = max(1, len(handlers) // (workers * 4))
        ranges = [(start, min(start + share, len(handlers))) for start in range(0, len(handlers), share)]
        try:
            with ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("fork")) as pool:
                for found in pool.map(_ask_about, ranges):
                    yield from found
        finally:
            _shared.clear()
    else:
        yield from _about_handlers(project, rules, 0, len(handlers))
    for rule in rules:
        if rule.per_project is not None:
            yield from rule.per_project(project)


def _ask_about(span: tuple[int, int]) -> list[Finding]:
    project, rules = _shared
    return list(_about_handlers(project, rules, *span))  # type: ignore[arg-type]  # set by _ask


def _about_handlers(project: Project, rules: tuple[Rule, ...], start: int, end: int) -> Iterator[Finding]:
    for handler in project.handlers[start:end]:
        reach = project.reach(handler)
        for rule in rules:
            if rule.per_handler is not None:
                yield from rule.per_handler(project, reach)


def _worker_count(asked: int | None, files: int) -> int:
    if files < _SMALL:
        return 1
    if asked is not None:
        return asked
    return min(8, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


def _context() -> multiprocessing.context.BaseContext:
    return multiprocessing.get_context("fork" if sys.platform == "linux" else "spawn")


def _stem(path: str) -> str:
    folder, _, name = path.rpartition("/")
    stem = name.partition(".")[0]
    return folder.rpartition("/")[2] if stem in {"__init__", "index"} and folder else stem


def _tail(module: str) -> str:
    last = module.rstrip("/").rpartition("/")[2]
    if module.startswith(("./", "../", "@", "~", "/")) or "/" in module:
        return last.partition(".")[0] or _tail(module.rpartition("/")[0] or "index")
    return last.rpartition(".")[2]

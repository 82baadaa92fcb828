"""The state that a language's extractor fills while it walks one file: functions, calls, guards and where it stands."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from warmline_toolkit.audit.facts import Call, Catch, Class, CodeFacts, Function, Ignore, Import, Name, Value

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator


@dataclass
class Scope:
    """A function under construction."""

    index: int
    name: str
    line: int
    end_line: int
    parent: int
    class_name: str | None = None
    parameters: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()
    decorators: tuple[str, ...] = ()
    is_async: bool = False
    is_inline: bool = False
    exported: bool = False
    local: set[str] = field(default_factory=set)
    outer: set[str] = field(default_factory=set)
    assigned: list[tuple[str, Value, int]] = field(default_factory=list)
    returns: list[Value] = field(default_factory=list)
    yields: bool = False
    calls: list[int] = field(default_factory=list)
    catches: list[Catch] = field(default_factory=list)
    reads: set[str] = field(default_factory=set)

    def finished(self) -> Function:
        """Return the frozen function."""
        return Function(
            name=self.name,
            line=self.line,
            end_line=self.end_line,
            parent=self.parent,
            class_name=self.class_name,
            parameters=self.parameters,
            annotations=self.annotations,
            decorators=self.decorators,
            is_async=self.is_async,
            is_inline=self.is_inline,
            exported=self.exported,
            local=frozenset(self.local - self.outer),
            assigned=tuple(self.assigned),
            returns=tuple(self.returns),
            yields=self.yields,
            calls=tuple(self.calls),
            catches=tuple(self.catches),
            reads=frozenset(self.reads),
        )


@dataclass
class Around:
    """What stands around the statement that is being read."""

    guards: frozenset[str] = frozenset()
    within: tuple[int, ...] = ()
    in_finally: bool = False
    in_except: bool = False
    in_try: bool = False
    in_loop: bool = False


class Builder:
    """Collects one file's facts. `scope` is the function being read, `around` what encloses the current statement."""

    def __init__(self, path: str, language: str, *, end_line: int) -> None:
        self.path = path
        self.language = language
        self.scopes = [Scope(index=0, name="<module>", line=1, end_line=end_line, parent=0)]
        self.scope = self.scopes[0]
        self.around = Around()
        self.calls: list[Call | None] = []
        self.classes: list[Class] = []
        self.imports: list[Import] = []
        self.exports: list[tuple[str, Value]] = []

    @contextmanager
    def standing(
        self,
        *,
        guards: Iterable[str] = (),
        within: tuple[int, ...] = (),
        in_finally: bool | None = None,
        in_except: bool | None = None,
        in_try: bool | None = None,
        in_loop: bool | None = None,
    ) -> Iterator[None]:
        """Read what follows as enclosed by the given things too."""
        before = self.around
        self.around = Around(
            guards=before.guards | frozenset(guards),
            within=before.within + within,
            in_finally=before.in_finally if in_finally is None else in_finally,
            in_except=before.in_except if in_except is None else in_except,
            in_try=before.in_try if in_try is None else in_try,
            in_loop=before.in_loop if in_loop is None else in_loop,
        )
        try:
            yield
        finally:
            self.around = before

    def narrow(self, guards: Iterable[str]) -> None:
        """From here to the end of the block, *guards* decide whether code runs (an early return went before)."""
        self.around = Around(
            guards=self.around.guards | frozenset(guards),
            within=self.around.within,
            in_finally=self.around.in_finally,
            in_except=self.around.in_except,
            in_try=self.around.in_try,
            in_loop=self.around.in_loop,
        )

    @contextmanager
    def function(self, scope: Scope, *, around: Around | None = None) -> Iterator[Scope]:
        """Read what follows as the body of *scope*; what stands around the definition counts only if given."""
        outer, before = self.scope, self.around
        self.scopes.append(scope)
        self.scope, self.around = scope, around or Around()
        try:
            yield scope
        finally:
            self.scope, self.around = outer, before

    def new_scope(self, name: str, *, line: int, end_line: int) -> Scope:
        """Return a scope inside the current one, not entered yet."""
        return Scope(index=len(self.scopes), name=name, line=line, end_line=end_line, parent=self.scope.index)

    def reserve_call(self) -> int:
        """Return the number of a call whose arguments are about to be read (outer calls come first)."""
        self.calls.append(None)
        self.scope.calls.append(len(self.calls) - 1)
        return len(self.calls) - 1

    def place_call(self, index: int, call: Call) -> None:
        """Put the finished call at its reserved number."""
        self.calls[index] = call

    def finished(self, ignores: tuple[Ignore, ...]) -> CodeFacts:
        """Return the frozen facts of the whole file."""
        return CodeFacts(
            path=self.path,
            language=self.language,
            functions=tuple(scope.finished() for scope in self.scopes),
            calls=tuple(call for call in self.calls if call is not None),
            classes=tuple(self.classes),
            imports=tuple(self.imports),
            exports=tuple(self.exports),
            ignores=ignores,
        )


def call_number(value: Value | None) -> int | None:
    """Return N when *value* is exactly the result of call number N."""
    if isinstance(value, Name) and value.path.startswith("<") and value.path[1:-1].isdigit():
        return int(value.path[1:-1])
    return None


def join_path(head: str, tail: str) -> str:
    """Join two parts of a dotted path."""
    return f"{head}.{tail}" if tail else head

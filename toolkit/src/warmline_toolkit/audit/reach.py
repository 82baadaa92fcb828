"""From a handler to everything it reaches: which connections open when, and what is done with them, with the chain."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING

from warmline_toolkit.audit.facts import CodeFacts, Name, Sequence
from warmline_toolkit.audit.knowledge import CACHING_DECORATORS, opener_of
from warmline_toolkit.audit.resolve import Resolver, without_keys
from warmline_toolkit.audit.things import (
    ClassThing,
    ExternalResult,
    ExternalThing,
    FunctionThing,
    LentThing,
    MemberThing,
    OpenedThing,
    ResultThing,
    Site,
    Thing,
)

if TYPE_CHECKING:
    from warmline_toolkit.audit.facts import Call, Function, Resource, TemplateFacts

_DEEPEST = 30


class When(Enum):
    """When a call runs."""

    INIT = "init"
    INVOCATION = "invocation"
    ONCE = "first use"


@dataclass(frozen=True, slots=True)
class Step:
    """One link of a chain: a line and what stands there."""

    path: str
    line: int
    text: str


@dataclass(frozen=True, slots=True)
class Handler:
    """A function that the platform calls. *origin* says how it was recognised."""

    path: str
    function: int
    name: str
    line: int
    origin: str
    template: TemplateFacts | None = None
    resource: Resource | None = None


@dataclass(frozen=True, slots=True)
class Opening:
    """A connection, pool or client that opens, when, and how the handler gets there."""

    thing: OpenedThing
    when: When
    chain: tuple[Step, ...]
    kept_as: str | None = None
    conditional: bool = False


@dataclass(frozen=True, slots=True)
class Use:
    """A method called on a connection or pool. *when* is INIT for module-level code."""

    owner: OpenedThing | LentThing | ResultThing
    method: str
    site: Site
    when: When
    chain: tuple[Step, ...]

    @property
    def opened(self) -> OpenedThing:
        """Return the connection or pool behind the use."""
        thing = self.owner
        while not isinstance(thing, OpenedThing):
            thing = thing.owner
        return thing


@dataclass(slots=True)
class Reach:
    """Everything one handler reaches."""

    handler: Handler
    openings: list[Opening] = field(default_factory=list)
    uses: list[Use] = field(default_factory=list)
    functions: dict[tuple[str, int], tuple[Step, ...]] = field(default_factory=dict)
    init_functions: dict[tuple[str, int], tuple[Step, ...]] = field(default_factory=dict)
    files: frozenset[str] = frozenset()
    calls: list[tuple[str, Site, When, tuple[Step, ...]]] = field(default_factory=list)
    """External calls by fully qualified name."""


@dataclass(frozen=True, slots=True)
class _At:
    """Where the walk stands."""

    when: When
    chain: tuple[Step, ...]
    kept_self: bool | None
    kept_as: str | None
    conditional: bool


class Walker:
    """Walks from handlers through the project's calls."""

    def __init__(self, resolver: Resolver) -> None:
        self.resolver = resolver
        self.code = resolver.code

    def reach(self, handler: Handler) -> Reach:
        """Return what *handler* reaches, at Init (its file and all it imports) and in an invocation."""
        found = Reach(handler)
        files = self._loaded(handler.path)
        found.files = frozenset(files)
        for path in files:
            start = _At(When.INIT, (Step(path, 1, "module level"),), None, None, conditional=False)
            self._walk(FunctionThing(path, 0), start, found, set())
        first = Step(handler.path, handler.line, f"handler {handler.name}")
        start = _At(When.INVOCATION, (first,), None, None, conditional=False)
        self._walk(FunctionThing(handler.path, handler.function), start, found, set())
        found.openings = _unique(found.openings)
        return found

    def _loaded(self, start: str) -> list[str]:
        seen: dict[str, None] = {}
        pending = [start]
        while pending:
            path = pending.pop()
            if path in seen or path not in self.code:
                continue
            seen[path] = None
            for imported in self.code[path].imports:
                modules = [imported.module]
                if path.endswith(".py") and imported.member not in {"", "*"}:
                    modules.append(
                        f"{imported.module}.{imported.member}" if imported.module != "." else f".{imported.member}"
                    )
                for module in modules:
                    inner = self.resolver.modules.find(module, path)
                    if inner is not None:
                        pending.append(inner)
        return list(seen)

    def _walk(self, thing: FunctionThing, at: _At, found: Reach, seen: set[tuple[FunctionThing, When]]) -> None:
        key = (thing, at.when)
        if key in seen or thing.path not in self.code or len(at.chain) > _DEEPEST:
            return
        seen.add(key)
        facts = self.code[thing.path]
        function = facts.functions[thing.index]
        table = found.init_functions if at.when is When.INIT else found.functions
        table.setdefault((thing.path, thing.index), at.chain)
        for number in function.calls:
            self._call(facts, thing, number, at, found, seen)
        if at.when is not When.INIT:
            self._decorators(facts, thing, function, at, found, seen)

    def _decorators(
        self,
        facts: CodeFacts,
        thing: FunctionThing,
        function: Function,
        at: _At,
        found: Reach,
        seen: set[tuple[FunctionThing, When]],
    ) -> None:
        """A decorated function runs inside what its decorator defines."""
        for decorator in function.decorators:
            if decorator.startswith("type:"):
                continue
            for item in self.resolver.path(facts.path, function.parent, decorator):
                if not isinstance(item, FunctionThing) or item.path not in self.code:
                    continue
                inner_facts = self.code[item.path]
                for index, inner in enumerate(inner_facts.functions):
                    if index and _is_inside(inner_facts, index, item.index):
                        step = Step(item.path, inner.line, f"{inner.name} (decorator @{decorator})")
                        self._walk(
                            FunctionThing(item.path, index, thing.kept_self),
                            _At(at.when, (*at.chain, step), thing.kept_self, at.kept_as, at.conditional), found, seen,
                        )  # fmt: skip

    def _call(
        self,
        facts: CodeFacts,
        thing: FunctionThing,
        number: int,
        at: _At,
        found: Reach,
        seen: set[tuple[FunctionThing, When]],
    ) -> None:
        site = Site(facts.path, number)
        call = facts.calls[number]
        inner = self._standing(facts, thing, number, call, at)
        for callee in self.resolver.path(facts.path, thing.index, call.name):
            self._reached(callee, call, site, inner, found, seen)
        for callback in call.callbacks:
            self._walk(FunctionThing(facts.path, callback, thing.kept_self), inner, found, seen)
        if at.when is not When.INIT:
            for value in (*call.arguments, *(item for _, item in call.keywords)):
                if isinstance(value, Name) and not value.path.startswith("<"):
                    for passed in self.resolver.path(facts.path, thing.index, value.path):
                        if isinstance(passed, FunctionThing):
                            self._reached(passed, call, site, inner, found, seen)

    def _reached(
        self, callee: Thing, call: Call, site: Site, at: _At, found: Reach, seen: set[tuple[FunctionThing, When]]
    ) -> None:
        here = Step(site.path, call.line, f"{spelled(self.code[site.path], call)}()")
        match callee:
            case ExternalThing(name=name):
                opener = opener_of(name, is_new=call.is_new)
                found.calls.append((name, site, at.when, (*at.chain, here)))
                if opener is not None:
                    opened = OpenedThing(opener, site)
                    found.openings.append(
                        Opening(opened, at.when, (*at.chain, here), kept_as=at.kept_as, conditional=at.conditional)
                    )
            case FunctionThing():
                if callee.path in self.code:
                    function = self.code[callee.path].functions[callee.index]
                    when = at.when
                    kept_as = at.kept_as
                    if when is When.INVOCATION and self._cached(function):
                        when, kept_as = When.ONCE, f"the cache of {function.name}"
                    kept_self = callee.kept_self if callee.kept_self is not None else at.kept_self
                    step = Step(callee.path, function.line, function.name)
                    chain = (*at.chain, here, step)
                    self._walk(
                        FunctionThing(callee.path, callee.index, kept_self),
                        _At(when, chain, kept_self, kept_as, at.conditional), found, seen,
                    )  # fmt: skip
            case ClassThing():
                kept = at.when is not When.INVOCATION
                for ancestor in self.resolver.family(callee):
                    for method, index in self.resolver.klass(ancestor).methods:
                        if method in {"__init__", "__new__", "__enter__", "__aenter__"} and (
                            method in {"__init__", "__new__"} or call.entered
                        ):
                            owner = self.code[ancestor.path].functions[index]
                            step = Step(ancestor.path, owner.line, owner.name)
                            self._walk(
                                FunctionThing(ancestor.path, index, kept),
                                _At(at.when, (*at.chain, here, step), kept, at.kept_as, at.conditional), found, seen,
                            )  # fmt: skip
            case MemberThing(owner=owner, name=name):
                found.uses.append(Use(owner, name, site, at.when, (*at.chain, here)))
            case ResultThing(method=method):
                found.uses.append(Use(callee, method.rpartition(".")[2], site, at.when, (*at.chain, here)))
            case _:
                pass

    def _standing(self, facts: CodeFacts, thing: FunctionThing, number: int, call: Call, at: _At) -> _At:
        """Return when the call runs: ONCE if its result outlives the invocation behind a check of what is kept."""
        if at.when is not When.INVOCATION:
            return _At(at.when, at.chain, thing.kept_self, at.kept_as or call.target, at.conditional)
        if call.in_except:
            # What an error handler does replaces what is kept; it does not run in every invocation.
            return _At(When.ONCE, at.chain, thing.kept_self, call.target, conditional=True)
        if call.guards and any(self._asks_registry(facts, thing, guard) for guard in call.guards):
            return _At(When.ONCE, at.chain, thing.kept_self, "the driver's own registry", conditional=True)
        stores = self.stores(facts, thing.index, number)
        guards = {_root(guard) for guard in call.guards}
        for store in stores:
            if self.outlives(facts, thing, store) and (
                _root(store) in guards or any(self._asks(facts, thing, guard, store) for guard in call.guards)
            ):
                return _At(When.ONCE, at.chain, thing.kept_self, store, conditional=False)
        if not stores and any(self.outlives(facts, thing, guard) for guard in call.guards) and not call.returned:
            # Stored in a way we do not see, behind a check of something kept: cannot tell, so it counts as kept.
            return _At(When.ONCE, at.chain, thing.kept_self, None, conditional=True)
        if call.returned and any(self._kept_variable(facts, thing, guard) for guard in call.guards):
            return _At(When.ONCE, at.chain, thing.kept_self, None, conditional=True)
        return _At(at.when, at.chain, thing.kept_self, at.kept_as, at.conditional or bool(call.guards))

    def _asks_registry(self, facts: CodeFacts, thing: FunctionThing, guard: str) -> bool:
        """TypeORM and mongoose keep connections by name; asking that registry is a check of what is kept."""
        root = without_keys(guard.partition(".")[0])
        return any(
            isinstance(item, ExternalResult) and item.name.startswith("typeorm.get")
            for item in self.resolver.path(facts.path, thing.index, root)
        )

    def _asks(self, facts: CodeFacts, thing: FunctionThing, guard: str, store: str) -> bool:
        """A guard that calls a method or reads a property of the same object asks for the same state."""
        return (
            guard.startswith(("self.", "cls."))
            and store.startswith(("self.", "cls."))
            and (
                thing.kept_self is not False
                and self.outlives(facts, thing, guard)
                and "()" not in guard
                and any(method for method in facts.classes for name, _ in method.methods if guard == f"self.{name}")
            )
        )

    def _kept_variable(self, facts: CodeFacts, thing: FunctionThing, guard: str) -> bool:
        """A guard on a module-level variable that is assigned somewhere inside a function: state, not configuration."""
        root = _root(guard)
        if not self.outlives(facts, thing, guard) or root.startswith(("self.", "cls.")):
            return False
        return any(
            scope
            for target, values in self.resolver.names_of(facts.path).items()
            if _root(target) == root
            for _, scope in values
        )

    def stores(self, facts: CodeFacts, scope: int, number: int) -> list[str]:
        """Return the names that hold the result of call *number*: its target, and what that is assigned to."""
        function = facts.functions[scope]
        wanted = {f"<{number}>"}
        found: list[str] = []
        for _ in range(4):
            before = len(wanted)
            for target, value, _line in function.assigned:
                paths = [item.path for item in _parts(value) if isinstance(item, Name)]
                if any(path in wanted or without_keys(path) in wanted for path in paths) and target not in wanted:
                    wanted.add(target)
                    found.append(target)
            for other in function.calls:
                call = facts.calls[other]
                carried = any(isinstance(value, Name) and value.path in wanted for value in _all_arguments(call))
                receiver = call.name.startswith("<") and call.name.split(">")[0] + ">" in wanted
                if carried and call.name.endswith((".set", ".append", ".put", "setattr", ".setdefault")):
                    target = call.name.rpartition(".")[0]
                    if target and target not in found:
                        found.append(target)
                if (carried or receiver) and f"<{other}>" not in wanted:
                    wanted.add(f"<{other}>")
            if len(wanted) == before:
                break
        return found

    def outlives(self, facts: CodeFacts, thing: FunctionThing, name: str) -> bool:
        """Return whether what *name* holds is still there at the next invocation."""
        root = without_keys(name.partition(".")[0])
        if root in {"self", "cls"}:
            return thing.kept_self is not False or root == "cls"
        if root in {"", "globals", "event", "context"} or root.startswith("<"):
            return root == "globals"
        if Resolver.is_local(facts, thing.index, root):
            index = thing.index
            while index and root not in facts.functions[index].local:
                index = facts.functions[index].parent
            values = [value for target, value, _ in facts.functions[index].assigned if target == root]
            # A local name for something kept: `cache = self._cache`, `cls = self.__class__`
            return "." in name and any(
                isinstance(value, Name) and not value.path.startswith("<") and value.path != root
                and self.outlives(facts, thing, value.path)
                for value in values
            )  # fmt: skip
        return True

    @staticmethod
    def _cached(function: Function) -> bool:
        return any(
            name in CACHING_DECORATORS or name.rpartition(".")[2] in CACHING_DECORATORS for name in function.decorators
        )


def _parts(value: object) -> tuple[object, ...]:
    return value.items if isinstance(value, Sequence) else (value,)


def _all_arguments(call: Call) -> tuple[object, ...]:
    return (*call.arguments, *(value for _, value in call.keywords))


def _root(name: str) -> str:
    """`self.conn.open` is about `self.conn`; `conn.is_connected` and `cache[conn]` are about `conn` and `cache`."""
    parts = name.split(".")
    if parts[0] in {"self", "cls"} and len(parts) > 1:
        return f"self.{without_keys(parts[1])}"
    return without_keys(parts[0])


def _is_inside(facts: CodeFacts, index: int, outer: int) -> bool:
    while index:
        index = facts.functions[index].parent
        if index == outer:
            return True
    return False


def spelled(facts: CodeFacts, call: Call) -> str:
    """The call's name as a person would write it: `connect().execute`, not `<3>.execute`."""
    name = call.name
    for _ in range(4):
        if not name.startswith("<"):
            break
        head, _, rest = name.partition(">")
        number = head[1:]
        if number.isdigit():
            name = f"{facts.calls[int(number)].name}(){rest}"
        elif number.startswith("module:"):
            name = f"require('{number[7:]}'){rest}"
        else:
            name = f"(function){rest}"
    return name


def _unique(openings: list[Opening]) -> list[Opening]:
    """Keep one opening a site and time: the shortest chain."""
    best: dict[tuple[OpenedThing, When], Opening] = {}
    for opening in openings:
        key = (opening.thing, opening.when)
        if key not in best or len(opening.chain) < len(best[key].chain):
            best[key] = opening
    return list(best.values())

"""Names to things, across files: imports, assignments, classes, returns and what the drivers' methods return."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from warmline_toolkit.audit.facts import (
    Call,
    Class,
    CodeFacts,
    Env,
    Function,
    Joined,
    Literal,
    Mapping,
    Name,
    Sequence,
    Unknown,
    Value,
)
from warmline_toolkit.audit.knowledge import ACQUIRES, SAFE_PASSING, SAME_THING, Kind, opener_of
from warmline_toolkit.audit.things import (
    ClassThing,
    ExternalResult,
    ExternalThing,
    FunctionThing,
    InstanceThing,
    LentThing,
    MemberThing,
    ModuleThing,
    OpenedThing,
    ResultThing,
    Site,
    Thing,
    ValueThing,
)

if TYPE_CHECKING:
    from collections.abc import Iterable

    from warmline_toolkit.audit.modules import ModuleIndex

_HEAD = re.compile(r"<(module:|fn:)?([^>]*)>|[^.]+")
_MOST = 6
"""A name with more possible things than this is treated as unknown."""

_DEPTH = 24


def split_head(path: str) -> tuple[str, str]:
    """Split a dotted path after its first part; `<module:./db>` and `<3>` are one part."""
    match = _HEAD.match(path)
    assert match is not None  # noqa: S101 - a path is never empty
    return match[0], path[match.end() + 1 :]


def without_keys(part: str) -> str:
    """`cache[conn]` is `cache`."""
    return part.partition("[")[0]


class Resolver:
    """Answers what a value can be. Every answer is remembered; cycles end in "unknown" (no thing)."""

    def __init__(self, code: dict[str, CodeFacts], modules: ModuleIndex) -> None:
        self.code = code
        self.modules = modules
        self._known: dict[tuple[str, int, str], tuple[Thing, ...]] = {}
        self._busy: set[tuple[str, int, str]] = set()
        self._module_names: dict[str, dict[str, list[tuple[Value, int]]]] = {}
        self._calls_known: dict[Site, tuple[Thing, ...]] = {}
        self._owners: dict[str, tuple[int, ...]] = {}
        self.wrapped_application: bool | None = None

    # What is asked

    def call(self, site: Site) -> Call:
        """Return the call at *site*."""
        return self.code[site.path].calls[site.call]

    def function(self, thing: FunctionThing) -> Function:
        """Return the facts of a function."""
        return self.code[thing.path].functions[thing.index]

    def owner_of(self, site: Site) -> int:
        """Return the index of the function that the call at *site* stands in."""
        known = self._owners.get(site.path)
        if known is None:
            facts = self.code[site.path]
            owners = [0] * len(facts.calls)
            for index, function in enumerate(facts.functions):
                for call in function.calls:
                    owners[call] = index
            known = self._owners[site.path] = tuple(owners)
        return known[site.call]

    def callee(self, site: Site) -> tuple[Thing, ...]:
        """Return what the call at *site* calls."""
        call = self.call(site)
        return self.path(site.path, self.owner_of(site), call.name)

    def value(self, path: str, scope: int, value: Value, depth: int = 0) -> tuple[Thing, ...]:
        """Return what *value*, written in function *scope* of the file *path*, can be."""
        match value:
            case Name(path=dotted):
                return self.path(path, scope, dotted, depth)
            case Sequence(items=items, alternatives=True):
                return _few(thing for item in items for thing in self.value(path, scope, item, depth))
            case Literal() | Env() | Mapping() | Joined() | Sequence():
                return (ValueThing(value, path, scope),)
            case Unknown():
                return ()

    def literal(self, path: str, scope: int, value: Value | None) -> Value | None:
        """Return the one literal, variable or mapping that *value* is, or None when that is not certain."""
        if value is None:
            return None
        found = self.value(path, scope, value)
        return found[0].value if len(found) == 1 and isinstance(found[0], ValueThing) else None

    def path(self, path: str, scope: int, dotted: str, depth: int = 0) -> tuple[Thing, ...]:
        """Return what the dotted path can be, seen from function *scope* of the file *path*."""
        key = (path, scope, dotted)
        known = self._known.get(key)
        if known is not None:
            return known
        if key in self._busy or depth > _DEPTH:
            return ()
        self._busy.add(key)
        try:
            found = _few(self._path(path, scope, dotted, depth + 1))
        finally:
            self._busy.discard(key)
        self._known[key] = found
        return found

    # How names are found

    def _path(self, path: str, scope: int, dotted: str, depth: int) -> Iterable[Thing]:
        facts = self.code.get(path)
        if facts is None:
            return
        head, rest = split_head(dotted)
        if head.startswith("<"):
            things = self._special(facts, head, depth)
        elif head in {"self", "cls", "super"} and (owner := self._enclosing_class(facts, scope)) is not None:
            things = (InstanceThing(owner, None),)
        else:
            # The longest assigned spelling first: `cache[conn]`, `settings.pool` set from outside
            whole = self._identifier(facts, scope, dotted, depth) if rest or "[" in dotted else ()
            if whole:
                yield from whole
                return
            things = self._identifier(facts, scope, head, depth)
            if not things and "[" in head:
                things = self._identifier(facts, scope, without_keys(head), depth)
        while rest and things:
            part, rest = split_head(rest)
            things = _few(found for thing in things for found in self._attribute(thing, part, depth))
        for thing in things:
            yield thing
            if isinstance(thing, ModuleThing) and not thing.path.endswith(".py") and depth < _DEPTH:
                # `module.exports = Database`: the module is the class
                yield from (item for item in self._exported(thing.path, "default", depth + 1) if item != thing)

    def _special(self, facts: CodeFacts, head: str, depth: int) -> tuple[Thing, ...]:
        inner = head[1 : head.index(">")]
        if inner.startswith("fn:"):
            return (FunctionThing(facts.path, int(inner[3:])),)
        if inner.startswith("module:"):
            return self._module(facts.path, inner[7:])
        if inner.isdigit():
            things = self.result(Site(facts.path, int(inner)), depth)
            key = head[head.index(">") + 1 :]
            return _few(part for thing in things for part in self._indexed(thing, key, depth)) if key else things
        return ()

    def _indexed(self, thing: Thing, key: str, depth: int) -> tuple[Thing, ...]:
        if isinstance(thing, ValueThing) and isinstance(thing.value, Sequence) and key[1:-1].isdigit():
            position = int(key[1:-1])
            if position < len(thing.value.items):
                return self.value(thing.path, thing.scope, thing.value.items[position], depth)
        return ()

    def _module(self, importer: str, module: str) -> tuple[Thing, ...]:
        found = self.modules.find(module, importer)
        if found is not None:
            return (ModuleThing(found),)
        return () if module.startswith(".") else (ExternalThing(module),)

    def _enclosing_class(self, facts: CodeFacts, scope: int) -> ClassThing | None:
        index = scope
        while index:
            function = facts.functions[index]
            if function.class_name is not None:
                for number, klass in enumerate(facts.classes):
                    if klass.name == function.class_name:
                        return ClassThing(facts.path, number)
            index = function.parent
        return None

    def _identifier(self, facts: CodeFacts, scope: int, name: str, depth: int) -> tuple[Thing, ...]:
        index = scope
        while index:
            function = facts.functions[index]
            if without_keys(name.partition(".")[0]) in function.local:
                return self._assigned(facts, index, name, depth)
            index = function.parent
        return self.in_module(facts.path, name, depth)

    def _assigned(self, facts: CodeFacts, index: int, name: str, depth: int) -> tuple[Thing, ...]:
        function = facts.functions[index]
        found: list[Thing] = []
        for number, inner in enumerate(facts.functions):
            if inner.parent == index and number and inner.name.rpartition(".")[2] == name and not inner.class_name:
                found.append(FunctionThing(facts.path, number))
        for imported in facts.imports:
            if imported.local == name and function.line <= imported.line <= function.end_line:
                found.extend(self._imported(facts.path, imported.module, imported.member, depth))
        for target, value, _ in function.assigned:
            if target == name:
                found.extend(self.value(facts.path, index, value, depth))
        return _few(found)

    def names_of(self, path: str) -> dict[str, list[tuple[Value, int]]]:
        """Return everything assigned to module-level names (and paths below them) anywhere in the file."""
        known = self._module_names.get(path)
        if known is None:
            known = {}
            facts = self.code[path]
            for index, function in enumerate(facts.functions):
                for target, value, _ in function.assigned:
                    root = without_keys(target.partition(".")[0])
                    if root in {"self", "cls"} or (index and self.is_local(facts, index, root)):
                        continue
                    known.setdefault(target, []).append((value, index))
            self._module_names[path] = known
        return known

    @staticmethod
    def is_local(facts: CodeFacts, scope: int, root: str) -> bool:
        """Return whether *root* is a name of function *scope* or of a function around it (not of the module)."""
        index = scope
        while index:
            function = facts.functions[index]
            if root in function.local:
                return True
            index = function.parent
        return False

    def in_module(self, path: str, name: str, depth: int = 0) -> tuple[Thing, ...]:
        """Return what *name* is at the top level of the file *path*."""
        facts = self.code.get(path)
        if facts is None:
            return ()
        found: list[Thing] = []
        for number, function in enumerate(facts.functions):
            if number and function.parent == 0 and function.name == name and not function.class_name:
                found.append(FunctionThing(path, number))
        for number, klass in enumerate(facts.classes):
            if klass.name == name:
                found.append(ClassThing(path, number))
        for imported in facts.imports:
            if imported.local == name:
                found.extend(self._imported(path, imported.module, imported.member, depth))
        for value, scope in self.names_of(path).get(name, ()):
            found.extend(self.value(path, scope, value, depth))
        if not found and facts.language == "python":
            for imported in facts.imports:
                if imported.member == "*":
                    for module in self._module(path, imported.module):
                        found.extend(self._attribute(module, name, depth + 1) if depth < _DEPTH else ())
        if not found and name in {"globals", "closing", "require"}:
            return ()
        return _few(found)

    def _imported(self, importer: str, module: str, member: str, depth: int) -> tuple[Thing, ...]:
        if member in {"", "*"}:
            return self._module(importer, module)
        if importer.endswith(".py"):
            inner = self.modules.find(f"{module}.{member}" if not module.endswith(".") else module + member, importer)
            if inner is not None:
                own = self._module(importer, module)
                direct = _few(found for thing in own for found in self._attribute(thing, member, depth + 1))
                return direct or (ModuleThing(inner),)
        return _few(
            found for thing in self._module(importer, module) for found in self._attribute(thing, member, depth + 1)
        )

    # What attributes are

    def _attribute(self, thing: Thing, name: str, depth: int) -> tuple[Thing, ...]:
        if depth > _DEPTH:
            return ()
        plain = without_keys(name)
        match thing:
            case ModuleThing(path=path):
                return self._exported(path, plain, depth)
            case ExternalThing(name=outer):
                return (ExternalThing(f"{outer}.{plain}"),)
            case OpenedThing() | LentThing():
                return (MemberThing(thing, plain),)
            case MemberThing(owner=owner, name=member):
                return (MemberThing(owner, f"{member}.{plain}"),)
            case ResultThing(owner=owner, method=method, site=site):
                return (ResultThing(owner, f"{method}.{plain}", site),)
            case InstanceThing(owner=owner, kept=kept):
                return self._of_instance(owner, plain, depth, kept=kept)
            case ClassThing():
                return self._of_class(thing, plain, depth)
            case ValueThing(value=Mapping() as mapping, path=path, scope=scope):
                found = mapping.get(plain)
                return self.value(path, scope, found, depth) if found is not None else ()
            case FunctionThing():
                return ()
            case ExternalResult(name=outer):
                return (ExternalThing(f"{outer}().{plain}"),)
            case _:
                return ()

    def _exported(self, path: str, name: str, depth: int) -> tuple[Thing, ...]:
        facts = self.code.get(path)
        if facts is None:
            return ()
        if facts.language == "python":
            found = self.in_module(path, name, depth)
            if not found:
                stem = path.removesuffix("__init__.py")
                inner = self.modules.find("." + (stem + name).replace("/", "."), path) if stem != path else None
                found = (ModuleThing(inner),) if inner is not None else ()
            return found
        found = _few(
            thing
            for exported, value in facts.exports
            if exported == name
            for thing in self.value(path, 0, value, depth)
        )
        if found:
            return found
        for exported, value in facts.exports:
            if exported == "*" or (exported == "default" and name != "default"):
                inner_things = self.value(path, 0, value, depth)
                found = _few(inner for thing in inner_things for inner in self._attribute(thing, name, depth + 1))
                if found and depth < _DEPTH:
                    return found
        if name == "default":
            # `import db from "./db"` of a CommonJS module with named exports: the exports object itself
            return (ModuleThing(path),) if facts.exports and depth < _DEPTH else ()
        return ()

    def _of_class(self, thing: ClassThing, name: str, depth: int) -> tuple[Thing, ...]:
        for owner in self.family(thing):
            klass = self.klass(owner)
            for method, index in klass.methods:
                if method == name:
                    return (FunctionThing(owner.path, index, kept_self=True),)
            found = _few(
                item
                for attribute, value in klass.attributes
                if attribute == name
                for item in self.value(owner.path, 0, value, depth)
            )
            if found:
                return found
        return self._set_on_self(thing, name, depth)

    def _of_instance(self, owner: ClassThing, name: str, depth: int, *, kept: bool | None) -> tuple[Thing, ...]:
        for ancestor in self.family(owner):
            klass = self.klass(ancestor)
            for method, index in klass.methods:
                if method == name:
                    function = self.code[ancestor.path].functions[index]
                    if any(item.rpartition(".")[2] in {"property", "cached_property"} for item in function.decorators):
                        return self.returns(FunctionThing(ancestor.path, index), depth)
                    return (FunctionThing(ancestor.path, index, kept_self=kept),)
        found = self._set_on_self(owner, name, depth)
        if found:
            return found
        for ancestor in self.family(owner):
            for attribute, value in self.klass(ancestor).attributes:
                if attribute == name:
                    return self.value(ancestor.path, 0, value, depth)
        return ()

    def _set_on_self(self, owner: ClassThing, name: str, depth: int) -> tuple[Thing, ...]:
        found: list[Thing] = []
        for ancestor in self.family(owner):
            facts = self.code[ancestor.path]
            klass = self.klass(ancestor)
            wanted = {f"self.{name}", f"cls.{name}", f"{klass.name}.{name}"}
            for index, function in enumerate(facts.functions):
                for target, value, _ in function.assigned:
                    if target in wanted and (target.startswith(klass.name) or self._in_class(facts, index, klass.name)):
                        found.extend(self.value(facts.path, index, value, depth))
        return _few(found)

    @staticmethod
    def _in_class(facts: CodeFacts, scope: int, name: str) -> bool:
        index = scope
        while index:
            if facts.functions[index].class_name == name:
                return True
            index = facts.functions[index].parent
        return False

    def klass(self, thing: ClassThing) -> Class:
        """Return the facts of a class."""
        return self.code[thing.path].classes[thing.index]

    def family(self, thing: ClassThing, depth: int = 0) -> tuple[ClassThing, ...]:
        """Return the class and its bases of the project, nearest first."""
        found = [thing]
        if depth < _DEPTH:
            for base in self.klass(thing).bases:
                for item in self.path(thing.path, 0, base, depth + 1):
                    if isinstance(item, ClassThing) and item != thing:
                        found.extend(self.family(item, depth + 8))
        return tuple(dict.fromkeys(found))

    # What calls return

    def result(self, site: Site, depth: int = 0) -> tuple[Thing, ...]:
        """Return what the call at *site* can return."""
        known = self._calls_known.get(site)
        if known is not None:
            return known
        if depth > _DEPTH:
            return ()
        self._calls_known[site] = ()  # a cycle answers "unknown"
        call = self.call(site)
        scope = self.owner_of(site)
        found = _few(
            item
            for thing in self.path(site.path, scope, call.name, depth + 1)
            for item in self._returned(thing, call, site, scope, depth + 1)
        )
        if not self._busy:
            self._calls_known[site] = found
        else:
            del self._calls_known[site]
        return found

    def _returned(self, thing: Thing, call: Call, site: Site, scope: int, depth: int) -> tuple[Thing, ...]:
        match thing:
            case ExternalThing(name=name):
                opener = opener_of(name, is_new=call.is_new)
                if opener is not None:
                    return (OpenedThing(opener, site),)
                if (name in SAFE_PASSING or name.rpartition(".")[2] in SAFE_PASSING) and call.arguments:
                    return self.value(site.path, scope, call.arguments[0], depth)
                return (ExternalResult(name, site),)
            case ClassThing():
                return (InstanceThing(thing, site, kept=scope == 0 or None),)
            case FunctionThing():
                return self.returns(thing, depth)
            case MemberThing(owner=owner, name=name):
                last = name.rpartition(".")[2]
                if last in SAME_THING and not isinstance(owner, LentThing):
                    return (owner,)
                if isinstance(owner, OpenedThing) and owner.opener.kind is Kind.POOL and name in ACQUIRES:
                    return (LentThing(owner, site),)
                if isinstance(owner, OpenedThing) and last == "connect":
                    return (owner,)
                return (ResultThing(owner, name, site),)
            case ResultThing(owner=owner, method=method):
                return (ResultThing(owner, f"{method}()", site),)
            case ExternalResult(name=name):
                return (ExternalResult(f"{name}()", site),)
            case _:
                return ()

    def returns(self, thing: FunctionThing, depth: int = 0) -> tuple[Thing, ...]:
        """Return what a function of the project can return (or yield, as a context manager)."""
        if depth > _DEPTH:
            return ()
        function = self.function(thing)
        return _few(
            found
            for value in function.returns
            if not (isinstance(value, Literal) and value.value is None)
            for found in self.value(thing.path, thing.index, value, depth)
        )


def _few(things: Iterable[Thing]) -> tuple[Thing, ...]:
    unique = tuple(dict.fromkeys(thing for thing in things if not _is_none(thing)))
    return unique if len(unique) <= _MOST else ()


def _is_none(thing: Thing) -> bool:
    return isinstance(thing, ValueThing) and isinstance(thing.value, Literal) and thing.value.value is None

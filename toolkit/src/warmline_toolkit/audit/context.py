"""The joined project: what rules are given. Everything here answers questions; nothing decides what is wrong."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from warmline_toolkit.audit.facts import Env, Literal, Mapping, Name, Value
from warmline_toolkit.audit.handlers import find_handlers
from warmline_toolkit.audit.knowledge import Kind
from warmline_toolkit.audit.reach import Reach, Step, Walker, spelled
from warmline_toolkit.audit.resolve import Resolver
from warmline_toolkit.audit.templates import Deployment
from warmline_toolkit.audit.things import FunctionThing, Site, ValueThing

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from warmline_toolkit.audit.facts import Call, CodeFacts, Function, TemplateFacts
    from warmline_toolkit.audit.modules import ModuleIndex
    from warmline_toolkit.audit.reach import Handler, Opening
    from warmline_toolkit.audit.things import OpenedThing, Thing

_NO_CONNECTION = ("sqlite", "better-sqlite", "aurora-", "mysql+auroradataapi", "postgresql+auroradataapi", "sqljs")


class Project:
    """All facts of one audit, and the questions that rules ask of them."""

    def __init__(self, code: dict[str, CodeFacts], templates: Sequence[TemplateFacts], modules: ModuleIndex) -> None:
        self.code = code
        self.templates = tuple(templates)
        self.resolver = Resolver(code, modules)
        self.walker = Walker(self.resolver)
        self._reaches: dict[int, Reach] = {}

    @cached_property
    def handlers(self) -> list[Handler]:
        """Every handler, those of templates first."""
        return find_handlers(self.resolver, self.templates)

    @cached_property
    def deployment(self) -> Deployment:
        """The templates' functions, databases, proxies and queues, with their references resolved."""
        return Deployment(self.templates)

    def reach(self, handler: Handler) -> Reach:
        """Return what *handler* reaches; walked once."""
        known = self._reaches.get(id(handler))
        if known is None:
            known = self._reaches[id(handler)] = self.walker.reach(handler)
        return known

    # Calls and their settings

    def call(self, site: Site) -> Call:
        """Return the call at *site*."""
        return self.resolver.call(site)

    def spelled(self, site: Site) -> str:
        """Return the call's name as a person would write it."""
        return spelled(self.code[site.path], self.call(site))

    def enclosing(self, site: Site) -> Function:
        """Return the function that the call stands in."""
        return self.code[site.path].functions[self.resolver.owner_of(site)]

    def subject(self, site: Site) -> str:
        """Name a call independent of its line: the function it stands in, its name, and which of those it is."""
        owner = self.resolver.owner_of(site)
        facts = self.code[site.path]
        name = self.spelled(site)
        same = [
            number for number in facts.functions[owner].calls if facts.calls[number].name == facts.calls[site.call].name
        ]
        order = sorted(same).index(site.call)
        return f"{facts.functions[owner].name}:{name}:{order}"

    def setting(self, site: Site, *names: str) -> Value | None:
        """Return the value of the first of *names* that the call sets, resolved; None when it sets none.

        A dotted name (`pool.max`) looks inside an object setting; a name in `**settings` or in a mapping passed by
        name is found where the mapping is written.
        """
        for name in names:
            found = self._setting(site, name)
            if found is not None:
                return found
        return None

    def _setting(self, site: Site, name: str) -> Value | None:
        call = self.call(site)
        scope = self.resolver.owner_of(site)
        first, _, rest = name.partition(".")
        for value in self._written(site, call, scope, first):
            current: Value | None = value
            while rest and current is not None:
                resolved = self.resolver.literal(site.path, scope, current)
                part, _, rest = rest.partition(".")
                current = resolved.get(part) if isinstance(resolved, Mapping) else None
            if current is not None:
                return self.resolver.literal(site.path, scope, current) or current
        return None

    def _written(self, site: Site, call: Call, scope: int, name: str) -> Iterable[Value]:
        found = call.keyword(name)
        if found is not None:
            yield found
        for value in (*call.arguments, *(item for key, item in call.keywords if key == "**")):
            if isinstance(value, Name):
                for thing in self.resolver.value(site.path, scope, value):
                    if isinstance(thing, ValueThing) and isinstance(thing.value, Mapping):
                        inner = thing.value.get(name)
                        if inner is not None:
                            resolved = self.resolver.literal(thing.path, thing.scope, inner)
                            yield resolved if resolved is not None else inner

    def settings_hidden(self, site: Site) -> bool:
        """Return whether settings may be set where this call does not show them."""
        call = self.call(site)
        scope = self.resolver.owner_of(site)
        if not call.arguments and not call.keywords and call.name.rpartition(".")[2] == "createConnection":
            return True  # TypeORM reads ormconfig
        opaque = [value for key, value in call.keywords if key == "**"]
        named = [value for value in call.arguments if isinstance(value, Name)]
        for value in (*opaque, *named):
            things = self.resolver.value(site.path, scope, value)
            mappings = [thing.value for thing in things if isinstance(thing, ValueThing)]
            if not mappings or len(mappings) != len(things):
                return True
            if any(isinstance(item, Mapping) and item.open_ended for item in mappings):
                return True
        if any(isinstance(value, Mapping) and value.open_ended for value in call.arguments):
            return True
        return call.open_ended and not opaque

    def number(self, site: Site, *names: str) -> float | None:
        """Return the number that a setting is, also when it is an environment variable with a numeric default."""
        value = self.setting(site, *names)
        if isinstance(value, Literal) and isinstance(value.value, int | float) and not isinstance(value.value, bool):
            return float(value.value)
        if isinstance(value, Env) and isinstance(value.default, int):
            return float(value.default)
        return None

    def pool_size(self, thing: OpenedThing) -> tuple[int, bool] | None:
        """Return how many connections a pool may open and whether that is written (else the driver's default).

        None when it is no pool, or when the size may be set where it cannot be seen.
        """
        if thing.opener.kind is not Kind.POOL or not thing.opener.sizes:
            return None
        total, written = 0, False
        for names, default in thing.opener.sizes:
            value = self.setting(thing.site, *names)
            number = self.number(thing.site, *names)
            if value is None and thing.opener.positional_sizes:
                number = self._positional(thing)
                value = Literal(int(number)) if number is not None else None
            if value is not None:
                if number is None:
                    return None
                total += int(number)
                written = True
            elif default is None or self.settings_hidden(thing.site):
                return None
            else:
                total += default
        return total, written

    def _positional(self, thing: OpenedThing) -> float | None:
        arguments = self.call(thing.site).arguments
        for position in thing.opener.positional_sizes:
            if position < len(arguments):
                value = self.resolver.literal(thing.site.path, self.resolver.owner_of(thing.site), arguments[position])
                if isinstance(value, Literal) and isinstance(value.value, int):
                    return float(value.value)
        return None

    def has_nullpool(self, thing: OpenedThing) -> bool:
        """Return whether a SQLAlchemy engine is told to keep no connection (NullPool) or exactly one (StaticPool)."""
        call = self.call(thing.site)
        value = call.keyword("poolclass", "pool")
        return isinstance(value, Name) and value.path.rpartition(".")[2] in {
            "NullPool",
            "StaticPool",
            "AsyncAdaptedNullPool",
        }

    def is_local_file(self, thing: OpenedThing) -> bool:
        """Return whether the URL or type names SQLite or Aurora's Data API: no server connection to count."""
        call = self.call(thing.site)
        scope = self.resolver.owner_of(thing.site)
        values = [
            *call.arguments[:1],
            *(call.keyword(name) for name in ("url", "dialect", "type", "client", "provider")),
        ]
        for value in values:
            found = self.resolver.literal(thing.site.path, scope, value) if value is not None else None
            text = found.value if isinstance(found, Literal) else None
            if isinstance(text, str) and text.startswith(_NO_CONNECTION):
                return True
        return False

    # Evidence

    def line(self, site: Site) -> int:
        """Return the line of the call."""
        return self.call(site).line

    def things(self, site: Site, value: Value) -> tuple[Thing, ...]:
        """Return what a value written at *site* can be."""
        return self.resolver.value(site.path, self.resolver.owner_of(site), value)

    def kept(self, reach: Reach) -> list[Opening]:
        """Return the database connections and pools that outlive an invocation of the handler."""
        return [
            opening
            for opening in reach.openings
            if opening.when.value != "invocation"
            and opening.thing.opener.kind in {Kind.CONNECTION, Kind.POOL}
            and not self.is_local_file(opening.thing)
        ]

    def template_step(self, reach: Reach, path: str, text: str) -> tuple[Step, ...]:
        """Return the line of a property of the handler's resource as related evidence, if a template names it."""
        handler = reach.handler
        if handler.template is None or handler.resource is None:
            return ()
        return (Step(handler.template.path, handler.resource.line_of(path), text),)

    def one_request_at_a_time(self, reach: Reach) -> bool:
        """Return False when the function's template runs several requests in one process or the handler fans out."""
        resource = reach.handler.resource
        if resource is not None and self.deployment.is_managed(resource):
            return self.code[reach.handler.path].language == "python"
        return True

    def function(self, path: str, index: int) -> Function:
        """Return a function's facts."""
        return self.resolver.function(FunctionThing(path, index))

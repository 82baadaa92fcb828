"""Questions several rules ask: is this function one of a kind, does it fan out, is it checked, which lines prove it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from warmline_toolkit.audit.facts import Literal, Name
from warmline_toolkit.audit.knowledge import PINGS, STATE, Kind
from warmline_toolkit.audit.reach import Reach, Step, When
from warmline_toolkit.audit.resolve import without_keys
from warmline_toolkit.audit.templates import PROXY
from warmline_toolkit.audit.things import OpenedThing, Site

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.facts import Call, Function
    from warmline_toolkit.audit.reach import Opening

_RARE = re.compile(
    r"migrat|seed|rotat|bootstrap|custom[-_]?resource|cfn[-_]?(response|lambda)|db[-_]?init|init[-_]?db|create[-_]?(db|database|schema|tables?|user)"
    r"|setup|provision|backup|truncate|drop[-_]?|load[-_]?schema|(^|[-_/])ddl",
    re.IGNORECASE,
)
_ONE_OFF = re.compile(r"^(crhelper|cfnresponse|cfn-response|cfn-response-async)$")
_FAN_OUT = re.compile(
    r"^(asyncio\.(gather|TaskGroup|wait|as_completed|create_task)|concurrent\.futures\.|threading\.Thread$|multiprocessing\.|"
    r"joblib\.|anyio\.create_task_group|trio\.open_nursery|p-map|p-limit|p-all|async\.(parallel|each|map)|bluebird\.)"
)
_PROMISES = re.compile(r"^(Promise|Bluebird)\.(all|allSettled|race|any|map)$")
_PARALLEL_MODULES = re.compile(r"apollo|graphql|dataloader|mercurius|strawberry|ariadne|graphene|concurrent\.futures")
_ADDRESS = re.compile(r"host|endpoint|url|uri|dsn|server|addr|proxy", re.IGNORECASE)
_AGE = re.compile(r"time|age|last|expir|ttl|stale|since|fresh|valid|alive|healthy|connected|usable", re.IGNORECASE)
_RECONNECT = re.compile(r"connect|reset|refresh|renew|init|recycle|invalidate|close", re.IGNORECASE)


def runs_rarely(project: Project, reach: Reach) -> str | None:
    """Return why the handler's function runs rarely (so that keeping a connection gains nothing), or None."""
    handler = reach.handler
    names = [handler.path, handler.name]
    if handler.resource is not None and handler.template is not None:
        names.append(handler.resource.name)
        events = project.deployment.events(handler.template, handler.resource)
        if events and all(event.kind in {"Schedule", "ScheduleV2"} for event in events):
            return "a schedule alone invokes it"
    for path in reach.files:
        if any(_ONE_OFF.search(imported.module) for imported in project.code[path].imports):
            return "it answers CloudFormation as a custom resource"
        defined = {function.name for function in project.code[path].functions}
        if {"set_secret", "test_secret"} <= defined or {"setSecret", "testSecret"} <= defined:
            return "it rotates a secret"
    hit = next((name for name in names if _RARE.search(name)), None)
    return f"its name {hit!r} says that it runs once in a while" if hit else None


def is_rare_name(name: str) -> bool:
    """Return whether a name says migration, rotation, set-up or the like."""
    return _RARE.search(name) is not None


def goes_through_proxy(project: Project, reach: Reach) -> Step | None:
    """Return the template's line that points the function at an RDS proxy, if one does."""
    handler = reach.handler
    if handler.template is None or handler.resource is None:
        return None
    for variable, target in project.deployment.connects_to(handler.template, handler.resource):
        if target.type == PROXY:
            line = handler.resource.line_of(f"Environment.Variables.{variable}")
            return Step(handler.template.path, line, f"{variable} is the endpoint of the proxy {target.name}")
    return None


def fans_out(project: Project, reach: Reach) -> bool:
    """Return whether the handler does several things at once, so that one process can use several connections."""
    if any(_FAN_OUT.match(name) for name, _, _, _ in reach.calls):
        return True
    for path in reach.files:
        if any(_PARALLEL_MODULES.search(imported.module) for imported in project.code[path].imports):
            return True
    return any(_PROMISES.match(call.name) for _, call in invoked_calls(project, reach))


def invoked_calls(project: Project, reach: Reach) -> Iterator[tuple[Site, Call]]:
    """Yield every call in the functions that an invocation reaches."""
    for path, index in reach.functions:
        facts = project.code[path]
        for number in facts.functions[index].calls:
            yield Site(path, number), facts.calls[number]


def invoked_functions(project: Project, reach: Reach) -> Iterator[tuple[str, Function]]:
    """Yield every function that an invocation reaches, with its file."""
    for path, index in reach.functions:
        yield path, project.code[path].functions[index]


def is_used(reach: Reach, thing: OpenedThing) -> bool:
    """Return whether an invocation calls a method of the connection or pool (or of what it lent)."""
    return any(use.when is not When.INIT and use.opened == thing for use in reach.uses)


def is_checked(project: Project, reach: Reach, opening: Opening) -> bool:
    """Return whether anything on the way checks, replaces or recovers the kept connection."""
    thing = opening.thing
    names = kept_names(project, opening)
    for use in reach.uses:
        if use.opened != thing:
            continue
        last = use.method.rpartition(".")[2]
        guards = project.call(use.site).guards
        if last in PINGS and (last != "connect" or (guards and guards != project.call(thing.site).guards)):
            return True
        if last in {"on", "once", "addListener"}:
            return True
        if last in {"execute", "query", "run"} and any(
            isinstance(value, Literal)
            and re.fullmatch(r"\s*(select 1|do 1|/\* ping \*/.*)\s*;?\s*", str(value.value), re.IGNORECASE)
            for value in project.call(use.site).arguments
        ):
            return True
    opener_function = project.resolver.owner_of(thing.site)
    for path, function in invoked_functions(project, reach):
        facts = project.code[path]
        for catch in function.catches:
            if {without_keys(name.rpartition(".")[2]) for name in catch.clears} & names:
                return True
            for number in function.calls:
                call = facts.calls[number]
                if call.in_except and catch.line <= call.line <= catch.end_line and _RECONNECT.search(call.name):
                    return True
                if call.in_except and call.name in {"sys.exit", "os._exit", "process.exit", "exit", "os.kill"}:
                    return True
        for number in function.calls:
            call = facts.calls[number]
            for guard in call.guards:
                last = guard.rpartition(".")[2]
                if last in STATE or last in PINGS or (path == thing.site.path and _AGE.search(guard)):
                    return True
            if _RECONNECT.search(call.name.rpartition(".")[2]) and any(_AGE.search(guard) for guard in call.guards):
                return True
    for number in project.code[thing.site.path].functions[opener_function].calls:
        call = project.code[thing.site.path].calls[number]
        if call.name.rpartition(".")[2] in {"on", "once"}:
            return True
    return any(
        decorator.partition(".")[0] in {"retry", "backoff", "tenacity", "retrying"} or "reconnect" in decorator
        for _, function in invoked_functions(project, reach)
        for decorator in function.decorators
    )


def kept_names(project: Project, opening: Opening) -> set[str]:
    """Return the last parts of the names that hold the kept thing (`connection` for `self.connection`)."""
    site = opening.thing.site
    facts = project.code[site.path]
    owner = project.resolver.owner_of(site)
    names = {name.rpartition(".")[2] for name in project.walker.stores(facts, owner, site.call)}
    if opening.kept_as:
        names.add(without_keys(opening.kept_as.rpartition(".")[2]))
    # What functions that return it are assigned to: `conn = get_connection()` at module level
    for path in {step.path for step in opening.chain} | {site.path}:
        for target, values in project.resolver.names_of(path).items():
            for value, scope in values:
                if isinstance(value, Name) and opening.thing in project.resolver.value(path, scope, value):
                    names.add(without_keys(target.rpartition(".")[2]))
    return names


def is_address(variable: str) -> bool:
    """Return whether a variable's name says that it holds a database's address."""
    return _ADDRESS.search(variable) is not None


def is_database(kind: Kind) -> bool:
    """Return whether the kind holds database connections."""
    return kind in {Kind.CONNECTION, Kind.POOL}

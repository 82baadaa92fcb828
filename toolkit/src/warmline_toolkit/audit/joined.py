"""Functions, as the template and the code together describe them: what rules about limits and events ask."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from warmline_toolkit.audit.evidence import is_rare_name, runs_rarely
from warmline_toolkit.audit.knowledge import Family, Kind
from warmline_toolkit.audit.templates import CLUSTER, INSTANCE, PROXY, Database, property_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.facts import Resource, TemplateFacts
    from warmline_toolkit.audit.reach import Opening, Reach

DEFAULT_ACCOUNT_CONCURRENCY = 1000
"""AWS's default regional quota of concurrent executions; an account's own may differ."""


@dataclass(frozen=True, slots=True)
class DatabaseFunction:
    """A function that uses a database. *targets* are the stack's databases or proxies its variables refer to."""

    template: TemplateFacts
    resource: Resource
    reach: Reach | None
    targets: tuple[tuple[str, Resource], ...]

    @property
    def name(self) -> str:
        """Return the function's name in the template."""
        return self.resource.name.removeprefix("aws_lambda_function.")

    @property
    def through_proxy(self) -> bool:
        """Return whether a variable refers to a proxy, or is named as one."""
        return any(target.type == PROXY for _, target in self.targets) or any(
            "PROXY" in variable.upper() for variable in (*self.variables, self.resource.name)
        )

    @property
    def variables(self) -> tuple[str, ...]:
        """Return the names of the function's environment variables."""
        environment = property_of(self.resource, "Environment.Variables")
        return tuple(name for name, _ in getattr(environment, "items", ()))

    @property
    def databases(self) -> tuple[tuple[str, Resource], ...]:
        """Return the databases that variables refer to directly, not through a proxy."""
        return tuple((variable, item) for variable, item in self.targets if item.type in {INSTANCE, CLUSTER})


def database_functions(project: Project) -> Iterator[DatabaseFunction]:
    """Yield every function of a template that demonstrably uses a database: by its code or by a reference."""
    reaches = {
        (handler.template.path, handler.resource.name): project.reach(handler)
        for handler in project.handlers
        if handler.template is not None and handler.resource is not None
    }
    for template, resource in project.deployment.functions:
        reach = reaches.get((template.path, resource.name))
        targets = tuple(project.deployment.connects_to(template, resource))
        if targets or (reach is not None and server_openings(project, reach)):
            yield DatabaseFunction(template, resource, reach, targets)


def server_openings(project: Project, reach: Reach) -> list[Opening]:
    """Return the openings that end at a database server."""
    return [
        opening
        for opening in reach.openings
        if opening.thing.opener.kind in {Kind.CONNECTION, Kind.POOL, Kind.MANAGED}
        and not project.is_local_file(opening.thing)
    ]


def connections_per_process(
    project: Project, function: DatabaseFunction, family: str | None
) -> tuple[int, str, Opening | None]:
    """Return how many connections one process of the function may open to a database, how that is known, and where."""
    if function.reach is None:
        return 1, "1 (its code is not in the tree)", None
    total, largest, most = 0, None, 0
    for opening in server_openings(project, function.reach):
        opener = opening.thing.opener
        if family and opener.family is not Family.ANY and opener.family.value != family:
            continue
        size = project.pool_size(opening.thing)
        count = size[0] if size is not None else 1
        total += count
        if count > most:
            largest, most = opening, count
    return max(1, total), str(max(1, total)), largest


def processes_per_environment(project: Project, function: DatabaseFunction) -> int:
    """Return how many processes an environment runs: more than one only for Python on Lambda Managed Instances."""
    path = "CapacityProviderConfig.LambdaManagedInstancesCapacityProviderConfig.PerExecutionEnvironmentMaxConcurrency"
    number = project.deployment.property_number(function.template, function.resource, path)
    runtime = project.deployment.text(function.template, function.resource.properties.get("Runtime")) or ""
    return int(number) if number and runtime.startswith("python") else 1


def concurrency_cap(project: Project, function: DatabaseFunction) -> tuple[int, str] | None:
    """Return the most environments the function can have and what caps them; None when nothing does."""
    deployment = project.deployment
    reserved = deployment.property_number(function.template, function.resource, "ReservedConcurrentExecutions")
    if reserved is not None and reserved >= 0:
        return int(reserved), "reserved concurrency"
    if function.reach is not None and runs_rarely(project, function.reach) is not None:
        return 1, "running rarely"
    if is_rare_name(function.resource.name):
        return 1, "running rarely"
    events = deployment.events(function.template, function.resource)
    if not events and function.template.language == "serverless":
        return 1, "being called by hand"  # the framework names every event; this function has none
    if events and all(event.kind in {"Schedule", "ScheduleV2"} for event in events):
        return 1, "a schedule"
    if events and all(event.kind == "SQS" for event in events):
        caps = [
            deployment.number(function.template, found)
            for event in events
            for scaling in [event.properties.get("ScalingConfig")]
            for found in [getattr(scaling, "get", lambda _: None)("MaximumConcurrency")]
        ]
        if caps and all(cap is not None for cap in caps):
            return int(sum(cap for cap in caps if cap is not None)), "the queue's MaximumConcurrency"
    return None


def database_of(project: Project, function: DatabaseFunction) -> list[Database]:
    """Return the databases of the stack that the function's variables refer to directly."""
    names = {resource.name for _, resource in function.databases}
    return [
        database
        for database in project.deployment.databases(function.template)
        if database.resource.name in names or any(member.name in names for member in database.members)
    ]

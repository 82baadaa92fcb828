"""The deployment that the templates describe: functions, databases, proxies and queues, and what refers to what."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from warmline_toolkit.audit.facts import Joined, Literal, Mapping, Name, Sequence, Value
from warmline_toolkit.audit.sources.cloudformation import FUNCTION

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.facts import Resource, TemplateFacts

INSTANCE = "AWS::RDS::DBInstance"
CLUSTER = "AWS::RDS::DBCluster"
PROXY = "AWS::RDS::DBProxy"
TARGETS = "AWS::RDS::DBProxyTargetGroup"
SYNCHRONOUS = frozenset({"Api", "HttpApi", "ALB", "WebSocket"})


@dataclass(frozen=True, slots=True)
class Database:
    """A database that a template creates. *instance_class* and *max_acu* are None when not written as a literal."""

    template: TemplateFacts
    resource: Resource
    engine: str | None
    instance_class: str | None
    min_acu: float | None
    max_acu: float | None
    members: tuple[Resource, ...] = ()

    @property
    def family(self) -> str | None:
        """Return "mysql" or "postgres", or None when the engine is not written."""
        if self.engine is None:
            return None
        return (
            "mysql"
            if "mysql" in self.engine or "maria" in self.engine
            else "postgres"
            if "postgres" in self.engine
            else None
        )


@dataclass(frozen=True, slots=True)
class EventSource:
    """What invokes a function: its kind (`SQS`, `Api`, …), its settings and where it is written."""

    kind: str
    properties: Mapping
    path: str
    line: int


class Deployment:
    """Answers what the templates say, one stack (a template, or a Terraform folder) at a time."""

    def __init__(self, templates: tuple[TemplateFacts, ...]) -> None:
        self.templates = templates
        self._stacks: dict[str, list[TemplateFacts]] = {}
        for template in templates:
            self._stacks.setdefault(stack_of(template), []).append(template)

    # Values

    def resolved(self, template: TemplateFacts, value: Value | None, depth: int = 0) -> Value | None:
        """Return *value* with parameters and locals replaced by their defaults; None when it is not there."""
        if isinstance(value, Name) and depth < 8:  # noqa: PLR2004 - defaults that refer to defaults end soon
            for name, default in template.parameters:
                if name == value.path:
                    return self.resolved(template, default, depth + 1)
        return value

    def number(self, template: TemplateFacts, value: Value | None) -> float | None:
        """Return the number that *value* is, also through a parameter's default; None when it is not certain."""
        found = self.resolved(template, value)
        if isinstance(found, Literal):
            if isinstance(found.value, bool) or found.value is None:
                return None
            try:
                return float(found.value)
            except ValueError:
                return None
        return None

    def text(self, template: TemplateFacts, value: Value | None) -> str | None:
        """Return the text that *value* is, also through a parameter's default; None when it is not certain."""
        found = self.resolved(template, value)
        return found.value if isinstance(found, Literal) and isinstance(found.value, str) else None

    def resources(self, template: TemplateFacts) -> Iterator[tuple[TemplateFacts, Resource]]:
        """Yield every resource of the stack that *template* belongs to."""
        for part in self._stacks[stack_of(template)]:
            for resource in part.resources:
                yield part, resource

    def referred(self, template: TemplateFacts, value: Value | None) -> list[Resource]:
        """Return the stack's resources that *value* refers to, through parameters and parts of strings."""
        known = {resource.name: resource for _, resource in self.resources(template)}
        found: dict[str, Resource] = {}
        for path in names_in(self.resolved(template, value)):
            resolved = self.resolved(template, Name(path))
            for inner in names_in(resolved):
                name = inner
                while name:
                    if name in known:
                        found[name] = known[name]
                        break
                    name = name.rpartition(".")[0]
        return list(found.values())

    # Functions

    @cached_property
    def functions(self) -> list[tuple[TemplateFacts, Resource]]:
        """Every function of every template."""
        return [(template, item) for template in self.templates for item in template.resources if item.type == FUNCTION]

    def environment(self, resource: Resource) -> Mapping:
        """Return the function's environment variables."""
        environment = resource.properties.get("Environment")
        variables = environment.get("Variables") if isinstance(environment, Mapping) else None
        return variables if isinstance(variables, Mapping) else Mapping((), open_ended=environment is not None)

    def property_number(self, template: TemplateFacts, resource: Resource, path: str) -> float | None:
        """Return the number at a dotted property path."""
        return self.number(template, property_of(resource, path))

    def timeout_s(self, template: TemplateFacts, resource: Resource) -> float | None:
        """Return the function's timeout; the platform's default is 3 s; None when it is not certain."""
        value = resource.properties.get("Timeout")
        if value is None:
            return None if resource.properties.open_ended else 3.0
        return self.number(template, value)

    def provisioned(self, template: TemplateFacts, resource: Resource) -> tuple[float, str, int] | None:
        """Return the function's provisioned concurrency with the path and line that set it."""
        path = "ProvisionedConcurrencyConfig.ProvisionedConcurrentExecutions"
        number = self.property_number(template, resource, path)
        if number:
            return number, template.path, resource.line_of(path)
        for part, other in self.resources(template):
            if other.type in {"Warmline::ProvisionedConcurrency", "AWS::Lambda::Alias", "AWS::Lambda::Version"}:
                key = "ProvisionedConcurrentExecutions" if other.type.startswith("Warmline") else path
                number = self.property_number(part, other, key)
                if number and resource in self.referred(part, other.properties.get("FunctionName")):
                    return number, part.path, other.line_of(key)
        return None

    def is_managed(self, resource: Resource) -> bool:
        """Return whether the function runs on Lambda Managed Instances (several requests an environment)."""
        return resource.properties.get("CapacityProviderConfig") is not None

    def snapstart(self, template: TemplateFacts, resource: Resource) -> int | None:
        """Return the line that turns SnapStart on, or None."""
        value = property_of(resource, "SnapStart.ApplyOn")
        return resource.line_of("SnapStart") if self.text(template, value) == "PublishedVersions" else None

    def events(self, template: TemplateFacts, resource: Resource) -> list[EventSource]:
        """Return what invokes the function: its own events, event source mappings and gateway integrations."""
        found = []
        events = resource.properties.get("Events")
        for key, event in events.items if isinstance(events, Mapping) else ():
            if isinstance(event, Mapping):
                kind = event.get("Type")
                properties = event.get("Properties")
                found.append(
                    EventSource(
                        kind=str(kind.value) if isinstance(kind, Literal) else "?",
                        properties=properties if isinstance(properties, Mapping) else Mapping(()),
                        path=template.path,
                        line=resource.line_of(f"Events.{key}"),
                    )
                )
        for part, other in self.resources(template):
            kind_and_reference = _event_kind(other)
            if kind_and_reference is None:
                continue
            kind_name, reference = kind_and_reference
            if resource in self.referred(part, reference):
                if other.type == "AWS::Lambda::EventSourceMapping":
                    queues = self.referred(part, other.properties.get("EventSourceArn"))
                    text = self.text(part, other.properties.get("EventSourceArn")) or ""
                    kind_name = (
                        "SQS" if any(item.type == "AWS::SQS::Queue" for item in queues) or ":sqs:" in text else "Stream"
                    )
                found.append(EventSource(kind_name, other.properties, part.path, other.line))
        return found

    # Databases

    def databases(self, template: TemplateFacts) -> list[Database]:
        """Return the databases of the stack: clusters with their instances, and instances of their own."""
        found = []
        items = list(self.resources(template))
        members: dict[str, list[tuple[TemplateFacts, Resource]]] = {}
        for part, resource in items:
            if resource.type == INSTANCE:
                for cluster in self.referred(part, resource.properties.get("DBClusterIdentifier")):
                    members.setdefault(cluster.name, []).append((part, resource))
        joined = {id(resource) for group in members.values() for _, resource in group}
        for part, resource in items:
            if resource.type == CLUSTER:
                inner = members.get(resource.name, [])
                classes = {self.text(owner, item.properties.get("DBInstanceClass")) for owner, item in inner}
                found.append(
                    self._database(
                        part, resource, classes.pop() if len(classes) == 1 else None, tuple(item for _, item in inner)
                    )
                )
            elif (
                resource.type == INSTANCE
                and id(resource) not in joined
                and resource.properties.get("DBClusterIdentifier") is None
            ):
                found.append(
                    self._database(part, resource, self.text(part, resource.properties.get("DBInstanceClass")), ())
                )
        return found

    def _database(
        self, template: TemplateFacts, resource: Resource, instance_class: str | None, members: tuple[Resource, ...]
    ) -> Database:
        return Database(
            template=template,
            resource=resource,
            engine=self.text(template, resource.properties.get("Engine")),
            instance_class=instance_class,
            min_acu=self.property_number(template, resource, "ServerlessV2ScalingConfiguration.MinCapacity"),
            max_acu=self.property_number(template, resource, "ServerlessV2ScalingConfiguration.MaxCapacity"),
            members=members,
        )

    def connects_to(self, template: TemplateFacts, resource: Resource) -> list[tuple[str, Resource]]:
        """Return (variable, database or proxy) for the function's variables that refer to one of the stack."""
        found: list[tuple[str, Resource]] = []
        for variable, value in self.environment(resource).items:
            targets = self.referred(template, value)
            found.extend((variable, target) for target in targets if target.type in {INSTANCE, CLUSTER, PROXY})
        return found

    def proxies(self, template: TemplateFacts) -> list[tuple[TemplateFacts, Resource]]:
        """Return the RDS proxies of the stack."""
        return [(part, item) for part, item in self.resources(template) if item.type == PROXY]

    def proxied(self, template: TemplateFacts, proxy: Resource) -> list[Resource]:
        """Return the databases behind a proxy."""
        found: list[Resource] = []
        for part, group in self.resources(template):
            if group.type == TARGETS and (
                proxy in self.referred(part, group.properties.get("DBProxyName"))
                or self.text(part, group.properties.get("DBProxyName"))
                == self.text(template, proxy.properties.get("DBProxyName"))
                is not None
            ):
                for key in ("DBInstanceIdentifiers", "DBClusterIdentifiers"):
                    found.extend(self.referred(part, group.properties.get(key)))
        return found


def stack_of(template: TemplateFacts) -> str:
    """Return what groups templates that are deployed together: the folder for Terraform, else the template itself."""
    return f"terraform:{template.base}" if template.language == "terraform" else template.path


def property_of(resource: Resource, path: str) -> Value | None:
    """Return the property at a dotted path, or None."""
    current: Value | None = resource.properties
    for part in path.split("."):
        current = current.get(part) if isinstance(current, Mapping) else None
    return current


def _event_kind(resource: Resource) -> tuple[str, Value | None] | None:
    match resource.type:
        case "AWS::Lambda::EventSourceMapping":
            return "SQS", resource.properties.get("FunctionName")
        case "AWS::ApiGateway::Method":
            return "Api", property_of(resource, "Integration.Uri")
        case "AWS::ApiGatewayV2::Integration":
            return "HttpApi", resource.properties.get("IntegrationUri")
        case "AWS::SNS::Subscription":
            return "SNS", resource.properties.get("Endpoint")
        case _:
            return None


def names_in(value: Value | None) -> list[str]:
    """Return every dotted name in a value."""
    match value:
        case Name(path=path):
            return [path]
        case Joined(parts=parts):
            return [name for part in parts for name in names_in(part)]
        case Sequence(items=items):
            return [name for item in items for name in names_in(item)]
        case Mapping(items=entries):
            return [name for _, item in entries for name in names_in(item)]
        case _:
            return []

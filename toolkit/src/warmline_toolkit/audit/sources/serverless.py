"""Serverless Framework files to facts: functions become function resources, `resources` are CloudFormation."""

from __future__ import annotations

import posixpath
import re

import yaml

from warmline_toolkit.audit.facts import Joined, Literal, Mapping, Resource, Sequence, TemplateFacts, Unreadable, Value
from warmline_toolkit.audit.sources.cloudformation import FUNCTION, merged, resources_of
from warmline_toolkit.audit.sources.comments import ignores_in
from warmline_toolkit.audit.sources.marked_yaml import Converter, child, compose, entries, line_of

_DEFAULT_TIMEOUT_S = 6
_VARIABLE = re.compile(r"\$\{([^${}]+)\}")
_KEYS = {
    "timeout": "Timeout",
    "memorySize": "MemorySize",
    "reservedConcurrency": "ReservedConcurrentExecutions",
    "runtime": "Runtime",
    "layers": "Layers",
    "vpc": "VpcConfig",
    "handler": "Handler",
    "onError": "DeadLetterConfig",
}
_EVENTS = {
    "http": "Api",
    "httpApi": "HttpApi",
    "sqs": "SQS",
    "schedule": "Schedule",
    "sns": "SNS",
    "stream": "Stream",
    "kafka": "Stream",
    "msk": "Stream",
    "s3": "S3",
    "eventBridge": "EventBridgeRule",
    "alb": "ALB",
    "websocket": "WebSocket",
}
_DEEPEST = 8


def read_serverless(path: str, text: str) -> TemplateFacts | Unreadable:
    """Return the facts of the serverless.yml *path*, or why it cannot be parsed."""
    try:
        root = compose(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        return Unreadable(
            path, f"not parsable as YAML: {getattr(error, 'problem', error)}", (mark.line + 1) if mark else 1
        )
    variables = _Variables(Converter().value(root) if root is not None else Mapping(()))
    provider = variables.resolved(_converted(child(root, "provider")))
    inherited = _function_properties(provider if isinstance(provider, Mapping) else Mapping(()), own=False)
    resources = []
    for name, key, node in _functions(child(root, "functions")):
        converter = Converter()
        own = variables.resolved(converter.value(node))
        if isinstance(own, Mapping):
            properties = merged(inherited, _function_properties(own, own=True))
            lines = tuple((_renamed(line_path), line) for line_path, line in converter.lines)
            resources.append(Resource(name=name, type=FUNCTION, line=line_of(key), properties=properties, lines=lines))
    declared = child(root, "resources", "Resources")
    resources.extend(
        Resource(
            item.name,
            item.type,
            item.line,
            _as_mapping(variables.resolved(item.properties)),
            item.lines,
            item.condition,
        )
        for item in resources_of(declared, Mapping(()))
    )
    return TemplateFacts(
        path=path,
        language="serverless",
        base=posixpath.dirname(path),
        resources=tuple(resources),
        ignores=ignores_in(text),
    )


def _functions(node: yaml.Node | None) -> list[tuple[str, yaml.Node, yaml.Node]]:
    if isinstance(node, yaml.SequenceNode):
        return [entry for item in node.value for entry in entries(item)]
    return entries(node)


def _converted(node: yaml.Node | None) -> Value:
    return Converter().value(node) if node is not None else Mapping(())


def _as_mapping(value: Value) -> Mapping:
    return value if isinstance(value, Mapping) else Mapping((), open_ended=True)


def _renamed(path: str) -> str:
    first, _, rest = path.partition(".")
    if first == "environment":
        return f"Environment.Variables.{rest}" if rest else "Environment"
    if first == "events":
        return f"Events.{rest}" if rest else "Events"
    if first == "snapStart":
        return "SnapStart"
    if first == "provisionedConcurrency":
        return "ProvisionedConcurrencyConfig"
    return f"{_KEYS.get(first, first)}.{rest}" if rest else _KEYS.get(first, first)


def _function_properties(own_values: Mapping, *, own: bool) -> Mapping:
    items: dict[str, Value] = {} if own else {"Timeout": Literal(_DEFAULT_TIMEOUT_S)}
    for key, value in own_values.items:
        match key:
            case "environment":
                items["Environment"] = (
                    Mapping((("Variables", value),)) if isinstance(value, Mapping) else Mapping((), open_ended=True)
                )
            case "provisionedConcurrency" if own:
                items["ProvisionedConcurrencyConfig"] = Mapping((("ProvisionedConcurrentExecutions", value),))
            case "snapStart" if own:
                items["SnapStart"] = (
                    Mapping((("ApplyOn", Literal("PublishedVersions")),))
                    if value == Literal(value=True)
                    else Mapping(())
                )
            case "events" if own:
                items["Events"] = _events(value)
            case "reservedConcurrency" if not own:
                pass
            case _ if key in _KEYS and (own or key != "handler"):
                items[_KEYS[key]] = value
    return Mapping(tuple(items.items()), open_ended=own_values.open_ended)


def _events(value: Value) -> Mapping:
    found: list[tuple[str, Value]] = []
    for index, event in enumerate(value.items if isinstance(value, Sequence) else ()):
        if not isinstance(event, Mapping) or not event.items:
            continue
        kind, settings = event.items[0]
        properties = _renamed_event(settings) if isinstance(settings, Mapping) else Mapping((), open_ended=True)
        found.append((str(index), Mapping((("Type", Literal(_EVENTS.get(kind, kind))), ("Properties", properties)))))
    return Mapping(tuple(found))


def _renamed_event(settings: Mapping) -> Mapping:
    items: list[tuple[str, Value]] = []
    for key, value in settings.items:
        if key == "maximumConcurrency":
            items.append(("ScalingConfig", Mapping((("MaximumConcurrency", value),))))
        elif key == "arn":
            items.append(("Queue", value))
        else:
            items.append((key[:1].upper() + key[1:], value))
    return Mapping(tuple(items), open_ended=settings.open_ended)


class _Variables:
    """Resolves `${self:…}`; other sources (env, ssm, opt, file) stay as text parts, which prove nothing."""

    def __init__(self, root: Value) -> None:
        self.root = root

    def resolved(self, value: Value, depth: int = 0) -> Value:
        match value:
            case Literal(value=str() as text) if "${" in text:
                return self._text(text, depth)
            case Mapping(items=items, open_ended=open_ended):
                return Mapping(tuple((key, self.resolved(item, depth)) for key, item in items), open_ended=open_ended)
            case Sequence(items=items, alternatives=alternatives):
                return Sequence(tuple(self.resolved(item, depth) for item in items), alternatives=alternatives)
            case _:
                return value

    def _text(self, text: str, depth: int) -> Value:
        whole = _VARIABLE.fullmatch(text.strip())
        if whole is None or depth > _DEEPEST:
            return Joined((Literal(text),))
        reference, _, fallback = whole[1].partition(",")
        if not reference.startswith("self:"):
            plain = fallback.strip().strip("'\"")
            # The default of an option is a value only if the option is not given: cannot tell
            return Joined((Literal(text),)) if not plain else Joined((Literal(text), Literal(plain)))
        current: Value | None = self.root
        for part in reference[5:].strip().split("."):
            current = current.get(part) if isinstance(current, Mapping) else None
        return self.resolved(current, depth + 1) if current is not None else Joined((Literal(text),))

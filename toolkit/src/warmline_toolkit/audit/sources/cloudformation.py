"""CloudFormation and SAM templates to facts; SAM's functions and globals become plain function resources."""

from __future__ import annotations

import posixpath

import yaml

from warmline_toolkit.audit.facts import UNKNOWN, Literal, Mapping, Resource, TemplateFacts, Unreadable, Value
from warmline_toolkit.audit.sources.comments import ignores_in
from warmline_toolkit.audit.sources.marked_yaml import Converter, child, compose, entries, line_of

FUNCTION = "AWS::Lambda::Function"
_SAM_FUNCTION = "AWS::Serverless::Function"
_MERGED = frozenset({"Environment", "VpcConfig", "Tags", "Layers"})


def read_cloudformation(path: str, text: str) -> TemplateFacts | Unreadable:
    """Return the facts of the CloudFormation or SAM template *path* (YAML or JSON), or why it cannot be parsed."""
    try:
        root = compose(text)
    except yaml.YAMLError as error:
        if "{%" in text or "{{" in text.replace("{{resolve:", ""):
            return TemplateFacts(path, "cloudformation", posixpath.dirname(path), ())  # a template of templates
        mark = getattr(error, "problem_mark", None)
        return Unreadable(
            path, f"not parsable as YAML: {getattr(error, 'problem', error)}", (mark.line + 1) if mark else 1
        )
    defaults = child(root, "Globals", "Function")
    global_values = Converter()
    inherited = global_values.value(defaults) if defaults is not None else Mapping(())
    return TemplateFacts(
        path=path,
        language="cloudformation",
        base=posixpath.dirname(path),
        resources=tuple(
            resources_of(child(root, "Resources"), inherited if isinstance(inherited, Mapping) else Mapping(()))
        ),
        parameters=tuple(
            (name, converted.value(default) if (default := child(node, "Default")) is not None else UNKNOWN)
            for name, _, node in entries(child(root, "Parameters"))
            for converted in (Converter(),)
        ),
        ignores=ignores_in(text),
    )


def resources_of(node: yaml.Node | None, inherited: Mapping) -> list[Resource]:
    """Return the resources of a `Resources` node; *inherited* is SAM's Globals.Function."""
    found = []
    for name, key, body in entries(node):
        kind = child(body, "Type")
        if not isinstance(kind, yaml.ScalarNode):
            continue
        converter = Converter()
        properties_node = child(body, "Properties")
        properties = converter.value(properties_node) if properties_node is not None else Mapping(())
        if not isinstance(properties, Mapping):
            properties = Mapping((), open_ended=True)
        type_name = str(kind.value)
        if type_name == _SAM_FUNCTION:
            properties, type_name = merged(inherited, properties), FUNCTION
        elif type_name == FUNCTION:
            properties = _with_code_folder(properties)
        condition = child(body, "Condition")
        found.append(
            Resource(
                name=name,
                type=type_name,
                line=line_of(key),
                properties=properties,
                lines=tuple(converter.lines),
                condition=str(condition.value) if isinstance(condition, yaml.ScalarNode) else None,
            )
        )
    return found


def merged(inherited: Mapping, own: Mapping) -> Mapping:
    """Return *own* with what it inherits: maps are merged, everything else is replaced, as SAM does."""
    items: dict[str, Value] = dict(inherited.items)
    for key, value in own.items:
        outer = items.get(key)
        if key in _MERGED and isinstance(outer, Mapping) and isinstance(value, Mapping):
            items[key] = _deep(outer, value)
        else:
            items[key] = value
    return Mapping(tuple(items.items()), open_ended=own.open_ended)


def _deep(outer: Mapping, inner: Mapping) -> Mapping:
    items: dict[str, Value] = dict(outer.items)
    for key, value in inner.items:
        before = items.get(key)
        items[key] = _deep(before, value) if isinstance(before, Mapping) and isinstance(value, Mapping) else value
    return Mapping(tuple(items.items()), open_ended=inner.open_ended or outer.open_ended)


def _with_code_folder(properties: Mapping) -> Mapping:
    """`aws cloudformation package` takes a local folder as Code; S3 code has no folder here."""
    code = properties.get("Code")
    if isinstance(code, Literal):
        return Mapping((*properties.items, ("CodeUri", code)), open_ended=properties.open_ended)
    return properties

"""YAML and JSON with line marks: CloudFormation's tags become values, every property keeps its line."""

from __future__ import annotations

import re

import yaml

from warmline_toolkit.audit.facts import UNKNOWN, Joined, Literal, Mapping, Name, Sequence, Value

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_SUB = re.compile(r"\$\{(!?)([^}]+)\}")
_INTEGER = re.compile(r"[-+]?[0-9]+$")
_FLOAT = re.compile(r"[-+]?[0-9]*\.[0-9]+$")


def compose(text: str) -> yaml.Node | None:
    """Return the document's node tree; raises `yaml.YAMLError` when it is none."""
    root = yaml.compose(text.replace("\t", "  ") if text.lstrip().startswith("{") else text, Loader=_LOADER)
    return root if isinstance(root, yaml.Node) else None


def entries(node: yaml.Node | None) -> list[tuple[str, yaml.Node, yaml.Node]]:
    """Return (key, key node, value node) of a mapping node; anything else has none."""
    if not isinstance(node, yaml.MappingNode):
        return []
    return [(str(key.value), key, value) for key, value in node.value if isinstance(key, yaml.ScalarNode)]


def child(node: yaml.Node | None, *path: str) -> yaml.Node | None:
    """Return the node at *path* below *node*, or None."""
    for part in path:
        node = next((value for key, _, value in entries(node) if key == part), None)
    return node


def line_of(node: yaml.Node) -> int:
    """Return the node's line, from 1."""
    return int(node.start_mark.line) + 1


class Converter:
    """Turns nodes into values and remembers the line of every dotted property path."""

    def __init__(self) -> None:
        self.lines: list[tuple[str, int]] = []

    def value(self, node: yaml.Node, path: str = "") -> Value:
        """Return the value of *node*, which stands at the property *path*."""
        if node.tag.startswith("!") and not node.tag.startswith("tag:"):
            return self._tagged(node.tag[1:], node, path)
        if isinstance(node, yaml.ScalarNode):
            return scalar(node)
        if isinstance(node, yaml.SequenceNode):
            return Sequence(tuple(self.value(item, f"{path}.{index}") for index, item in enumerate(node.value)))
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        return UNKNOWN

    def _mapping(self, node: yaml.MappingNode, path: str) -> Value:
        known = entries(node)
        if len(known) == 1:
            key, _, inner = known[0]
            if key == "Ref" or key.startswith("Fn::"):
                return self._tagged(key.removeprefix("Fn::"), inner, path)
        items: list[tuple[str, Value]] = []
        for key, key_node, inner in known:
            below = f"{path}.{key}" if path else key
            self.lines.append((below, line_of(key_node)))
            if key == "<<" and isinstance(inner, yaml.MappingNode):
                merged = self._mapping(inner, path)
                items.extend(merged.items if isinstance(merged, Mapping) else ())
            else:
                items.append((key, self.value(inner, below)))
        return Mapping(tuple(items))

    def _tagged(self, tag: str, node: yaml.Node, path: str) -> Value:
        match tag:
            case "Ref":
                return Name(str(node.value)) if isinstance(node, yaml.ScalarNode) else UNKNOWN
            case "GetAtt":
                if isinstance(node, yaml.ScalarNode):
                    return Name(str(node.value))
                if isinstance(node, yaml.SequenceNode) and all(
                    isinstance(item, yaml.ScalarNode) for item in node.value
                ):
                    return Name(".".join(str(item.value) for item in node.value))
                return UNKNOWN
            case "Sub":
                text = node.value[0] if isinstance(node, yaml.SequenceNode) and node.value else node
                return substituted(str(text.value)) if isinstance(text, yaml.ScalarNode) else UNKNOWN
            case "Join":
                if isinstance(node, yaml.SequenceNode) and len(node.value) == 2:  # noqa: PLR2004 - Fn::Join has two arguments
                    parts = self.value(node.value[1], path)
                    return Joined(parts.items) if isinstance(parts, Sequence) else UNKNOWN
                return UNKNOWN
            case "If":
                if isinstance(node, yaml.SequenceNode) and len(node.value) == 3:  # noqa: PLR2004 - Fn::If has three
                    return Sequence(tuple(self.value(item, path) for item in node.value[1:]), alternatives=True)
                return UNKNOWN
            case _:
                return UNKNOWN


def scalar(node: yaml.ScalarNode) -> Value:
    """Return a scalar as the literal that CloudFormation would read; quoted text stays text."""
    text = str(node.value)
    if node.style in {"'", '"', "|", ">"}:
        return Literal(text)
    if text.lower() in {"true", "false"}:
        return Literal(text.lower() == "true")
    if text in {"", "~", "null"}:
        return Literal(None)
    if _INTEGER.match(text):
        return Literal(int(text))
    return Literal(float(text)) if _FLOAT.match(text) else Literal(text)


def substituted(text: str) -> Value:
    """Return what `Fn::Sub` of *text* is: a name if it is one reference, else its parts."""
    whole = _SUB.fullmatch(text)
    if whole and not whole[1]:
        return Name(whole[2])
    parts: list[Value] = []
    position = 0
    for match in _SUB.finditer(text):
        if match.start() > position:
            parts.append(Literal(text[position : match.start()]))
        parts.append(Literal(match[0]) if match[1] else Name(match[2]))
        position = match.end()
    if position < len(text):
        parts.append(Literal(text[position:]))
    return Joined(tuple(parts)) if len(parts) != 1 else parts[0]

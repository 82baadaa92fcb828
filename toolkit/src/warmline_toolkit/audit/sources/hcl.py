"""A small reader of Terraform's language (HCL 2): blocks, attributes and expressions, each with its line.

Why not python-hcl2: loading it builds its parser for 1 to 6 seconds, and it gives no lines for attributes. What this
reader does not understand becomes `Unknown`; a broken file raises `HclError` with its line.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from warmline_toolkit.audit.facts import UNKNOWN, Joined, Literal, Mapping, Name, Sequence, Value

_TOKEN = re.compile(
    r"""(?P<space>[ \t\r]+|\#[^\n]*|//[^\n]*|/\*.*?\*/)
    |(?P<newline>\n)
    |(?P<heredoc><<[-~]?(?P<mark>\w+)[ \t]*\n)
    |(?P<number>\d+(?:\.\d+)?(?:[eE][-+]?\d+)?)
    |(?P<name>[A-Za-z_][\w-]*)
    |(?P<quote>")
    |(?P<operator>=>|==|!=|<=|>=|&&|\|\||\.\.\.|[-+*/%!<>?:=.,{}()\[\]&|])""",
    re.VERBOSE | re.DOTALL,
)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "\\": "\\"}
_SAME_VALUE = frozenset(
    {
        "jsonencode",
        "jsondecode",
        "tostring",
        "tonumber",
        "tobool",
        "sensitive",
        "nonsensitive",
        "try",
        "tolist",
        "toset",
        "tomap",
        "one",
    }
)


class HclError(ValueError):
    """The text is not HCL; *line* says where reading stopped."""

    def __init__(self, what: str, line: int) -> None:
        super().__init__(f"{what} in line {line}")
        self.line = line


@dataclass(slots=True)
class Block:
    """A block: its type, labels, attributes (with lines) and inner blocks."""

    type: str
    labels: tuple[str, ...]
    line: int
    attributes: dict[str, tuple[Value, int]] = field(default_factory=dict)
    blocks: list[Block] = field(default_factory=list)

    def value(self, name: str) -> Value | None:
        """Return the attribute *name*, or None."""
        found = self.attributes.get(name)
        return found[0] if found else None

    def inner(self, kind: str) -> Block | None:
        """Return the first inner block of the type *kind*, or None."""
        return next((block for block in self.blocks if block.type == kind), None)


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    line: int
    value: Value | None = None


def read_hcl(text: str) -> Block:
    """Return the whole text as one block; raises `HclError`."""
    reader = _Parser(_tokens(text))
    root = Block("", (), 1)
    reader.body(root, end="")
    return root


def _tokens(text: str, line: int = 1) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            raise HclError(f"unexpected {text[position]!r}", line)
        kind = match.lastgroup or ""
        token_text = match[0]
        position = match.end()
        if match["heredoc"] is not None:
            end = re.compile(rf"^[ \t]*{re.escape(match['mark'])}[ \t]*$", re.MULTILINE).search(text, position)
            if end is None:
                raise HclError(f"heredoc {match['mark']} without end", line)
            tokens.append(_Token("string", "", line, _template(text[position : end.start()], line + 1)))
            line += text.count("\n", match.start(), end.end())
            position = end.end()
        elif match["quote"] is not None:
            end_position = _string_end(text, position, line)
            tokens.append(
                _Token("string", text[position:end_position], line, _template(text[position:end_position], line))
            )
            line += text.count("\n", position, end_position)
            position = end_position + 1
        elif match["newline"] is not None:
            tokens.append(_Token("newline", "\n", line))
            line += 1
        elif match["space"] is not None:
            line += token_text.count("\n")
        else:
            tokens.append(_Token(kind, token_text, line))
    tokens.append(_Token("end", "", line))
    return tokens


def _string_end(text: str, position: int, line: int) -> int:
    depth = 0
    while position < len(text):
        character = text[position]
        if character == "\\" and depth == 0:
            position += 1
        elif text.startswith(("${", "%{"), position):
            depth += 1
            position += 1
        elif character == "{" and depth:
            depth += 1
        elif character == "}" and depth:
            depth -= 1
        elif character == '"':
            if depth == 0:
                return position
            position = _string_end(text, position + 1, line)
        position += 1
    raise HclError("string without end", line)


def _template(text: str, line: int) -> Value:
    """Return the value of a quoted template: a literal, one expression, or parts."""
    if "${" not in text and "%{" not in text:
        return Literal(_unescaped(text))
    parts: list[Value] = []
    position = 0
    while True:
        starts = [found for found in (text.find("${", position), text.find("%{", position)) if found >= 0]
        if not starts:
            break
        start = min(starts)
        if text[max(0, start - 1) : start] in {"$", "%"}:
            position = start + 2
            parts.append(Literal(text[start:position]))
            continue
        if start > position:
            parts.append(Literal(_unescaped(text[position:start])))
        end = _brace_end(text, start + 2, line)
        inner = text[start + 2 : end].strip().strip("~")
        parts.append(_Parser(_tokens(inner, line)).expression() if text[start] == "$" else UNKNOWN)
        position = end + 1
    if position < len(text):
        parts.append(Literal(_unescaped(text[position:])))
    return parts[0] if len(parts) == 1 else Joined(tuple(parts))


def _brace_end(text: str, position: int, line: int) -> int:
    depth = 1
    while position < len(text):
        if text[position] == '"':
            position = _string_end(text, position + 1, line)
        elif text[position] == "{":
            depth += 1
        elif text[position] == "}":
            depth -= 1
            if depth == 0:
                return position
        position += 1
    raise HclError("interpolation without end", line)


def _unescaped(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), text) if "\\" in text else text


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self.tokens = tokens
        self.position = 0

    @property
    def token(self) -> _Token:
        return self.tokens[self.position]

    def take(self) -> _Token:
        token = self.tokens[self.position]
        self.position = min(self.position + 1, len(self.tokens) - 1)
        return token

    def skip_newlines(self) -> None:
        while self.token.kind == "newline":
            self.position += 1

    def expect(self, text: str) -> _Token:
        token = self.take()
        if token.text != text:
            raise HclError(f"expected {text!r}, found {token.text!r}", token.line)
        return token

    def body(self, block: Block, *, end: str) -> None:
        while True:
            self.skip_newlines()
            token = self.take()
            if token.kind == "end" or (end and token.text == end):
                if end and token.kind == "end":
                    raise HclError(f"block {block.type} without end", block.line)
                return
            if token.kind not in {"name", "string"}:
                raise HclError(f"unexpected {token.text!r}", token.line)
            if self.token.text == "=":
                self.take()
                block.attributes[token.text] = (self.expression(), token.line)
                continue
            labels = []
            while self.token.kind in {"name", "string"}:
                labels.append(self.take().text)
            self.expect("{")
            inner = Block(token.text, tuple(labels), token.line)
            self.body(inner, end="}")
            if inner.type == "dynamic" and inner.labels:
                # What a dynamic block makes is not known; that it exists is
                inner = Block(inner.labels[0], (), inner.line, {"*": (UNKNOWN, inner.line)})
            block.blocks.append(inner)

    def expression(self) -> Value:
        self.skip_newlines()
        value = self.operand()
        mixed = False
        while self.token.kind == "operator" and self.token.text in {
            "+",
            "-",
            "*",
            "/",
            "%",
            "==",
            "!=",
            "<",
            ">",
            "<=",
            ">=",
            "&&",
            "||",
        }:
            operator = self.take().text
            self.skip_newlines()
            right = self.operand()
            value = _folded(value, operator, right)
            mixed = True
        if self.token.text == "?":
            self.take()
            first = self.expression()
            self.skip_newlines()
            self.expect(":")
            second = self.expression()
            return Sequence((first, second), alternatives=True)
        return value if not mixed or isinstance(value, Literal) else UNKNOWN

    def operand(self) -> Value:
        token = self.take()
        match token.kind, token.text:
            case "number", text:
                return self.postfix(Literal(float(text) if "." in text or "e" in text.lower() else int(text)))
            case "string", _:
                return self.postfix(token.value or UNKNOWN)
            case "operator", "-" | "!":
                value = self.operand()
                if token.text == "-" and isinstance(value, Literal) and isinstance(value.value, int | float):
                    return Literal(-value.value)
                return UNKNOWN
            case "operator", "(":
                value = self.expression()
                self.skip_newlines()
                self.expect(")")
                return self.postfix(value)
            case "operator", "[":
                return self.postfix(self.list_or_for())
            case "operator", "{":
                return self.postfix(self.object_or_for())
            case "name", name:
                return self.named(name)
            case _:
                raise HclError(f"unexpected {token.text!r}", token.line)

    def named(self, name: str) -> Value:
        if name in {"true", "false"}:
            return Literal(name == "true")
        if name == "null":
            return Literal(None)
        if self.token.text == "(":
            self.take()
            arguments = self.items(")")
            if name == "merge":
                items = tuple(
                    item for argument in arguments if isinstance(argument, Mapping) for item in argument.items
                )
                return self.postfix(
                    Mapping(items, open_ended=not all(isinstance(argument, Mapping) for argument in arguments))
                )
            if name in _SAME_VALUE and arguments:
                return self.postfix(arguments[0])
            return self.postfix(Joined(tuple(arguments)))
        return self.postfix(Name(name))

    def postfix(self, value: Value) -> Value:
        while True:
            if self.token.text == ".":
                self.take()
                part = self.take().text
                value = Name(f"{value.path}.{part}") if isinstance(value, Name) and part != "*" else value
            elif self.token.text == "[":
                self.take()
                if self.token.text == "*":
                    self.take()
                    self.expect("]")
                    continue
                self.expression()
                self.skip_newlines()
                self.expect("]")
            elif self.token.text == "...":
                self.take()
            else:
                return value

    def items(self, end: str) -> list[Value]:
        found: list[Value] = []
        while True:
            self.skip_newlines()
            if self.token.text == end:
                self.take()
                return found
            if self.token.kind == "end":
                raise HclError(f"{end!r} is missing", self.token.line)
            found.append(self.expression())
            self.skip_newlines()
            if self.token.text == ",":
                self.take()

    def list_or_for(self) -> Value:
        self.skip_newlines()
        if self.token.text == "for":
            self.skip_to("]", "[")
            return UNKNOWN
        return Sequence(tuple(self.items("]")))

    def object_or_for(self) -> Value:
        self.skip_newlines()
        if self.token.text == "for":
            self.skip_to("}", "{")
            return Mapping((), open_ended=True)
        items: list[tuple[str, Value]] = []
        open_ended = False
        while True:
            self.skip_newlines()
            if self.token.text == "}":
                self.take()
                return Mapping(tuple(items), open_ended=open_ended)
            key = self.take()
            if key.kind == "end":
                raise HclError("'}' is missing", key.line)
            name = key.text
            if key.text == "(":
                self.expression()
                self.expect(")")
                open_ended, name = True, ""
            while self.token.text not in {"=", ":"}:
                if self.take().kind == "end":
                    raise HclError("object without value", key.line)
                open_ended, name = True, ""
            self.take()
            value = self.expression()
            if name:
                items.append((name, value))
            self.skip_newlines()
            if self.token.text == ",":
                self.take()

    def skip_to(self, end: str, opening: str) -> None:
        depth = 1
        while depth:
            token = self.take()
            if token.kind == "end":
                raise HclError(f"{end!r} is missing", token.line)
            depth += (token.text == opening and token.kind == "operator") - (
                token.text == end and token.kind == "operator"
            )


def _folded(left: Value, operator: str, right: Value) -> Value:
    if isinstance(left, Literal) and isinstance(right, Literal):
        a, b = left.value, right.value
        if isinstance(a, int | float) and isinstance(b, int | float) and operator in {"*", "+", "-"}:
            return Literal(a * b if operator == "*" else a + b if operator == "+" else a - b)
    return UNKNOWN

"""What a file says, in one shape for every language: small frozen values that cross process boundaries.

A source module (sources/*.py) turns text into these; project.py joins them; rules read only these. Nothing here keeps
the text or a syntax tree, so that thousands of files stay small.
"""

from __future__ import annotations

from dataclasses import dataclass, field

CALL_HEAD = "<"
"""A dotted path that starts with `<7>` starts at the result of the file's call number 7."""


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value the file does not show."""


@dataclass(frozen=True, slots=True)
class Literal:
    """A number, a string, True, False or None, as written."""

    value: str | int | float | bool | None


@dataclass(frozen=True, slots=True)
class Name:
    """A dotted path (`pool`, `self.connection`, `<3>.close`), as written, unresolved."""

    path: str


@dataclass(frozen=True, slots=True)
class Env:
    """The value of an environment variable; *default* is the literal used when it is not set."""

    variable: str
    default: str | int | None = None


@dataclass(frozen=True, slots=True)
class Sequence:
    """A list, a tuple, or the alternatives of a conditional expression."""

    items: tuple[Value, ...]
    alternatives: bool = False


@dataclass(frozen=True, slots=True)
class Mapping:
    """A dict or object literal. *open_ended* when something is spread into it, so that a missing key proves nothing."""

    items: tuple[tuple[str, Value], ...]
    open_ended: bool = False

    def get(self, key: str) -> Value | None:
        """Return the value of *key*, or None when it is not written here."""
        return next((value for name, value in self.items if name == key), None)


@dataclass(frozen=True, slots=True)
class Joined:
    """A string made of parts: f-string, template literal, Fn::Sub, concatenation."""

    parts: tuple[Value, ...]


Value = Unknown | Literal | Name | Env | Sequence | Mapping | Joined
UNKNOWN = Unknown()


@dataclass(frozen=True, slots=True)
class Call:
    """One call, with what stands around it.

    *guards* are the dotted names whose truth decides whether the call runs: conditions around it and early returns
    before it in the same function. *target* is the name that holds the result; *entered* says it is the subject of a
    `with`; *within* lists the calls whose `with` block the call stands in.
    """

    name: str
    line: int
    column: int
    end_line: int
    arguments: tuple[Value, ...] = ()
    keywords: tuple[tuple[str, Value], ...] = ()
    target: str | None = None
    guards: frozenset[str] = frozenset()
    within: tuple[int, ...] = ()
    entered: bool = False
    in_finally: bool = False
    in_except: bool = False
    in_try: bool = False
    in_loop: bool = False
    returned: bool = False
    open_ended: bool = False
    is_new: bool = False
    callbacks: tuple[int, ...] = ()

    def keyword(self, *names: str) -> Value | None:
        """Return the first of *names* among the keyword arguments and the keys of the first object argument."""
        for wanted in names:
            for name, value in self.keywords:
                if name == wanted:
                    return value
            for argument in self.arguments:
                if isinstance(argument, Mapping) and (found := argument.get(wanted)) is not None:
                    return found
        return None

    @property
    def settings_hidden(self) -> bool:
        """True when settings may come from somewhere this call does not show."""
        return self.open_ended or any(
            (isinstance(argument, Mapping) and argument.open_ended) or isinstance(argument, Name | Unknown)
            for argument in self.arguments
        )


@dataclass(frozen=True, slots=True)
class Catch:
    """An `except` or `catch` clause: which errors, which lines, and which names it clears."""

    errors: tuple[str, ...]
    line: int
    end_line: int
    try_line: int
    clears: frozenset[str]
    has_finally: bool = False


@dataclass(frozen=True, slots=True)
class Function:
    """A function, method, arrow function or the module itself (index 0): what it holds, calls and returns."""

    name: str
    line: int
    end_line: int
    parent: int = 0
    class_name: str | None = None
    parameters: tuple[str, ...] = ()
    annotations: tuple[str, ...] = ()
    decorators: tuple[str, ...] = ()
    is_async: bool = False
    is_inline: bool = False
    exported: bool = False
    local: frozenset[str] = frozenset()
    assigned: tuple[tuple[str, Value, int], ...] = ()
    returns: tuple[Value, ...] = ()
    yields: bool = False
    calls: tuple[int, ...] = ()
    catches: tuple[Catch, ...] = ()
    reads: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Class:
    """A class: its bases and methods (indexes of functions) and its class-level values."""

    name: str
    line: int
    bases: tuple[str, ...]
    methods: tuple[tuple[str, int], ...]
    attributes: tuple[tuple[str, Value], ...] = ()


@dataclass(frozen=True, slots=True)
class Import:
    """A local name for *member* of *module* ("" for the module itself). *line* is where it is written."""

    local: str
    module: str
    member: str
    line: int


@dataclass(frozen=True, slots=True)
class Ignore:
    """`warmline: ignore[CODE] reason` on *line*; no codes means every rule."""

    line: int
    codes: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class CodeFacts:
    """What a source file says. *path* is relative to the audited root, with forward slashes."""

    path: str
    language: str
    functions: tuple[Function, ...]
    calls: tuple[Call, ...]
    classes: tuple[Class, ...] = ()
    imports: tuple[Import, ...] = ()
    exports: tuple[tuple[str, Value], ...] = ()
    ignores: tuple[Ignore, ...] = ()


@dataclass(frozen=True, slots=True)
class Resource:
    """A template's resource, neutral of its language: type, properties as values, and the line of each property.

    *lines* maps a dotted property path (`Environment.Variables.DB_HOST`) to its line.
    """

    name: str
    type: str
    line: int
    properties: Mapping
    lines: tuple[tuple[str, int], ...] = ()
    condition: str | None = None

    def line_of(self, path: str) -> int:
        """Return the line of the property *path*, of the nearest part of it that is written, or of the resource."""
        known = dict(self.lines)
        while path:
            if path in known:
                return known[path]
            path = path.rpartition(".")[0]
        return self.line


@dataclass(frozen=True, slots=True)
class TemplateFacts:
    """What a template says: its resources in CloudFormation's words, whatever language wrote them.

    *base* is the folder that code paths are relative to.
    """

    path: str
    language: str
    base: str
    resources: tuple[Resource, ...]
    parameters: tuple[tuple[str, Value], ...] = ()
    ignores: tuple[Ignore, ...] = ()


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file that could not be read or parsed, with the reason: named in the report, never fatal."""

    path: str
    reason: str
    line: int = 1


@dataclass(frozen=True, slots=True)
class Scan:
    """The cheap first look at a file that mentions no driver: only what it imports."""

    path: str
    imports: tuple[str, ...] = field(default=())

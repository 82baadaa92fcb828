"""JavaScript and TypeScript source to facts, by tree-sitter: no Node.js, no build, broken parts are skipped."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING

from warmline_toolkit.audit.facts import (
    UNKNOWN,
    Call,
    Catch,
    Class,
    CodeFacts,
    Env,
    Import,
    Joined,
    Literal,
    Mapping,
    Name,
    Sequence,
    Unreadable,
    Value,
)
from warmline_toolkit.audit.sources.builder import Around, Builder, call_number
from warmline_toolkit.audit.sources.comments import ignores_in

if TYPE_CHECKING:
    from collections.abc import Iterable

    from tree_sitter import Language, Node

_LEAVES = frozenset({"return_statement", "throw_statement", "continue_statement", "break_statement"})
_WRAPPERS = frozenset(
    {
        "parenthesized_expression",
        "as_expression",
        "satisfies_expression",
        "non_null_expression",
        "type_assertion",
        "await_expression",
        "spread_element",
    }
)
_FUNCTIONS = frozenset(
    {
        "arrow_function",
        "function_expression",
        "function",
        "generator_function",
        "function_declaration",
        "generator_function_declaration",
    }
)
_CONVERSIONS = frozenset({"Number", "parseInt", "parseFloat", "String", "Boolean"})
_MAX_BROKEN_SHARE = 0.2


@cache
def _language(kind: str) -> Language:
    import tree_sitter  # noqa: PLC0415 - loading the grammars costs 20 ms that a Python-only tree never pays

    if kind == "javascript":
        import tree_sitter_javascript  # noqa: PLC0415 - see above

        return tree_sitter.Language(tree_sitter_javascript.language())
    import tree_sitter_typescript  # noqa: PLC0415 - see above

    pointer = tree_sitter_typescript.language_tsx() if kind == "tsx" else tree_sitter_typescript.language_typescript()
    return tree_sitter.Language(pointer)


def read_javascript(path: str, text: str) -> CodeFacts | Unreadable:
    """Return the facts of the JavaScript or TypeScript file *path*, or why it cannot be parsed."""
    import tree_sitter  # noqa: PLC0415 - see _language

    kind = "tsx" if path.endswith(".tsx") else "typescript" if path.endswith((".ts", ".mts", ".cts")) else "javascript"
    root = tree_sitter.Parser(_language(kind)).parse(text.encode()).root_node
    if root.has_error and (broken := _broken(root)) is not None:
        return Unreadable(
            path=path, reason=f"not parsable as {'JavaScript' if kind == 'javascript' else 'TypeScript'}", line=broken
        )
    reader = _Reader(path, "javascript" if kind == "javascript" else "typescript", root.end_point.row + 1)
    try:
        reader.block(root)
    except RecursionError:
        return Unreadable(path=path, reason="nested too deeply to read")
    return reader.builder.finished(ignores_in(text))


def _broken(root: Node) -> int | None:
    """Return the line of the first syntax error when so much is broken that reading on would be guessing."""
    first: int | None = None
    broken_lines = 0
    pending = [root]
    while pending:
        node = pending.pop()
        if node.type == "ERROR" or node.is_missing:
            line = node.start_point.row + 1
            first = line if first is None else min(first, line)
            broken_lines += node.end_point.row - node.start_point.row + 1
        elif node.has_error:
            pending.extend(node.children)
    return first if broken_lines > _MAX_BROKEN_SHARE * (root.end_point.row + 1) else None


def _text(node: Node | None) -> str:
    return node.text.decode(errors="replace") if node is not None and node.text is not None else ""


class _Reader:
    def __init__(self, path: str, language: str, end_line: int) -> None:
        self.builder = Builder(path, language, end_line=end_line)
        self.class_name: str | None = None

    # Statements

    def block(self, node: Node) -> None:
        before = self.builder.around
        for child in node.named_children:
            self.statement(child)
        self.builder.around = before

    def statement(self, node: Node) -> None:
        match node.type:
            case (
                "comment" | "empty_statement" | "interface_declaration" | "type_alias_declaration" | "enum_declaration"
            ):
                return
            case "expression_statement":
                for child in node.named_children:
                    self.value(child)
            case "lexical_declaration" | "variable_declaration":
                self.declaration(node, exported=False)
            case "function_declaration" | "generator_function_declaration":
                self.named_function(node, exported=False)
            case "class_declaration" | "abstract_class_declaration":
                self.klass(node)
            case "return_statement":
                for child in node.named_children:
                    self.returned(self.value(child))
            case "if_statement":
                self.branch(node)
            case "try_statement":
                self.try_block(node)
            case "for_in_statement":
                source = self.value(node.child_by_field_name("right"))
                self.assign(node.child_by_field_name("left"), _element(source), node, declare=True)
                with self.builder.standing(in_loop=True):
                    self.body(node.child_by_field_name("body"))
            case "for_statement" | "while_statement" | "do_statement":
                body = node.child_by_field_name("body")
                for child in node.named_children:
                    if body is None or child.id != body.id:
                        self.any(child)
                with self.builder.standing(guards=self.tested(node.child_by_field_name("condition")), in_loop=True):
                    self.body(body)
            case "import_statement":
                self.imported(node)
            case "export_statement":
                self.exported(node)
            case "switch_statement":
                subject = node.child_by_field_name("value")
                self.value(subject)
                with self.builder.standing(guards=self.tested(subject)):
                    for child in node.named_children[1:]:
                        for case in child.named_children:
                            self.block(case)
            case "throw_statement":
                for child in node.named_children:
                    self.value(child)
            case "statement_block" | "program":
                self.block(node)
            case _:
                for child in node.named_children:
                    self.any(child)

    def any(self, node: Node) -> None:
        """Read a node that may be a statement or an expression."""
        if node.type.endswith(("statement", "declaration", "statement_block")):
            self.statement(node)
        else:
            self.value(node)

    def body(self, node: Node | None) -> None:
        if node is None:
            return
        if node.type == "statement_block":
            self.block(node)
        else:
            before = self.builder.around
            self.any(node)
            self.builder.around = before

    def branch(self, node: Node) -> None:
        condition = node.child_by_field_name("condition")
        consequence = node.child_by_field_name("consequence")
        self.value(condition)
        guards = self.tested(condition)
        with self.builder.standing(guards=guards):
            self.body(consequence)
        with self.builder.standing(guards=guards):
            alternative = node.child_by_field_name("alternative")
            if alternative is not None:
                for child in alternative.named_children:
                    self.body(child)
        if consequence is not None:
            last = consequence
            if consequence.type == "statement_block" and consequence.named_children:
                last = consequence.named_children[-1]
            if last.type in _LEAVES:
                self.builder.narrow(guards)

    def try_block(self, node: Node) -> None:
        finalizer = node.child_by_field_name("finalizer")
        with self.builder.standing(in_try=finalizer is not None or self.builder.around.in_try):
            self.body(node.child_by_field_name("body"))
        handler = node.child_by_field_name("handler")
        if handler is not None:
            before = len(self.builder.scope.assigned)
            with self.builder.standing(in_except=True):
                self.body(handler.child_by_field_name("body"))
            self.builder.scope.catches.append(
                Catch(
                    errors=("*",),
                    line=handler.start_point.row + 1,
                    end_line=handler.end_point.row + 1,
                    try_line=node.start_point.row + 1,
                    clears=frozenset(name for name, _, _ in self.builder.scope.assigned[before:]),
                    has_finally=finalizer is not None,
                )
            )
        if finalizer is not None:
            with self.builder.standing(in_finally=True):
                self.body(finalizer.child_by_field_name("body"))

    # Modules

    def imported(self, node: Node) -> None:
        source = node.child_by_field_name("source")
        module = _string(source)
        line = node.start_point.row + 1
        found = False
        for clause in node.named_children:
            if clause.type != "import_clause":
                continue
            for item in clause.named_children:
                found = True
                if item.type == "identifier":
                    self.add_import(_text(item), module, "default", line)
                elif item.type == "namespace_import":
                    self.add_import(_text(item.named_children[0]), module, "", line)
                elif item.type == "named_imports":
                    for specifier in item.named_children:
                        member = _text(specifier.child_by_field_name("name"))
                        alias = specifier.child_by_field_name("alias")
                        self.add_import(_text(alias) if alias else member, module, member, line)
        if not found:
            self.add_import("", module, "", line)

    def add_import(self, local: str, module: str, member: str, line: int) -> None:
        self.builder.imports.append(Import(local=local, module=module, member=member, line=line))

    def exported(self, node: Node) -> None:
        declaration = node.child_by_field_name("declaration")
        value = node.child_by_field_name("value")
        source = node.child_by_field_name("source")
        is_default = any(child.type == "default" for child in node.children)
        if source is not None:
            module = _string(source)
            self.add_import("", module, "", node.start_point.row + 1)
            clause = next((child for child in node.named_children if child.type == "export_clause"), None)
            if clause is None:
                self.builder.exports.append(("*", Name(f"<module:{module}>")))
            else:
                for name, exported in _specifiers(clause):
                    self.builder.exports.append((exported, Name(f"<module:{module}>.{name}")))
        elif declaration is not None:
            if declaration.type in {"lexical_declaration", "variable_declaration"}:
                for name in self.declaration(declaration, exported=True):
                    self.builder.exports.append((name, Name(name)))
            elif declaration.type in _FUNCTIONS:
                name = self.named_function(declaration, exported=True)
                self.builder.exports.append(("default" if is_default else name, Name(name)))
            elif declaration.type in {"class_declaration", "abstract_class_declaration"}:
                name = self.klass(declaration)
                self.builder.exports.append(("default" if is_default else name, Name(name)))
            else:
                self.statement(declaration)
        elif value is not None:
            self.builder.exports.append(("default", self.value(value, hint="default", exported=True)))
        else:
            for clause in node.named_children:
                if clause.type == "export_clause":
                    for name, exported in _specifiers(clause):
                        self.builder.exports.append((exported, Name(name)))

    # Definitions

    def declaration(self, node: Node, *, exported: bool) -> list[str]:
        names = []
        for declarator in node.named_children:
            if declarator.type != "variable_declarator":
                continue
            target = declarator.child_by_field_name("name")
            hint = _text(target) if target is not None and target.type == "identifier" else None
            typed = _text(declarator.child_by_field_name("type")).lstrip(": ")
            value_node = declarator.child_by_field_name("value")
            value: Value = Literal(None)
            if value_node is not None:
                value = self.value(value_node, hint=hint, exported=exported, typed=typed)
            self.assign(target, value, declarator, declare=True)
            if hint:
                names.append(hint)
        return names

    def named_function(self, node: Node, *, exported: bool) -> str:
        name = _text(node.child_by_field_name("name")) or "default"
        self.builder.scope.local.add(name)
        value = self.function(node, hint=name, exported=exported)
        self.builder.scope.assigned.append((name, value, node.start_point.row + 1))
        return name

    def function(
        self, node: Node, *, hint: str | None, exported: bool = False, typed: str = "", around: Around | None = None
    ) -> Value:
        builder = self.builder
        inner_name = hint or f"<anonymous:{node.start_point.row + 1}>"
        if self.class_name is not None:
            name = f"{self.class_name}.{inner_name}"
        elif builder.scope.index:
            name = f"{builder.scope.name}.{inner_name}"
        else:
            name = inner_name
        scope = builder.new_scope(name, line=node.start_point.row + 1, end_line=node.end_point.row + 1)
        scope.class_name = self.class_name
        scope.exported = exported
        scope.is_inline = hint is None
        scope.is_async = any(child.type == "async" for child in node.children[:3])
        scope.decorators = (f"type:{typed}",) if typed else ()
        outer_class, self.class_name = self.class_name, None
        parameters = node.child_by_field_name("parameters") or node.child_by_field_name("parameter")
        with builder.function(scope, around=around):
            names, annotations = [], []
            items = (
                []
                if parameters is None
                else [parameters]
                if parameters.type == "identifier"
                else parameters.named_children
            )
            for item in items:
                pattern = item.child_by_field_name("pattern") or item
                if pattern.type == "assignment_pattern":
                    self.value(pattern.child_by_field_name("right"))
                    pattern = pattern.child_by_field_name("left") or pattern
                names.append(_text(pattern) if pattern.type == "identifier" else "")
                annotations.append(_text(item.child_by_field_name("type")).lstrip(": "))
                scope.local.update(_pattern_names(pattern))
            scope.parameters, scope.annotations = tuple(names), tuple(annotations)
            body = node.child_by_field_name("body")
            if body is not None and body.type == "statement_block":
                self.block(body)
            elif body is not None:
                self.returned(self.value(body))
        self.class_name = outer_class
        return Name(f"<fn:{scope.index}>")

    def klass(self, node: Node) -> str:
        name = _text(node.child_by_field_name("name")) or f"<class:{node.start_point.row + 1}>"
        bases = tuple(
            path
            for heritage in node.named_children
            if heritage.type == "class_heritage"
            for path in _heritage(heritage)
        )
        outer_class, self.class_name = self.class_name, name
        methods: list[tuple[str, int]] = []
        attributes: list[tuple[str, Value]] = []
        body = node.child_by_field_name("body")
        for member in body.named_children if body is not None else ():
            if member.type == "method_definition":
                method = _text(member.child_by_field_name("name"))
                value = self.function(member, hint=method)
                methods.append(("__init__" if method == "constructor" else method, int(_function_number(value) or 0)))
            elif member.type in {"field_definition", "public_field_definition"}:
                target = member.child_by_field_name("property") or member.child_by_field_name("name")
                value_node = member.child_by_field_name("value")
                if value_node is None:
                    continue
                value = self.value(value_node, hint=_text(target))
                number = _function_number(value)
                if number is not None:
                    methods.append((_text(target), number))
                else:
                    attributes.append((_text(target), value))
                    call = call_number(value)
                    if call is not None:
                        self.change(call, target=f"self.{_text(target)}")
        self.class_name = outer_class
        self.builder.scope.local.add(name)
        self.builder.classes.append(
            Class(
                name=name,
                line=node.start_point.row + 1,
                bases=bases,
                methods=tuple(methods),
                attributes=tuple(attributes),
            )
        )
        return name

    # Assignments

    def assign(self, target: Node | None, value: Value, node: Node, *, declare: bool = False) -> None:
        if target is None:
            return
        match target.type:
            case "array_pattern":
                for position, element in enumerate(target.named_children):
                    part: Value = Name(f"{value.path}[{position}]") if isinstance(value, Name) else UNKNOWN
                    self.assign(element, part, node, declare=declare)
            case "object_pattern":
                for element in target.named_children:
                    self.assign_member(element, value, node, declare=declare)
            case "assignment_pattern":
                self.value(target.child_by_field_name("right"))
                self.assign(target.child_by_field_name("left"), value, node, declare=declare)
            case "rest_pattern":
                for child in target.named_children:
                    self.assign(child, UNKNOWN, node, declare=declare)
            case _:
                path = self.path(target)
                if path is not None:
                    self.assign_path(path, value, node.start_point.row + 1, declare=declare and "." not in path)

    def assign_member(self, element: Node, value: Value, node: Node, *, declare: bool) -> None:
        match element.type:
            case "shorthand_property_identifier_pattern":
                self.assign(element, _member(value, _text(element)), node, declare=declare)
            case "pair_pattern":
                key = _text(element.child_by_field_name("key"))
                self.assign(element.child_by_field_name("value"), _member(value, key), node, declare=declare)
            case "object_assignment_pattern":
                left = element.child_by_field_name("left")
                self.value(element.child_by_field_name("right"))
                self.assign(left, _member(value, _text(left)), node, declare=declare)
            case _:
                self.assign(element, UNKNOWN, node, declare=declare)

    def assign_path(self, path: str, value: Value, line: int, *, declare: bool) -> None:
        scope = self.builder.scope
        if declare:
            scope.local.add(path)
        scope.assigned.append((path, value, line))
        if path in {"module.exports", "exports"}:
            if isinstance(value, Mapping):
                self.builder.exports.extend(value.items)
            self.builder.exports.append(("default", value))
        elif path.startswith(("exports.", "module.exports.")):
            self.builder.exports.append((path.rpartition("exports.")[2], value))
        for candidate in value.items if isinstance(value, Sequence) and value.alternatives else (value,):
            number = call_number(candidate)
            if number is not None and (call := self.builder.calls[number]) and call.target is None:
                self.change(number, target=path)

    def returned(self, value: Value) -> None:
        self.builder.scope.returns.append(value)
        for candidate in value.items if isinstance(value, Sequence) and value.alternatives else (value,):
            number = call_number(candidate)
            if number is not None:
                self.change(number, returned=True)

    def change(self, number: int, **changes: object) -> None:
        call = self.builder.calls[number]
        if call is not None:
            self.builder.calls[number] = replace(call, **changes)  # type: ignore[arg-type]  # names are Call's own

    # Expressions

    def path(self, node: Node) -> str | None:
        """Return the dotted path of an assignable expression, without reading calls in it."""
        match node.type:
            case "identifier" | "shorthand_property_identifier_pattern" | "property_identifier":
                return _text(node)
            case "this":
                return "self"
            case "member_expression":
                inner = node.child_by_field_name("object")
                base = self.path(inner) if inner is not None else None
                return f"{base}.{_text(node.child_by_field_name('property'))}" if base else None
            case "subscript_expression":
                inner = node.child_by_field_name("object")
                base = self.path(inner) if inner is not None else None
                index = node.child_by_field_name("index")
                key = _string(index) if index is not None and index.type == "string" else "*"
                return f"{base}[{key}]" if base else None
            case kind if kind in _WRAPPERS and node.named_children:
                return self.path(node.named_children[0])
            case _:
                return None

    def value(self, node: Node | None, *, hint: str | None = None, exported: bool = False, typed: str = "") -> Value:
        if node is None:
            return UNKNOWN
        match node.type:
            case "string":
                return Literal(_string(node))
            case "number":
                return _number(_text(node))
            case "true" | "false":
                return Literal(node.type == "true")
            case "null" | "undefined":
                return Literal(None)
            case "identifier":
                name = _text(node)
                self.builder.scope.reads.add(name)
                return Literal(None) if name == "undefined" else Name(name)
            case "this":
                return Name("self")
            case "super":
                return Name("super")
            case "member_expression":
                base = self.value(node.child_by_field_name("object"))
                attribute = _text(node.child_by_field_name("property"))
                if isinstance(base, Name):
                    if base.path == "process.env":
                        return Env(attribute)
                    return Name(f"{base.path}.{attribute}")
                return UNKNOWN
            case "subscript_expression":
                base = self.value(node.child_by_field_name("object"))
                index = node.child_by_field_name("index")
                key_value = self.value(index)
                key = str(key_value.value) if isinstance(key_value, Literal) else "*"
                if isinstance(base, Name) and base.path == "process.env" and key != "*":
                    return Env(key)
                return Name(f"{base.path}[{key}]") if isinstance(base, Name) else UNKNOWN
            case "call_expression" | "new_expression":
                return self.call(node)
            case kind if kind in _FUNCTIONS:
                return self.function(
                    node, hint=hint, exported=exported, typed=typed, around=None if hint else self.builder.around
                )
            case kind if kind in _WRAPPERS:
                inner = next((child for child in node.named_children if child.type != "comment"), None)
                if node.type == "type_assertion":
                    inner = node.named_children[-1]
                return self.value(inner, hint=hint, exported=exported, typed=typed)
            case "object":
                return self.object(node)
            case "array":
                return Sequence(tuple(self.value(child) for child in node.named_children if child.type != "comment"))
            case "template_string":
                return self.template(node)
            case "ternary_expression":
                condition = node.child_by_field_name("condition")
                self.value(condition)
                with self.builder.standing(guards=self.tested(condition)):
                    first = self.value(node.child_by_field_name("consequence"))
                    second = self.value(node.child_by_field_name("alternative"))
                return Sequence((first, second), alternatives=True)
            case "binary_expression":
                return self.binary(node)
            case "unary_expression":
                argument = self.value(node.child_by_field_name("argument"))
                operator = _text(node.child_by_field_name("operator"))
                if operator == "+":
                    return argument
                if operator == "-" and isinstance(argument, Literal) and isinstance(argument.value, int | float):
                    return Literal(-argument.value)
                return UNKNOWN
            case "assignment_expression":
                left = node.child_by_field_name("left")
                path = self.path(left) if left is not None else None
                value = self.value(
                    node.child_by_field_name("right"), hint=_function_hint(path), exported=_is_export(path)
                )
                if path is None and left is not None and left.type == "member_expression":
                    self.value(left)
                self.assign(left, value, node)
                return value
            case "augmented_assignment_expression":
                left = node.child_by_field_name("left")
                with self.builder.standing(guards=self.tested(left)):
                    value = self.value(node.child_by_field_name("right"))
                operator = _text(node.child_by_field_name("operator"))
                self.assign(left, value if operator in {"||=", "??=", "&&="} else UNKNOWN, node)
                return value
            case "class":
                return Name(self.klass(node))
            case "statement_block":
                self.block(node)
                return UNKNOWN
            case _:
                for child in node.named_children:
                    self.any(child)
                return UNKNOWN

    def binary(self, node: Node) -> Value:
        operator = _text(node.child_by_field_name("operator"))
        left_node = node.child_by_field_name("left")
        left = self.value(left_node)
        if operator in {"||", "??", "&&"}:
            with self.builder.standing(guards=self.tested(left_node)):
                right = self.value(node.child_by_field_name("right"))
            if (
                isinstance(left, Env)
                and isinstance(right, Literal)
                and isinstance(right.value, str | int)
                and operator != "&&"
            ):
                return Env(left.variable, right.value)
            return Sequence((left, right), alternatives=True)
        right = self.value(node.child_by_field_name("right"))
        if isinstance(left, Literal) and isinstance(right, Literal):
            a, b = left.value, right.value
            if isinstance(a, int | float) and isinstance(b, int | float) and operator in {"*", "+", "-"}:
                return Literal(a * b if operator == "*" else a + b if operator == "+" else a - b)
        return Joined((left, right)) if operator == "+" else UNKNOWN

    def template(self, node: Node) -> Value:
        parts: list[Value] = []
        for child in node.named_children:
            if child.type == "template_substitution":
                parts.append(self.value(child.named_children[0] if child.named_children else None))
            else:
                parts.append(Literal(_text(child)))
        if all(isinstance(part, Literal) for part in parts):
            return Literal("".join(str(part.value) for part in parts if isinstance(part, Literal)))
        return Joined(tuple(parts))

    def object(self, node: Node) -> Mapping:
        items: list[tuple[str, Value]] = []
        open_ended = False
        for child in node.named_children:
            match child.type:
                case "pair":
                    key_node = child.child_by_field_name("key")
                    key = _string(key_node) if key_node is not None and key_node.type == "string" else _text(key_node)
                    open_ended = open_ended or (key_node is not None and key_node.type == "computed_property_name")
                    items.append((key, self.value(child.child_by_field_name("value"), hint=key)))
                case "shorthand_property_identifier":
                    name = _text(child)
                    self.builder.scope.reads.add(name)
                    items.append((name, Name(name)))
                case "method_definition":
                    key = _text(child.child_by_field_name("name"))
                    outer_class, self.class_name = self.class_name, None
                    items.append((key, self.function(child, hint=key)))
                    self.class_name = outer_class
                case "spread_element":
                    spread = self.value(child)
                    open_ended = True
                    if isinstance(spread, Mapping):
                        items.extend(spread.items)
        return Mapping(tuple(items), open_ended=open_ended)

    def call(self, node: Node) -> Value:
        is_new = node.type == "new_expression"
        function = node.child_by_field_name("constructor" if is_new else "function")
        if function is not None and function.type == "import":
            return self.required(node)
        number = self.builder.reserve_call()
        called = self.value(function)
        name = called.path if isinstance(called, Name) else "?"
        arguments_node = node.child_by_field_name("arguments")
        if name == "require" and not is_new and (module := self.required(node)) is not UNKNOWN:
            self.place(number, name, node, (), is_new=False)
            return module
        values: list[Value] = []
        open_ended = False
        if arguments_node is not None and arguments_node.type == "template_string":
            values.append(self.template(arguments_node))
        elif arguments_node is not None:
            open_ended = any(child.type == "spread_element" for child in arguments_node.named_children)
            with self.builder.standing(
                in_finally=name.endswith(".finally") or None, in_except=name.endswith(".catch") or None
            ):
                values = [self.value(child) for child in arguments_node.named_children if child.type != "comment"]
        arguments = tuple(values)
        self.place(number, name, node, arguments, is_new=is_new, open_ended=open_ended)
        if name in _CONVERSIONS and arguments and isinstance(arguments[0], Env | Literal | Sequence):
            return _converted(name, arguments[0])
        if name.startswith("<fn:") and not arguments:
            return Name(f"<{number}>")  # an immediately invoked function: resolved through the call's name
        return Name(f"<{number}>")

    def required(self, node: Node) -> Value:
        arguments = node.child_by_field_name("arguments")
        first = arguments.named_children[0] if arguments is not None and arguments.named_children else None
        if first is None or first.type != "string":
            return UNKNOWN
        module = _string(first)
        self.add_import("", module, "", node.start_point.row + 1)
        return Name(f"<module:{module}>")

    def place(
        self,
        number: int,
        name: str,
        node: Node,
        arguments: tuple[Value, ...],
        *,
        is_new: bool,
        open_ended: bool = False,
    ) -> None:
        around = self.builder.around
        callbacks = tuple(found for value in arguments if (found := _function_number(value)) is not None)
        self.builder.place_call(
            number,
            Call(
                name=name,
                line=node.start_point.row + 1,
                column=node.start_point.column + 1,
                end_line=node.end_point.row + 1,
                arguments=arguments,
                guards=around.guards,
                within=around.within,
                in_finally=around.in_finally,
                in_except=around.in_except,
                in_try=around.in_try,
                in_loop=around.in_loop,
                open_ended=open_ended,
                is_new=is_new,
                callbacks=callbacks,
            ),
        )

    def tested(self, node: Node | None) -> frozenset[str]:
        """Return the dotted names whose value a condition asks for."""
        names: set[str] = set()
        pending = [node] if node is not None else []
        while pending:
            current = pending.pop()
            if current.type in {"identifier", "member_expression", "subscript_expression"}:
                path = self.path(current)
                if path is not None:
                    names.add(path)
                    continue
            if current.type not in _FUNCTIONS:
                pending.extend(current.named_children)
        return frozenset(names)


def _converted(function: str, value: Value) -> Value:
    if function not in {"Number", "parseInt"}:
        return value
    try:
        if isinstance(value, Env):
            return Env(value.variable, int(value.default) if value.default is not None else None)
        if isinstance(value, Literal) and isinstance(value.value, str | int | float):
            return Literal(int(value.value))
    except ValueError:
        return UNKNOWN
    return value


def _element(value: Value) -> Value:
    return Name(f"{value.path}[*]") if isinstance(value, Name) else UNKNOWN


def _member(value: Value, key: str) -> Value:
    if isinstance(value, Name):
        return Env(key) if value.path == "process.env" else Name(f"{value.path}.{key}")
    return (value.get(key) or UNKNOWN) if isinstance(value, Mapping) else UNKNOWN


def _function_number(value: Value) -> int | None:
    if isinstance(value, Name) and value.path.startswith("<fn:") and value.path.endswith(">"):
        return int(value.path[4:-1])
    return None


def _function_hint(path: str | None) -> str | None:
    return path.rpartition(".")[2] if path else None


def _is_export(path: str | None) -> bool:
    return path is not None and path.startswith(("exports.", "module.exports"))


def _string(node: Node | None) -> str:
    text = _text(node)
    return text[1:-1] if len(text) > 1 and text[0] in "'\"`" else text


def _number(text: str) -> Value:
    cleaned = text.replace("_", "").removesuffix("n")
    try:
        return Literal(int(cleaned, 0))
    except ValueError:
        pass
    try:
        return Literal(float(cleaned))
    except ValueError:
        return UNKNOWN


def _specifiers(clause: Node) -> Iterable[tuple[str, str]]:
    for specifier in clause.named_children:
        name = _text(specifier.child_by_field_name("name"))
        alias = specifier.child_by_field_name("alias")
        yield name, _text(alias) if alias is not None else name


def _pattern_names(node: Node) -> set[str]:
    if node.type in {"identifier", "shorthand_property_identifier_pattern"}:
        return {_text(node)}
    return set().union(*(_pattern_names(child) for child in node.named_children)) if node.named_children else set()


def _heritage(node: Node) -> list[str]:
    paths = []
    for child in node.named_children:
        if child.type in {"identifier", "member_expression"}:
            paths.append(_text(child))
        elif child.type == "extends_clause":
            paths.extend(_heritage(child))
    return paths

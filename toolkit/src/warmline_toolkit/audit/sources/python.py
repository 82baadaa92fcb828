"""Python source to facts, by the standard library's `ast`: parsed, never compiled, imported or run."""

from __future__ import annotations

import ast
import warnings
from dataclasses import replace
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
from warmline_toolkit.audit.sources.builder import Builder, call_number
from warmline_toolkit.audit.sources.comments import ignores_in

if TYPE_CHECKING:
    from collections.abc import Iterable

_SAME_VALUE = frozenset({"int", "str", "float", "bool"})
_LEAVES = (ast.Return, ast.Raise, ast.Continue, ast.Break)


def read_python(path: str, text: str) -> CodeFacts | Unreadable:
    """Return the facts of the Python file *path*, or why it cannot be parsed."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in the user's file is not ours to report
            tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = getattr(error, "lineno", None) or 1
        return Unreadable(path=path, reason=f"not parsable as Python: {error}", line=line)
    try:
        reader = _Reader(path, text.count("\n") + 1)
        reader.block(tree.body)
    except RecursionError:
        return Unreadable(path=path, reason="nested too deeply to read")
    return reader.builder.finished(ignores_in(text))


def module_of(path: str) -> str:
    """Return the dotted module of the file *path*: `src/app/db.py` is `src.app.db`."""
    parts = path.removesuffix(".pyi").removesuffix(".py").split("/")
    if parts[-1] == "__init__":
        parts.pop()
    return ".".join(parts)


class _Reader:
    def __init__(self, path: str, end_line: int) -> None:
        self.builder = Builder(path, "python", end_line=end_line)
        self.package = module_of(path).split(".") if path.endswith("__init__.py") else module_of(path).split(".")[:-1]
        self.class_name: str | None = None
        self.environ_names = {"os.environ"}
        self.getenv_names = {"os.getenv", "os.environ.get"}

    # Statements

    def block(self, body: Iterable[ast.stmt]) -> None:
        before = self.builder.around
        for statement in body:
            self.statement(statement)
        self.builder.around = before

    def statement(self, node: ast.stmt) -> None:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                self.function(node)
            case ast.ClassDef():
                self.klass(node)
            case ast.Import() | ast.ImportFrom():
                self.imported(node)
            case ast.Global(names=names) | ast.Nonlocal(names=names):
                self.builder.scope.outer.update(names)
            case ast.Assign(targets=targets, value=value):
                self.assign(targets, self.value(value), node.lineno)
            case ast.AnnAssign(target=target, value=value):
                if value is not None:
                    self.assign([target], self.value(value), node.lineno)
            case ast.AugAssign(target=target, value=value):
                self.value(value)
                self.assign([target], UNKNOWN, node.lineno)
            case ast.Return(value=value):
                if value is not None:
                    self.returned(self.value(value))
            case ast.If(test=test, body=body, orelse=orelse):
                self.branch(test, body, orelse)
            case ast.For() | ast.AsyncFor():
                source = self.value(node.iter)
                self.assign([node.target], _element(source), node.lineno)
                with self.builder.standing(in_loop=True):
                    self.block(node.body)
                self.block(node.orelse)
            case ast.While(test=test, body=body, orelse=orelse):
                self.value(test)
                with self.builder.standing(guards=_tested(test), in_loop=True):
                    self.block(body)
                self.block(orelse)
            case ast.With() | ast.AsyncWith():
                self.with_block(node)
            case ast.Try():
                self.try_block(node)
            case ast.Delete(targets=targets):
                self.assign(targets, Literal(None), node.lineno)
            case ast.Match(subject=subject, cases=cases):
                self.value(subject)
                for case in cases:
                    with self.builder.standing(guards=_tested(subject)):
                        self.block(case.body)
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self.value(child)
                    elif isinstance(child, ast.stmt):  # pragma: no cover - a statement of a future Python
                        self.statement(child)

    def branch(self, test: ast.expr, body: list[ast.stmt], orelse: list[ast.stmt]) -> None:
        self.value(test)
        guards = _tested(test)
        with self.builder.standing(guards=guards):
            self.block(body)
        with self.builder.standing(guards=guards):
            self.block(orelse)
        if body and isinstance(body[-1], _LEAVES):
            self.builder.narrow(guards)

    def with_block(self, node: ast.With | ast.AsyncWith) -> None:
        entered: list[int] = []
        for item in node.items:
            with self.builder.standing(within=tuple(entered)):
                subject = self.value(item.context_expr)
            number = call_number(subject)
            if number is not None:
                entered.append(number)
                self.change(number, entered=True)
            elif isinstance(subject, Name):
                # `with connection:` enters a kept thing: recorded as a call of its __enter__
                index = self.builder.reserve_call()
                self.place(index, f"{subject.path}.__enter__", item.context_expr, (), (), entered=True)
                entered.append(index)
            if item.optional_vars is not None:
                self.assign([item.optional_vars], subject, node.lineno)
        with self.builder.standing(within=tuple(entered)):
            self.block(node.body)

    def try_block(self, node: ast.Try) -> None:
        with self.builder.standing(in_try=bool(node.finalbody) or self.builder.around.in_try):
            self.block(node.body)
        tried = frozenset().union(*(_roots(statement) for statement in node.body)) if node.handlers else frozenset()
        for handler in node.handlers:
            errors = _error_names(handler.type)
            guards = tried if {"NameError", "AttributeError", "KeyError"} & set(errors) else frozenset()
            before = len(self.builder.scope.assigned)
            with self.builder.standing(guards=guards, in_except=True):
                self.block(handler.body)
            clears = frozenset(name for name, _, _ in self.builder.scope.assigned[before:])
            self.builder.scope.catches.append(
                Catch(
                    errors=errors,
                    line=handler.lineno,
                    end_line=handler.end_lineno or handler.lineno,
                    try_line=node.lineno,
                    clears=clears,
                    has_finally=bool(node.finalbody),
                )
            )
        self.block(node.orelse)
        with self.builder.standing(in_finally=True):
            self.block(node.finalbody)

    # Definitions

    def function(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        decorators = []
        for decorator in node.decorator_list:
            value = self.value(decorator)
            number = call_number(value)
            if number is not None and (call := self.builder.calls[number]) is not None:
                decorators.append(call.name)
            elif isinstance(value, Name):
                decorators.append(value.path)
        arguments = node.args
        for default in (*arguments.defaults, *(item for item in arguments.kw_defaults if item is not None)):
            self.value(default)
        everything = (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)
        name = node.name if self.class_name is None else f"{self.class_name}.{node.name}"
        if self.builder.scope.index and self.class_name is None:
            name = f"{self.builder.scope.name}.{node.name}"
        scope = self.builder.new_scope(name, line=node.lineno, end_line=node.end_lineno or node.lineno)
        scope.class_name = self.class_name
        scope.parameters = tuple(argument.arg for argument in everything)
        scope.annotations = tuple(_dotted(item.annotation) or "" if item.annotation else "" for item in everything)
        scope.decorators = tuple(decorators)
        scope.is_async = isinstance(node, ast.AsyncFunctionDef)
        scope.exported = not self.builder.scope.index
        scope.local.update(scope.parameters)
        scope.local.update(extra.arg for extra in (arguments.vararg, arguments.kwarg) if extra)
        if self.class_name is None:
            self.builder.scope.local.add(node.name)
        outer_class, self.class_name = self.class_name, None
        with self.builder.function(scope):
            self.block(node.body)
        self.class_name = outer_class

    def klass(self, node: ast.ClassDef) -> None:
        for expression in (*node.decorator_list, *(keyword.value for keyword in node.keywords)):
            self.value(expression)
        outer_class, self.class_name = self.class_name, node.name
        first = len(self.builder.scopes)
        scope = self.builder.scope
        before = len(scope.assigned)
        local_before = set(scope.local)
        self.block(node.body)
        attributes = scope.assigned[before:]
        del scope.assigned[before:]
        scope.local.clear()
        scope.local.update(local_before)
        self.class_name = outer_class
        methods = tuple(
            (inner.name.rpartition(".")[2], inner.index)
            for inner in self.builder.scopes[first:]
            if inner.class_name == node.name and inner.parent == scope.index
        )
        scope.local.add(node.name)
        self.builder.classes.append(
            Class(
                name=node.name,
                line=node.lineno,
                bases=tuple(filter(None, (_dotted(base) for base in node.bases))),
                methods=methods,
                attributes=tuple((name, value) for name, value, _ in attributes),
            )
        )

    def imported(self, node: ast.Import | ast.ImportFrom) -> None:
        if isinstance(node, ast.Import):
            for alias in node.names:
                local = alias.asname or alias.name.partition(".")[0]
                module = alias.name if alias.asname else local
                self.builder.imports.append(Import(local=local, module=module, member="", line=node.lineno))
                if not alias.asname and "." in alias.name:
                    self.builder.imports.append(
                        Import(local=alias.name, module=alias.name, member="", line=node.lineno)
                    )
                if alias.name == "os" and alias.asname:
                    self.environ_names.add(f"{alias.asname}.environ")
                    self.getenv_names |= {f"{alias.asname}.getenv", f"{alias.asname}.environ.get"}
            return
        module = node.module or ""
        if node.level:
            base = self.package[: len(self.package) - node.level + 1]
            # The leading dot marks a path from the audited root, not one from sys.path.
            module = "." + ".".join([*base, *([module] if module else [])])
        for alias in node.names:
            local = alias.asname or alias.name
            self.builder.imports.append(Import(local=local, module=module, member=alias.name, line=node.lineno))
            if module == "os" and alias.name == "environ":
                self.environ_names.add(local)
                self.getenv_names.add(f"{local}.get")
            elif module == "os" and alias.name == "getenv":
                self.getenv_names.add(local)

    # Assignments

    def assign(self, targets: Iterable[ast.expr], value: Value, line: int) -> None:
        for target in targets:
            self.assign_one(target, value, line)

    def assign_one(self, target: ast.expr, value: Value, line: int) -> None:
        scope = self.builder.scope
        match target:
            case ast.Tuple(elts=elements) | ast.List(elts=elements):
                for position, element in enumerate(elements):
                    part: Value = UNKNOWN
                    if isinstance(value, Sequence) and not value.alternatives and position < len(value.items):
                        part = value.items[position]
                    elif isinstance(value, Name):
                        part = Name(f"{value.path}[{position}]")
                    self.assign_one(element, part, line)
            case ast.Starred(value=inner):
                self.assign_one(inner, UNKNOWN, line)
            case _:
                path = _dotted(target)
                if path is None:
                    return
                if isinstance(target, ast.Name):
                    scope.local.add(path)
                scope.assigned.append((path, value, line))
                for candidate in value.items if isinstance(value, Sequence) and value.alternatives else (value,):
                    number = call_number(candidate)
                    if number is not None and (call := self.builder.calls[number]) and call.target is None:
                        self.change(number, target=path)

    def returned(self, value: Value) -> None:
        self.builder.scope.returns.append(value)
        for candidate in value.items if isinstance(value, Sequence) else (value,):
            number = call_number(candidate)
            if number is not None:
                self.change(number, returned=True)

    def change(self, number: int, **changes: object) -> None:
        call = self.builder.calls[number]
        if call is not None:
            self.builder.calls[number] = replace(call, **changes)  # type: ignore[arg-type]  # names are Call's own

    # Expressions

    def value(self, node: ast.expr | None) -> Value:
        match node:
            case None:
                return UNKNOWN
            case ast.Constant(value=constant):
                return Literal(constant) if isinstance(constant, str | int | float | bool | None) else UNKNOWN
            case ast.Name(id=identifier):
                self.builder.scope.reads.add(identifier)
                return Name(identifier)
            case ast.Attribute(value=inner, attr=attribute):
                base = self.value(inner)
                return Name(f"{base.path}.{attribute}") if isinstance(base, Name) else UNKNOWN
            case ast.Call():
                return self.call(node)
            case ast.Await(value=inner) | ast.Starred(value=inner) | ast.YieldFrom(value=inner):
                return self.value(inner)
            case ast.Yield(value=inner):
                self.builder.scope.yields = True
                value = self.value(inner)
                if inner is not None:
                    self.returned(value)
                return UNKNOWN
            case ast.NamedExpr(target=target, value=inner):
                value = self.value(inner)
                self.assign_one(target, value, node.lineno)
                return value
            case ast.Subscript():
                return self.subscript(node)
            case ast.List(elts=elements) | ast.Tuple(elts=elements) | ast.Set(elts=elements):
                return Sequence(tuple(self.value(element) for element in elements))
            case ast.Dict(keys=keys, values=values):
                return self.mapping(keys, values)
            case ast.JoinedStr(values=parts):
                return Joined(tuple(self.value(part) for part in parts))
            case ast.FormattedValue(value=inner):
                return self.value(inner)
            case ast.IfExp(test=test, body=body, orelse=orelse):
                self.value(test)
                with self.builder.standing(guards=_tested(test)):
                    return Sequence((self.value(body), self.value(orelse)), alternatives=True)
            case ast.BoolOp(values=values):
                first = self.value(values[0])
                with self.builder.standing(guards=_tested(values[0])):
                    return Sequence((first, *(self.value(other) for other in values[1:])), alternatives=True)
            case ast.BinOp():
                return self.arithmetic(node)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                inner_value = self.value(operand)
                if isinstance(inner_value, Literal) and isinstance(inner_value.value, int | float):
                    return Literal(-inner_value.value)
                return UNKNOWN
            case ast.Lambda(args=arguments, body=body):
                scope = self.builder.new_scope(
                    f"{self.builder.scope.name}.<lambda>", line=node.lineno, end_line=node.end_lineno or node.lineno
                )
                scope.is_inline = True
                scope.parameters = tuple(argument.arg for argument in arguments.args)
                scope.local.update(scope.parameters)
                with self.builder.function(scope):
                    self.returned(self.value(body))
                return Name(f"<fn:{scope.index}>")
            case ast.ListComp() | ast.SetComp() | ast.GeneratorExp() | ast.DictComp():
                return self.comprehension(node)
            case _:
                for child in ast.iter_child_nodes(node):
                    if isinstance(child, ast.expr):
                        self.value(child)
                return UNKNOWN

    def comprehension(self, node: ast.ListComp | ast.SetComp | ast.GeneratorExp | ast.DictComp) -> Value:
        for generator in node.generators:
            self.assign_one(generator.target, _element(self.value(generator.iter)), node.lineno)
            for condition in generator.ifs:
                self.value(condition)
        with self.builder.standing(in_loop=True):
            if isinstance(node, ast.DictComp):
                self.value(node.key)
                self.value(node.value)
            else:
                self.value(node.elt)
        return UNKNOWN

    def arithmetic(self, node: ast.BinOp) -> Value:
        left, right = self.value(node.left), self.value(node.right)
        if isinstance(left, Literal) and isinstance(right, Literal):
            a, b = left.value, right.value
            if isinstance(a, int | float) and isinstance(b, int | float):
                match node.op:
                    case ast.Mult():
                        return Literal(a * b)
                    case ast.Add():
                        return Literal(a + b)
                    case ast.Sub():
                        return Literal(a - b)
            if isinstance(node.op, ast.Add) and isinstance(a, str) and isinstance(b, str):
                return Literal(a + b)
        if isinstance(node.op, ast.Add | ast.Mod):
            return Joined((left, right))
        return UNKNOWN

    def mapping(self, keys: list[ast.expr | None], values: list[ast.expr]) -> Mapping:
        items: list[tuple[str, Value]] = []
        open_ended = False
        for key, item in zip(keys, values, strict=True):
            value = self.value(item)
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                items.append((key.value, value))
            else:
                open_ended = True
                if key is None and isinstance(value, Mapping):
                    items.extend(value.items)
        return Mapping(tuple(items), open_ended=open_ended)

    def subscript(self, node: ast.Subscript) -> Value:
        base = self.value(node.value)
        key = self.value(node.slice)
        if not isinstance(base, Name):
            return UNKNOWN
        text = str(key.value) if isinstance(key, Literal) else "*"
        if base.path in self.environ_names and isinstance(key, Literal) and isinstance(key.value, str):
            return Env(key.value)
        return Name(f"{base.path}[{text}]")

    def call(self, node: ast.Call) -> Value:
        number = self.builder.reserve_call()
        function = self.value(node.func)
        name = function.path if isinstance(function, Name) else "?"
        if name.endswith(".import_module") and node.args and isinstance(node.args[0], ast.Constant):
            pass  # a module imported by name at run time: its calls stay unknown
        arguments = tuple(self.value(argument) for argument in node.args)
        keywords: list[tuple[str, Value]] = []
        open_ended = any(isinstance(argument, ast.Starred) for argument in node.args)
        for keyword in node.keywords:
            value = self.value(keyword.value)
            if keyword.arg is not None:
                keywords.append((keyword.arg, value))
            elif isinstance(value, Mapping):
                keywords.extend(value.items)
                open_ended = open_ended or value.open_ended
            else:
                open_ended = True
                keywords.append(("**", value))
        if name in self.getenv_names and arguments and isinstance(arguments[0], Literal):
            default = arguments[1] if len(arguments) > 1 else dict(keywords).get("default")
            given = default.value if isinstance(default, Literal) else None
            self.place(number, name, node, arguments, tuple(keywords))
            return Env(str(arguments[0].value), given if isinstance(given, str | int) else None)
        self.place(number, name, node, arguments, tuple(keywords), open_ended=open_ended)
        if name in _SAME_VALUE and len(arguments) == 1 and isinstance(arguments[0], Env | Literal):
            return _converted(name, arguments[0])
        if name == "dict" and not arguments:
            return Mapping(tuple(item for item in keywords if item[0] != "**"), open_ended=open_ended)
        return Name(f"<{number}>")

    def place(
        self,
        number: int,
        name: str,
        node: ast.expr,
        arguments: tuple[Value, ...],
        keywords: tuple[tuple[str, Value], ...],
        *,
        open_ended: bool = False,
        entered: bool = False,
    ) -> None:
        around = self.builder.around
        callbacks = tuple(
            int(value.path[4:-1])
            for value in (*arguments, *(item for _, item in keywords))
            if isinstance(value, Name) and value.path.startswith("<fn:") and value.path.endswith(">")
        )
        self.builder.place_call(
            number,
            Call(
                name=name,
                line=node.lineno,
                column=node.col_offset + 1,
                end_line=node.end_lineno or node.lineno,
                arguments=arguments,
                keywords=keywords,
                guards=around.guards,
                within=around.within,
                entered=entered,
                in_finally=around.in_finally,
                in_except=around.in_except,
                in_try=around.in_try,
                in_loop=around.in_loop,
                open_ended=open_ended,
                callbacks=callbacks,
            ),
        )


def _converted(function: str, value: Env | Literal) -> Value:
    """`int(os.environ.get("LIMIT", "10"))` is the variable with the default 10."""
    if function != "int":
        return value
    try:
        if isinstance(value, Env):
            return Env(value.variable, int(value.default) if value.default is not None else None)
        return Literal(int(value.value)) if isinstance(value.value, str | int | float) else value
    except ValueError:
        return UNKNOWN


def _element(value: Value) -> Value:
    return Name(f"{value.path}[*]") if isinstance(value, Name) else UNKNOWN


def _dotted(node: ast.expr | None) -> str | None:
    match node:
        case ast.Name(id=identifier):
            return identifier
        case ast.Attribute(value=inner, attr=attribute):
            base = _dotted(inner)
            return f"{base}.{attribute}" if base else None
        case ast.Subscript(value=inner, slice=key):
            base = _dotted(inner)
            text = str(key.value) if isinstance(key, ast.Constant) else "*"
            if base in {"Optional", "typing.Optional"} and isinstance(key, ast.Name | ast.Attribute):
                return _dotted(key)
            return f"{base}[{text}]" if base else None
        case ast.Constant(value=str() as text) if text.isidentifier():
            return text
        case ast.BinOp(left=left, op=ast.BitOr()):
            return _dotted(left)
        case _:
            return None


def _tested(test: ast.expr) -> frozenset[str]:
    """Return the dotted names whose value the condition *test* asks for."""
    names: set[str] = set()
    for node in ast.walk(test):
        match node:
            case ast.Name() | ast.Attribute() | ast.Subscript():
                if path := _dotted(node):
                    names.add(path)
            case ast.Call(
                func=ast.Name(id="hasattr" | "getattr"), args=[owner, ast.Constant(value=str() as attribute), *_]
            ):
                if path := _dotted(owner):
                    names.add(f"{path}.{attribute}")
            case ast.Compare(
                left=ast.Constant(value=str() as key), ops=[ast.In() | ast.NotIn()], comparators=[container]
            ):
                if isinstance(container, ast.Call):
                    names.add(key)
                elif path := _dotted(container):
                    names.add(f"{path}[{key}]")
    return frozenset(names)


def _roots(statement: ast.stmt) -> frozenset[str]:
    return frozenset(
        path for node in ast.walk(statement) if isinstance(node, ast.Name | ast.Attribute) and (path := _dotted(node))
    )


def _error_names(node: ast.expr | None) -> tuple[str, ...]:
    if node is None:
        return ("BaseException",)
    items = node.elts if isinstance(node, ast.Tuple) else [node]
    return tuple(filter(None, (_dotted(item) for item in items)))

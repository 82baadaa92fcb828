"""What a user names and what the lab runs for it: a dotted path, a Python file, or a Node file.

Nothing of the user's is imported here: Python files are read and parsed, packages are found without being run.
"""

from __future__ import annotations

import ast
import sys
from dataclasses import dataclass
from importlib.machinery import PathFinder
from pathlib import Path
from typing import Literal

from warmline_toolkit.errors import UsageError

_NODE_SUFFIXES = (".mjs", ".js", ".cjs")
_DEFAULT_NAMES = ("handler", "lambda_handler")
_THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_FORMS = "Name it as package.module.handler, path/app.py, path/app.py:handler, or index.mjs:handler."


class UnknownHandler(UsageError):
    """The named handler is not there, or is not one. Exit code 2."""

    code = "WL-L001"


@dataclass(frozen=True, kw_only=True)
class Handler:
    """A handler to run: *name* is Lambda's `_HANDLER` ("app.handler"), relative to *task_root*."""

    runtime: Literal["python", "node"]
    task_root: Path
    name: str
    source: Path

    @property
    def module_file(self) -> Path:
        """The file that holds it."""
        return self.source


def find_handler(named: str, *, base: Path | None = None) -> Handler:
    """Return the handler that *named* means, looked up from *base* (the current directory).

    Forms: `package.module.handler`, `folder/app.handler` (AWS's own), `path/app.py`, `path/app.py:handler`,
    `path/index.mjs`, `path/index.js:handler`. Without a name a file's `handler` or `lambda_handler` is meant.
    Raises `UnknownHandler` with the next step.
    """
    base = (base or Path.cwd()).resolve()
    path, separator, attribute = _split_file(named)
    if path is not None:
        file = (base / path).resolve()
        if file.is_dir():
            raise UnknownHandler(f"{named} is a folder, not a handler.", next_step=_FORMS)
        if not file.is_file():
            raise UnknownHandler(f"There is no file {path} (looked in {base}).", next_step=_FORMS)
        if separator and not attribute:
            raise UnknownHandler(f"{named} ends in a colon without a name.", next_step=_FORMS)
        if file.suffix in _NODE_SUFFIXES:
            return Handler(
                runtime="node", task_root=file.parent, name=f"{file.stem}.{attribute or 'handler'}", source=file
            )
        return _python_file(file, attribute)
    if named and (base / named).is_dir():
        raise UnknownHandler(f"{named} is a folder, not a handler.", next_step=_FORMS)
    return _dotted(named, base)


def _split_file(named: str) -> tuple[str | None, str, str]:
    path, separator, attribute = named.rpartition(":")
    if not separator:
        path, attribute = named, ""
    suffix = Path(path).suffix
    if suffix in (".py", *_NODE_SUFFIXES):
        return path, separator, attribute
    if suffix in (".ts", ".mts", ".tsx"):
        raise UnknownHandler(
            f"{path} is TypeScript, which Node does not run in Lambda.",
            next_step="Compile it first (esbuild, tsc) and name the .mjs or .js file.",
        )
    return None, "", ""


def _python_file(file: Path, attribute: str) -> Handler:
    stem = file.stem
    if "." in stem:
        raise UnknownHandler(
            f"{file.name} has a dot in its name, which Python's import cannot take.", next_step="Rename the file."
        )
    if stem in sys.builtin_module_names:
        raise UnknownHandler(
            f"{file.name} has the name of a module built into Python; Lambda's runtime refuses it.",
            next_step="Rename the file.",
        )
    root, module = file.parent, stem
    while (root / "__init__.py").is_file():  # a module of a package is imported as one
        module = f"{root.name}.{module}"
        root = root.parent
    return Handler(runtime="python", task_root=root, name=f"{module}.{_attribute(file, attribute)}", source=file)


def _attribute(file: Path, attribute: str) -> str:
    names, open_ended = _top_level_names(file)
    wanted = (attribute,) if attribute else _DEFAULT_NAMES
    for name in wanted:
        if name in names:
            return name
    if open_ended:
        return wanted[0]
    functions = ", ".join(sorted(name for name, is_function in names.items() if is_function)[:8])
    asked = f"no {attribute!r}" if attribute else "neither 'handler' nor 'lambda_handler'"
    raise UnknownHandler(
        f"{file.name} has {asked} at its top level.",
        next_step=f"Its functions are: {functions}. Name one after a colon." if functions else _FORMS,
    )


def _top_level_names(file: Path) -> tuple[dict[str, bool], bool]:
    """Return the names the module binds (True: a function), and whether it may bind more than can be read."""
    try:
        tree = ast.parse(file.read_bytes(), filename=str(file))
    except SyntaxError as error:
        raise UnknownHandler(
            f"{file.name} is not valid Python {_THIS_PYTHON}: line {error.lineno}: {error.msg}.",
            next_step="Correct it and run again.",
        ) from None
    except ValueError as error:
        raise UnknownHandler(f"{file.name} is not Python source: {error}.", next_step=_FORMS) from None
    names: dict[str, bool] = {}
    open_ended = False
    waiting: list[ast.stmt] = list(tree.body)
    while waiting:
        node = waiting.pop()
        bound = _bound_by(node)
        if bound is None:
            waiting.extend(child for child in ast.walk(node) if child is not node and isinstance(child, ast.stmt))
        else:
            names.update(bound)
        open_ended |= "globals" in {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
    return names, open_ended or not {"*", "__getattr__"}.isdisjoint(names)


def _bound_by(node: ast.stmt) -> dict[str, bool] | None:
    """Return the names that a statement binds (True: a function), or None where its parts must be looked at."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name: not isinstance(node, ast.ClassDef)}
    if isinstance(node, ast.Import | ast.ImportFrom):
        return {alias.asname or alias.name.split(".")[0]: False for alias in node.names}
    if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        return {part.id: False for target in targets for part in ast.walk(target) if isinstance(part, ast.Name)}
    return None


def _dotted(named: str, base: Path) -> Handler:
    """Resolve package.module.attribute (dots or slashes between packages) by finding files, importing none."""
    module, _, attribute = named.replace("/", ".").rpartition(".")
    if not module or not all(part.isidentifier() or "-" in part for part in (*module.split("."), attribute)):
        raise UnknownHandler(f"{named!r} does not name a handler.", next_step=_FORMS)
    if module.split(".")[0] in sys.builtin_module_names:
        raise UnknownHandler(
            f"{module} is a module built into Python; Lambda's runtime refuses it.", next_step="Rename the file."
        )
    search: list[str] | None = [str(base), *sys.path]
    file: Path | None = None
    for depth, part in enumerate(module.split(".")):
        name = ".".join(module.split(".")[: depth + 1])
        spec = PathFinder.find_spec(name, search)
        if spec is None:
            node = _node_file(named, base)
            if node is not None:
                return node
            where = f"in {base} or on Python's path" if depth == 0 else f"in {name.rpartition('.')[0]}"
            raise UnknownHandler(f"There is no module {part!r} {where} (for {named}).", next_step=_FORMS)
        file = Path(spec.origin) if spec.origin else None
        search = list(spec.submodule_search_locations) if spec.submodule_search_locations is not None else []
    if file is None:
        raise UnknownHandler(f"{module} is a package without code, so it holds no handler.", next_step=_FORMS)
    if file.suffix == ".py":
        attribute = _attribute(file, attribute)
    return Handler(runtime="python", task_root=base, name=f"{module}.{attribute}", source=file)


def _node_file(named: str, base: Path) -> Handler | None:
    """Return the Node handler that AWS's form folder/index.handler means, where such a file is there."""
    stem, _, attribute = named.rpartition(".")
    for suffix in _NODE_SUFFIXES:
        file = base / f"{stem}{suffix}"
        if stem and file.is_file():
            return Handler(runtime="node", task_root=file.parent, name=f"{file.stem}.{attribute}", source=file)
    return None

"""The audited tree's files: which are looked at, and the cheap first look that spares most of them a parse."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from warmline_toolkit.audit.facts import CodeFacts, Scan, TemplateFacts, Unreadable
from warmline_toolkit.audit.knowledge import DRIVER_MODULES, SCAN_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterable

_TOOL_FOLDERS = (
    ".git .hg .svn .tox .nox .mypy_cache .ruff_cache .pytest_cache .cache .idea .vscode __pycache__ coverage"
)
_BUILT_FOLDERS = "node_modules bower_components dist .next .esbuild .build .aws-sam .serverless .terraform cdk.out"
_PYTHON_FOLDERS = ".venv venv env .env site-packages dist-packages"
SKIPPED_FOLDERS = frozenset(f"{_TOOL_FOLDERS} {_BUILT_FOLDERS} {_PYTHON_FOLDERS}".split())
PYTHON_SUFFIXES = (".py",)
SCRIPT_SUFFIXES = (".js", ".mjs", ".cjs", ".jsx", ".ts", ".mts", ".cts", ".tsx")
CODE_SUFFIXES = PYTHON_SUFFIXES + SCRIPT_SUFFIXES
TEMPLATE_SUFFIXES = (".yaml", ".yml", ".template", ".json", ".tf")
MAX_BYTES = 1_000_000
"""Larger files are data or bundles: named in the report as not read."""

_PYTHON_IMPORT = re.compile(
    rb"^[ \t]*(?:from[ \t]+([.\w]+)[ \t]+import[ \t]+(\([^)]*\)|[^#\n;]+)|import[ \t]+([\w., \t]+))", re.MULTILINE
)
_SCRIPT_IMPORT = re.compile(rb"""(?:\bfrom|\brequire\(|\bimport\(|\bimport)\s*['"]([^'"\n]+)['"]""")
_CLOUDFORMATION = re.compile(rb"AWS::(?:Lambda|Serverless|RDS)::")
_SERVERLESS = re.compile(rb"^(?:functions|provider)\s*:", re.MULTILINE)
_TERRAFORM = re.compile(
    rb"aws_(?:lambda|db|rds|sqs|api_gateway|apigatewayv2|secretsmanager|ssm)_|\bmodule\b|\bvariable\b|\blocals\b"
)
_SKIPPED_JSON = re.compile(
    r"(^|/)(package(-lock)?|tsconfig[^/]*|composer|\.eslintrc|\.prettierrc|launch|settings)\.json$"
)


def walk(root: Path) -> list[str]:
    """Return the paths under *root* worth a look, relative to it, sorted; a file as root is itself the only one."""
    if root.is_file():
        return [root.name]
    found: list[str] = []
    pending = [("", str(root))]
    while pending:
        prefix, folder = pending.pop()
        try:
            entries = list(os.scandir(folder))
        except OSError:
            continue
        for entry in entries:
            name = entry.name
            if entry.is_dir(follow_symlinks=False):
                if not _is_skipped(name, entry.path):
                    pending.append((f"{prefix}{name}/", entry.path))
            elif name.endswith(CODE_SUFFIXES):
                if not name.endswith((".min.js", ".d.ts", ".bundle.js")):
                    found.append(prefix + name)
            elif name.endswith(TEMPLATE_SUFFIXES) and not _SKIPPED_JSON.search(name):
                found.append(prefix + name)
    found.sort()
    return found


def _is_skipped(name: str, path: str) -> bool:
    if name in SKIPPED_FOLDERS or name.endswith((".egg-info", ".dist-info")):
        return True
    return name in DRIVER_MODULES and Path(path, "__init__.py").exists()  # a driver that was copied into the tree


def is_template(path: str) -> bool:
    """Return whether *path* may be a template, by its name."""
    return path.endswith(TEMPLATE_SUFFIXES)


Looked = CodeFacts | Scan | TemplateFacts | Unreadable | None


def look(root: str, path: str, *, parse: bool = False) -> Looked:
    """Read one file: its facts if it matters (or *parse* says so), else its imports; None when it is none of ours."""
    try:
        full = Path(root, path)
        with full.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
    except OSError as error:
        return Unreadable(path=path, reason=f"not readable: {error.strerror or error}")
    if path.endswith(CODE_SUFFIXES):
        return _look_at_code(path, data, parse=parse)
    return _look_at_template(path, data)


def _look_at_code(path: str, data: bytes, *, parse: bool) -> Looked:
    matters = parse or any(word in data for word in SCAN_WORDS)
    if len(data) > MAX_BYTES:
        return Unreadable(path=path, reason=f"larger than {MAX_BYTES:,} bytes: not read") if matters else None
    if not matters:
        return Scan(path=path, imports=tuple(dict.fromkeys(_imports(path, data))))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        return Unreadable(path=path, reason=f"not UTF-8: {error.reason} at byte {error.start}")
    if path.endswith(PYTHON_SUFFIXES):
        from warmline_toolkit.audit.sources.python import read_python  # noqa: PLC0415 - loaded for Python trees only

        return read_python(path, text)
    from warmline_toolkit.audit.sources.javascript import read_javascript  # noqa: PLC0415 - loaded for such trees only

    return read_javascript(path, text)


def _look_at_template(path: str, data: bytes) -> Looked:
    if len(data) > MAX_BYTES:
        return None
    text = data.decode("utf-8", errors="replace")
    if path.endswith(".tf"):
        if not _TERRAFORM.search(data):
            return None
        from warmline_toolkit.audit.sources.terraform import read_terraform  # noqa: PLC0415 - loaded for such trees only

        return read_terraform(path, text)
    if _CLOUDFORMATION.search(data):
        from warmline_toolkit.audit.sources.cloudformation import read_cloudformation  # noqa: PLC0415 - see above

        facts = read_cloudformation(path, text)
        if not (isinstance(facts, TemplateFacts) and not facts.resources and _SERVERLESS.search(data)):
            return facts
    if re.search(r"(^|/)serverless[^/]*\.ya?ml$", path) and _SERVERLESS.search(data):
        from warmline_toolkit.audit.sources.serverless import read_serverless  # noqa: PLC0415 - see above

        return read_serverless(path, text)
    return None


def _imports(path: str, data: bytes) -> Iterable[str]:
    if not path.endswith(PYTHON_SUFFIXES):
        for match in _SCRIPT_IMPORT.finditer(data):
            yield match[1].decode(errors="replace")
        return
    package = path.split("/")[:-1]
    for match in _PYTHON_IMPORT.finditer(data):
        if match[3] is not None:
            for name in match[3].decode(errors="replace").split(","):
                if name.strip():
                    yield name.split()[0]
            continue
        module = match[1].decode(errors="replace")
        level = len(module) - len(module.lstrip("."))
        if level:
            rest = module[level:]
            module = "." + ".".join([*package[: len(package) - level + 1], *([rest] if rest else [])])
        yield module
        for name in match[2].decode(errors="replace").strip("() \t\r\n").split(","):
            if name.strip() and name.split()[0].isidentifier():
                yield f"{module}.{name.split()[0]}" if module != "." else f".{name.split()[0]}"

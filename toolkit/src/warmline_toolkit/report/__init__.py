"""What people see: one neutral document, rendered for a terminal, Markdown, JSON and HTML.

`render(lab_document(summarise(read(path))), "html")` is the whole way from a run file to a report. A renderer is
imported when it is asked for: the one for HTML draws its figures with a plotting library.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.report.lab import lab_document

if TYPE_CHECKING:
    from warmline_toolkit.report.document import Document

__all__ = ["FORMATS", "lab_document", "render"]

FORMATS = ("table", "json", "markdown", "html")


def render(document: Document, format_: str, *, width: int = 80, colour: bool = False) -> str:
    """Return *document* as text in one of `FORMATS`, ending with a newline.

    *width* (columns) and *colour* (terminal escapes) are for "table" alone. "html" takes about two seconds, the others
    a few milliseconds.
    """
    match format_:
        case "table":
            from warmline_toolkit.report import terminal  # noqa: PLC0415 - see the module's docstring

            return terminal.render(document, width=width, colour=colour)
        case "json":
            from warmline_toolkit.report import json  # noqa: PLC0415

            return json.render(document)
        case "markdown":
            from warmline_toolkit.report import markdown  # noqa: PLC0415

            return markdown.render(document)
        case "html":
            from warmline_toolkit.report import html  # noqa: PLC0415

            return html.render(document)
        case _:
            raise ValueError(f"no format {format_!r}: one of {', '.join(FORMATS)}")

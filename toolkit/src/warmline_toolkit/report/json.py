"""The report for programs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from warmline_toolkit.report.document import Document


def render(document: Document) -> str:
    """Return the document's data as one JSON document."""
    return json.dumps(document.data, indent=2, ensure_ascii=False, default=str) + "\n"

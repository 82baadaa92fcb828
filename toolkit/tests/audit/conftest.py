from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from warmline_toolkit.audit.engine import audit

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from warmline_toolkit.audit.engine import Report


@pytest.fixture
def audited(tmp_path: Path) -> Callable[[Mapping[str, str]], Report]:
    """Write the given files and audit them."""

    def run(files: Mapping[str, str]) -> Report:
        for name, text in files.items():
            path = tmp_path / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        return audit(tmp_path)

    return run

"""Settings as the daemon's TOML. The daemon checks them; this only writes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import TypeAlias

Value: TypeAlias = "str | int | float | bool | Sequence[Value] | Mapping[str, Value]"


def render(settings: Mapping[str, Value]) -> str:
    """Write *settings* as TOML; nested mappings become tables, lists of mappings (`users`) arrays of tables.

    A JSON string is a TOML basic string, so quoting is `json`'s.
    """
    plain: list[str] = []
    tables: list[str] = []
    for name, value in settings.items():
        if isinstance(value, Mapping):
            tables.append(f"[{name}]\n{render(value)}")
        elif isinstance(value, Sequence) and not isinstance(value, str) and value and isinstance(value[0], Mapping):
            tables.extend(f"[[{name}]]\n{render(entry)}" for entry in value if isinstance(entry, Mapping))
        else:
            plain.append(f"{name} = {json.dumps(value)}\n")
    return "".join(plain + tables)

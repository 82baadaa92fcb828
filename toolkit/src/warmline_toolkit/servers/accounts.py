"""Which account a server runs as: servers refuse to run as root, so root lends them one that exists."""

from __future__ import annotations

import os
import pwd
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Account:
    """An operating-system account a server can run as. *switch* is False where it is the current one."""

    name: str
    uid: int
    gid: int
    switch: bool

    def own(self, directory: Path) -> None:
        """Give *directory* and everything in it to this account. Does nothing where no switch is needed."""
        if not self.switch:
            return
        os.chown(directory, self.uid, self.gid)
        for parent, directories, files in os.walk(directory):
            for name in (*directories, *files):
                os.chown(os.path.join(parent, name), self.uid, self.gid, follow_symlinks=False)  # noqa: PTH118 - thousands


def unprivileged(preferred: tuple[str, ...]) -> Account:
    """Return the current account, or as root the first of *preferred* that exists, or nobody."""
    if os.geteuid() != 0:
        me = pwd.getpwuid(os.geteuid())
        return Account(name=me.pw_name, uid=me.pw_uid, gid=me.pw_gid, switch=False)
    for name in (*preferred, "nobody"):
        try:
            found = pwd.getpwnam(name)
        except KeyError:
            continue
        return Account(name=found.pw_name, uid=found.pw_uid, gid=found.pw_gid, switch=True)
    raise LookupError(f"none of the accounts {', '.join(preferred)}, nobody exists")

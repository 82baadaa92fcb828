"""Private database servers: the only place that knows their binaries.

```python
from warmline_toolkit.servers import start

with start("mariadb", max_connections=5) as server, server.observer() as observer:
    ...  # connect to server.url
    observer.counts()
```
"""

from typing import TypeAlias

from warmline_toolkit.servers.engine import AppSession
from warmline_toolkit.servers.external import ExternalServer, external
from warmline_toolkit.servers.find import Program, all_installed, default_engine, installed
from warmline_toolkit.servers.observer import Counts, Observer
from warmline_toolkit.servers.server import Server, State, start
from warmline_toolkit.servers.users import AUTH_METHODS, ENGINES, AuthMethod, User

AnyServer: TypeAlias = Server | ExternalServer
"""A private server, or one that the user has."""

__all__ = [
    "AUTH_METHODS",
    "ENGINES",
    "AnyServer",
    "AppSession",
    "AuthMethod",
    "Counts",
    "ExternalServer",
    "Observer",
    "Program",
    "Server",
    "State",
    "User",
    "all_installed",
    "default_engine",
    "external",
    "installed",
    "start",
]

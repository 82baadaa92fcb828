"""From a URL and settings to what a driver needs to open one connection."""

from __future__ import annotations

from warmline._errors import SettingsError

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Mapping
    from typing import Any

DEFAULT_PORTS = {"mysql": 3306, "postgres": 5432}
ENGINES = {"mysql": "mysql", "mariadb": "mysql", "postgresql": "postgres", "postgres": "postgres"}
TLS_MODES = ("disable", "prefer", "require", "verify-ca", "verify-full")
_OPTION_NAMES = {
    "unix_socket": "unix_socket",
    "host": "unix_socket",
    "charset": "charset",
    "ssl_ca": "ca_file",
    "sslrootcert": "ca_file",
    "ssl_mode": "tls",
    "sslmode": "tls",
    "application_name": "application_name",
    "program_name": "application_name",
}
_MYSQL_TLS_WORDS = {
    "disabled": "disable",
    "preferred": "prefer",
    "required": "require",
    "verify_ca": "verify-ca",
    "verify_identity": "verify-full",
}


class Target:
    """One database to connect to, with everything but the credential. Its `repr` shows no secret, as it holds none."""

    __slots__ = (
        "application_name",
        "ca_file",
        "charset",
        "context",
        "database",
        "driver_options",
        "host",
        "multiplexed",
        "password",
        "port",
        "tls",
        "unix_socket",
        "user",
    )

    def __init__(self, *, host: str, port: int, user: str, password: str | None, database: str) -> None:
        self.host = host
        self.port = port
        self.user = user
        self.password = password
        self.database = database
        self.unix_socket: str | None = None
        self.charset = "utf8mb4"
        self.application_name: str | None = None
        self.tls = "prefer"
        self.ca_file: str | None = None
        self.context: ssl.SSLContext | None = None
        self.multiplexed = False
        """True behind a proxy that shares server connections: no named prepared statements, no startup options."""
        self.driver_options: Mapping[str, Any] = {}

    def __repr__(self) -> str:
        return f"<Target {self.address}/{self.database} as {self.user}>"

    @property
    def address(self) -> str:
        """Where the server is, for messages."""
        return self.unix_socket or f"{self.host}:{self.port}"

    def with_credential(self, user: str, password: str | None) -> Target:
        """Return a copy that logs in as *user*."""
        copy = Target(host=self.host, port=self.port, user=user, password=password, database=self.database)
        for name in (
            "unix_socket",
            "charset",
            "application_name",
            "tls",
            "ca_file",
            "context",
            "multiplexed",
            "driver_options",
        ):
            setattr(copy, name, getattr(self, name))
        return copy


class Address:
    """What a URL says: the engine, the driver it names (or None), and the target."""

    __slots__ = ("driver", "engine", "target")

    def __init__(self, *, engine: str, driver: str | None, target: Target) -> None:
        self.engine = engine
        self.driver = driver
        self.target = target


def parse(url: str) -> Address:
    """Parse `engine[+driver]://user:password@host:port/database?option=value`.

    Engines: mysql, mariadb, postgresql, postgres. User, password and database may be percent-encoded; an IPv6 host goes
    in brackets. Options: `unix_socket` (PostgreSQL also `host`, a directory), `charset`, `ssl_ca` or `sslrootcert`,
    `ssl_mode` or `sslmode`, `application_name` or `program_name`. Raises `SettingsError`, never with the password.
    """
    from urllib.parse import parse_qsl, unquote, urlsplit  # noqa: PLC0415 - kept out of the import of the library

    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise SettingsError(
            f"the URL cannot be read: {error}", next_step="Percent-encode special characters in the user and password."
        ) from None
    name, _, driver = parts.scheme.partition("+")
    engine = ENGINES.get(name)
    if engine is None:
        raise SettingsError(
            f"the URL begins with {parts.scheme or 'no engine'!r}",
            next_step=f"Begin it with one of {', '.join(ENGINES)}.",
        )
    target = Target(
        host=parts.hostname or "localhost",
        port=port or DEFAULT_PORTS[engine],
        user=unquote(parts.username or ""),
        password=None if parts.password is None else unquote(parts.password),
        database=unquote(parts.path[1:]),
    )
    for option, value in parse_qsl(parts.query, keep_blank_values=True):
        if option not in _OPTION_NAMES:
            raise SettingsError(
                f"the URL has the option {option!r}",
                next_step=f"Known: {', '.join(sorted(_OPTION_NAMES))}. Others go to Database(driver_options={{...}}).",
            )
        setattr(target, _OPTION_NAMES[option], value)
        if _OPTION_NAMES[option] == "tls":
            target.tls = tls_mode(value)
    if target.ca_file is not None and target.tls in ("prefer", "require"):
        target.tls = "verify-full"
    return Address(engine=engine, driver=driver or None, target=target)


def tls_mode(word: str) -> str:
    """Return PostgreSQL's word for a TLS mode, taking MySQL's words too."""
    mode = _MYSQL_TLS_WORDS.get(word.lower(), word)
    if mode == "allow":
        mode = "prefer"
    if mode not in TLS_MODES:
        raise SettingsError(f"the TLS mode is {word!r}", next_step=f"Use one of {', '.join(TLS_MODES)}.")
    return mode


_CONTEXTS: dict[tuple[str, str | None], ssl.SSLContext] = {}


def tls_context(target: Target) -> ssl.SSLContext | None:
    """Return the context for drivers that use Python's `ssl`, one a process for each mode and CA; None for plain.

    Making one that loads the machine's CAs costs tens of milliseconds, one that loads only the given CA well under one.
    """
    if target.context is not None:
        return target.context
    if target.tls == "disable":
        return None
    key = (target.tls, target.ca_file)
    if key not in _CONTEXTS:
        import ssl  # noqa: PLC0415 - only for who uses TLS

        if target.tls in ("verify-ca", "verify-full"):
            context = ssl.create_default_context(cafile=target.ca_file)
            context.check_hostname = target.tls == "verify-full"
        else:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        _CONTEXTS[key] = context
    return _CONTEXTS[key]


def detect_via(host: str, port: int) -> str:
    """Guess the path from the address: an RDS Proxy endpoint says so in its name; PgBouncer's port is 6432."""
    if ".proxy-" in host and host.endswith((".amazonaws.com", ".amazonaws.com.cn")):
        return "rds-proxy"
    return "pgbouncer" if port == 6432 else "direct"  # noqa: PLR2004 - PgBouncer's default port, named in the docstring

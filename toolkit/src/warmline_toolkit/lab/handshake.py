"""Reads a database connection's opening from outside: did the server give it a session or refuse it, with which code?

Pure: bytes in, a verdict out; nothing is kept after the verdict. Understands the MySQL protocol (MySQL, MariaDB) and
PostgreSQL's, unencrypted. Where client and server agree on TLS, the rest is hidden and the verdict is `HIDDEN`.
"""

from __future__ import annotations

import enum
import struct

_MAX_OPENING_BYTES = 65_536
_MYSQL_HEADER, _POSTGRES_HEADER, _STARTUP_HEADER = 4, 5, 8


class Verdict(enum.Enum):
    """What is known of a connection's opening."""

    OPENING = "opening"
    SESSION = "session"
    REFUSED = "refused"
    HIDDEN = "hidden"


class Handshake:
    """One connection's opening. Feed both directions until `verdict` is no longer OPENING; then stop."""

    def __init__(self) -> None:
        self.verdict = Verdict.OPENING
        self.code: str | None = None
        """The server's error code where the verdict is REFUSED: "1040", "53300"."""

    def client_sent(self, data: bytes) -> None:
        """Take what the client sent."""
        raise NotImplementedError

    def server_sent(self, data: bytes) -> None:
        """Take what the server sent."""
        raise NotImplementedError

    def _decide(self, verdict: Verdict, code: str | None = None) -> None:
        self.verdict, self.code = verdict, code


class MySqlHandshake(Handshake):
    """Greeting, the client's answer, then OK, an error, or further authentication packets."""

    _CLIENT_SSL = 0x0800
    _SSL_REQUEST_BYTES = 36
    _OK, _ERROR = 0x00, 0xFF

    def __init__(self) -> None:
        super().__init__()
        self._from_server = b""
        self._greeted = False
        self._from_client = b""

    def client_sent(self, data: bytes) -> None:
        """Look for the short answer that asks for TLS; the full answer is longer."""
        if len(self._from_client) >= self._SSL_REQUEST_BYTES:
            return
        self._from_client += data
        if len(self._from_client) >= self._SSL_REQUEST_BYTES:
            length = int.from_bytes(self._from_client[:3], "little")
            flags = int.from_bytes(self._from_client[4:6], "little")
            if length == self._SSL_REQUEST_BYTES - 4 and flags & self._CLIENT_SSL:
                self._decide(Verdict.HIDDEN)

    def server_sent(self, data: bytes) -> None:
        """Read whole packets: the first is the greeting or a refusal, a later one decides."""
        self._from_server += data
        while self.verdict is Verdict.OPENING and len(self._from_server) > _MYSQL_HEADER:
            length = int.from_bytes(self._from_server[:3], "little")
            packet = self._from_server[_MYSQL_HEADER : _MYSQL_HEADER + length]
            if len(packet) < length:
                break
            self._from_server = self._from_server[_MYSQL_HEADER + length :]
            kind = packet[0] if packet else -1
            if kind == self._ERROR:
                self._decide(Verdict.REFUSED, str(struct.unpack_from("<H", packet, 1)[0]))
            elif not self._greeted:
                self._greeted = True
            elif kind == self._OK:
                self._decide(Verdict.SESSION)
        if len(self._from_server) > _MAX_OPENING_BYTES:
            self._decide(Verdict.HIDDEN)


class PostgresHandshake(Handshake):
    """An optional request for encryption, the startup message, then messages until ReadyForQuery or an error."""

    _ENCRYPTION_REQUESTS = (80_877_103, 80_877_104)
    _CANCEL_REQUEST = 80_877_102

    def __init__(self) -> None:
        super().__init__()
        self._from_client = b""
        self._from_server = b""
        self._asked_encryption = False
        self._started = False

    def client_sent(self, data: bytes) -> None:
        """Follow the requests that come before the startup message."""
        if self._started:
            return
        self._from_client += data
        if len(self._from_client) < _STARTUP_HEADER:
            return
        length, code = struct.unpack_from(">II", self._from_client)
        if code in self._ENCRYPTION_REQUESTS:
            self._asked_encryption = True
            self._from_client = self._from_client[length:]
        elif code == self._CANCEL_REQUEST:
            self._decide(Verdict.HIDDEN)  # never a session: the server answers by closing
        else:
            self._started = True
            self._from_client = b""

    def server_sent(self, data: bytes) -> None:
        """Read whole messages until the server is ready or has refused."""
        if self._asked_encryption:
            self._asked_encryption = False
            if data[:1] in (b"S", b"G"):
                self._decide(Verdict.HIDDEN)
                return
            if data[:1] == b"N":
                data = data[1:]
        self._from_server += data
        while self.verdict is Verdict.OPENING and len(self._from_server) >= _POSTGRES_HEADER:
            length = 1 + struct.unpack_from(">I", self._from_server, 1)[0]
            if len(self._from_server) < length:
                break
            kind, message = self._from_server[:1], self._from_server[_POSTGRES_HEADER:length]
            self._from_server = self._from_server[length:]
            if kind == b"E":
                self._decide(Verdict.REFUSED, _sqlstate(message))
            elif kind == b"Z":
                self._decide(Verdict.SESSION)
        if len(self._from_server) > _MAX_OPENING_BYTES:
            self._decide(Verdict.HIDDEN)


def _sqlstate(fields: bytes) -> str:
    for field in fields.split(b"\0"):
        if field[:1] == b"C":
            return field[1:].decode("latin-1")
    return "XX000"


def handshake_of(engine: str) -> Handshake:
    """Return the reader for *engine*: "mariadb", "mysql" or "postgres"."""
    return PostgresHandshake() if engine == "postgres" else MySqlHandshake()

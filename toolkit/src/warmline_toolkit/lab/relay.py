"""The path from one environment to the database: a TCP relay that counts, delays, goes silent, and keeps ghosts.

**A connection** is one TCP connection that the function opened and that reached the server. It is told of when its
login is decided: one that is still undecided (the function was frozen in the middle of it) is none yet, for the server
as for the relay, and one that ends undecided is told of at its end. Its opening is read
(`handshake`), so that a refusal is known with the server's code, and a session is known as one. Under TLS the opening
is hidden: then `session` is None and a refusal shows only as the server's close.

**A round trip** is bytes from the client followed by bytes from the server, counted when the first answer byte passes.
A pipelined batch counts once, an answer in many segments counts once. The TCP handshake and MySQL's unasked greeting
count nothing; each exchange of the login counts one (MySQL's native password: 1, `caching_sha2_password` by its fast
path: 1 or 2; PostgreSQL's SCRAM: 3), and so does each flight of a TLS handshake. A message that is never answered
(MySQL's COM_QUIT, PostgreSQL's Terminate) counts nothing.

**Added round-trip time**: half in each direction, pipelined (bytes wait, other bytes do not wait for them), in order.
The TCP handshake is charged too: the server is contacted 1.5 round-trip times after the client connected, which is
when a real server would see the connection; what the client sends meanwhile waits with it. Costs nothing when it is 0.

**Its own cost** is measured by `measure_overhead`, and is part of every run's provenance.

What a relay cannot do: make the client's `connect()` itself fail or wait (the relay's kernel has accepted it), or keep
the lab's kernel from acknowledging keepalive probes that a vanished machine would leave unanswered.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import socket
import struct
import time
from collections import deque
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, cast

from warmline_toolkit.lab.handshake import Handshake, Verdict, handshake_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from warmline_toolkit.lab.delay import DelayLine
    from warmline_toolkit.model.events import ReapHow

_HIGH_WATER_BYTES = 262_144
"""More than this waiting in one direction and the relay stops reading the other end."""
_LINGER_RESET = struct.pack("ii", 1, 0)

# What a client sends last: whichever end's FIN is seen first after it, the function ended the connection.
_FAREWELL = {"postgres": b"X\0\0\0\x04"}
_MYSQL_FAREWELL = b"\x01\0\0\0\x01"

EndedBy = Literal["function", "server", "platform"]


@dataclass(frozen=True)
class Address:
    """Where a relay sends its connections: the database, or a proxy in front of it."""

    host: str
    port: int


class Observer(Protocol):
    """Who is told of a relay's connections."""

    def connection_opened(self, link: Link) -> None:
        """A connection reached the server."""

    def connection_closed(self, link: Link, by: EndedBy) -> None:
        """A connection that had been opened ended."""


class Tally:
    """What has passed through a relay, or through a part of its connections; only grows."""

    __slots__ = ("bytes_received", "bytes_sent", "opened", "round_trips")

    def __init__(self) -> None:
        self.opened = 0
        self.round_trips = 0
        self.bytes_sent = 0
        self.bytes_received = 0


class State(enum.Enum):
    """A connection's state; `Link._move` is the only place that changes it."""

    CONNECTING = "connecting"
    OPEN = "open"
    GHOST = "ghost"
    CLOSED = "closed"


_MOVES = {
    State.CONNECTING: {State.OPEN, State.CLOSED},
    State.OPEN: {State.GHOST, State.CLOSED},
    State.GHOST: {State.CLOSED},
    State.CLOSED: set[State](),
}


class _End(asyncio.Protocol):
    """One socket of a connection: what arrives goes out at the other."""

    def __init__(self, link: Link) -> None:
        self.link = link
        self.transport: asyncio.Transport | None = None
        self.other: _End
        self.delayed: deque[bytes] = deque()
        self.delayed_bytes = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.transport.set_write_buffer_limits(high=_HIGH_WATER_BYTES)

    def connection_lost(self, exc: Exception | None) -> None:
        self.link.lost(self, reset=exc is not None)

    def pause_writing(self) -> None:
        self.other.read(on=False)

    def resume_writing(self) -> None:
        if not self.link.relay.silent:
            self.other.read(on=True)

    def read(self, *, on: bool) -> None:
        """Start or stop reading this socket."""
        if self.transport is not None and not self.transport.is_closing():
            if on:
                self.transport.resume_reading()
            else:
                self.transport.pause_reading()

    def send(self, data: bytes) -> None:
        """Write to this socket, after the added delay."""
        link = self.link
        delay_s = link.relay.one_way_s
        if not delay_s and not self.delayed and self.transport is not None:
            self.transport.write(data)
            return
        self.delayed.append(data)
        self.delayed_bytes += len(data)
        if self.delayed_bytes > _HIGH_WATER_BYTES:
            self.other.read(on=False)
        if self.transport is not None:
            link.relay.delays.call_at(time.monotonic() + delay_s, self.release_one)

    def release_one(self) -> None:
        """Write the oldest delayed bytes: each delayed write has one call of this."""
        if not self.delayed:
            return
        data = self.delayed.popleft()
        was_full = self.delayed_bytes > _HIGH_WATER_BYTES
        self.delayed_bytes -= len(data)
        if self.transport is not None and not self.transport.is_closing():
            self.transport.write(data)
        if was_full and self.delayed_bytes <= _HIGH_WATER_BYTES:
            self.resume_writing()
        if not self.delayed and self.link.closing_from is self.other:
            self.link.finish_close()

    def release_all(self) -> None:
        """Write everything that waits, at once."""
        while self.delayed:
            self.release_one()

    def close(self, *, reset: bool = False) -> None:
        """Close this socket: with FIN, or with RST."""
        if self.transport is None:
            return
        if reset:
            sock = self.transport.get_extra_info("socket")
            if sock is not None:
                with contextlib.suppress(OSError):
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_RESET)
            self.transport.abort()
        else:
            self.transport.close()


class _ClientEnd(_End):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.link.client_connected()

    def data_received(self, data: bytes) -> None:
        link = self.link
        link.bytes_sent += len(data)
        link.tally.bytes_sent += len(data)
        link.asked = True
        link.said_goodbye = data.endswith(link.relay.farewell)
        if link.handshake is not None:
            link.read_opening(data, from_server=False)
        self.other.send(data)


class _ServerEnd(_End):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self.release_all()

    def data_received(self, data: bytes) -> None:
        link = self.link
        if link.state is State.GHOST:
            return
        tally = link.tally
        link.bytes_received += len(data)
        tally.bytes_received += len(data)
        if link.asked:
            link.asked = False
            link.round_trips += 1
            tally.round_trips += 1
        if link.handshake is not None:
            link.read_opening(data, from_server=True)
        self.other.send(data)


class Link:
    """One connection through a relay.

    *session* is True where the server gave it one, False where it refused (with *refused_code*) or closed before, None
    while that is open and where TLS hides it. *tally* is where it is counted: the relay's own, or what the relay's
    `tally_of` returned for its client's port.
    """

    def __init__(self, relay: Relay) -> None:
        self.relay = relay
        self.name = ""
        self.tally = relay.tally
        self.state = State.CONNECTING
        self.client = _ClientEnd(self)
        self.server = _ServerEnd(self)
        self.client.other, self.server.other = self.server, self.client
        self.handshake: Handshake | None = handshake_of(relay.engine)
        self.told = False
        self.session: bool | None = None
        self.refused_code: str | None = None
        self.asked = False
        self.said_goodbye = False
        self.round_trips = 0
        self.bytes_sent = 0
        self.bytes_received = 0
        self.closing_from: _End | None = None

    @property
    def counts(self) -> bool:
        """Whether it is a connection for the server: it got a session, as far as can be seen."""
        return self.told and self.session is not False

    def _move(self, to: State) -> None:
        if to not in _MOVES[self.state]:
            raise AssertionError(f"a connection cannot go from {self.state.value} to {to.value}")
        self.state = to

    # opening

    def client_connected(self) -> None:
        """Contact the server, 1.5 round-trip times from now."""
        self.relay.links.add(self)
        if self.relay.tally_of is not None and self.client.transport is not None:
            self.tally = self.relay.tally_of(self.client.transport.get_extra_info("peername")[1]) or self.tally
        one_way_s = self.relay.one_way_s
        if one_way_s:
            self.relay.delays.call_at(time.monotonic() + 3 * one_way_s, self._contact)
        else:
            self._contact()

    def _contact(self) -> None:
        if self.state is State.CONNECTING:
            self.relay.spawn(self._connect())

    async def _connect(self) -> None:
        target = self.relay.target
        try:
            await asyncio.get_running_loop().create_connection(lambda: self.server, target.host, target.port)
        except OSError:
            self.relay.unreachable += 1
            self.end("server", reset=True)
            return
        if self.state is not State.CONNECTING:
            self.server.close()
            return
        self._move(State.OPEN)
        self.tally.opened += 1
        if self.handshake is None:
            self._tell()
        if self.relay.silent:
            self.server.read(on=False)
        if self.closing_from is self.client:
            self.finish_close()

    def read_opening(self, data: bytes, *, from_server: bool) -> None:
        """Follow the login until it is decided."""
        handshake = self.handshake
        if handshake is None:
            return
        if from_server:
            handshake.server_sent(data)
        else:
            handshake.client_sent(data)
        if handshake.verdict is Verdict.OPENING:
            return
        self.handshake = None
        if handshake.verdict is Verdict.SESSION:
            self.session = True
        elif handshake.verdict is Verdict.REFUSED:
            self.session, self.refused_code = False, handshake.code
        self._tell()

    def _tell(self) -> None:
        # What the client sends can decide it before the server was reached: then `_connect` tells.
        if self.told or self.state is State.CONNECTING:
            return
        self.told = True
        self.relay.observer.connection_opened(self)

    # ending

    def lost(self, end: _End, *, reset: bool) -> None:
        """Pass on that one end is gone: what is still delayed goes out first."""
        if self.state is State.CLOSED:
            return
        if self.state is State.GHOST:
            if end is self.server:
                self._closed("server")
            return
        if self.state is State.CONNECTING:
            self.closing_from = end
            if not self.client.other.delayed:
                self.end("function", reset=False)
            return
        if end.other.delayed and not reset:
            self.closing_from = end
            return
        self.end("function" if end is self.client or self.said_goodbye else "server", reset=reset)

    def finish_close(self) -> None:
        """Close the other end of a connection whose first end is gone and whose bytes are out."""
        if self.state is State.OPEN and self.closing_from is not None:
            if self.server.transport is not None and self.closing_from is self.client:
                self.server.release_all()
            if self.state is State.OPEN:  # releasing may have finished it
                said = self.closing_from is self.client or self.said_goodbye
                self.end("function" if said else "server", reset=False)

    def end(self, by: EndedBy, *, reset: bool) -> None:
        """End the connection at both ends."""
        if self.state is State.CLOSED:
            return
        self.client.delayed.clear()
        self.server.delayed.clear()
        opened = self.state is not State.CONNECTING
        self._closed(by, tell=opened)
        self.client.close(reset=reset)
        self.server.close(reset=reset)

    def _closed(self, by: EndedBy, *, tell: bool = True) -> None:
        self._move(State.CLOSED)
        self.relay.links.discard(self)
        if self.session is None and self.handshake is not None:
            self.session = False
        self.handshake = None  # what still arrives decides nothing any more
        if not tell:
            return
        self._tell()
        if by == "function" and self.relay.killing:
            by = "platform"
        if by == "function" and self.refused_code is not None:
            by = "server"  # the refusal is the end, whichever FIN follows it first
        self.relay.observer.connection_closed(self, by)

    def haunt(self) -> None:
        """Keep the server's end open and silent; the client's end is dropped."""
        if self.state is State.OPEN:
            self._move(State.GHOST)
            self.client.delayed.clear()
            self.server.delayed.clear()
            self.server.read(on=True)  # what the server says is read and lost; its close must be seen
            self.client.close(reset=True)
        else:
            self.end("platform", reset=True)


class Relay:
    """One environment's relay. `start()` gives it an address; counters only grow.

    *target* may be changed at any time and holds for connections opened from then on: a proxy between the environment
    and the server is routed by it.
    """

    def __init__(  # noqa: PLR0913 - settings, each by name
        self,
        target: Address,
        *,
        engine: str,
        observer: Observer,
        delays: DelayLine,
        rtt_ms: float = 0.0,
        tally_of: Callable[[int], Tally | None] | None = None,
    ) -> None:
        self.target = target
        self.engine = engine
        self.farewell = _FAREWELL.get(engine, _MYSQL_FAREWELL)
        self.observer = observer
        self.delays = delays
        self.tally_of = tally_of
        self.tally = Tally()
        self.links: set[Link] = set()
        self.unreachable = 0
        self.silent = False
        self.killing = False
        self.one_way_s = 0.0
        self.set_rtt(rtt_ms)
        self.port = 0
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> Address:
        """Listen on a free loopback port and return it: what the handler gets as DB_HOST and DB_PORT."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Link(self).client, "127.0.0.1", 0, backlog=256)
        self.port = self._server.sockets[0].getsockname()[1]
        return Address("127.0.0.1", self.port)

    async def take(self, client: socket.socket) -> None:
        """Relay a connection that was accepted elsewhere."""
        await asyncio.get_running_loop().connect_accepted_socket(lambda: Link(self).client, client)

    def spawn(self, coroutine: object) -> None:
        """Run a connect, owned by this relay."""
        task = asyncio.ensure_future(coroutine)  # type: ignore[call-overload]
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def set_rtt(self, rtt_ms: float) -> None:
        """Add *rtt_ms* to every round trip from now on."""
        if rtt_ms < 0:
            raise ValueError(f"rtt_ms must not be negative, got {rtt_ms}")
        self.one_way_s = rtt_ms / 2000

    @property
    def open_links(self) -> int:
        """Connections open now whose environment is there; a login that is undecided or refused is none."""
        return sum(link.state is State.OPEN and link.counts for link in self.links)

    @property
    def server_side_ports(self) -> set[int]:
        """The ports by which the server knows the open connections: each one's own end towards it."""
        transports = [link.server.transport for link in self.links if link.state is State.OPEN]
        return {transport.get_extra_info("sockname")[1] for transport in transports if transport is not None}

    @property
    def ghosts(self) -> int:
        """Connections that the server still holds for an environment that is gone."""
        return sum(link.state is State.GHOST and link.counts for link in self.links)

    def blackhole(self, *, on: bool) -> None:
        """Pass nothing on in either direction while *on*; connections stay open, bytes wait and are not lost.

        A path that drops packets looks like this to both ends as long as TCP keeps retrying.
        """
        self.silent = on
        for link in self.links:
            link.client.read(on=not on)
            link.server.read(on=not on)

    def cut(self, how: Literal["fin", "rst"]) -> int:
        """End every open connection at both ends, with FIN or RST; return how many."""
        links = [link for link in self.links if link.state is not State.GHOST]
        for link in links:
            link.end("platform", reset=how == "rst")
        return len(links)

    def detach(self, how: ReapHow) -> int:
        """End the environment's side as a reap does; return how many ghosts that leaves.

        fin and rst reach the server; with silent it sees nothing, and its end stays open until the server closes it
        or `release_ghosts`.
        """
        self.stop_listening()
        if how != "silent":
            self.cut(how)
            return 0
        for link in list(self.links):
            link.haunt()
        return self.ghosts

    def release_ghosts(self) -> int:
        """Close the ghosts, with FIN; return how many there were."""
        ghosts = [link for link in self.links if link.state is State.GHOST]
        for link in ghosts:
            link.end("platform", reset=False)
        return len(ghosts)

    def stop_listening(self) -> None:
        """Take no new connections."""
        if self._server is not None:
            self._server.close()
            self._server = None

    async def close(self) -> None:
        """End everything, ghosts too."""
        self.stop_listening()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for link in list(self.links):
            link.end("platform", reset=False)

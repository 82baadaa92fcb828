"""The I/O shell for synchronous drivers: performs what the policy decided, bounded by the deadline."""

from __future__ import annotations

import os

from warmline import drivers
from warmline._clock import elapsed_s
from warmline._credentials import provider
from warmline._environment import SNAPSHOT
from warmline._errors import SettingsError
from warmline._events import Kind, warn
from warmline._outcome import Failure
from warmline._policy import Here, Ping, Polled, Reason, Retire, Reuse, decide, lifetime_s, ping_budget_s
from warmline._retry import CREDENTIALS_TRIED, connect_budget_s, connect_error, connect_pause_s
from warmline._session import Session
from warmline._slot import State, Step
from warmline._url import detect_via, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from warmline._clock import Clock, Instant
    from warmline._credentials import Credential, Provider
    from warmline._environment import Deadline, Invocation
    from warmline._events import Events
    from warmline._settings import Settings
    from warmline._slot import Slot
    from warmline._url import Address, Target

_IDLE = State.IDLE
_ACQUIRE = Step.ACQUIRE
_REUSE = Kind.REUSE
CLEANUP_S = 5.0
_DEVNULL: list[int] = []


def random_unit() -> float:
    """Return a number in 0..1 from the kernel: differs between forks and between restores of one snapshot."""
    return int.from_bytes(os.urandom(4), "big") / 0xFFFF_FFFF


def cut_off(fd: int, inode: int) -> None:
    """Point *fd* at nothing, so that whatever a driver still writes or closes cannot reach the server connection.

    After a fork two processes hold the same connection, and a polite close in one would end it for both. Closing the
    bare number instead would let the driver write into whatever file gets that number next. A driver may have closed
    its socket without saying so: *inode*, the socket's own, tells whether the number is still that socket's.
    """
    try:
        if fd < 0 or os.fstat(fd).st_ino != inode:
            return
    except OSError:
        return
    if not _DEVNULL:
        _DEVNULL.append(os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC))
    os.dup2(_DEVNULL[0], fd, inheritable=False)


class Base:
    """What connecting needs, for synchronous and asynchronous drivers alike."""

    def __init__(  # noqa: PLR0913 - one argument a collaborator, all by keyword
        self,
        url: str,
        *,
        settings: Settings,
        auth: Provider | str | Callable[[], str | tuple[str, str]] | None,
        tls: str | None,
        ca_file: str | None,
        application_name: str | None,
        driver_options: Mapping[str, Any],
        clock: Clock,
        events: Events,
        is_async: bool,
        driver: Any = None,
    ) -> None:
        self._url = url
        self._tls = tls
        self._ca_file = ca_file
        self._application_name = application_name
        self._driver_options = driver_options
        self._auth = auth
        self._is_async = is_async
        self._driver = driver
        self._address: Address | None = None
        self._provider: Provider | None = None
        self.settings = settings
        self.clock = clock
        self.events = events
        self.outage: Instant | None = None
        self.epoch = 0
        self.crowded = False
        self.pid = os.getpid()
        self._here = Here(pid=0, generation=0, epoch=0)

    @property
    def address(self) -> Address:
        """The parsed URL."""
        if self._address is None:
            address = parse(self._url)
            target = address.target
            if self._ca_file is not None:
                target.ca_file = self._ca_file
                target.tls = "verify-full"
            if self._tls is not None:
                from warmline._url import tls_mode  # noqa: PLC0415 - only for who gives one

                target.tls = tls_mode(self._tls)
            target.application_name = target.application_name or self._application_name
            target.driver_options = self._driver_options
            target.multiplexed = self.via(target) != "direct"
            self._address = address
        return self._address

    def via(self, target: Target) -> str:
        """Return the path to the server, guessed from its address when the setting is auto."""
        return detect_via(target.host, target.port) if self.settings.via == "auto" else self.settings.via

    @property
    def driver(self) -> Any:
        """The driver's file; the first use imports it, and the driver with it."""
        if self._driver is None:
            address = self.address
            self._driver = drivers.load(drivers.choose(address.engine, address.driver, is_async=self._is_async))
        return self._driver

    @property
    def provider(self) -> Provider:
        """Where credentials come from."""
        if self._provider is None:
            self._provider = provider(self._auth, url_password=self.address.target.password)
        return self._provider

    def here(self, loop: Any = None) -> Here:
        """Say where this process stands now."""
        here = self._here  # one object, filled anew: this is on the path of every acquire
        here.pid = self.pid
        here.generation = SNAPSHOT.number
        here.epoch = self.epoch if self._provider is None else self.epoch + self._provider.epoch
        here.loop = loop
        here.outage = self.outage
        return here

    def credential(self, timeout_s: float) -> tuple[Target, Credential]:
        """Fetch the credential; return it with the target that logs in with it."""
        target = self.address.target
        source = self.provider
        if (
            source.needs_verified_tls
            and not target.unix_socket
            and not target.tls.startswith("verify")
            and target.context is None
        ):
            raise SettingsError(
                f"{source!r} sends a secret that anybody on the path could use, and the TLS mode is {target.tls!r}",
                next_step="Give ca_file= (the RDS bundle, for RDS), which turns verification on.",
            )
        credential = source.credential(host=target.host, port=target.port, user=target.user, timeout_s=timeout_s)
        return target.with_credential(credential.user, credential.password), credential

    def opened(self, slot: Slot, connection: Any, session: Session, *, loop: Any = None) -> None:
        """Put a new connection into *slot*, and note where and when it was made."""
        here = self.here(loop)
        session.by_library = False
        slot.connection = connection
        slot.session = session
        slot.pid = here.pid
        slot.generation = here.generation
        slot.epoch = here.epoch
        slot.loop = loop
        slot.connected_at = slot.idle_since = self.clock.read()
        slot.lifetime_s = lifetime_s(self.settings.max_lifetime_s, random=random_unit())
        slot.step(Step.CONNECTED)

    def verdict(self, slot: Slot, loop: Any = None) -> Reuse:
        """Look at an idle slot's socket and clocks, and say what to do with its connection."""
        assert slot.session is not None  # noqa: S101 - an idle slot holds one
        session = slot.session
        return decide(
            slot,
            here=self.here(loop),
            now=self.clock.read(),
            polled=session.polled() if self._driver.fileno(slot.connection) == session.fd else Polled.CLOSED,
            server_speaks_first=session.speaks_first,
            ping_after_s=self.settings.ping_after_s,
        )

    def tell_of_rollback(self, session: Session, invocation: Invocation | None) -> None:
        """Warn of a transaction left open; one that is left by an exception is rolled back as its author meant."""
        if session.left_by_exception:
            self.events.tell(Kind.ROLLBACK, Reason.FAILED, invocation=invocation)
            return
        opener = _text(session.opened_by) + (f" (then {_text(session.work)})" if session.work is not None else "")
        self.events.tell(Kind.ROLLBACK, Reason.NOT_COMMITTED, text=opener, invocation=invocation)
        warn(
            "a transaction was still open when its connection was released; it is rolled back. It was opened by: %s",
            opener,
        )

    def was_reset(self, session: Session, invocation: Invocation | None) -> None:
        """Take note that a session is as new."""
        session.dirty = False
        session.reset_suffices = True
        self.events.tell(Kind.RESET, Reason.DIRTY, invocation=invocation)

    def let_go(self, slot: Slot, reason: Reason, invocation: Invocation | None) -> tuple[Any, Session]:
        """Empty *slot*, and return what it held, for the library alone to close."""
        connection, session = slot.connection, slot.session
        slot.step(Step.DISCARD)
        self.events.tell(Kind.DISCARD, reason, invocation=invocation)
        assert session is not None  # noqa: S101 - a slot with a connection has one
        session.by_user = False
        session.by_library = True
        return connection, session

    @staticmethod
    def cleanup_s(deadline: Deadline | None) -> float:
        """Return how long rolling back and resetting may take."""
        return CLEANUP_S if deadline is None else deadline.cleanup_s()


class Attempts:
    """The bookkeeping of connecting: how long, how often, with which credential. Decides; performs nothing."""

    def __init__(self, base: Base, deadline: Deadline | None, invocation: Invocation | None) -> None:
        self._base = base
        self._invocation = invocation
        self._budget_s = connect_budget_s(base.settings, deadline)
        self._start = base.clock.read()
        self._attempts = 0
        self._refusals = 0
        self._credentials = 1

    def took_s(self) -> float:
        """Return the seconds since the first attempt began."""
        return elapsed_s(self._start, self._base.clock.read())

    def timeout_s(self) -> float:
        """Return how long the next attempt may take."""
        self._attempts += 1
        return max(0.05, min(self._base.settings.connect_timeout_s, self._budget_s - self.took_s()))

    def succeeded(self, reason: Reason) -> None:
        """Tell of the new connection."""
        self._base.events.tell(
            Kind.CONNECT, reason, elapsed_us=int(self.took_s() * 1_000_000), invocation=self._invocation
        )

    def pause_s(self, error: Exception, credential: Credential, target: Target) -> float:
        """Return how long to pause before trying again after *error*; raise what ends connecting."""
        base = self._base
        failure: Failure = base.driver.classify_connect(error)
        if failure in (Failure.OTHER, Failure.CANCELLED, Failure.CONFLICT, Failure.LOCK_WAIT):
            raise error
        base.events.tell(Kind.REFUSE, Reason.REFUSED, text=failure.value, invocation=self._invocation)
        if failure is Failure.AUTH:
            if self._credentials < CREDENTIALS_TRIED and base.provider.rejected(credential):
                self._credentials += 1
                return 0.0
        else:
            if failure is Failure.TOO_MANY:
                self._refusals += 1
                base.crowded = True
            left_s = self._budget_s - self.took_s()
            pause = connect_pause_s(self._attempts, left_s=left_s, random=random_unit())
            if pause is not None:
                base.events.tell(
                    Kind.RETRY, Reason.REFUSED, elapsed_us=int(pause * 1_000_000), invocation=self._invocation
                )
                return pause
        raise connect_error(
            failure, error, target, attempts=self._attempts, refusals=self._refusals, took_s=self.took_s()
        ) from error


class Connector(Base):
    """Opens, checks, cleans and closes the connections of slots, with a synchronous driver."""

    def prepare(self, slot: Slot, deadline: Deadline | None, invocation: Invocation | None) -> None:
        """Leave *slot* with a connection that is alive and its caller's; connect only if it must.

        Costs no round trip when the policy says reuse. Whatever is raised leaves the slot empty.
        """
        reason = Reason.FIRST
        if slot.state is _IDLE:
            verdict = self.verdict(slot)
            if type(verdict) is Reuse or (
                type(verdict) is Ping and self._ping(slot, verdict.reason, deadline, invocation)
            ):
                slot.step(_ACQUIRE)
                if type(verdict) is Reuse:
                    self.events.tell(_REUSE, verdict.reason, invocation=invocation)
                assert slot.session is not None  # noqa: S101 - it holds a connection
                slot.session.begin_use(deadline)
                slot.session.by_user = True
                return
            reason = Reason.PING_FAILED if type(verdict) is Ping else verdict.reason
            if reason in (Reason.SERVER_CLOSED, Reason.PING_FAILED):
                self.outage = self.clock.read()
            self.discard(slot, reason, polite=type(verdict) is Retire, invocation=invocation)
        self._connect(slot, reason, deadline, invocation)

    def _connect(self, slot: Slot, reason: Reason, deadline: Deadline | None, invocation: Invocation | None) -> None:
        attempts = Attempts(self, deadline, invocation)
        slot.step(Step.CONNECT)
        try:
            driver = self.driver
            while True:
                timeout_s = attempts.timeout_s()
                target, credential = self.credential(timeout_s)
                session = Session(speaks_first=driver.SPEAKS_FIRST)
                try:
                    connection = driver.connect(target, session, timeout_s=timeout_s)
                    break
                except Exception as error:  # noqa: BLE001 - the driver's own classes; pause_s raises what it does not know
                    pause_s = attempts.pause_s(error, credential, target)
                self.clock.sleep(pause_s)
        except BaseException:
            slot.step(Step.FAILED)
            raise
        self.opened(slot, connection, session)
        attempts.succeeded(reason)
        session.begin_use(deadline)
        session.by_user = True

    def _ping(self, slot: Slot, reason: Reason, deadline: Deadline | None, invocation: Invocation | None) -> bool:
        session = slot.session
        assert session is not None  # noqa: S101 - an idle slot holds one
        start = self.clock.read()
        budget_s = ping_budget_s(None if deadline is None else deadline.remaining_s())
        session.by_library = True
        try:
            self.driver.ping(slot.connection, timeout_s=budget_s)
        except Exception:  # noqa: BLE001 - whatever a ping fails with, the connection is not handed out
            return False
        finally:
            session.by_library = False
            took_us = int(elapsed_s(start, self.clock.read()) * 1_000_000)
            self.events.tell(Kind.PING, reason, elapsed_us=took_us, invocation=invocation)
        return True

    def settle(self, slot: Slot, deadline: Deadline | None, invocation: Invocation | None) -> Reason | None:
        """Leave the connection of a used slot as it was found; return why it must be discarded instead, if it must.

        A transaction that is still open is rolled back, with a warning that names the statement that opened it.
        """
        session = slot.session
        assert session is not None  # noqa: S101 - a used slot holds one
        session.by_user = False
        driver = self._driver
        connection = slot.connection
        if session.lost or session.not_sent or not driver.at_rest(connection):
            return Reason.LOST
        if not session.dirty and not (session.used and driver.in_transaction(connection)):
            return None
        budget_s = self.cleanup_s(deadline)
        session.by_library = True
        try:
            if driver.in_transaction(connection):
                self.tell_of_rollback(session, invocation)
                try:
                    driver.rollback(connection, timeout_s=budget_s)
                except Exception:  # noqa: BLE001 - closing the connection rolls back as well
                    return Reason.ROLLBACK_FAILED
            if session.dirty:
                return self._reset(slot, budget_s, invocation)
        finally:
            session.by_library = False
        return None

    def _reset(self, slot: Slot, budget_s: float, invocation: Invocation | None) -> Reason | None:
        session = slot.session
        assert session is not None  # noqa: S101 - the caller looked
        if self.address.target.multiplexed or not session.reset_suffices:
            # behind a proxy a reset would pin, or reset another server connection; closing leaves nothing behind
            return Reason.DIRTY
        try:
            if not self.driver.reset(slot.connection, timeout_s=budget_s):
                return Reason.DIRTY
        except Exception:  # noqa: BLE001 - whatever it fails with, the session is not known to be clean
            return Reason.RESET_FAILED
        self.was_reset(session, invocation)
        return None

    def discard(self, slot: Slot, reason: Reason, *, polite: bool, invocation: Invocation | None = None) -> None:
        """Close the slot's connection: politely, or without a byte reaching the server. Never raises."""
        connection, session = self.let_go(slot, reason, invocation)
        if not polite and session.fd >= 0 and self.driver.fileno(connection) == session.fd:
            cut_off(session.fd, session.inode)
        try:
            self.driver.close(connection)
        except Exception:  # noqa: BLE001, S110 - it is closed either way, and nobody can act on it
            pass
        finally:
            session.by_library = False


def _text(statement: Any) -> str:
    from warmline._statements import shown  # noqa: PLC0415 - only when there is something to show

    return "" if statement is None else shown(statement)

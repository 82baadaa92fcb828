"""The I/O shell for asyncio drivers: as `_connect`, with each wait awaited."""

from __future__ import annotations

import asyncio

from warmline._clock import elapsed_s
from warmline._connect import Attempts, Base, cut_off
from warmline._events import Kind, warn
from warmline._policy import Ping, Reason, Retire, Reuse, ping_budget_s
from warmline._session import Session
from warmline._slot import State, Step

TYPE_CHECKING = False
if TYPE_CHECKING:
    from warmline._environment import Deadline, Invocation
    from warmline._slot import Slot


class AsyncConnector(Base):
    """Opens, checks, cleans and closes the connections of slots, with an asyncio driver."""

    _warned_of_loop = False

    async def prepare(self, slot: Slot, deadline: Deadline | None, invocation: Invocation | None) -> None:
        """Leave *slot* with a connection that is alive, its caller's, and of the running event loop."""
        loop = asyncio.get_running_loop()
        reason = Reason.FIRST
        if slot.state is State.IDLE:
            verdict = self.verdict(slot, loop)
            if type(verdict) is Reuse or (
                type(verdict) is Ping and await self._ping(slot, verdict.reason, deadline, invocation)
            ):
                slot.step(Step.ACQUIRE)
                if type(verdict) is Reuse:
                    self.events.tell(Kind.REUSE, verdict.reason, invocation=invocation)
                assert slot.session is not None  # noqa: S101 - it holds a connection
                slot.session.begin_use(deadline)
                slot.session.by_user = True
                return
            reason = Reason.PING_FAILED if type(verdict) is Ping else verdict.reason
            if reason in (Reason.SERVER_CLOSED, Reason.PING_FAILED):
                self.outage = self.clock.read()
            if reason is Reason.OTHER_LOOP:
                self._warn_of_loop()
            await self.discard(slot, reason, polite=type(verdict) is Retire, invocation=invocation)
        await self._connect(slot, reason, deadline, invocation)

    def _warn_of_loop(self) -> None:
        if not self._warned_of_loop:
            self._warned_of_loop = True
            warn(
                "a connection was left on another event loop, and is opened anew: asyncio.run() makes a loop for each "
                "invocation. Use @db.handler, which keeps one loop for the process"
            )

    async def _connect(
        self, slot: Slot, reason: Reason, deadline: Deadline | None, invocation: Invocation | None
    ) -> None:
        attempts = Attempts(self, deadline, invocation)
        slot.step(Step.CONNECT)
        try:
            driver = self.driver
            while True:
                timeout_s = attempts.timeout_s()
                target, credential = self.credential(timeout_s)
                session = Session(speaks_first=driver.SPEAKS_FIRST)
                try:
                    connection = await asyncio.wait_for(
                        driver.connect(target, session, timeout_s=timeout_s), timeout_s + 0.1
                    )
                    break
                except Exception as error:  # noqa: BLE001 - the driver's own classes; pause_s raises what it does not know
                    pause_s = attempts.pause_s(error, credential, target)
                await asyncio.sleep(pause_s)
        except BaseException:
            slot.step(Step.FAILED)
            raise
        self.opened(slot, connection, session, loop=asyncio.get_running_loop())
        attempts.succeeded(reason)
        session.begin_use(deadline)
        session.by_user = True

    async def _ping(self, slot: Slot, reason: Reason, deadline: Deadline | None, invocation: Invocation | None) -> bool:
        session = slot.session
        assert session is not None  # noqa: S101 - an idle slot holds one
        start = self.clock.read()
        budget_s = ping_budget_s(None if deadline is None else deadline.remaining_s())
        session.by_library = True
        try:
            await self.driver.ping(slot.connection, timeout_s=budget_s)
        except Exception:  # noqa: BLE001 - whatever a ping fails with, the connection is not handed out
            return False
        finally:
            session.by_library = False
            took_us = int(elapsed_s(start, self.clock.read()) * 1_000_000)
            self.events.tell(Kind.PING, reason, elapsed_us=took_us, invocation=invocation)
        return True

    async def settle(self, slot: Slot, deadline: Deadline | None, invocation: Invocation | None) -> Reason | None:
        """Leave the connection of a used slot as it was found; return why it must be discarded instead, if it must."""
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
                    await driver.rollback(connection, timeout_s=budget_s)
                except Exception:  # noqa: BLE001 - closing the connection rolls back as well
                    return Reason.ROLLBACK_FAILED
            if session.dirty:
                return await self._reset(slot, budget_s, invocation)
        finally:
            session.by_library = False
        return None

    async def _reset(self, slot: Slot, budget_s: float, invocation: Invocation | None) -> Reason | None:
        session = slot.session
        assert session is not None  # noqa: S101 - the caller looked
        if self.address.target.multiplexed or not session.reset_suffices:
            return Reason.DIRTY
        try:
            if not await self.driver.reset(slot.connection, timeout_s=budget_s):
                return Reason.DIRTY
        except Exception:  # noqa: BLE001 - whatever it fails with, the session is not known to be clean
            return Reason.RESET_FAILED
        self.was_reset(session, invocation)
        return None

    async def discard(self, slot: Slot, reason: Reason, *, polite: bool, invocation: Invocation | None = None) -> None:
        """Close the slot's connection: politely, or without a byte reaching the server. Never raises."""
        if polite:
            connection, session = self.let_go(slot, reason, invocation)
            try:
                await asyncio.wait_for(self.driver.close(connection), 1.0)
            except Exception:  # noqa: BLE001 - it is closed either way, and nobody can act on it
                self.driver.terminate(connection)
            finally:
                session.by_library = False
        else:
            self.abandon(slot, reason, invocation)

    def abandon(self, slot: Slot, reason: Reason, invocation: Invocation | None = None) -> None:
        """Drop the slot's connection without a byte reaching the server; also where its event loop is gone."""
        connection, session = self.let_go(slot, reason, invocation)
        if session.fd >= 0 and self.driver.fileno(connection) == session.fd:
            cut_off(session.fd, session.inode)
        try:
            self.driver.terminate(connection)
        except Exception:  # noqa: BLE001 - its event loop may be closed; its socket leads nowhere already
            return

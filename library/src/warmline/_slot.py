"""The place in a process that holds at most one server connection: a closed enum of states, one transition function."""

from __future__ import annotations

from enum import Enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Final

    from warmline._clock import Instant
    from warmline._session import Session


class State(Enum):
    """What a slot holds."""

    EMPTY = "empty"
    CONNECTING = "connecting"
    IDLE = "idle"
    IN_USE = "in-use"

    __hash__ = object.__hash__


class Step(Enum):
    """What can happen to a slot."""

    CONNECT = "connect"
    CONNECTED = "connected"
    FAILED = "failed"
    ACQUIRE = "acquire"
    RELEASE = "release"
    DISCARD = "discard"

    __hash__ = object.__hash__


_TRANSITIONS: Final = {
    (State.EMPTY, Step.CONNECT): State.CONNECTING,
    (State.CONNECTING, Step.CONNECTED): State.IN_USE,
    (State.CONNECTING, Step.FAILED): State.EMPTY,
    (State.IDLE, Step.ACQUIRE): State.IN_USE,
    (State.IN_USE, Step.RELEASE): State.IDLE,
    (State.IDLE, Step.DISCARD): State.EMPTY,
    (State.IN_USE, Step.DISCARD): State.EMPTY,
}

_EMPTY = State.EMPTY


def after(state: State, step: Step) -> State:
    """Return the state that *step* leads to; refuse what cannot happen with `RuntimeError`, a bug of this library."""
    try:
        return _TRANSITIONS[state, step]
    except KeyError:
        raise RuntimeError(f"a slot that is {state.value} cannot {step.value}") from None


class Slot:
    """One server connection, or room for one, and all that deciding about it needs to know.

    Everything but *state* is meaningful only while a connection is held. A fork copies the object: *pid* tells the
    copy from the original.
    """

    __slots__ = (
        "connected_at",
        "connection",
        "epoch",
        "generation",
        "idle_since",
        "lifetime_s",
        "loop",
        "pid",
        "session",
        "state",
    )

    def __init__(self) -> None:
        self.state = State.EMPTY
        self.connection: Any = None
        self.session: Session | None = None
        self.pid = 0
        self.generation = 0
        self.epoch = 0
        self.loop: Any = None
        self.connected_at: Instant | None = None
        self.idle_since: Instant | None = None
        self.lifetime_s = 0.0

    def __repr__(self) -> str:
        return f"<Slot {self.state.value}>"

    def step(self, step: Step) -> None:
        """Move to the state that follows; forget the connection where the new state holds none."""
        self.state = state = after(self.state, step)
        if state is _EMPTY:
            self.connection = None
            self.session = None

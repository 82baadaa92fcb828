"""What can go wrong with a server: each error says what happened and what to do, and has a page in docs/errors."""

from __future__ import annotations

from warmline_toolkit.errors import MachineError, UsageError


class NoServerProgram(MachineError):
    """This machine has no program for the engine that was asked for."""

    code = "WL-S001"


class ServerDidNotStart(MachineError):
    """The server's program ended, or was not ready in time; its last log lines are in the message."""

    code = "WL-S002"


class PortTaken(UsageError):
    """The port that was asked for is in use."""

    code = "WL-S003"


class BadServerOption(UsageError):
    """An option no server of that engine can take: a limit below one, a setting that warmline owns, a method."""

    code = "WL-S004"


class Unreachable(MachineError):
    """Nothing answers at the address of an external server, or its connection was refused."""

    code = "WL-S005"


class AccessRefused(UsageError):
    """The external server does not let this user in: wrong password, unknown database, no right."""

    code = "WL-S006"


class NotADatabase(UsageError):
    """Something answers at the address, and it is not the database server that the URL says."""

    code = "WL-S007"


class NotOurServer(UsageError):
    """Not done, because the server is the user's own: it is never changed, stopped or frozen."""

    code = "WL-S008"


class CannotUnpack(MachineError):
    """A package could not be fetched or unpacked."""

    code = "WL-S009"


class ServerGone(MachineError):
    """The server ended although nobody asked it to, or is not running now."""

    code = "WL-S010"


class NoAuthPlugin(MachineError):
    """This machine's server lacks the plugin for an authentication method."""

    code = "WL-S011"

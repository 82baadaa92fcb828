"""The planner's errors: each is the user's input, with the place, what was expected, and the next step."""

from __future__ import annotations

from warmline_toolkit.errors import MachineError, UsageError


class BadWorkload(UsageError):
    """A workload file, or an option, that cannot be taken."""

    code = "WL-N001"


class UnknownClass(UsageError):
    """An instance class or engine that the tables do not have."""

    code = "WL-N002"


class NoLimit(UsageError):
    """A database whose limit cannot be known: no class, no capacity, no max_connections."""

    code = "WL-N003"


class BadSeries(UsageError):
    """A file of arrivals that is neither times, nor counts, nor a CloudWatch export."""

    code = "WL-N004"


class BadData(UsageError):
    """A file that overrides prices, limits or costs and has another form than the shipped one."""

    code = "WL-N005"


class NotMeasured(UsageError):
    """A run file that does not hold what was to be taken from it."""

    code = "WL-N006"


class TooLarge(UsageError):
    """A simulation that would need more memory or time than is sensible."""

    code = "WL-N007"


class ServerUnreachable(MachineError):
    """The server whose limit or costs were to be read does not answer."""

    code = "WL-N008"


class AccountUnreadable(MachineError):
    """The AWS account cannot be read: no boto3, no credentials, no permission."""

    code = "WL-N009"


class ClusterUnreachable(MachineError):
    """The Dask cluster cannot be used: no Dask, or no scheduler at the address."""

    code = "WL-N010"

"""Monthly prices: functions, database, proxy; from the dated list that a user can override."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.plan.limits import size_of, vcpus_of

if TYPE_CHECKING:
    from warmline_toolkit.plan.reference import Reference
    from warmline_toolkit.plan.workload import Database, Function

SECONDS_PER_HOUR = 3600
MB_PER_GB = 1024


def function_per_month(function: Function, reference: Reference, *, extra_ms: float = 0.0) -> float:
    """Return what a function's invocations and provisioned environments cost a month, *extra_ms* added to each."""
    prices = reference.prices["lambda"]
    seconds = reference.prices["hours_per_month"] * SECONDS_PER_HOUR
    invocations = function.mean_rate_per_s * seconds
    memory_gb = function.memory_mb / MB_PER_GB
    running = (
        invocations * (function.warm_ms + extra_ms) / 1000 * memory_gb * prices["per_gb_second"][function.architecture]
    )
    provisioned = function.provisioned_concurrency * seconds * memory_gb * prices["provisioned_per_gb_second"]
    return float(invocations / 1e6 * prices["per_million_requests"] + running + provisioned)


def database_per_month(database: Database, reference: Reference) -> float | None:
    """Return what the database's size costs a month; None where it is not known. Serverless v2 at its maximum."""
    hours = reference.prices["hours_per_month"]
    if database.instance_class is not None:
        name = size_of(database.instance_class, reference).name
        price = reference.prices["classes"].get(database.engine, {}).get(name)
        return None if price is None else float(price * hours)
    if database.max_acu is not None:
        return float(database.max_acu * reference.prices["acu_hour"] * hours)
    return None


def proxy_per_month(database: Database, reference: Reference) -> float:
    """Return what RDS Proxy costs a month in front of the database: by processor or ACU, with AWS's minimum."""
    prices = reference.prices["proxy"]
    hours = reference.prices["hours_per_month"]
    if database.max_acu is not None and database.instance_class is None:
        return float(max(prices["minimum_acus"], database.max_acu) * prices["per_acu_hour"] * hours)
    vcpus = vcpus_of(database, reference) or prices["minimum_vcpus"]
    return float(max(prices["minimum_vcpus"], vcpus) * prices["per_vcpu_hour"] * hours)

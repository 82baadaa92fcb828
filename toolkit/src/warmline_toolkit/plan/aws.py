"""Read an account into a workload: functions, concurrency, CloudWatch series, database classes. Reads only.

The clients are passed in (boto3's, or anything that answers like them), so that nothing here knows the network.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from warmline_toolkit.plan import series
from warmline_toolkit.plan.workload import (
    Arrivals,
    Database,
    EngineName,
    Function,
    Platform,
    Proxy,
    TriggerName,
    Workload,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

PERIOD_S = 300
DEFAULT_DAYS = 14
ACTIONS = (
    "lambda:ListFunctions",
    "lambda:GetAccountSettings",
    "lambda:GetFunctionConcurrency",
    "lambda:ListProvisionedConcurrencyConfigs",
    "lambda:ListEventSourceMappings",
    "rds:DescribeDBInstances",
    "rds:DescribeDBClusters",
    "rds:DescribeDBProxies",
    "cloudwatch:GetMetricData",
)
"""Every action the import needs; all of them read."""

ENGINES: dict[str, EngineName] = {
    "mysql": "mysql",
    "mariadb": "mariadb",
    "postgres": "postgres",
    "aurora-mysql": "aurora-mysql",
    "aurora-postgresql": "aurora-postgres",
}
DATABASE_VARIABLE = re.compile(r"(^|_)(DB|DATABASE|RDS|MYSQL|PG|POSTGRES)", re.IGNORECASE)


@dataclass(frozen=True, kw_only=True)
class Clients:
    """The four AWS clients that are asked."""

    functions: Any
    """boto3.client("lambda")."""
    databases: Any
    """boto3.client("rds")."""
    metrics: Any
    """boto3.client("cloudwatch")."""


@dataclass(frozen=True, kw_only=True)
class Imported:
    """A workload with what the user should know about it, and the series of each function."""

    workload: Workload
    comments: tuple[str, ...]
    series: dict[str, series.Series]


def read_account(
    clients: Clients, *, now: datetime, days: int = DEFAULT_DAYS, names: Sequence[str] = (), region: str = ""
) -> Imported:
    """Return the account's functions that reach a database, and the databases.

    A function is taken when it is named, else when it is in a VPC or has an environment variable that looks like a
    database's. Its database is the one whose endpoint stands in its variables, else the only one there is.
    """
    comments = [
        f"Read from AWS{f' {region}' if region else ''} at {now:%Y-%m-%d %H:%M} UTC, {days} days of CloudWatch."
    ]
    databases, endpoints = _databases(clients)
    found = [one for one in _pages(clients.functions, "list_functions", "Functions") if _wanted(one, names)]
    if not databases:
        comments.append("No database of a known engine was found: write yours under `databases`.")
        databases = [Database(name="database")]
    functions: list[Function] = []
    recorded: dict[str, series.Series] = {}
    for one in found:
        name = str(one["FunctionName"])
        invocations = _series(clients, "AWS/Lambda", "Invocations", {"FunctionName": name}, "Sum", now=now, days=days)
        if not invocations:
            comments.append(f"{name}: left out, not invoked in {days} days.")
            continue
        database, sure = _database_of(one, databases, endpoints)
        if not sure:
            comments.append(f"{name}: its database was not recognised; {database} is assumed.")
        record = series.from_points(invocations, period_s=PERIOD_S)
        recorded[name] = record
        functions.append(_function(clients, one, database=database, record=record, now=now, days=days))
        peak = _series(
            clients, "AWS/Lambda", "ConcurrentExecutions", {"FunctionName": name}, "Maximum", now=now, days=days
        )
        if peak:
            comments.append(f"{name}: CloudWatch saw at most {max(value for _, value in peak):,.0f} running at once.")
    for database_ in databases:
        peak = _series(
            clients,
            "AWS/RDS",
            "DatabaseConnections",
            {"DBInstanceIdentifier": database_.name},
            "Maximum",
            now=now,
            days=days,
        )
        if peak:
            comments.append(
                f"{database_.name}: CloudWatch saw at most {max(value for _, value in peak):,.0f} connections."
            )
    comments.append(
        "How each function uses its database is not visible from outside: check `strategy` and `pool_size`."
    )
    limit = clients.functions.get_account_settings()["AccountLimit"]["ConcurrentExecutions"]
    workload = Workload(
        functions=tuple(functions),
        databases=tuple(databases),
        platform=Platform(account_concurrency=int(limit)),
        source="AWS",
    )
    return Imported(workload=workload, comments=tuple(comments), series=recorded)


def _pages(client: Any, operation: str, key: str, **arguments: Any) -> Iterator[dict[str, Any]]:
    for page in client.get_paginator(operation).paginate(**arguments):
        yield from page[key]


def _variables(function: dict[str, Any]) -> dict[str, str]:
    variables: dict[str, str] = function.get("Environment", {}).get("Variables", {})
    return variables


def _wanted(function: dict[str, Any], names: Sequence[str]) -> bool:
    if names:
        return function["FunctionName"] in names
    in_vpc = bool(function.get("VpcConfig", {}).get("VpcId"))
    return in_vpc or any(DATABASE_VARIABLE.search(name) for name in _variables(function))


def _function(  # noqa: PLR0913 - what one function is read with
    clients: Clients, one: dict[str, Any], *, database: str, record: series.Series, now: datetime, days: int
) -> Function:
    name = str(one["FunctionName"])
    durations = _series(clients, "AWS/Lambda", "Duration", {"FunctionName": name}, "Average", now=now, days=days)
    warm_ms = sum(value for _, value in durations) / len(durations) if durations else 100.0
    reserved = clients.functions.get_function_concurrency(FunctionName=name).get("ReservedConcurrentExecutions")
    provisioned = sum(
        int(config.get("RequestedProvisionedConcurrentExecutions", 0))
        for config in _pages(
            clients.functions,
            "list_provisioned_concurrency_configs",
            "ProvisionedConcurrencyConfigs",
            FunctionName=name,
        )
    )
    trigger, maximum = _trigger(clients, name)
    return Function(
        name=name,
        database=database,
        arrivals=Arrivals(
            shape="file", rate_per_s=record.rate_per_s, peak_rate_per_s=record.peak_rate_per_s, counts=record.counts
        ),
        warm_ms=round(max(warm_ms, 0.1), 1),
        memory_mb=int(one.get("MemorySize", 128)),
        architecture=str(one.get("Architectures", ["x86_64"])[0]),
        reserved_concurrency=None if reserved is None else int(reserved),
        maximum_concurrency=maximum,
        provisioned_concurrency=provisioned,
        trigger=trigger,
    )


def _trigger(clients: Clients, name: str) -> tuple[TriggerName, int | None]:
    mappings = list(_pages(clients.functions, "list_event_source_mappings", "EventSourceMappings", FunctionName=name))
    caps = [mapping.get("ScalingConfig", {}).get("MaximumConcurrency") for mapping in mappings]
    known = [int(cap) for cap in caps if cap is not None]
    return ("queue" if mappings else "sync"), (sum(known) if known and len(known) == len(mappings) else None)


def _databases(clients: Clients) -> tuple[list[Database], dict[str, str]]:
    """Return the databases, and which of them each endpoint belongs to."""
    proxies = list(_pages(clients.databases, "describe_db_proxies", "DBProxies"))
    clusters = {
        one["DBClusterIdentifier"]: one for one in _pages(clients.databases, "describe_db_clusters", "DBClusters")
    }
    found: list[Database] = []
    endpoints: dict[str, str] = {}
    seen_clusters: set[str] = set()
    for one in _pages(clients.databases, "describe_db_instances", "DBInstances"):
        engine = ENGINES.get(one["Engine"])
        cluster = clusters.get(one.get("DBClusterIdentifier", ""))
        if engine is None or (cluster is not None and cluster["DBClusterIdentifier"] in seen_clusters):
            continue
        name = str(one["DBInstanceIdentifier"])
        serverless = (cluster or {}).get("ServerlessV2ScalingConfiguration") or {}
        is_serverless = one["DBInstanceClass"] == "db.serverless"
        found.append(
            Database(
                name=name,
                engine=engine,
                instance_class=None if is_serverless else one["DBInstanceClass"],
                min_acu=serverless.get("MinCapacity") if is_serverless else None,
                max_acu=serverless.get("MaxCapacity") if is_serverless else None,
                proxy=Proxy() if any(_fronts(proxy, engine) for proxy in proxies) and len(proxies) == 1 else None,
            )
        )
        for address in (one.get("Endpoint", {}).get("Address"), (cluster or {}).get("Endpoint")):
            if address:
                endpoints[str(address)] = name
        if cluster is not None:
            seen_clusters.add(cluster["DBClusterIdentifier"])
    return found, endpoints


def _fronts(proxy: dict[str, Any], engine: EngineName) -> bool:
    family = "POSTGRESQL" if "postgres" in engine else "MYSQL"
    return proxy.get("EngineFamily") == family


def _database_of(
    function: dict[str, Any], databases: Sequence[Database], endpoints: dict[str, str]
) -> tuple[str, bool]:
    text = " ".join(_variables(function).values())
    for address, name in endpoints.items():
        if address in text:
            return name, True
    return databases[0].name, len(databases) == 1


def _series(  # noqa: PLR0913 - a metric's coordinates
    clients: Clients,
    namespace: str,
    metric: str,
    dimensions: dict[str, str],
    statistic: str,
    *,
    now: datetime,
    days: int,
) -> list[tuple[float, float]]:
    query = {
        "Id": "m1",
        "MetricStat": {
            "Metric": {
                "Namespace": namespace,
                "MetricName": metric,
                "Dimensions": [{"Name": name, "Value": value} for name, value in dimensions.items()],
            },
            "Period": PERIOD_S,
            "Stat": statistic,
        },
    }
    points: list[tuple[float, float]] = []
    for result in _pages(
        clients.metrics,
        "get_metric_data",
        "MetricDataResults",
        MetricDataQueries=[query],
        StartTime=now - timedelta(days=days),
        EndTime=now,
    ):
        points.extend(
            (moment.timestamp(), float(value))
            for moment, value in zip(result["Timestamps"], result["Values"], strict=True)
        )
    return sorted(points)

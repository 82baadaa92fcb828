"""Reading an account: moto's AWS, botocore's stub for what moto lacks; nothing but reads is ever called."""

from __future__ import annotations

import io
import zipfile
from datetime import datetime, timedelta, timezone

import boto3
import pytest
from botocore.awsrequest import AWSResponse
from botocore.exceptions import ClientError
from botocore.stub import Stubber
from moto import mock_aws
from warmline_toolkit.cli._plan.importing import _text
from warmline_toolkit.plan import workload_file
from warmline_toolkit.plan.aws import ACTIONS, Clients, read_account

REGION = "eu-central-1"
NOW = datetime.now(tz=timezone.utc).replace(minute=0, second=0, microsecond=0)


@pytest.fixture
def account(monkeypatch):
    """An account with two functions on one Aurora instance, one elsewhere, and a day of CloudWatch."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    with mock_aws(config={"lambda": {"use_docker": False}}):
        client = {name: boto3.client(name, REGION) for name in ("iam", "lambda", "rds", "cloudwatch")}
        role = client["iam"].create_role(RoleName="r", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
        client["rds"].create_db_instance(
            DBInstanceIdentifier="orders",
            DBInstanceClass="db.t4g.medium",
            Engine="postgres",
            AllocatedStorage=20,
            MasterUsername="admin1",
            MasterUserPassword="longpassword",
        )
        address = client["rds"].describe_db_instances()["DBInstances"][0]["Endpoint"]["Address"]
        package = io.BytesIO()
        with zipfile.ZipFile(package, "w") as archive:
            archive.writestr("app.py", "")
        for name, variables in {
            "api": {"DB_HOST": address},
            "worker": {"DATABASE_URL": f"postgresql://u@{address}/app"},
            "resize-images": {"BUCKET": "b"},
            "unused": {"DB_HOST": address},
        }.items():
            client["lambda"].create_function(
                FunctionName=name,
                Runtime="python3.12",
                Role=role,
                Handler="app.handler",
                MemorySize=1024,
                Code={"ZipFile": package.getvalue()},
                Environment={"Variables": variables},
            )
        client["lambda"].put_function_concurrency(FunctionName="api", ReservedConcurrentExecutions=40)
        for hour in range(1, 25):
            for name, count in (("api", 3_600), ("worker", 36 * hour)):
                for metric, value in (("Invocations", count), ("Duration", 85.0), ("ConcurrentExecutions", 7.0)):
                    put(
                        client["cloudwatch"],
                        "AWS/Lambda",
                        metric,
                        "FunctionName",
                        name,
                        value,
                        NOW - timedelta(hours=hour),
                    )
            put(
                client["cloudwatch"],
                "AWS/RDS",
                "DatabaseConnections",
                "DBInstanceIdentifier",
                "orders",
                31.0,
                NOW - timedelta(hours=hour),
            )
        yield client


def put(  # noqa: PLR0913, PLR0917 - a data point
    client, namespace, metric, dimension, name, value, at
):
    client.put_metric_data(
        Namespace=namespace,
        MetricData=[
            {
                "MetricName": metric,
                "Dimensions": [{"Name": dimension, "Value": name}],
                "Timestamp": at,
                "Value": value,
            }
        ],
    )


def asking(client) -> tuple[Clients, set[str]]:
    """Clients that note each action, with stubbed answers to the two calls that moto lacks."""
    asked: set[str] = set()

    def note(model, **_):
        asked.add(f"{model.service_model.service_id.lower()}:{model.name}")

    def answers(body):
        return lambda params, **_: (AWSResponse(params["url"], 200, {}, None), body)

    for name in ("lambda", "rds", "cloudwatch"):
        client[name].meta.events.register("before-call", note)
    for action, body in {
        "GetAccountSettings": {"AccountLimit": {"ConcurrentExecutions": 2_000}},
        "ListProvisionedConcurrencyConfigs": {
            "ProvisionedConcurrencyConfigs": [{"RequestedProvisionedConcurrentExecutions": 3}]
        },
    }.items():
        client["lambda"].meta.events.register(f"before-call.lambda.{action}", answers(body))
    return Clients(functions=client["lambda"], databases=client["rds"], metrics=client["cloudwatch"]), asked


def test_the_account_becomes_a_workload(account):
    clients, _ = asking(account)
    found = read_account(clients, now=NOW, days=1)
    functions = {one.name: one for one in found.workload.functions}
    assert set(functions) == {"api", "worker"}
    api = functions["api"]
    assert (api.reserved_concurrency, api.memory_mb, api.warm_ms, api.database) == (40, 1024, 85.0, "orders")
    assert api.provisioned_concurrency == 3
    assert api.shape.peak_rate_per_s == pytest.approx(12)  # 3,600 in one period of five minutes
    (database,) = found.workload.databases
    assert (database.engine, database.instance_class) == ("postgres", "db.t4g.medium")
    assert found.workload.platform.account_concurrency == 2_000
    comments = " ".join(found.comments)
    assert "api: CloudWatch saw at most 7 running at once" in comments
    assert "orders: CloudWatch saw at most 31 connections" in comments
    assert "unused: left out" in comments


def test_only_reading_actions_are_called_and_all_of_them_are_documented(account):
    clients, asked = asking(account)
    read_account(clients, now=NOW, days=1)
    documented = {action.lower() for action in ACTIONS}
    assert {action.lower() for action in asked} <= documented
    assert all(action.split(":")[1].startswith(("List", "Get", "Describe")) for action in ACTIONS)


def test_the_file_that_is_written_can_be_read_and_keeps_the_arrivals(account, tmp_path):
    clients, _ = asking(account)
    found = read_account(clients, now=NOW, days=1)
    file = tmp_path / "workload.yaml"
    file.write_text(_text(found, file))
    workload = workload_file.read(file)
    worker = next(one for one in workload.functions if one.name == "worker")
    assert sum(count for _, _, count in worker.arrivals.counts) == 36 * sum(range(1, 25))
    assert file.read_text().startswith("# Read from AWS")
    without_series = workload_file.parse(_text(found, None), file="stdout", open_series=lambda _: None)
    assert without_series.functions[0].peak_rate_per_s == pytest.approx(12)


def test_a_function_can_be_named(account):
    clients, _ = asking(account)
    found = read_account(clients, now=NOW, days=1, names=("worker",))
    assert [one.name for one in found.workload.functions] == ["worker"]


def test_an_aurora_serverless_cluster_is_one_database_with_its_capacity(monkeypatch):
    """botocore's stub: the answers as AWS's own reference shows them."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    functions, databases, metrics = (boto3.client(name, REGION) for name in ("lambda", "rds", "cloudwatch"))
    with Stubber(functions) as one, Stubber(databases) as two, Stubber(metrics) as three:
        one.add_response("list_functions", {"Functions": []})
        one.add_response("get_account_settings", {"AccountLimit": {"ConcurrentExecutions": 1_000}})
        two.add_response("describe_db_proxies", {"DBProxies": [{"EngineFamily": "MYSQL", "DBProxyName": "p"}]})
        capacity = {"MinCapacity": 0.5, "MaxCapacity": 16.0}
        cluster = {"DBClusterIdentifier": "c", "Endpoint": "c.example", "ServerlessV2ScalingConfiguration": capacity}
        two.add_response("describe_db_clusters", {"DBClusters": [cluster]})
        instances = [
            {
                "DBInstanceIdentifier": name,
                "DBInstanceClass": "db.serverless",
                "Engine": "aurora-mysql",
                "DBClusterIdentifier": "c",
            }
            for name in ("writer", "reader")
        ]
        two.add_response("describe_db_instances", {"DBInstances": instances})
        three.add_response("get_metric_data", {"MetricDataResults": []})
        found = read_account(Clients(functions=functions, databases=databases, metrics=metrics), now=NOW)
    (database,) = found.workload.databases
    assert (database.engine, database.min_acu, database.max_acu) == ("aurora-mysql", 0.5, 16)
    assert database.proxy is not None


def test_a_refusal_by_aws_is_aws_s_own_error(monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "testing")
    databases = boto3.client("rds", REGION)
    with Stubber(databases) as stub, pytest.raises(ClientError, match="AccessDenied"):
        stub.add_client_error("describe_db_proxies", "AccessDenied")
        read_account(Clients(functions=None, databases=databases, metrics=None), now=NOW)

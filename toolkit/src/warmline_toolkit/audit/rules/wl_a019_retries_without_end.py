"""WL-A019: failed events come back to the database without limit or delay."""

from __future__ import annotations

from typing import TYPE_CHECKING

from warmline_toolkit.audit.finding import Example, Finding, Rule, Severity
from warmline_toolkit.audit.joined import database_functions
from warmline_toolkit.audit.reach import Step
from warmline_toolkit.audit.templates import property_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from warmline_toolkit.audit.context import Project
    from warmline_toolkit.audit.facts import Resource, TemplateFacts
    from warmline_toolkit.audit.joined import DatabaseFunction
    from warmline_toolkit.audit.templates import EventSource

_QUEUE_SETTINGS = ("Queue", "EventSourceArn")
_ASYNC = frozenset({"SNS", "S3", "EventBridgeRule", "CloudWatchEvent"})


def check(project: Project) -> Iterator[Finding]:
    """Find queues of the stack without a dead-letter queue, and asynchronous events without one, at database functions."""
    for function in database_functions(project):
        for event in project.deployment.events(function.template, function.resource):
            if event.kind == "SQS":
                yield from _queue(project, function, event)
            elif event.kind in _ASYNC and not _has_destination(project, function):
                yield RULE.finding(
                    path=event.path,
                    line=event.line,
                    message=f"When the database refuses {function.name}, each {event.kind} event is tried three times and then lost: "
                    "nothing keeps it for when the database is back.",
                    subject=f"{function.resource.name}.{event.kind}",
                    numbers=(("attempts", 3),),
                    handler=function.name,
                )


def _queue(project: Project, function: DatabaseFunction, event: EventSource) -> Iterator[Finding]:
    for key in _QUEUE_SETTINGS:
        for queue in project.deployment.referred(function.template, event.properties.get(key)):
            if queue.type != "AWS::SQS::Queue" or queue.properties.get("RedrivePolicy") is not None:
                continue
            owner = _template_of(project, function.template, queue)
            yield RULE.finding(
                path=owner.path,
                line=queue.line,
                message=f"{queue.name} has no dead-letter queue: while the database refuses {function.name}, every message comes back "
                "after its visibility timeout, again and again, and each return is another connect.",
                subject=queue.name,
                related=(Step(event.path, event.line, f"the queue's events go to {function.name}"),),
                handler=function.name,
            )


def _template_of(project: Project, template: TemplateFacts, resource: Resource) -> TemplateFacts:
    return next((part for part, item in project.deployment.resources(template) if item is resource), template)


def _has_destination(project: Project, function: DatabaseFunction) -> bool:
    resource = function.resource
    if (
        resource.properties.get("DeadLetterConfig") is not None
        or resource.properties.get("DeadLetterQueue") is not None
    ):
        return True
    if property_of(resource, "EventInvokeConfig") is not None or resource.properties.open_ended:
        return True
    return any(
        item.type == "AWS::Lambda::EventInvokeConfig"
        and resource in project.deployment.referred(part, item.properties.get("FunctionName"))
        for part, item in project.deployment.resources(function.template)
    )


_APP = """\
import os
import pymysql

connection = None


def handler(event, context):
    global connection
    if connection is None:
        connection = pymysql.connect(host=os.environ["DB_HOST"], connect_timeout=2, autocommit=True)
    connection.ping(reconnect=True)
    with connection.cursor() as cursor:
        for record in event["Records"]:
            cursor.execute("INSERT INTO log (body) VALUES (%s)", (record["body"],))
"""
_BAD = """\
Transform: AWS::Serverless-2016-10-31
Resources:
  Worker:
    Type: AWS::Serverless::Function
    Properties:
      Handler: app.handler
      Runtime: python3.13
      Events:
        Jobs:
          Type: SQS
          Properties:
            Queue: !GetAtt Jobs.Arn
            ScalingConfig:
              MaximumConcurrency: 5
  Jobs:
    Type: AWS::SQS::Queue
    Properties:
      VisibilityTimeout: 60
"""
_GOOD = (
    _BAD
    + """\
      RedrivePolicy:
        deadLetterTargetArn: !GetAtt Failed.Arn
        maxReceiveCount: 5
  Failed:
    Type: AWS::SQS::Queue
"""
)
_TF_BAD = """\
resource "aws_lambda_function" "worker" {
  function_name                  = "worker"
  handler                        = "app.handler"
  runtime                        = "python3.13"
  reserved_concurrent_executions = 5
}

resource "aws_sqs_queue" "jobs" {
  visibility_timeout_seconds = 60
}

resource "aws_lambda_event_source_mapping" "jobs" {
  event_source_arn = aws_sqs_queue.jobs.arn
  function_name    = aws_lambda_function.worker.arn
}
"""
_TF_GOOD = _TF_BAD.replace(
    "  visibility_timeout_seconds = 60\n",
    "  visibility_timeout_seconds = 60\n  redrive_policy = jsonencode({ deadLetterTargetArn = var.failed, maxReceiveCount = 5 })\n",
)

RULE = Rule(
    code="WL-A019",
    slug="retries-without-end",
    title="Failed events return without end, or are lost",
    severity=Severity.NOTE,
    finds="An SQS queue of the template without a dead-letter queue, and asynchronous events (SNS, S3, EventBridge) without a dead-letter queue or destination, at a function that uses a database.",
    why="A database that is full or down turns every event into a retry. Messages without a dead-letter queue return for days and meet the recovering database as a wave; asynchronous events are lost after three attempts.",
    fix="Give the queue a RedrivePolicy, the function a DeadLetterConfig or an OnFailure destination.",
    silent_when="the queue is not part of the template, a dead-letter queue or an event invoke configuration is there, or the function uses no database.",
    bad=(
        Example("a queue without a dead-letter queue", {"template.yaml": _BAD, "app.py": _APP}),
        Example("the same in Terraform", {"main.tf": _TF_BAD, "app.py": _APP}),
    ),
    good=(
        Example("a redrive policy", {"template.yaml": _GOOD, "app.py": _APP}),
        Example("a redrive policy in Terraform", {"main.tf": _TF_GOOD, "app.py": _APP}),
    ),
    per_project=check,
    applies_to=("sam", "cloudformation", "serverless", "terraform"),
)

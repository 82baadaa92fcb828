"""Terraform files to facts: resources in CloudFormation's words, a folder's files joined into one configuration."""

from __future__ import annotations

import posixpath
from dataclasses import replace

from warmline_toolkit.audit.facts import (
    UNKNOWN,
    Joined,
    Literal,
    Mapping,
    Name,
    Resource,
    TemplateFacts,
    Unreadable,
    Value,
)
from warmline_toolkit.audit.sources.cloudformation import FUNCTION
from warmline_toolkit.audit.sources.comments import ignores_in
from warmline_toolkit.audit.sources.hcl import Block, HclError, read_hcl

_MANAGED = "LambdaManagedInstancesCapacityProviderConfig.PerExecutionEnvironmentMaxConcurrency"
_MANAGED_TERRAFORM = "lambda_managed_instances_capacity_provider_config.per_execution_environment_max_concurrency"
_POOL = "ConnectionPoolConfigurationInfo"
_FUNCTION_PROPERTIES = {
    "handler": "Handler",
    "runtime": "Runtime",
    "timeout": "Timeout",
    "memory_size": "MemorySize",
    "reserved_concurrent_executions": "ReservedConcurrentExecutions",
    "layers": "Layers",
    "function_name": "FunctionName",
    "package_type": "PackageType",
    "environment.variables": "Environment.Variables",
    "environment_variables": "Environment.Variables",
    "snap_start.apply_on": "SnapStart.ApplyOn",
    "snap_start": "SnapStart.ApplyOn",
    "dead_letter_config.target_arn": "DeadLetterConfig.TargetArn",
    "dead_letter_target_arn": "DeadLetterConfig.TargetArn",
    "provisioned_concurrent_executions": "ProvisionedConcurrencyConfig.ProvisionedConcurrentExecutions",
    "capacity_provider_config": "CapacityProviderConfig",
    f"capacity_provider_config.{_MANAGED_TERRAFORM}": f"CapacityProviderConfig.{_MANAGED}",
}
_DATABASE_PROPERTIES = {
    "engine": "Engine",
    "engine_version": "EngineVersion",
    "instance_class": "DBInstanceClass",
    "db_cluster_instance_class": "DBInstanceClass",
    "cluster_identifier": "DBClusterIdentifier",
    "parameter_group_name": "DBParameterGroupName",
    "db_cluster_parameter_group_name": "DBClusterParameterGroupName",
    "serverlessv2_scaling_configuration.min_capacity": "ServerlessV2ScalingConfiguration.MinCapacity",
    "serverlessv2_scaling_configuration.max_capacity": "ServerlessV2ScalingConfiguration.MaxCapacity",
    "engine_mode": "EngineMode",
    "scaling_configuration.auto_pause": "ScalingConfiguration.AutoPause",
    "identifier": "DBInstanceIdentifier",
}
_TYPES: dict[str, tuple[str, dict[str, str]]] = {
    "aws_lambda_function": (FUNCTION, _FUNCTION_PROPERTIES),
    "aws_db_instance": ("AWS::RDS::DBInstance", _DATABASE_PROPERTIES),
    "aws_rds_cluster": (
        "AWS::RDS::DBCluster",
        _DATABASE_PROPERTIES | {"cluster_identifier": "DBClusterIdentifierName"},
    ),
    "aws_rds_cluster_instance": ("AWS::RDS::DBInstance", _DATABASE_PROPERTIES),
    "aws_db_proxy": (
        "AWS::RDS::DBProxy",
        {"engine_family": "EngineFamily", "idle_client_timeout": "IdleClientTimeout", "name": "DBProxyName"},
    ),
    "aws_db_proxy_default_target_group": (
        "AWS::RDS::DBProxyTargetGroup",
        {
            "db_proxy_name": "DBProxyName",
            "connection_pool_config.connection_borrow_timeout": f"{_POOL}.ConnectionBorrowTimeout",
            "connection_pool_config.session_pinning_filters": f"{_POOL}.SessionPinningFilters",
        },
    ),
    "aws_db_proxy_target": (
        "AWS::RDS::DBProxyTargetGroup",
        {
            "db_proxy_name": "DBProxyName",
            "db_instance_identifier": "DBInstanceIdentifiers",
            "db_cluster_identifier": "DBClusterIdentifiers",
        },
    ),
    "aws_lambda_event_source_mapping": (
        "AWS::Lambda::EventSourceMapping",
        {
            "event_source_arn": "EventSourceArn",
            "function_name": "FunctionName",
            "scaling_config.maximum_concurrency": "ScalingConfig.MaximumConcurrency",
            "provisioned_poller_config": "ProvisionedPollerConfig",
            "destination_config": "DestinationConfig",
            "maximum_retry_attempts": "MaximumRetryAttempts",
        },
    ),
    "aws_lambda_provisioned_concurrency_config": (
        "Warmline::ProvisionedConcurrency",
        {"function_name": "FunctionName", "provisioned_concurrent_executions": "ProvisionedConcurrentExecutions"},
    ),
    "aws_lambda_function_event_invoke_config": (
        "AWS::Lambda::EventInvokeConfig",
        {
            "function_name": "FunctionName",
            "maximum_retry_attempts": "MaximumRetryAttempts",
            "destination_config": "DestinationConfig",
        },
    ),
    "aws_sqs_queue": (
        "AWS::SQS::Queue",
        {"redrive_policy": "RedrivePolicy", "visibility_timeout_seconds": "VisibilityTimeout"},
    ),
    "aws_db_parameter_group": ("AWS::RDS::DBParameterGroup", {"family": "Family"}),
    "aws_rds_cluster_parameter_group": ("AWS::RDS::DBClusterParameterGroup", {"family": "Family"}),
    "aws_api_gateway_integration": (
        "AWS::ApiGateway::Method",
        {"uri": "Integration.Uri", "timeout_milliseconds": "Integration.TimeoutInMillis"},
    ),
    "aws_apigatewayv2_integration": (
        "AWS::ApiGatewayV2::Integration",
        {"integration_uri": "IntegrationUri", "timeout_milliseconds": "TimeoutInMillis"},
    ),
    "aws_lambda_permission": ("AWS::Lambda::Permission", {"function_name": "FunctionName", "principal": "Principal"}),
    "aws_cloudwatch_event_target": ("Warmline::EventTarget", {"arn": "Arn"}),
    "aws_sns_topic_subscription": ("AWS::SNS::Subscription", {"endpoint": "Endpoint", "protocol": "Protocol"}),
    "aws_secretsmanager_secret": ("AWS::SecretsManager::Secret", {}),
    "aws_lambda_capacity_provider": ("AWS::Lambda::CapacityProvider", {}),
}
_MODULES = {"terraform-aws-modules/lambda/aws": (FUNCTION, _FUNCTION_PROPERTIES)}
_HERE = frozenset({"path.module", "path.root", "path.cwd"})


def read_terraform(path: str, text: str) -> TemplateFacts | Unreadable:
    """Return the facts of the Terraform file *path*, or why it cannot be parsed."""
    try:
        root = read_hcl(text)
    except (HclError, RecursionError) as error:
        return Unreadable(path, f"not parsable as Terraform: {error}", getattr(error, "line", 1))
    resources: list[Resource] = []
    parameters: list[tuple[str, Value]] = []
    for block in root.blocks:
        match block.type, block.labels:
            case "variable", (name,):
                parameters.append((f"var.{name}", block.value("default") or UNKNOWN))
                if block.value("sensitive") == Literal(value=True):
                    parameters.append((f"sensitive.var.{name}", Literal(value=True)))
            case "locals", ():
                parameters.extend((f"local.{name}", value) for name, (value, _) in block.attributes.items())
            case "data", ("archive_file", name):
                folder = _folder(block.value("source_dir"))
                if folder is None and (file := _folder(block.value("source_file"))) is not None:
                    folder = posixpath.dirname(file) or "."
                if folder is not None:
                    parameters.append((f"data.archive_file.{name}", Literal(folder)))
            case "resource", (kind, name) if kind in _TYPES:
                resources.append(_resource(f"{kind}.{name}", block, *_TYPES[kind]))
            case "module", (name,):
                source = block.value("source")
                known = _MODULES.get(str(source.value)) if isinstance(source, Literal) else None
                if known is not None:
                    resources.append(_resource(f"module.{name}", block, *known))
            case _:
                pass
    return TemplateFacts(
        path=path,
        language="terraform",
        base=posixpath.dirname(path),
        resources=tuple(resources),
        parameters=tuple(parameters),
        ignores=ignores_in(text),
    )


def join_modules(templates: list[TemplateFacts]) -> list[TemplateFacts]:
    """Give every Terraform file the variables and locals of its whole folder, and functions their code folder."""
    shared: dict[str, list[tuple[str, Value]]] = {}
    for template in templates:
        if template.language == "terraform":
            shared.setdefault(template.base, []).extend(template.parameters)
    joined = []
    for template in templates:
        if template.language != "terraform":
            joined.append(template)
            continue
        parameters = tuple(shared[template.base])
        known = dict(parameters)
        joined.append(
            replace(
                template,
                parameters=parameters,
                resources=tuple(_with_folder(item, known) for item in template.resources),
            )
        )
    return joined


def _with_folder(resource: Resource, known: dict[str, Value]) -> Resource:
    package = resource.properties.get("Package")
    if not isinstance(package, Name) or not package.path.startswith("data.archive_file."):
        return resource
    folder = known.get(package.path.rpartition(".")[0])
    if not isinstance(folder, Literal):
        return resource
    items = (*resource.properties.items, ("CodeUri", folder))
    return replace(resource, properties=Mapping(items, open_ended=resource.properties.open_ended))


def _folder(value: Value | None) -> str | None:
    """Return a path below the module's folder: `"${path.module}/src"` is `src`."""
    if isinstance(value, Literal) and isinstance(value.value, str):
        return value.value
    if isinstance(value, Joined) and value.parts and isinstance(value.parts[0], Name) and value.parts[0].path in _HERE:
        rest = value.parts[1:]
        if all(isinstance(part, Literal) for part in rest):
            return "".join(str(part.value) for part in rest if isinstance(part, Literal)).lstrip("/") or "."
    return None


def _resource(name: str, block: Block, type_name: str, renames: dict[str, str]) -> Resource:
    properties: dict[str, object] = {}
    lines: list[tuple[str, int]] = []

    def put(path: str, value: Value, line: int) -> None:
        current = properties
        *outer, last = path.split(".")
        for depth, part in enumerate(outer):
            following = current.setdefault(part, {})
            if not isinstance(following, dict):
                return
            current = following
            lines.append((".".join(outer[: depth + 1]), line))
        current[last] = value
        lines.append((path, line))

    for path, value, line in _flat(block):
        if path in {"filename", "source_path"}:
            folder = _folder(value)
            put(
                "Package" if path == "filename" else "CodeUri",
                Literal(folder) if folder is not None and path == "source_path" else value,
                line,
            )
        elif path in renames:
            put(renames[path], value, line)
            if isinstance(value, Mapping):
                lines.extend((f"{renames[path]}.{key}", line) for key, _ in value.items)
    if block.type == "resource" and type_name.endswith("ParameterGroup"):
        items = tuple(
            (str(key.value), inner.value("value") or UNKNOWN)
            for inner in block.blocks
            if inner.type == "parameter" and isinstance(key := inner.value("name"), Literal)
        )
        put("Parameters", Mapping(items, open_ended=any("*" in inner.attributes for inner in block.blocks)), block.line)
    return Resource(name=name, type=type_name, line=block.line, properties=_frozen(properties), lines=tuple(lines))


def _flat(block: Block, prefix: str = "") -> list[tuple[str, Value, int]]:
    found = [(prefix + name, value, line) for name, (value, line) in block.attributes.items()]
    for inner in block.blocks:
        found.append((prefix + inner.type, Literal(value=True), inner.line))
        found.extend(_flat(inner, f"{prefix}{inner.type}."))
    return found


def _frozen(properties: dict[str, object]) -> Mapping:
    items: list[tuple[str, Value]] = []
    for key, value in properties.items():
        items.append((key, _frozen(value) if isinstance(value, dict) else value))  # type: ignore[arg-type]  # Value or dict
    return Mapping(tuple(items))

"""What a handler is: what a template names, what a decorator marks, and, failing that, what looks like one."""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from warmline_toolkit.audit.facts import Literal, Name
from warmline_toolkit.audit.reach import Handler
from warmline_toolkit.audit.sources.builder import call_number
from warmline_toolkit.audit.things import ExternalResult, ExternalThing, FunctionThing, Site

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from warmline_toolkit.audit.facts import CodeFacts, Function, Resource, TemplateFacts, Value
    from warmline_toolkit.audit.resolve import Resolver

_EVENT = re.compile(r"_?_?(lambda_?)?(event|evt|ev|e|input_event|_)$", re.IGNORECASE)
_CONTEXT = re.compile(r"_*(lambda_?)?(context|ctx|con|c|cntx|_)$|_+$", re.IGNORECASE)
_EVENT_TYPE = re.compile(r"(Event|Request)(V2)?\b|^any$|^unknown$")
_HANDLER_TYPE = re.compile(r"type:.*(Handler|ProxyEvent|ValidatedEventAPI)")
_ADAPTERS = re.compile(
    r"^(mangum\.Mangum|apig_wsgi\.make_lambda_handler|serverless_wsgi\.|awsgi\.|aws_wsgi\.|serverless-http|"
    r"aws-serverless-express\.|@vendia/serverless-express|@codegenie/serverless-express|@fastify/aws-lambda|aws_lambda_wsgi\.)"
)
_TEST_PATH = re.compile(
    r"(^|/)(tests?|__tests__|spec|specs|e2e|fixtures|node_modules)/|(^|/)(test_[^/]*|conftest|[^/]*_test)\.py$|\.(test|spec)\.[cm]?[jt]sx?$"
)
_LAMBDA_DECORATORS = frozenset(
    {
        "lambda_handler_decorator",
        "inject_lambda_context",
        "capture_lambda_handler",
        "log_metrics",
        "event_source",
        "event_parser",
        "validator",
        "idempotent",
        "lambda_handler",
        "serverless_function",
        "datadog_lambda_wrapper",
    }
)
_ROUTE_METHODS = frozenset(
    {"get", "post", "put", "delete", "patch", "route", "options", "head", "api_route", "all", "use"}
)
_CHALICE_METHODS = frozenset(
    {"lambda_function", "on_sqs_message", "on_sns_message", "on_s3_event", "schedule", "route"}
)
_HANDLER_EXPORTS = frozenset({"handler", "lambdaHandler", "lambda_handler", "main"})
_FUNCTION_TYPE = "AWS::Lambda::Function"


def find_handlers(resolver: Resolver, templates: Iterable[TemplateFacts]) -> list[Handler]:
    """Return every handler in the parsed code, templates' first; each function at most once a resource."""
    found: dict[tuple[str, int, str], Handler] = {}
    named: set[tuple[str, int]] = set()
    for template in templates:
        for resource in template.resources:
            if resource.type != _FUNCTION_TYPE:
                continue
            target = _from_template(resolver, template, resource)
            if target is None:
                continue
            path, index, name = target
            function = resolver.code[path].functions[index]
            handler = Handler(path, index, name, function.line, f"template {template.path}", template, resource)
            found[path, index, f"{template.path}:{resource.name}"] = handler
            named.add((path, index))
    for path, facts in sorted(resolver.code.items()):
        if _TEST_PATH.search(path):
            continue
        for index, name, origin in _by_convention(resolver, facts):
            if (path, index) not in named:
                named.add((path, index))
                found[path, index, ""] = Handler(path, index, name, facts.functions[index].line, origin)
    return list(found.values())


def handler_files(template: TemplateFacts, resource: Resource, paths: frozenset[str]) -> list[tuple[str, str]]:
    """Return the (file, symbol) candidates that a function resource's `Handler` can mean among *paths*."""
    handler = resource.properties.get("Handler")
    if not (isinstance(handler, Literal) and isinstance(handler.value, str)) or "." not in handler.value:
        return []
    module, _, symbol = handler.value.rpartition(".")
    stem = module.replace(".", "/") if "/" not in module else module
    folders = []
    code_uri = resource.properties.get("CodeUri") or resource.properties.get("Code")
    if isinstance(code_uri, Literal) and isinstance(code_uri.value, str):
        folders.append(posixpath.normpath(posixpath.join(template.base, code_uri.value)))
    folders.append(template.base)
    candidates: list[tuple[str, str]] = []
    for folder in folders:
        for one in {stem, module}:
            base = posixpath.normpath(posixpath.join(folder, one)).removeprefix("./")
            candidates.extend(
                (base + suffix, symbol) for suffix in (".py", ".js", ".mjs", ".cjs", ".ts", ".mts", ".cts", ".tsx")
            )
    hits = [(path, symbol) for path, symbol in candidates if path in paths]
    if hits:
        return hits[:1]
    # The build copied the file elsewhere: accept the only file of that name below the template
    prefix = f"{template.base}/" if template.base else ""
    same = [
        path for path in paths if path.startswith(prefix) and f"/{posixpath.splitext(path)[0]}".endswith(f"/{stem}")
    ]
    return [(same[0], symbol)] if len(same) == 1 else []


def _from_template(resolver: Resolver, template: TemplateFacts, resource: Resource) -> tuple[str, int, str] | None:
    for path, symbol in handler_files(template, resource, frozenset(resolver.code)):
        for thing in _symbol(resolver, path, symbol):
            if thing.path in resolver.code:
                return thing.path, thing.index, symbol
    return None


def _symbol(resolver: Resolver, path: str, symbol: str) -> Iterator[FunctionThing]:
    """Return the functions behind an exported name, looking through wrappers such as `middy(fn)` and `Mangum(app)`."""
    facts = resolver.code[path]
    if facts.language == "python":
        things = resolver.in_module(path, symbol)
    else:
        things = tuple(
            thing
            for exported, value in facts.exports
            if exported == symbol or (exported == "default" and symbol in {"default", "handler"})
            for thing in resolver.value(path, 0, value)
        ) or resolver.in_module(path, symbol)
    for thing in things:
        if isinstance(thing, FunctionThing):
            yield thing
        elif isinstance(thing, ExternalResult):
            yield from _wrapped(resolver, thing.site)


def _wrapped(resolver: Resolver, site: Site, depth: int = 0) -> Iterator[FunctionThing]:
    """Return the functions given to a wrapper call or to a call in its receiver chain."""
    call = resolver.call(site)
    scope = resolver.owner_of(site)
    for index in call.callbacks:
        yield FunctionThing(site.path, index)
    for value in call.arguments:
        if isinstance(value, Name) and not value.path.startswith("<fn:"):
            for thing in resolver.value(site.path, scope, value):
                if isinstance(thing, FunctionThing):
                    yield thing
    head = call.name.partition(">")[0]
    if call.name.startswith("<") and head[1:].isdigit() and depth < 8:  # noqa: PLR2004 - longer chains are not handlers
        yield from _wrapped(resolver, Site(site.path, int(head[1:])), depth + 1)


def _by_convention(resolver: Resolver, facts: CodeFacts) -> Iterator[tuple[int, str, str]]:
    if facts.language == "python":
        for index, function in enumerate(facts.functions):
            if index and function.parent == 0 and function.class_name is None and (origin := _python_shape(function)):
                yield index, function.name, origin
    else:
        for exported, value in facts.exports:
            for inner in _exported_wrapper(resolver, facts, value):
                shaped = exported in _HANDLER_EXPORTS or _script_shape(resolver.function(inner), exported)
                if exported != "default" and inner.path == facts.path and shaped:
                    yield inner.index, exported, "wrapped for Lambda"
            for thing in resolver.value(facts.path, 0, value):
                if isinstance(thing, FunctionThing) and thing.path == facts.path:
                    origin = _script_shape(facts.functions[thing.index], exported)
                    if origin:
                        yield thing.index, exported, origin
                elif isinstance(thing, ExternalResult) and exported != "default" and _is_middy(resolver, thing):
                    for inner in _wrapped(resolver, thing.site):
                        if inner.path == facts.path:
                            yield inner.index, exported, "wrapped by middy"
    yield from _routes(resolver, facts)


def _exported_wrapper(resolver: Resolver, facts: CodeFacts, value: Value) -> Iterator[FunctionThing]:
    """Return the functions given to the call whose result is exported: `export const main = middyfy(list)`."""
    assigned = (
        [item for item, scope in resolver.names_of(facts.path).get(value.path, ()) if scope == 0]
        if isinstance(value, Name)
        else []
    )
    for candidate in (value, *assigned):
        number = call_number(candidate)
        if number is not None:
            yield from _wrapped(resolver, Site(facts.path, number))


def _is_middy(resolver: Resolver, thing: ExternalResult) -> bool:
    return "middy" in thing.name or resolver.call(thing.site).name.endswith((".use", ".handler"))


def _python_shape(function: Function) -> str | None:
    if any(name.rpartition(".")[2] in _LAMBDA_DECORATORS for name in function.decorators):
        return f"decorator @{function.decorators[0]}"
    if any(
        name.rpartition(".")[2] in _CHALICE_METHODS and name.partition(".")[0] == "app" for name in function.decorators
    ):
        return f"decorator @{function.decorators[0]}"
    parameters = function.parameters
    if len(parameters) >= 2 and _EVENT.fullmatch(parameters[0]) and _CONTEXT.fullmatch(parameters[1]):  # noqa: PLR2004
        meant = parameters[0].strip("_").lower() in {"event", "evt", "lambda_event"} or "handler" in function.name
        if meant:
            return "convention: (event, context)"
    return None


def _script_shape(function: Function, exported: str) -> str | None:
    if any(_HANDLER_TYPE.search(name) for name in function.decorators):
        return "convention: typed as a handler"
    first = function.parameters[0] if function.parameters else ""
    typed = function.annotations[0] if function.annotations else ""
    if exported in _HANDLER_EXPORTS and len(function.parameters) <= 3:  # noqa: PLR2004
        return f"convention: exported as {exported}"
    if exported != "default" and first in {"event", "_event", "evt"}:
        return "convention: exported, takes an event"
    if exported != "default" and typed and "ProxyEvent" in typed and _EVENT_TYPE.search(typed):
        return "convention: exported, takes an event"
    return None


def _routes(resolver: Resolver, facts: CodeFacts) -> Iterator[tuple[int, str, str]]:
    """A web application wrapped for Lambda: its routes are what runs in an invocation."""
    if not _wrapped_application(resolver):
        return
    for index, function in enumerate(facts.functions):
        for decorator in function.decorators:
            owner, _, method = decorator.rpartition(".")
            if owner and method in _ROUTE_METHODS and facts.language == "python":
                yield index, function.name, f"route @{decorator}"
    if facts.language == "python":
        return
    for number, call in enumerate(facts.calls):
        owner, _, method = call.name.rpartition(".")
        if method in _ROUTE_METHODS and owner and resolver.owner_of(Site(facts.path, number)) == 0:
            for thing in resolver.path(facts.path, 0, owner):
                if isinstance(thing, ExternalResult) and thing.name.split(".")[0] in {
                    "express",
                    "fastify",
                    "koa-router",
                    "@koa/router",
                    "hono",
                }:
                    for index in call.callbacks:
                        yield index, f"{method} route", f"route {owner}.{method}"


def _wrapped_application(resolver: Resolver) -> bool:
    if resolver.wrapped_application is None:
        resolver.wrapped_application = any(
            isinstance(thing, ExternalThing) and _ADAPTERS.match(thing.name)
            for path, facts in resolver.code.items()
            if any(
                _ADAPTERS.match(f"{item.module}.{item.member}")
                or _ADAPTERS.match(item.module + ".")
                or _ADAPTERS.match(item.module)
                for item in facts.imports
            )
            for number in range(len(facts.calls))
            for thing in resolver.callee(Site(path, number))
        )
    return resolver.wrapped_application

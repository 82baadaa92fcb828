"""The Runtime and Extensions APIs as a runtime sees them, and how an environment with an extension ends."""

from __future__ import annotations

import asyncio

import pytest
from warmline_toolkit.lab.runtimes import SHIM

pytestmark = pytest.mark.asyncio

# A handler that talks to its own Runtime API, as a faulty runtime would.
CALLS = """
import http.client, os
def handler(event, context):
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    answers = []
    for method, path, body in event:
        connection.request(method, path.replace("{id}", context.aws_request_id), body)
        response = connection.getresponse()
        answers.append([response.status, response.read().decode()])
    return answers
"""


async def test_a_call_out_of_order_gets_lambdas_refusal(platform_of):
    runtime = "/2018-06-01/runtime"
    calls = [
        ("POST", f"{runtime}/invocation/not-a-current-id/response", "{}"),
        ("POST", f"{runtime}/invocation/not-a-current-id/error", "{}"),
        ("POST", f"{runtime}/invocation/next", ""),
        ("GET", f"{runtime}/nothing", None),
        ("GET", "/2020-01-01/extension/event/next", None),
    ]
    async with platform_of(CALLS) as platform:
        answers = (await platform.invoke(calls)).json()
    assert [status for status, _ in answers] == [400, 400, 405, 405, 403]
    assert "InvalidRequestID" in answers[0][1]


async def test_a_second_response_to_one_invocation_is_refused_and_the_first_holds(platform_of):
    response = ("POST", "/2018-06-01/runtime/invocation/{id}/response", '"first"')
    async with platform_of(CALLS) as platform:
        result = await platform.invoke([response, response])
    assert result.json() == "first"


EXTENSION = """
import http.client, json, os, signal, sys, threading
def extend():
    connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
    connection.request("POST", "/2020-01-01/extension/register", json.dumps({"events": []}),
        {"Lambda-Extension-Name": "inside"})
    response = connection.getresponse()
    response.read()
    connection.request("GET", "/2020-01-01/extension/event/next", headers={
        "Lambda-Extension-Identifier": response.getheader("Lambda-Extension-Identifier")})
    ready.set()
    connection.getresponse()
ready = threading.Event()
if os.environ.get("EXTEND"):
    threading.Thread(target=extend, daemon=True).start()
    ready.wait()
def at_sigterm(number, frame):
    with open(os.environ["NOTE"], "w") as note:
        note.write("SIGTERM")
    os._exit(0)
signal.signal(signal.SIGTERM, at_sigterm)
def handler(event, context): ...
"""


@pytest.mark.parametrize("extended", [True, False])
async def test_sigterm_comes_only_where_an_extension_is_registered(platform_of, tmp_path, extended):
    note = tmp_path / "note"
    # The official runtime sees signals while it waits only where it polls from a thread: Python 3.12 and later.
    variables = {"NOTE": str(note), "AWS_EXECUTION_ENV": "AWS_Lambda_python3.12", "EXTEND": "1" if extended else ""}
    async with platform_of(EXTENSION, environment=variables) as platform:
        assert (await platform.invoke()).ok
        await platform.reap_all("fin")
    assert note.exists() == extended


async def test_the_plain_runtime_client_serves_the_official_runtime(platform_of):
    source = """
import os, runtime_client
def handler(event, context):
    if event == "fail":
        raise LookupError("no")
    return [event, runtime_client.__file__, context.get_remaining_time_in_millis() > 0]
"""
    async with platform_of(source, environment={"PYTHONPATH": str(SHIM)}) as platform:
        first, failed, again = [await platform.invoke(event) for event in (1, "fail", 2)]
    assert first.json() == [1, str(SHIM / "runtime_client.py"), True]
    assert (failed.outcome, failed.error_type) == ("error", "LookupError")
    assert again.json()[0] == 2


async def test_a_client_that_does_not_speak_http_is_disconnected_and_nothing_else_happens(platform_of):
    async with platform_of("def handler(event, context): ...") as platform:
        await platform.invoke()
        (environment,) = platform.environments
        reader, writer = await asyncio.open_connection(*environment.api.address.split(":"))
        writer.write(b"\x16\x03\x01 not http\r\n\r\n")
        assert await reader.read() == b""
        writer.close()
        assert (await platform.invoke()).ok

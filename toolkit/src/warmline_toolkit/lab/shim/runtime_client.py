"""The Runtime API client that awslambdaric expects, in plain Python, for systems where its own is not built (macOS).

Put on PYTHONPATH by the lab where the native `runtime_client` is missing. The same four functions with the same
arguments; one keep-alive connection a process.
"""

from __future__ import annotations

import http.client
import os

_BASE = "/2018-06-01/runtime/invocation"
_HEADERS = (
    "Lambda-Runtime-Aws-Request-Id",
    "Lambda-Runtime-Trace-Id",
    "Lambda-Runtime-Invoked-Function-Arn",
    "Lambda-Runtime-Client-Context",
    "Lambda-Runtime-Cognito-Identity",
    "Lambda-Runtime-Aws-Tenant-Id",
    "Lambda-Runtime-Invocation-Id",
    "Content-Type",
)


class _Client:
    def __init__(self) -> None:
        self.user_agent = ""
        self.connection: http.client.HTTPConnection | None = None
        self.pid = 0

    def call(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str]
    ) -> tuple[http.client.HTTPResponse, bytes]:
        if self.connection is None or self.pid != os.getpid():  # a forked worker must not share its parent's
            self.connection = http.client.HTTPConnection(os.environ["AWS_LAMBDA_RUNTIME_API"])
            self.pid = os.getpid()
        self.connection.request(method, _BASE + path, body, {"User-Agent": self.user_agent, **headers})
        response = self.connection.getresponse()
        return response, response.read()

    def post(self, path: str, data: bytes | str, headers: dict[str, str], invocation_id: str | None) -> None:
        if invocation_id is not None:
            headers["Lambda-Runtime-Invocation-Id"] = invocation_id
        response, said = self.call("POST", path, data if isinstance(data, bytes) else data.encode(), headers)
        if response.status != http.HTTPStatus.ACCEPTED:
            raise RuntimeError(f"Failed to post invocation response: {response.status} {said[:200]!r}")


_client = _Client()


def initialize_client(user_agent: str) -> None:
    """Remember the user agent; the connection is opened on use."""
    _client.user_agent = user_agent
    _client.connection = None


def next() -> tuple[bytes, dict[str, str | int | None]]:  # noqa: A001 - the name awslambdaric calls
    """Return the next event's bytes and its headers; the deadline is a number, a missing header is None."""
    response, body = _client.call("GET", "/next", None, {})
    if response.status != http.HTTPStatus.OK:
        raise RuntimeError(f"Failed to get next: {response.status}")
    headers: dict[str, str | int | None] = {name: response.getheader(name) for name in _HEADERS}
    headers["Lambda-Runtime-Deadline-Ms"] = int(response.getheader("Lambda-Runtime-Deadline-Ms") or 0)
    return body, headers


def post_invocation_result(
    invoke_id: str, response_data: bytes, content_type: str, invocation_id: str | None = None
) -> None:
    """Post a response."""
    _client.post(f"/{invoke_id}/response", response_data, {"Content-Type": content_type}, invocation_id)


def post_error(
    invoke_id: str, error_response_data: bytes | str, xray_fault: str, invocation_id: str | None = None
) -> None:
    """Post an error; its type is in the document."""
    headers = {
        "Content-Type": "application/json",
        "Lambda-Runtime-Function-Error-Type": "Unhandled",
        "Lambda-Runtime-Function-XRay-Error-Cause": xray_fault,
    }
    _client.post(f"/{invoke_id}/error", error_response_data, headers, invocation_id)

"""Lambda's Runtime API and the part of its Extensions API that decides how an environment ends, over HTTP.

One `RuntimeApi` is one environment's address; all of them are served by the lab's one asyncio loop. It speaks the
protocol and refuses what Lambda refuses; what an answer means for the environment is decided by its `Listener`.

Costs one parsed request and one write a call. Sources: AWS's "Runtime API" and "Extensions API" pages, and the
behaviour of `awslambdaric` 4.2. Served: invocation/next, invocation/{id}/response and /error, init/error,
restore/next, restore/error; extension/register, event/next, init/error, exit/error.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import deque
from typing import TYPE_CHECKING, Protocol, cast

import httptools

from warmline_toolkit.lab.outcome import MAX_PAYLOAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Mapping

RUNTIME = "/2018-06-01/runtime/"
EXTENSION = "/2020-01-01/extension/"
MAX_EXTENSIONS = 10
ERROR_TYPE_HEADER = b"lambda-runtime-function-error-type"

_STATUS = {
    200: b"HTTP/1.1 200 OK\r\n",
    202: b"HTTP/1.1 202 Accepted\r\n",
    400: b"HTTP/1.1 400 Bad Request\r\n",
    403: b"HTTP/1.1 403 Forbidden\r\n",
    404: b"HTTP/1.1 404 Not Found\r\n",
    405: b"HTTP/1.1 405 Method Not Allowed\r\n",
    413: b"HTTP/1.1 413 Payload Too Large\r\n",
}
_ACCEPTED = _STATUS[202] + b'Content-Type: application/json\r\nContent-Length: 16\r\n\r\n{"status":"OK"}\n'


class Listener(Protocol):
    """What an environment is told of its runtime's calls."""

    def runtime_polled(self, worker: Worker) -> None:
        """A worker is parked on invocation/next: `worker.deliver` answers it."""

    def runtime_responded(self, request_id: str, payload: bytes) -> None:
        """The response to a current invocation."""

    def runtime_response_too_large(self, request_id: str, size: int) -> None:
        """The response to a current invocation was refused with 413."""

    def runtime_failed(self, request_id: str, payload: bytes, error_type: str | None) -> None:
        """The error of a current invocation."""

    def init_failed(self, payload: bytes, error_type: str | None) -> None:
        """The runtime (or an extension) reported that Init failed; told once an Init."""

    def restore_polled(self, worker: Worker) -> None:
        """A SnapStart runtime has run its before-snapshot hooks and waits on restore/next."""

    def restore_failed(self, payload: bytes, error_type: str | None) -> None:
        """An after-restore hook failed."""

    def worker_lost(self, worker: Worker, request_ids: list[str]) -> None:
        """A worker's connection ended while these invocations were its own."""

    def extension_polled(self, name: str) -> None:
        """An extension waits for its next event."""


class Extension:
    """One registered extension: its events, and the connection on which it waits for the next."""

    def __init__(self, name: str, events: frozenset[str], *, internal: bool) -> None:
        self.name = name
        self.identifier = str(uuid.uuid4())
        self.events = events
        self.internal = internal
        self.parked: Worker | None = None


class Worker(asyncio.Protocol):
    """One HTTP connection of a runtime: a worker process has one for next and response."""

    def __init__(self, api: RuntimeApi) -> None:
        self.api = api
        self.peer_port = 0
        self.pid: int | None = None
        self.transport: asyncio.Transport
        self.parser = httptools.HttpRequestParser(self)
        self.url = b""
        self.body: list[bytes] = []
        self.size = 0
        self.headers: dict[bytes, bytes] = {}

    # asyncio.Protocol

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self.transport = cast("asyncio.Transport", transport)
        self.peer_port = self.transport.get_extra_info("peername")[1]
        self.api.workers.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        """Tell the environment which invocations were handed to this connection and are not answered."""
        del exc
        self.api.forget(self)

    def data_received(self, data: bytes) -> None:
        """Parse; a runtime that does not speak HTTP is disconnected."""
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserError:
            self.transport.close()

    # httptools' callbacks

    def on_message_begin(self) -> None:
        """Start a request."""
        self.url, self.size = b"", 0
        self.body.clear()
        self.headers.clear()

    def on_url(self, url: bytes) -> None:
        """Collect the request target."""
        self.url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        """Collect the headers that mean something here."""
        lowered = name.lower()
        if lowered.startswith(b"lambda-"):
            self.headers[lowered] = value
        elif lowered == b"expect":
            self.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        """Collect the body, up to the limit: what is longer is counted and dropped."""
        self.size += len(body)
        if self.size <= MAX_PAYLOAD_BYTES:
            self.body.append(body)
        else:
            self.body.clear()

    def on_message_complete(self) -> None:
        """Answer the request, or park it."""
        self.api.handle(self, self.parser.get_method(), self.url.decode("latin-1"))

    # answers

    def answer(self, status: int, document: Mapping[str, object] | None = None, headers: bytes = b"") -> None:
        """Send a JSON answer."""
        body = b"" if document is None else json.dumps(document).encode()
        self.transport.write(
            b"%sContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s"
            % (_STATUS[status], headers, len(body), body)
        )

    def accept(self) -> None:
        """Send 202."""
        self.transport.write(_ACCEPTED)

    def refuse(self, status: int, error_type: str, message: str) -> None:
        """Send the error document that Lambda's Runtime API sends."""
        self.answer(status, {"errorMessage": message, "errorType": error_type})

    def deliver(self, request_id: str, headers: bytes, event: bytes) -> None:
        """Answer the parked invocation/next with an event: the invocation is current from here on."""
        self.api.current[request_id] = self
        self.transport.write(
            b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n%sContent-Length: %d\r\n\r\n%s"
            % (headers, len(event), event)
        )


class RuntimeApi:
    """One environment's Runtime API address.

    *waiting* are the workers parked on invocation/next, *current* the invocations handed out and not yet answered.
    """

    def __init__(self, listener: Listener, *, function_name: str, handler_name: str) -> None:
        self.listener = listener
        self.function_name = function_name
        self.handler_name = handler_name
        self.workers: set[Worker] = set()
        self.waiting: deque[Worker] = deque()
        self.current: dict[str, Worker] = {}
        self.extensions: dict[str, Extension] = {}
        self.init_error_reported = False
        self._server: asyncio.Server | None = None
        self.address = ""

    async def start(self) -> None:
        """Listen on a free loopback port; *address* is what AWS_LAMBDA_RUNTIME_API is set to."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: Worker(self), "127.0.0.1", 0, backlog=128)
        port = self._server.sockets[0].getsockname()[1]
        self.address = f"127.0.0.1:{port}"

    def close(self) -> None:
        """Stop listening and drop every connection."""
        if self._server is not None:
            self._server.close()
            self._server = None
        self.drop_workers()

    def drop_workers(self) -> None:
        """Forget the runtime's processes: their connections, their invocations, their extensions."""
        workers = list(self.workers)
        self.workers.clear()
        self.waiting.clear()
        self.current.clear()
        self.extensions.clear()
        self.init_error_reported = False
        for worker in workers:
            worker.transport.abort()

    def forget(self, worker: Worker) -> None:
        """Drop one connection, and say which invocations ended with it."""
        if worker not in self.workers:
            return
        self.workers.discard(worker)
        if worker in self.waiting:
            self.waiting.remove(worker)
        for extension in self.extensions.values():
            if extension.parked is worker:
                extension.parked = None
        lost = [request_id for request_id, holder in self.current.items() if holder is worker]
        self.listener.worker_lost(worker, lost)

    # routing

    def handle(self, worker: Worker, method: bytes, path: str) -> None:
        """Act on one whole request."""
        if path.startswith(RUNTIME):
            self._runtime(worker, method, path[len(RUNTIME) :])
        elif path.startswith(EXTENSION):
            self._extension(worker, method, path[len(EXTENSION) :])
        else:
            worker.refuse(404, "NotFound", f"no such call: {path}")

    def _runtime(self, worker: Worker, method: bytes, call: str) -> None:
        if call == "invocation/next":
            if method != b"GET":
                worker.refuse(405, "MethodNotAllowed", "use GET")
            elif any(holder is worker for holder in self.current.values()):
                worker.refuse(403, "InvalidStateTransition", "the current invocation has no response yet")
            else:
                self.waiting.append(worker)
                self.listener.runtime_polled(worker)
        elif call == "restore/next":
            self.listener.restore_polled(worker)
        elif method != b"POST":
            worker.refuse(405, "MethodNotAllowed", "use POST")
        elif call.startswith("invocation/"):
            self._invocation(worker, call)
        elif call == "init/error":
            if self.init_error_reported:
                worker.refuse(403, "InvalidStateTransition", "an Init error has been reported already")
                return
            self.init_error_reported = True
            worker.accept()
            self.listener.init_failed(b"".join(worker.body), _error_type(worker))
        elif call == "restore/error":
            worker.accept()
            self.listener.restore_failed(b"".join(worker.body), _error_type(worker))
        else:
            worker.refuse(404, "NotFound", f"no such call: {call}")

    def _invocation(self, worker: Worker, call: str) -> None:
        request_id, _, verb = call[len("invocation/") :].partition("/")
        if verb not in ("response", "error"):
            worker.refuse(404, "NotFound", f"no such call: {call}")
        elif request_id not in self.current:
            worker.refuse(400, "InvalidRequestID", f"not a current invocation: {request_id}")
        elif verb == "error":
            del self.current[request_id]
            worker.accept()
            self.listener.runtime_failed(request_id, b"".join(worker.body), _error_type(worker))
        elif worker.size > MAX_PAYLOAD_BYTES:
            del self.current[request_id]
            worker.refuse(
                413, "RequestEntityTooLarge", f"Exceeded maximum allowed payload size ({MAX_PAYLOAD_BYTES} bytes)."
            )
            self.listener.runtime_response_too_large(request_id, worker.size)
        else:
            del self.current[request_id]
            worker.accept()
            self.listener.runtime_responded(request_id, b"".join(worker.body))

    # extensions

    def _extension(self, worker: Worker, method: bytes, call: str) -> None:
        if call == "register" and method == b"POST":
            self._register(worker)
            return
        identifier = worker.headers.get(b"lambda-extension-identifier", b"").decode("latin-1")
        extension = self.extensions.get(identifier)
        if extension is None:
            worker.refuse(403, "Extension.UnknownExtensionIdentifier", "register first")
        elif call == "event/next" and method == b"GET":
            extension.parked = worker
            self.listener.extension_polled(extension.name)
        elif call in ("init/error", "exit/error") and method == b"POST":
            worker.accept()
            if call == "init/error":
                self.listener.init_failed(b"".join(worker.body), _error_type(worker))
        else:
            worker.refuse(404, "NotFound", f"no such call: {call}")

    def _register(self, worker: Worker) -> None:
        name = worker.headers.get(b"lambda-extension-name", b"").decode("latin-1")
        try:
            asked = json.loads(b"".join(worker.body) or b"{}").get("events", [])
        except (ValueError, AttributeError):
            asked = None
        if not name or not isinstance(asked, list) or not set(asked) <= {"INVOKE", "SHUTDOWN"}:
            worker.refuse(400, "InvalidEventType", "name the extension, and events out of INVOKE and SHUTDOWN")
        elif "SHUTDOWN" in asked:
            # The lab starts no external extensions, so whoever registers runs inside the runtime's process.
            worker.refuse(
                403, "ShutdownEventNotSupportedForInternalExtension", "an internal extension gets no SHUTDOWN"
            )
        elif len(self.extensions) >= MAX_EXTENSIONS:
            worker.refuse(403, "TooManyExtensions", f"at most {MAX_EXTENSIONS} extensions")
        else:
            extension = Extension(name, frozenset(asked), internal=True)
            self.extensions[extension.identifier] = extension
            worker.answer(
                200,
                {
                    "functionName": self.function_name,
                    "functionVersion": "$LATEST",
                    "handler": self.handler_name,
                },
                b"Lambda-Extension-Identifier: %s\r\n" % extension.identifier.encode(),
            )

    def tell_extensions(self, event: Mapping[str, object]) -> None:
        """Send an event to every extension that asked for its type and waits for one."""
        for extension in self.extensions.values():
            if extension.parked is not None and event["eventType"] in extension.events:
                worker, extension.parked = extension.parked, None
                worker.answer(200, event, b"Lambda-Extension-Event-Identifier: %s\r\n" % str(uuid.uuid4()).encode())

    def extensions_busy(self) -> bool:
        """Whether an extension was handed an event and has not asked for the next one."""
        return any(extension.parked is None and extension.events for extension in self.extensions.values())


def _error_type(worker: Worker) -> str | None:
    value = worker.headers.get(ERROR_TYPE_HEADER)
    return None if value is None else value.decode("latin-1")

"""The process that a SnapStart snapshot is: official runtime, initialised, forked for every restored environment.

Run as a program: `python zygote.py module.handler`, with a control socket's number in WARMLINE_SNAPSHOT_FD. It is
`python -m awslambdaric module.handler` but for one call: where the official runtime has run its before-snapshot hooks
and asks to be restored, this process waits for orders instead, and forks. In each copy the official flow goes on: it
asks restore/next, runs the after-restore hooks, and polls. Connections that the copy inherited are dead, as those of a
machine that was copied are: the first use of one fails with a reset.

Orders, one JSON object a message: {"environ": {…}} with the copy's output descriptor → {"pid": n}; {"wait": n} →
{"status": n}. Standard library and awslambdaric only, for it runs in the function's own interpreter.
"""

from __future__ import annotations

import array
import contextlib
import importlib
import json
import os
import socket
import stat
import struct
import sys
from pathlib import Path
from types import ModuleType

# The native client fixes its platform's address when it is loaded, so it is loaded in the copies only.
_placeholder = ModuleType("runtime_client")
_placeholder.initialize_client = lambda _user_agent: None  # type: ignore[attr-defined]
sys.modules["runtime_client"] = _placeholder

from awslambdaric import bootstrap, lambda_runtime_client  # type: ignore[import-untyped]  # noqa: E402
from awslambdaric.lambda_config import LambdaConfigProvider  # type: ignore[import-untyped]  # noqa: E402

_ORDER_BYTES = 1_048_576


class SnapshotClient(lambda_runtime_client.LambdaRuntimeClient):  # type: ignore[misc]  # awslambdaric has no types
    """The official client; only its wait for the restore is another."""

    def restore_next(self) -> None:
        """Serve copies; return in a copy only, which then asks the platform as the official client does."""
        become_copy()
        self.lambda_runtime_address = os.environ["AWS_LAMBDA_RUNTIME_API"]
        del sys.modules["runtime_client"]
        client = importlib.import_module("runtime_client")
        client.initialize_client(lambda_runtime_client._user_agent())  # noqa: SLF001 - as that module itself does
        lambda_runtime_client.runtime_client = client
        super().restore_next()


def become_copy() -> None:
    """Take orders until the platform goes (exit) or this process is a copy (return)."""
    control = socket.socket(fileno=int(os.environ.pop("WARMLINE_SNAPSHOT_FD")))
    control.send(b'{"ready": true}')
    while True:
        message, ancillary, _, _ = control.recvmsg(_ORDER_BYTES, socket.CMSG_SPACE(4))
        if not message:
            os._exit(0)
        order = json.loads(message)
        if "wait" in order:
            control.send(json.dumps({"status": _exit_status(order["wait"])}).encode())
            continue
        output = array.array("i", ancillary[0][2])[0]
        pid = os.fork()
        if pid == 0:
            control.close()
            os.setpgid(0, 0)
            os.dup2(output, 1)
            os.dup2(output, 2)
            os.close(output)
            os.environ.update(order["environ"])
            kill_inherited_connections()
            return
        with contextlib.suppress(OSError):  # the copy may have done it, and may be gone already
            os.setpgid(pid, pid)
        os.close(output)
        control.send(json.dumps({"pid": pid}).encode())


def _exit_status(pid: int) -> int:
    try:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    except ChildProcessError:
        return 0


def kill_inherited_connections() -> None:
    """Put a connection that was reset in the place of every network connection of this process."""
    for opened in list(Path("/proc/self/fd").iterdir()):
        descriptor = int(opened.name)
        try:
            if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
                continue
            inherited = socket.socket(fileno=os.dup(descriptor))
        except OSError:
            continue
        with inherited:
            if inherited.family not in (socket.AF_INET, socket.AF_INET6) or inherited.type != socket.SOCK_STREAM:
                continue
            if inherited.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
                continue
        dead = _reset_connection()
        os.set_blocking(dead.fileno(), os.get_blocking(descriptor))
        os.dup2(dead.fileno(), descriptor, inheritable=False)
        dead.close()


def _reset_connection() -> socket.socket:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        peer, _ = listener.accept()
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        return client


def main() -> None:
    """Run the official runtime with this client."""
    sys.path[0] = str(Path.cwd())  # as `python -m` has it
    config = LambdaConfigProvider(sys.argv)
    bootstrap.run(config.handler, SnapshotClient(config.api_address, config.use_thread_polling))


if __name__ == "__main__":
    main()

"""How a runtime is started: its command line, and the variables Lambda sets."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from importlib.machinery import PathFinder
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from warmline_toolkit.lab.handler import Handler
    from warmline_toolkit.lab.settings import PlatformSettings

ZYGOTE = Path(__file__).parent / "snapstart" / "zygote.py"
HERE = Path(__file__).parent
NODE_CLIENT = HERE / "node" / "runtime.mjs"
SHIM = HERE / "shim"

_KEPT = ("PATH", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH", "SYSTEMROOT", "VIRTUAL_ENV")
"""What an environment gets of the lab's own variables: what programs need to start. Lambda hands on nothing else."""


def command_of(handler: Handler, settings: PlatformSettings) -> list[str]:
    """Return the command that starts the runtime for *handler*."""
    if settings.snapstart:
        return [settings.python, str(ZYGOTE), handler.name]
    if handler.runtime == "node":
        return [settings.node, str(NODE_CLIENT), handler.name]
    return [settings.python, "-m", "awslambdaric", handler.name]


def variables_of(  # noqa: PLR0913 - what an environment is told, each by name
    handler: Handler,
    settings: PlatformSettings,
    *,
    environment: str,
    api_address: str,
    scratch: Path,
    init_type: str,
    extra: Mapping[str, str],
) -> dict[str, str]:
    """Return an environment's variables: Lambda's, then *extra* (where the database is), then the function's own."""
    root = str(handler.task_root)
    variables = {name: os.environ[name] for name in _KEPT if name in os.environ}
    variables |= {
        "AWS_LAMBDA_RUNTIME_API": api_address,
        "AWS_LAMBDA_FUNCTION_NAME": settings.function_name,
        "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
        "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": str(settings.memory_mb),
        "AWS_LAMBDA_LOG_GROUP_NAME": f"/aws/lambda/{settings.function_name}",
        "AWS_LAMBDA_LOG_STREAM_NAME": f"{time.strftime('%Y/%m/%d', time.gmtime())}/[$LATEST]{environment}",
        "AWS_LAMBDA_INITIALIZATION_TYPE": init_type,
        "AWS_REGION": settings.region,
        "AWS_DEFAULT_REGION": settings.region,
        "_HANDLER": handler.name,
        "LAMBDA_TASK_ROOT": root,
        "TZ": ":UTC",
        "TMPDIR": str(scratch),
        "HOME": str(scratch),
        "WARMLINE_LAB": f"{os.getpid()}:{environment}",
    }
    if handler.runtime == "python":
        variables["AWS_EXECUTION_ENV"] = f"AWS_Lambda_python{_python_version(settings.python)}"
        variables["PYTHONPATH"] = os.pathsep.join([root, *_shim_path()])
        variables["PYTHONUNBUFFERED"] = "1"
        if settings.processes_per_environment > 1:
            variables["AWS_LAMBDA_MAX_CONCURRENCY"] = str(settings.processes_per_environment)
    else:
        variables["AWS_EXECUTION_ENV"] = "AWS_Lambda_nodejs"
        variables["NODE_PATH"] = str(handler.task_root / "node_modules")
    return {**variables, **extra, **settings.environment}


@functools.cache
def _python_version(program: str) -> str:
    if program == sys.executable:
        return f"{sys.version_info.major}.{sys.version_info.minor}"
    script = "import sys; print('%d.%d' % sys.version_info[:2])"
    return subprocess.run([program, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


def _shim_path() -> list[str]:
    """Return the pure-Python `runtime_client`'s folder where awslambdaric was installed without its own."""
    return [] if PathFinder.find_spec("runtime_client") is not None else [str(SHIM)]

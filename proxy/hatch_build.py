# ruff: noqa: INP001 - hatchling loads it by its path
"""Build the daemon into the wheel."""

from __future__ import annotations

import shutil
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface


class DaemonBuildHook(BuildHookInterface):
    """Run cargo and ship its program as the wheel's script, so that installing needs no Rust."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Build for a real wheel; an editable one finds the workspace's own build."""
        if version == "editable":
            return
        cargo = shutil.which("cargo")
        if cargo is None:
            message = "building warmline-proxy's wheel needs Rust's cargo (https://rustup.rs)"
            raise RuntimeError(message)
        workspace = Path(self.root).parent
        command = [cargo, "build", "--locked", "--profile", "wheel", "--package", "warmline-proxy"]
        subprocess.run(command, cwd=workspace, check=True)
        build_data["shared_scripts"] = {str(workspace / "target" / "wheel" / "warmline-proxyd"): "warmline-proxyd"}
        platform = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-{platform}"

"""Builds what is written in C, where there is a compiler; without one Portico does the same in Python."""

from __future__ import annotations

import shlex
import subprocess
import sysconfig
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = ("src/portico/prediction/_tap.c",)


class Extensions(BuildHookInterface):
    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Compiles each source into the folder where it lies."""
        for name in SOURCES:
            source = Path(self.root) / name
            built = source.with_suffix(sysconfig.get_config_var("EXT_SUFFIX"))
            built.unlink(missing_ok=True)
            linker = shlex.split(sysconfig.get_config_var("LDSHARED") or "cc -shared")
            headers = sysconfig.get_path("include")
            command = [
                *linker,
                "-O2",
                "-fPIC",
                "-Wall",
                "-Wextra",
                "-I",
                headers,
                str(source),
                "-o",
                str(built),
            ]
            try:
                subprocess.run(command, check=True, capture_output=True, text=True)
            except (OSError, subprocess.CalledProcessError) as error:
                said = getattr(error, "stderr", "") or error
                self.app.display_warning(f"{name} is not built, and done in Python instead: {said}")
                continue
            build_data["artifacts"].append(str(built.relative_to(self.root)))
            build_data["pure_python"] = False
            build_data["infer_tag"] = True

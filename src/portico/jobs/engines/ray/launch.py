"""Becomes the driver of a Ray cluster, in an environment that has the cluster's version of Ray and Python.

`python -m portico.jobs.engines.ray.launch SETTINGS`; the driver comes back here when it has found another version.
"""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

from portico.errors import PorticoError
from portico.sandbox import environments
from portico.sandbox.installer import Teller
from portico.sandbox.parent import die_with_parent

_DRIVER = Path(__file__).with_name("driver.py")


def main(settings: dict[str, Any]) -> None:
    die_with_parent(settings["parent"])
    home = Path(settings["home"])
    found = home / "run" / "ray.version"  # of the cluster, when it was last there
    if "ray" not in settings and found.exists():
        settings["ray"], settings["python"] = found.read_text().split()
    channel = socket.socket(fileno=os.dup(0))
    here = "{}.{}".format(*sys.version_info[:2])
    wanted, version = settings.get("ray", ""), settings.get("python", here)

    def tell(line: str) -> None:
        channel.sendall(json.dumps({"says": line}).encode() + b"\n")

    try:
        requirement = f"ray=={wanted}" if wanted else "ray"
        python = environments.environment(
            [requirement], environments.find_python([version]), home / "envs", Teller(tell)
        )
    except PorticoError as error:
        told = f"it is Ray {wanted} with Python {version}. {error.message}" if wanted else error.message
        channel.sendall(json.dumps({"refused": told}).encode() + b"\n")
        sys.exit(1)
    if wanted:
        found.write_text(f"{wanted} {version}")
    os.execv(python, [str(python), "-I", str(_DRIVER), json.dumps(settings)])


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))

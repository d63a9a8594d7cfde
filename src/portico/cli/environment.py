"""`portico env` and `portico exec`."""

from __future__ import annotations

import os
import shlex
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from portico.client import commands_folders, injected_folder, settings

_HINTS = """\
# Settings for Google's clients, for this shell:  eval "$(portico env)"
# google-cloud-storage (given a project) and gcsfs need no more. The Vertex client has no variable for its
# address; either run the script unchanged with `portico exec -- python script.py`, or say in it:
#   aiplatform.init(project="my-project", location="us-central1",
#                   api_endpoint="{url}", api_transport="rest")
# and for the generated clients:
#   ModelServiceClient(client_options={{"api_endpoint": "{url}"}}, transport="rest")"""


def as_shell(values: dict[str, str]) -> str:
    """`values` as `export` lines, after comments that say what variables can't do."""
    lines = [f"export {name}={shlex.quote(value)}" for name, value in values.items()]
    return "\n".join([_HINTS.format(url=values["PORTICO_URL"]), *lines])


def replace_process(command: Sequence[str], home: Path) -> NoReturn:
    """Becomes `command`, with Google's clients pointed to the server on `home`: its signals and exit code are its own.

    Exits with 127 where there is no such command, with 126 where it can't be run, as shells do.

    Raises:
        Unavailable: nothing runs on `home`.
    """
    environment = os.environ | settings(home)
    paths = [str(injected_folder()), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
    environment["PATH"] = os.pathsep.join(
        [*map(str, commands_folders()), environment.get("PATH", os.defpath)]
    )
    program = command[0]
    if program == "python" and shutil.which(program) is None:
        program = sys.executable  # where only a python3 is installed
    sys.stdout.flush()
    try:
        os.execvpe(program, list(command), environment)
    except FileNotFoundError:
        _fail(f"There is no command {command[0]!r}.", 127)
    except OSError as error:
        _fail(f"{command[0]} can't be run: {error.strerror}.", 126)


def _fail(message: str, code: int) -> NoReturn:
    print(f"portico: {message}", file=sys.stderr)
    sys.exit(code)

"""Reads event files that a user's code made, in a process of its own, which may die: `event_logs` starts it confined.

Takes on stdin a JSON list of [descriptor, bytes that are known], and writes lines of JSON: what is new in each file,
what is wrong with one, and how far it was read.
"""

from __future__ import annotations

import base64
import json
import sys
from typing import Any

from portico.ml import event_files
from portico.ml.event_files import Value


def main() -> None:
    for number, (descriptor, known) in enumerate(json.load(sys.stdin)):
        read = known
        try:
            with open(descriptor, "rb") as file:
                for end, value in event_files.read(file):
                    if end > known:
                        _tell({"file": number, **_shown(value)})
                    read = max(read, end)
        except (event_files.Damaged, OSError) as error:
            _tell({"file": number, "wrong": str(error)})
        _tell({"file": number, "read": read})


def _shown(value: Value) -> dict[str, Any]:
    shown: dict[str, Any] = {
        "tag": value.tag,
        "step": value.step,
        "time": value.wall_time,
        "kind": value.kind,
        "plugin": value.plugin,
        "data": base64.b64encode(value.plugin_data).decode(),
    }
    if value.kind == "SCALAR":
        shown["scalar"] = value.scalar
    elif value.kind == "TENSOR":
        shown["tensor"] = base64.b64encode(value.tensor).decode()
    else:
        shown["blobs"] = [base64.b64encode(blob).decode() for blob in value.blobs]
    return shown


def _tell(line: dict[str, Any]) -> None:
    print(json.dumps(line))


if __name__ == "__main__":
    main()

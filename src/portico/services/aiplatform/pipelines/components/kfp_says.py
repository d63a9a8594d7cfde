"""What kfp's executor writes around a component's own lines: of little use to who reads why the component failed."""

from __future__ import annotations

import re

_INFO = re.compile(r"\[KFP Executor [^]]* INFO\]: ")
_INPUT = "Got executor_input:"  # the JSON after it, indented, ends with a brace at the beginning of a line


class Lines:
    """Holds of each line that is kfp's own; lines are given to it in the order in which they were written."""

    def __init__(self) -> None:
        self._in_input = False

    def __call__(self, line: str) -> bool:
        if self._in_input:
            self._in_input = line != "}"
            return True
        if not _INFO.match(line):
            return False
        self._in_input = line.endswith(_INPUT)
        return True

"""What `gcloud`'s commands have in common: what a line of one says, and what each asks a server for in the same way,
all pages of a list and the end of an operation.

`ask(method, path, body, api)` is the server's answer. It runs in the caller's own Python, as `portico_gcloud_command`
does: the standard library alone.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple
from urllib.parse import quote

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

_EVERY = 0.2  # seconds between two looks at an operation
COMMON = ("--format", "--project", "--no-user-output-enabled", "--verbosity")
LISTED = ("--filter", "--limit", "--sort-by", "--flatten", "--page-size")
_ALONE = {
    "--async", "--all", "--suppress-logs", "--delete-tags", "--update-adc", "--help", "--spot",
    "--uniform-bucket-level-access", "--allow-multiline-logs", "--launch-browser", "--force",
}  # fmt: skip
_SEVERAL = ("--worker-pool-spec", "--resource-pool-spec")
BETWEEN = "\n"  # stands between the values of an option that is given several times


class Usage(ValueError):
    """A line that no server is asked about: `gcloud` ends with 2."""


class Refused(ValueError):
    """The server's own answer to a request that it does not do."""

    def __init__(self, status: str, message: str):
        super().__init__(f"{status}: {message}")
        self.status, self.message = status, message


class Asked(NamedTuple):
    """One line, as a command sees it."""

    names: list[str]
    options: dict[str, str]
    ask: Callable[..., Any]
    project: str
    region: str
    track: str  # "", "beta" or "alpha"

    @property
    def form(self) -> str:
        return self.options.get("--format", "")


class Command(NamedTuple):
    """What does a line, the options that it knows beside those of each command, and what it needs."""

    run: Callable[[Asked], int]
    options: tuple[str, ...] = ()
    names: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()

    def check(self, path: str, asked: Asked) -> None:
        """
        Raises:
            Usage: something is missing, or is not built.
        """
        for option in asked.options:
            if option not in (*COMMON, *self.options, *self.needs):
                raise Usage(f"gcloud {path} {option} is not built in Portico.")
        missing = [
            *self.names[len(asked.names) :],
            *(one for one in self.needs if not asked.options.get(one)),
        ]
        if missing:
            raise Usage(f"argument {' '.join(missing)}: Must be specified.")
        if len(asked.names) > len(self.names):
            raise Usage(f"unrecognized arguments: {' '.join(asked.names[len(self.names) :])}")


def given(words: list[str]) -> tuple[list[str], dict[str, str]]:
    """The names of a line, and its options: `--name=value`, `--name value`, and those that stand alone."""
    names: list[str] = []
    options: dict[str, str] = {}
    left = iter(words)
    for word in left:
        name, equals, value = word.partition("=")
        if not word.startswith("-") or word == "-":
            names.append(word)
            continue
        if not equals and name not in _ALONE and not name.startswith(("--no-", "--enable-", "--disable-")):
            value = next(left, "")
        if name in _SEVERAL and name in options:
            value = options[name] + BETWEEN + value
        options[name] = value
    return names, options


def pairs(told: str, option: str) -> dict[str, str]:
    """Of `KEY=VALUE,…`.

    Raises:
        Usage: it is something else.
    """
    found = [one.partition("=") for one in items(told)]
    for key, equals, _ in found:
        if not equals:
            raise Usage(f"argument {option}: Bad syntax for dict arg: [{key}].")
    return {key: value for key, _, value in found}


def items(told: str) -> list[str]:
    """Of `ONE,TWO,…`; `^:^ONE:TWO` says what stands between."""
    comma = ","
    if told.startswith("^") and "^" in told[1:]:
        comma, _, told = told[1:].partition("^")
    return [one for one in told.split(comma) if one]


def listed(ask: Callable[..., Any], path: str, key: str, api: str) -> list[dict[str, Any]]:
    """All that the pages have under `key`."""
    found: list[dict[str, Any]] = []
    token = ""
    while True:
        page = ask("GET", f"{path}?pageToken={quote(token)}", None, api)
        found += page.get(key, [])
        token = page.get("nextPageToken", "")
        if not token:
            return found


def ended(ask: Callable[..., Any], operation: dict[str, Any], api: str, wait: bool = True) -> dict[str, Any]:
    """The operation, at its end; as it is, where nobody shall `wait`.

    Raises:
        ValueError: it failed.
    """
    while wait and not operation.get("done"):
        time.sleep(_EVERY)
        operation = ask("GET", operation["name"], None, api)
    if "error" in operation:
        raise ValueError(operation["error"]["message"])  # without its code, as gcloud says it
    return operation

"""What `gcloud`'s `--format` makes of an answer: of one resource, or of a list of them.

https://cloud.google.com/sdk/gcloud/reference/topic/formats. It runs in the caller's own Python, as
`portico_gcloud_command` does: the standard library alone.
"""

from __future__ import annotations

import csv
import json
import re
import sys
from typing import TYPE_CHECKING

import portico_gcloud_filters as filters
import portico_gcloud_yaml as yaml

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    Column = tuple[str, Callable[[Any], Any]]

_FORM = re.compile(r"\s*(\w*)\s*(?:\[([^\]]*)\])?\s*(?:\((.*)\))?\s*", re.DOTALL)
_KEY = re.compile(r"\s*([\w.\-\[\]]+?)(\.basename\(\))?(?::label=(?:\"([^\"]*)\"|([^:\s]+)))?\s*")
_FORMS = ("json", "yaml", "table", "csv", "value", "get", "none", "default", "")


def resource(told: dict[str, Any], form: str) -> None:
    """Prints one.

    Raises:
        ValueError: the format is not built.
    """
    _print([told], form, single=True)


def resources(
    found: list[dict[str, Any]], options: dict[str, str], columns: dict[str, Any] | None = None
) -> None:
    """Prints a list as its options say; without a format as a table of `columns`, each a heading with what it shows
    of one, or as YAML where there are none.

    Raises:
        ValueError: one of the options is not built.
    """
    found = filters.chosen(found, options)
    form = options.get("--format", "")
    if columns is None or form:
        _print(found, form or "yaml", single=False)
    else:
        _table(found, [*columns.items()], heading=True)
    if not found and not form:
        print("Listed 0 items.", file=sys.stderr)


def predicted(found: Any, key: str, form: str) -> None:
    """Prints the predictions, or explanations, that an answer has under `key`: without a format a table of the keys
    of each, or all of them as they are.

    Raises:
        ValueError: the format is not built.
    """
    rows = found.get(key)
    if form or not isinstance(rows, list):
        resource(found, form or "json")
    elif rows and isinstance(rows[0], dict):
        _table(rows, [(_heading(one), _at(one)) for one in sorted(rows[0])], heading=True)
    elif rows:
        print(rows)


def _print(found: list[dict[str, Any]], form: str, single: bool) -> None:
    read = _FORM.fullmatch(form)
    if (
        read is None
        or read[1] not in _FORMS
        or (read[3] is None and read[1] in ("table", "csv", "value", "get"))
    ):
        raise ValueError(
            f"--format {form} is not built in Portico; json, yaml, value(FIELD), csv(FIELD) and table(FIELD) are."
        )
    kind, said, keys = read[1], (read[2] or "").split(","), [_column(one, form) for one in _split(read[3])]
    if kind in ("value", "get"):
        for one in found:
            print("\t".join(_joined(show(one)) for _, show in keys))
    elif kind == "csv":
        writer = csv.writer(sys.stdout, lineterminator="\n")
        heads = [] if "no-heading" in said else [[head.lower() for head, _ in keys]]
        writer.writerows(heads + [[_joined(show(one)) for _, show in keys] for one in found])
    elif kind == "table":
        _table(found, keys, heading="no-heading" not in said)
    elif kind != "none":
        if keys:
            paths = [one.strip().split(".")[0] for one in _split(read[3])]
            found = [{key: one[key] for key in paths if key in one} for one in found]
        if kind == "json":
            print(json.dumps(found[0] if single and found else found, indent=2, sort_keys=True))
            return
        for one in found:
            print(("" if single else "---\n") + "\n".join(yaml.lines(one)))


def _split(told: str | None) -> list[str]:
    return [one for one in (told or "").split(",") if one.strip()]


def _column(told: str, form: str) -> Column:
    key = _KEY.fullmatch(told)
    if key is None:
        raise ValueError(
            f"--format {form} is not built in Portico: of a field, its name, .basename() and :label= are."
        )
    label = key[3] or key[4] or _heading(key[1].rpartition(".")[2])
    find = _at(key[1])
    return label, (lambda one: str(find(one)).rpartition("/")[2]) if key[2] else find


def _at(key: str) -> Callable[[Any], Any]:
    path = key.replace("[]", "").split(".")
    return lambda one: filters.value(one, path)


def _heading(key: str) -> str:
    """displayName is DISPLAY_NAME."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", key).upper()


def _table(found: list[Any], columns: list[Column], heading: bool) -> None:
    rows = [["" if show(one) is None else str(show(one)) for _, show in columns] for one in found]
    heads = [[head for head, _ in columns]] if heading and rows else []
    widths = [max(len(row[at]) for row in heads + rows) for at in range(len(columns))] if rows else []
    for row in heads + rows:
        print("  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())  # noqa: B905  3.7's zip


def _joined(told: Any) -> str:
    """A list's elements, and a dictionary's, with ";" between."""
    if isinstance(told, list):
        return ";".join(one if isinstance(one, str) else json.dumps(one) for one in told)
    if isinstance(told, dict):
        return ";".join(f"{key}={value}" for key, value in told.items())
    return "" if told is None else str(told)

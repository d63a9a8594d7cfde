"""YAML as `gcloud` writes it: in blocks, keys sorted, quoted only what would be read as something else.

It runs in the caller's own Python, as `portico_gcloud_command` does: the standard library alone.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

# What a reader of YAML takes for no text: numbers, dates, true, null; and what begins or ends as a mark of YAML does.
_TAKEN = re.compile(
    r"[-+]?(\d[\d_]*\.?[\d_]*|\.\d[\d_]*)(e[-+]?\d+)?|0x[\da-f]+|0[ob][0-7]+|[-+]?\.inf|\.nan"
    r"|\d{4}-\d\d(-\d\d)?([t ].*)?|true|false|null|~|=|",
    re.IGNORECASE,
)
_MARKED = re.compile(r"""[\s&*!|>'"%@`{}\[\],#]|[-?:](\s|$)|(---|\.\.\.)(\s|$)""")


def lines(told: Any) -> Iterator[str]:
    """Of a dictionary, a list or a plain value."""
    if isinstance(told, dict) and told:
        for key in sorted(told):
            yield from _under(f"{_text(key)}:", told[key])
    elif isinstance(told, list) and told:
        for one in told:
            if isinstance(one, (dict, list)) and one:
                yield from (("  " if number else "- ") + line for number, line in enumerate(lines(one)))
            else:
                yield from _under("-", one)
    else:
        yield _text(told) if isinstance(told, str) else json.dumps(told)


def _under(head: str, told: Any) -> Iterator[str]:
    """What stands at a key, or as one of a list."""
    if isinstance(told, (dict, list)) and told:
        yield head
        yield from (("  " if isinstance(told, dict) else "") + line for line in lines(told))
    elif isinstance(told, str) and "\n" in told and _is_block(told):
        yield f"{head} |" + ("" if told.endswith("\n") else "-")
        yield from (("  " + line).rstrip() for line in told.rstrip("\n").split("\n"))
    else:
        yield f"{head} {_text(told) if isinstance(told, str) else json.dumps(told)}"


def _is_block(told: str) -> bool:
    """Written as lines of its own, as far as that keeps it whole."""
    return (
        all(one.isprintable() and one == one.rstrip() for one in told.split("\n"))
        and not told.startswith((" ", "\n"))
        and not told.endswith("\n\n")
    )


def _text(told: str) -> str:
    if not told.isprintable():
        return json.dumps(told, ensure_ascii=False)
    if _TAKEN.fullmatch(told) or _MARKED.match(told) or ": " in told or " #" in told or told[-1] in " :":
        return (
            f'"{told}"'
            if "'" in told and not re.search(r'["\\]', told)
            else "'" + told.replace("'", "''") + "'"
        )
    return told

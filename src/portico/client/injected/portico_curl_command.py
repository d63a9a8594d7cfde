"""`curl` and `wget` as notebooks call them: this machine's own, told this server's address in place of Google's.

Standard library only: the caller's Python may be without anything else.
"""

from __future__ import annotations

import os
import shutil
import sys

import portico_addresses

_VALUED = {  # whose value may look like an address, and is none that is asked
    "-A", "--user-agent", "-d", "--data", "--data-ascii", "--data-binary", "--data-raw", "--data-urlencode", "--json",
    "-e", "--referer", "-F", "--form", "-H", "--header", "-o", "--output", "--post-data",
    "-x", "--proxy", "-w", "--write-out", "--resolve", "--connect-to",
}  # fmt: skip


def main(command: str, arguments: list[str]) -> int:
    """Becomes `command`; 127 where this machine has none."""
    own = os.path.dirname(os.path.abspath(sys.argv[0]))
    path = os.environ.get("PATH", os.defpath).split(os.pathsep)
    program = shutil.which(command, path=os.pathsep.join(one for one in path if os.path.abspath(one) != own))
    if program is not None:
        here = [_moved(word, before) for word, before in zip(arguments, ["", *arguments], strict=False)]
        os.execv(program, [command, *here])
    print(f"{command}: this machine has none.", file=sys.stderr)
    return 127


def _moved(word: str, before: str) -> str:
    """`word`, the address of this server where it is one of Google's."""
    option, url = "", word
    if word.startswith("--url="):
        option, url = "--url=", word[6:]
    if before in _VALUED or url.startswith("-"):
        return word
    whole = url if "://" in url else "https://" + url
    moved = portico_addresses.local_url(whole)
    return word if moved == whole else option + moved

"""The warehouse's process: it alone has the file open. It answers requests on a socket in the home's folder, each
connection in a thread: a line of JSON in, a line of JSON out."""

from __future__ import annotations

import logging
import os
import re
import signal
import socketserver
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import orjson

from portico.errors import BY_CODE, Internal, PorticoError
from portico.sandbox.parent import die_with_parent
from portico.warehouse import result_tables
from portico.warehouse.client import ANONYMOUS, socket_path
from portico.warehouse.public.tables import PROJECTS
from portico.warehouse.refusals import refused
from portico.warehouse.requests import Requests

log = logging.getLogger(__name__)

_RESULT = ANONYMOUS.encode()
_PUBLIC = re.compile("|".join(map(re.escape, sorted(PROJECTS))).encode())


class _Handler(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        requests: Requests = self.server.requests  # type: ignore[attr-defined]
        for line in self.rfile:
            self.wfile.write(answer(requests, line, self._outside) + b"\n")
            self.wfile.flush()

    def _outside(self, what: str, **arguments: Any) -> Any:
        """Asks who asked, while its request is worked on."""
        self.wfile.write(orjson.dumps({"need": {"what": what, "arguments": arguments}}) + b"\n")
        self.wfile.flush()
        found = orjson.loads(self.rfile.readline() or b'{"error": {"code": "CANCELLED", "message": "gone"}}')
        if error := found.get("error"):
            raise BY_CODE.get(error["code"], Internal)(error["message"], reason=error.get("reason") or "")
        return found["ok"]


class _Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True


def answer(requests: Requests, line: bytes, outside: Callable[..., Any]) -> bytes:
    """What a request is answered: {"ok": …} or {"error": {…}}. Where `rows` are JSON already, they follow in a line of
    their own."""
    try:
        asked = orjson.loads(line)
        if _PUBLIC.search(line):
            requests.public.look(line.replace(b"\\n", b" ").decode())
        if _RESULT in line and asked["method"] in result_tables.READERS:
            result_tables.look(requests.warehouse, asked["arguments"], line.decode())
        found = requests.answer(asked["method"], asked["arguments"], outside)
        if isinstance(found, dict) and isinstance(rows := found.get("rows"), bytes):
            return orjson.dumps({"ok": found | {"rows": None}, "more": len(rows) + 1}) + b"\n" + rows
        return orjson.dumps({"ok": found})
    except PorticoError as error:
        known = error
    except duckdb.Error as error:
        known = refused(error)
    except Exception:
        log.exception("a request failed")
        known = Internal("The warehouse failed; the server's log has the details.")
    return orjson.dumps({"error": {"code": known.code, "message": known.message, "reason": known.reason}})


def main(folder: Path, parent: int, memory: str = "") -> None:
    """Serves until `parent` ends. `memory`: what the engine may hold of it, such as 4GB; what is more goes to disk."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    logging.basicConfig(format="%(asctime)s warehouse %(message)s")
    requests = Requests(folder, memory)
    path = socket_path(folder)
    path.unlink(missing_ok=True)
    server = _Server(str(path), _Handler)
    os.chmod(path, 0o600)
    server.requests = requests  # type: ignore[attr-defined]
    requests.answer("make_logs", {})  # what is wanted from now on is asked for, since somebody listens
    print("ready", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:4])

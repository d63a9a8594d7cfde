"""`portico up`: one clear line for everything that keeps the server from starting."""

from __future__ import annotations

import errno
import logging
import sys
from pathlib import Path
from typing import NoReturn

from portico.host.address import Address, AlreadyRunning

OPEN = "Open: every user of this machine may do everything here, without a token."


def serve(home: Path, host: str, port: int, fronts: int, everyone: bool, unconfined: bool) -> None:
    """Serves until SIGTERM or SIGINT. Exits with 2 for a host that is refused, with 1 for what else is wrong."""
    from portico.host import supervisor

    logging.basicConfig(
        stream=sys.stderr, level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    if unconfined:
        print(
            "portico: models' code runs unconfined: with all that your user may do",
            file=sys.stderr,
            flush=True,
        )
    try:
        supervisor.up(home, host, port, fronts, _announce, everyone, unconfined)
    except supervisor.RefusedHost as refused:
        _fail(str(refused), 2)
    except AlreadyRunning as running:
        _fail(f"{running} Stop it first, or give this one another --home.", 1)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            _fail(f"Port {port} on {host} is taken. Choose another with --port, or --port 0 for any.", 1)
        where = f" ({error.filename})" if error.filename else ""
        _fail(f"Portico can't start: {error.strerror or error}{where}.", 1)


def _announce(address: Address) -> None:
    print(f"Portico is ready at {address.url}", flush=True)
    if address.open:
        print(OPEN, flush=True)


def _fail(message: str, code: int) -> NoReturn:
    print(f"portico: {message}", file=sys.stderr)
    sys.exit(code)

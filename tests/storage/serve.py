"""Serves Cloud Storage alone, for tests that kill and restart their server: HOME and PORT as arguments."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import uvicorn

import portico.services.storage  # noqa: F401  (registers the methods)
from portico.clock import SystemClock
from portico.doors.app import Door
from portico.doors.contract import Contract
from portico.doors.guard import Guard
from portico.doors.identity import Identity
from portico.ids import RandomIds
from portico.services.call import Rooms
from portico.store.database import Database
from portico.store.objects_sweep import sweep


def main(home: Path, port: int) -> None:
    database = Database(home)
    database.create_tables()
    sweep(database, home, time.time())
    contract = Contract.load(home)
    unused: Any = None  # storage runs no jobs
    rooms = Rooms(home, database, SystemClock(), RandomIds(), unused, contract.fields)
    door = Door(rooms, contract, Identity(home, SystemClock()), Guard(), {})
    uvicorn.run(door, host="127.0.0.1", port=port, log_level="warning", access_log=False, lifespan="off")


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))

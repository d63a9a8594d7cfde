"""Joins the rooms: what a process of Portico needs, made once after it was forked."""

from __future__ import annotations

import importlib
from pathlib import Path

from portico.clock import SystemClock
from portico.doors.contract.documents import Contract
from portico.ids import RandomIds
from portico.jobs.queue import Queue
from portico.services.call import Rooms
from portico.services.standard.apis import declared
from portico.store.database import Database


def service_modules(*, handlers: bool = False) -> list[str]:
    """What registers methods and job kinds when it is imported; with `handlers` also what only jobs need."""
    found = [name for api in declared().values() for name in api.modules(handlers=handlers)]
    return ["portico.services.standard.operations", *found]


def import_services() -> None:
    for name in service_modules():
        importlib.import_module(name)


def make_rooms(home: Path, contract: Contract) -> Rooms:
    clock, ids = SystemClock(), RandomIds()
    return Rooms(
        home=home,
        database=Database(home),
        clock=clock,
        ids=ids,
        queue=Queue(home, clock, ids),
        fields=contract.fields,
    )

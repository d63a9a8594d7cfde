"""Joins the rooms: what a process of Portico needs, made once after it was forked."""

from __future__ import annotations

import importlib
from pathlib import Path

from portico.clock import SystemClock
from portico.doors.contract import Contract
from portico.ids import RandomIds
from portico.jobs.queue import Queue
from portico.services.call import Rooms
from portico.store.database import Database

# Importing a service registers its methods and job kinds.
SERVICES = ("portico.services.aiplatform", "portico.services.storage", "portico.services.portico")
# What jobs' handlers need beside: only the processes that run jobs import it.
HANDLERS = (
    "portico.services.aiplatform.training_automl",
    "portico.services.aiplatform.batch_run",
    "portico.services.aiplatform.model_monitoring_run",
)


def import_services() -> None:
    for name in SERVICES:
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

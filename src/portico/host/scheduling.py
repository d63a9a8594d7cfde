"""The scheduler's process: jobs, what they leave behind, what is due in domain time, and the replicas of models that
need their own environment."""

from __future__ import annotations

import importlib
import signal
import threading
from pathlib import Path

from portico.doors.contract.documents import Contract
from portico.host.due import Due
from portico.host.retention import sweep_forever
from portico.host.wiring import import_services, make_rooms, service_modules
from portico.jobs.engines.local import LocalProcesses
from portico.jobs.scheduler import Scheduler
from portico.prediction.replicas.manager import ReplicaManager


def main(home: Path, contract: Contract) -> None:
    """Works until SIGTERM."""
    import_services()
    importlib.import_module("portico.client.jobs")  # how replicas that run users' servers find this one
    rooms = make_rooms(home, contract)
    database, clock = rooms.database, rooms.clock
    due = Due(rooms)
    engine = LocalProcesses(home, [*service_modules(handlers=True), "portico.client.jobs"])
    scheduler = Scheduler(home, database, clock, rooms.ids, engine, due.poke)
    replicas = ReplicaManager(home, database, clock)
    signal.signal(signal.SIGTERM, lambda *_: scheduler.stop())
    thread = threading.Thread(target=replicas.run_forever, name="replicas", daemon=True)
    thread.start()
    stopping = threading.Event()
    threading.Thread(target=due.run, args=(stopping,), name="due", daemon=True).start()
    sweeping = (home, database, clock, stopping)
    threading.Thread(target=sweep_forever, args=sweeping, name="retention", daemon=True).start()
    scheduler.run()
    stopping.set()
    replicas.stop()
    thread.join(timeout=10)

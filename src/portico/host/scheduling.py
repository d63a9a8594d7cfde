"""The scheduler's process: jobs, what they leave behind, and the replicas of models that need their own environment."""

from __future__ import annotations

import signal
import threading
from pathlib import Path

from portico.clock import SystemClock
from portico.host.retention import sweep_forever
from portico.host.wiring import import_services, service_modules
from portico.ids import RandomIds
from portico.jobs.engines.local import LocalProcesses
from portico.jobs.scheduler import Scheduler
from portico.prediction.replicas.manager import ReplicaManager
from portico.store.database import Database


def main(home: Path) -> None:
    """Works until SIGTERM."""
    import_services()
    database = Database(home)
    clock, ids = SystemClock(), RandomIds()
    engine = LocalProcesses(home, service_modules(handlers=True))
    scheduler = Scheduler(home, database, clock, ids, engine)
    replicas = ReplicaManager(home, database, clock)
    signal.signal(signal.SIGTERM, lambda *_: scheduler.stop())
    thread = threading.Thread(target=replicas.run_forever, name="replicas", daemon=True)
    thread.start()
    stopping = threading.Event()
    sweeping = (home, database, clock, stopping)
    threading.Thread(target=sweep_forever, args=sweeping, name="retention", daemon=True).start()
    scheduler.run()
    stopping.set()
    replicas.stop()
    thread.join(timeout=10)

"""The scheduler's process: jobs, what they leave behind, what is due in domain time, and the replicas of models that
need their own environment."""

from __future__ import annotations

import importlib
import logging
import signal
import threading
from pathlib import Path

from portico.doors.contract.documents import Contract
from portico.host.due import Due
from portico.host.metering import meter_forever
from portico.host.retention import sweep_forever
from portico.host.wiring import import_services, make_rooms, service_modules
from portico.jobs.engines.local import LocalProcesses
from portico.jobs.engines.ray import engine as ray_engine
from portico.jobs.scheduler import Scheduler
from portico.prediction.replicas.manager import ReplicaManager

log = logging.getLogger(__name__)


def check(home: Path, ray: str) -> None:
    """Whether jobs can run on the Ray cluster at `ray`.

    Raises:
        Unavailable, FailedPrecondition: why not.
    """
    told: list[str] = []

    def tell(line: str) -> None:
        if not told:
            log.warning("an environment with the Ray of the cluster at %s is made: once, a minute or so", ray)
        told.append(line)

    ray_engine.check(home, _modules(), ray, tell)


def main(home: Path, contract: Contract, ray: str | None) -> None:
    """Works until SIGTERM. `ray` is the address of a cluster that computes for this machine."""
    import_services()
    importlib.import_module("portico.client.jobs")  # how replicas that run users' servers find this one
    importlib.import_module("portico.services.audit.of_jobs")
    rooms = make_rooms(home, contract)
    database, clock = rooms.database, rooms.clock
    due = Due(rooms)
    here = LocalProcesses(home, _modules())
    cluster = ray_engine.RayCluster(home, _modules(), ray) if ray else None
    scheduler = Scheduler(
        home, database, clock, rooms.ids, cluster or here, due.poke, here=here if cluster else None
    )
    replicas = ReplicaManager(home, database, clock)
    signal.signal(signal.SIGTERM, lambda *_: scheduler.stop())
    thread = threading.Thread(target=replicas.run_forever, name="replicas", daemon=True)
    thread.start()
    stopping = threading.Event()
    threading.Thread(target=due.run, args=(stopping,), name="due", daemon=True).start()
    sweeping = (home, database, clock, stopping)
    threading.Thread(target=sweep_forever, args=sweeping, name="retention", daemon=True).start()
    metering = threading.Thread(target=meter_forever, args=(rooms, stopping), name="metering")
    metering.start()
    scheduler.run()
    stopping.set()
    metering.join(timeout=10)
    replicas.stop()
    thread.join(timeout=10)


def _modules() -> list[str]:
    """What a job's process imports."""
    return [*service_modules(handlers=True), "portico.services.audit.of_jobs", "portico.client.jobs"]

"""What triggers do: for each event that was noted for one, a pipeline starts, and it is written down what came of it.

An event goes in the transaction that starts its pipeline, so each starts one, whatever is killed when.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

from portico.clock import rfc3339
from portico.errors import PorticoError, rpc_status
from portico.services.call import Rooms
from portico.services.portico.triggers import TRIGGER_RUNS, pipeline_job
from portico.services.registry import pipeline_runs
from portico.services.registry.pipeline_runs import Origin
from portico.services.standard.names import location_of
from portico.store import events, resources
from portico.store.events import Event
from portico.store.objects import notices

log = logging.getLogger(__name__)

_LABEL = "portico-trigger"
_WHY = {
    events.OBJECT: "{uri} was written (generation {generation}).",
    events.DATASET_VERSION: "The version {datasetVersion} was made.",
    events.ALERT: "{source} found: {message}",
}


class TriggersDue:
    """Belongs to the scheduler's process."""

    def __init__(self, rooms: Rooms) -> None:
        self._rooms = rooms
        self._database = rooms.database

    def run_due(self, waiting: Sequence[str]) -> bool:
        """Answers all events that wait, of those for which some do (`events.waiting`); whether there were none."""
        found = [one for one in waiting if not one.startswith(notices.WATCHERS)]
        for trigger in found:
            try:
                while self._answer(trigger):
                    pass
            except Exception:
                log.exception("%s can't be run", trigger)
        if found:
            self._rooms.queue.wake()
        return not found

    def _answer(self, name: str) -> bool:
        """The oldest event of a trigger; whether there was one."""
        with self._database.read() as connection:
            event, trigger = events.first(connection, name), resources.get(connection, name)
            if event is None:
                return False
            asked: Any = None
            if trigger is not None:
                facts = {**event.facts, "event": str(event.id), "trigger": name, "time": rfc3339(event.time)}
                try:
                    job = pipeline_job(trigger.body, facts)
                    asked = pipeline_runs.pipelines().ask(self._rooms, connection, location_of(name), job)
                except PorticoError as error:
                    asked = error
        with self._database.write() as connection:
            current = resources.get(connection, name)
            if current is not None and (trigger is None or current.revision != trigger.revision):
                return True  # it was changed meanwhile
            if not events.take(connection, event) or current is None:
                return True
            told = _WHY[event.facts["kind"]].format_map(event.facts)
            body = {"event": event.facts, "eventTime": rfc3339(event.time), "reason": told}
            try:
                if isinstance(asked, PorticoError):
                    raise asked
                made = pipeline_runs.pipelines().start(
                    self._rooms, connection, asked, _job_id(name, event), _origin(name, event, told)
                )
                body |= {"state": "STARTED", "pipelineJob": made.name}
            except PorticoError as error:
                log.warning("%s starts nothing: %s", name, error.message)
                body |= {"state": "FAILED", "error": rpc_status(error)}
            now = self._rooms.clock.now()
            resources.insert(
                connection,
                name=f"{name}/runs/{event.id}",
                kind=TRIGGER_RUNS.kind,
                parent=name,
                body=body,
                now=now,
            )
            current.body |= {
                "firedCount": str(int(current.body["firedCount"]) + 1),
                "lastFireTime": rfc3339(event.time),
            }
            resources.note(connection, current)
        return True


def _job_id(trigger: str, event: Event) -> str:
    return f"{trigger.rpartition('/')[2]}-{event.id}"


def _origin(trigger: str, event: Event, told: str) -> Origin:
    why = {"event": event.facts, "reason": told}
    return Origin(trigger, event.time, {_LABEL: trigger.rpartition("/")[2]}, why)

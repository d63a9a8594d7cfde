"""Lineage asked of a store with ten thousand executions, each with an input that all share and a model that it made."""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from typing import Any

import requests

from bench.common import Report
from portico.services.aiplatform.metadata.contexts import CONTEXTS
from portico.services.aiplatform.metadata.nodes import ARTIFACTS, EXECUTIONS
from portico.store import lineage as edges
from portico.store import resources
from portico.store.database import Database

EXECUTIONS_THERE, OF_A_RUN = 10_000, 20
ROUNDS = 15
LIMIT = 100.0  # ms
STORE = "projects/bench/locations/us-central1/metadataStores/default"
QUERIES = {
    "a run's context": "contexts/run-7:queryContextLineageSubgraph",
    "a model's next, maxHops=1": "artifacts/model-77:queryArtifactLineageSubgraph?maxHops=1",
    "a model's next two": "artifacts/model-77:queryArtifactLineageSubgraph?maxHops=2",
    "datasets behind a model": "artifacts/model-77:queryArtifactLineageSubgraph?maxHops=2"
    '&filter=schema_title="system.Dataset"',
    "all executions' context, whole": "contexts/all:queryContextLineageSubgraph",
    "all that came of a dataset, whole": "artifacts/data:queryArtifactLineageSubgraph",
}
_WHOLE = "whole"  # 20,001 nodes and 20,000 events in an answer


def lineage(report: Report, url: str, home: Path) -> dict[str, Any]:
    """Milliseconds of each query from its request to its whole answer, the median of the rounds."""
    requests.get(f"{url}/v1/projects/bench/locations/us-central1/models", timeout=60).raise_for_status()
    _fill(home)
    found: dict[str, Any] = {}
    with requests.Session() as session:
        for what, query in QUERIES.items():
            taken = []
            for _ in range(ROUNDS):
                began = time.perf_counter()
                answer = session.get(f"{url}/v1/{STORE}/{query}", timeout=60)
                taken.append((time.perf_counter() - began) * 1000)
                answer.raise_for_status()
            found[what] = {"ms": taken, "executions": len(answer.json().get("executions", []))}
            line = f"lineage among {EXECUTIONS_THERE:,} executions: {what}"
            if what.endswith(_WHOLE):
                report.beside(line, statistics.median(taken), " ms")
            else:
                report.limit(line, statistics.median(taken), LIMIT, at_least=False, unit=" ms")
    return found


def _fill(home: Path) -> None:
    database, now = Database(home), time.time()
    with database.write() as connection:

        def put(kind: str, name: str, title: str, **more: Any) -> str:
            body = {"displayName": name, "schemaTitle": title, "schemaVersion": "0.0.1", **more}
            resources.insert(connection, name=f"{STORE}/{name}", kind=kind, parent=STORE, body=body, now=now)
            return f"{STORE}/{name}"

        every = [put(ARTIFACTS.kind, "artifacts/data", "system.Dataset", uri="gs://bench/data")]
        for number in range(EXECUTIONS_THERE):
            metadata = {"rate": number / 7, "depth": number % 9, "kind": "a"}
            run = put(
                EXECUTIONS.kind, f"executions/run-{number}", "system.ContainerExecution", metadata=metadata
            )
            model = put(
                ARTIFACTS.kind, f"artifacts/model-{number}", "system.Model", uri=f"gs://bench/{number}"
            )
            edges.add(connection, run, "input", every[:1], now)
            edges.add(connection, run, "output", [model], now)
            every += [run, model]
        groups = {"all": every, "run-7": every[: 1 + 2 * OF_A_RUN]}
        for group, members in groups.items():
            context = put(CONTEXTS.kind, f"contexts/{group}", "system.Experiment")
            edges.add(connection, context, "member", members, now)
    database.close()

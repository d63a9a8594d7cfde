"""What ended work leaves is removed by age and by size, and never what a model's lineage names."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from portico.cli.keeping import gc
from portico.cli.main import app
from portico.host.retention import lineage
from portico.jobs import retention, worker
from portico.jobs.retention import DAY, Kept, Named
from portico.sandbox import environments
from portico.services.aiplatform import images
from portico.services.registry import model_store
from portico.store import jobs, operations, resources
from portico.store.database import Database
from portico.store.operations import Operation

pytestmark = pytest.mark.usefixtures("either_store")

L = "projects/p/locations/l"
NOW = 1000 * DAY
NOTHING = Named(lambda connection: set(), set)


@pytest.fixture
def ended(database: Database, tmp_path: Path) -> Any:
    """A job with a log, scratch and an operation that ended `days` ago."""

    def made(id: str, days: float, resource: str = f"{L}/trainingPipelines/7", log: str = "log") -> None:
        folder = worker.job_folder(tmp_path, id)
        (folder / "scratch").mkdir(parents=True)
        (folder / "scratch" / "part").write_bytes(b"12345")
        worker.log_path(tmp_path, id).write_text(log)
        then = NOW - days * DAY
        operation = Operation(id, f"{L}/operations/{id}", L, "v1", {}, id, True, {}, None, then, then)
        with database.write() as connection:
            jobs.insert(connection, id=id, kind="here.quick", resource=resource, payload={}, now=then)
            job = jobs.get(connection, id)
            assert job is not None
            jobs.end(connection, job, "SUCCEEDED", then)
            operations.insert(connection, operation)

    return made


def environment(home: Path, name: str, days: float, size: int = 1) -> Path:
    folder = home / "envs" / name
    (folder / "bin").mkdir(parents=True)
    (folder / "bin" / "python").symlink_to(sys.executable)
    record = folder / "portico.json"
    record.write_text(json.dumps({"requirements": [], "size": size}))
    os.utime(record, (NOW - days * DAY,) * 2)
    return folder


def sweep(home: Path, database: Database, named: Named = NOTHING, **more: Any) -> set[tuple[str, str]]:
    return {(one.what, one.name) for one in retention.sweep(home, database, NOW, named, **more)}


def test_by_age(tmp_path, database, ended):
    for id, days in (("new", 0.5), ("month", 20), ("old", 31)):
        ended(id, days)
    with database.write() as connection:  # it waits for ever, and is not old
        jobs.insert(connection, id="waits", kind="here.quick", resource="r", payload={}, now=1.0)
    worker.job_folder(tmp_path, "waits").mkdir()
    used, unused = environment(tmp_path, "used", 1), environment(tmp_path, "unused", 31)
    expected = {
        *(("scratch", "month"), ("scratch", "old"), ("log", "old")),
        *(("operation", f"{L}/operations/old"), ("environment", str(unused))),
    }
    assert sweep(tmp_path, database, dry_run=True) == expected
    assert worker.log_path(tmp_path, "old").exists() and unused.exists()
    assert sweep(tmp_path, database) == expected
    assert sorted(path.name for path in (tmp_path / "jobs").iterdir()) == ["month", "new", "waits"]
    assert [path.name for path in worker.job_folder(tmp_path, "month").iterdir()] == ["log.txt"]
    assert used.exists() and not unused.exists()
    with database.read() as connection:
        assert operations.get(connection, "old") is None and operations.get(connection, "month")
        assert jobs.get(connection, "old") is not None
    assert sweep(tmp_path, database) == set()


def test_by_size_the_oldest_first(tmp_path, database, ended):
    for id, days in (("0", 0), ("1", 0.1), ("2", 0.2), ("3", 0.3)):
        ended(id, days, log="x" * 10)
        environment(tmp_path, id, days, size=10)
    small: Any = {
        "log": Kept(30 * DAY, 20), "operation": Kept(30 * DAY, 1), "environment": Kept(30 * DAY, 5),
    }  # fmt: skip
    gone = sweep(tmp_path, database, kept=small)
    assert {name for what, name in gone if what == "log"} == {"2", "3"}
    assert {name[-1] for what, name in gone if what == "operation"} == {"1", "2", "3"}
    assert {name[-1] for what, name in gone if what == "environment"} == {"1", "2", "3"}  # "0" is just used


def test_what_lineage_names_stays(tmp_path, database, ended):
    pipeline, model = f"{L}/trainingPipelines/1", f"{L}/models/m"
    ended("named", 100, resource=pipeline)
    ended("uploaded", 100, resource=model)
    ended("other", 100, resource=f"{L}/trainingPipelines/2")
    kept = environment(tmp_path, "kept", 100)
    body = {"trainingPipeline": pipeline, "versionId": "1"}
    with database.write() as connection:
        resources.insert(
            connection, name=f"{model}@1", kind=model_store.VERSION_KIND, parent=model, body=body, now=1.0
        )
    gone = sweep(tmp_path, database, Named(lineage, lambda: {kept}))
    assert gone == {("scratch", "other"), ("log", "other"), ("operation", f"{L}/operations/other")}
    assert worker.log_path(tmp_path, "named").exists() and kept.exists()


def test_the_environments_of_registered_models_stay(tmp_path, database, monkeypatch):
    monkeypatch.setattr(environments, "find_python", lambda versions: sys.executable)
    image = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-5:latest"
    model_store.folder(tmp_path, "a").mkdir(parents=True)
    (model_store.folder(tmp_path, "a") / "model.joblib").write_bytes(b"of no version that it tells")
    body = {"containerSpec": {"imageUri": image}}
    private = model_store.VersionPrivate(format="replica", artifact="a")
    with database.write() as connection:
        resources.insert(
            connection,
            name=f"{L}/models/m@1",
            kind=model_store.VERSION_KIND,
            parent=f"{L}/models/m",
            body=body,
            private=private,
            now=1.0,
        )
    needed = environments.place(images.resolve(image).requirements, sys.executable, tmp_path / "envs")
    environment(tmp_path, needed.name, 100)
    environment(tmp_path, "other", 100)
    told = [one["name"] for one in gc(tmp_path, dry_run=True)["gone"]]
    assert told == [str(tmp_path / "envs" / "other")]
    assert len(gc(tmp_path, dry_run=False)["gone"]) == 1 and needed.exists()


def test_the_command_says_what_would_go_and_removes_it(tmp_path, database, ended):
    ended("1", 10)  # on the wall clock that is decades ago

    def ask(*options: str) -> str:
        done = CliRunner().invoke(app, ["gc", "--home", str(tmp_path), *options])
        assert done.exit_code == 0, done.output
        return done.stdout

    told = json.loads(ask("--dry-run", "--json"))
    assert told["dryRun"] and {one["what"] for one in told["gone"]} == {"log", "scratch", "operation"}
    assert worker.log_path(tmp_path, "1").exists()
    assert "3 gone" in ask() and not worker.job_folder(tmp_path, "1").exists()
    assert json.loads(ask("--json")) == {"dryRun": False, "gone": [], "bytes": 0}

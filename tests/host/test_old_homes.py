"""A home of an older Portico opens: what it holds is brought to the present shape, and is as it was."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import lightgbm
import numpy as np
import pytest
import requests
from tests.conftest import Portico
from tests.waiting import until

from portico.services.portico.key_index import columns_of_labels
from portico.services.portico.stewards import StewardPrivate
from portico.services.registry.model_store import ModelPrivate, VersionPrivate
from portico.services.standard.serving import EndpointPrivate
from portico.store import home, labels, resources
from portico.store.database import Database
from portico.store.gcs import Gcs
from portico.store.labels import Label
from portico.store.migrations import _KINDS
from portico.store.objects import buckets, generations, soft_deleted

L = "v1/projects/p/locations/us-central1"
IMAGE = "us-docker.pkg.dev/portico/prediction/lightgbm-cpu.4-7:latest"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Portico]:
    made = Portico(tmp_path / "home").start()
    yield made
    made.stop()


class Asking:
    def __init__(self, server: Portico) -> None:
        self.server = server

    def __call__(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        answer = requests.request(method, f"{self.server.url}/{path}", json=body, timeout=240)
        assert answer.ok, answer.text
        return dict(answer.json())

    def done(self, path: str, body: Any) -> dict[str, Any]:
        operation = self("POST", path, body)
        done = until(lambda: (o := self("GET", f"v1/{operation['name']}")).get("done") and o, path)
        assert "error" not in done, done
        return dict(done["response"])


def older(home: Path) -> None:
    """Makes the home what an older Portico left: kinds without an API, and "_" in the bodies."""
    connection = sqlite3.connect(home / "portico.db")
    was = {new: old for old, new in _KINDS.items()}
    connection.execute(
        "DELETE FROM resources WHERE kind LIKE 'aiplatform:metadataStores%'"
    )  # it recorded nothing
    connection.execute("DELETE FROM resource_fields WHERE kind LIKE 'aiplatform:metadataStores%'")
    connection.execute("DROP TABLE lineage_edges")
    for name, kind, body, private in connection.execute(
        "SELECT name, kind, body, private FROM resources"
    ).fetchall():
        held = json.loads(body)
        if private:
            held["_"] = json.loads(private)
        if kind == "aiplatform:endpoints":
            kept = held.pop("_", {})
            held["_"] = {**kept.get("served", {}), "samplingRate": 0.25, "stewardSamplingRate": 1.0}
            held["_"]["stewardHoldout"] = 0.5
        values = (was[kind], json.dumps(held).encode(), name)
        connection.execute("UPDATE resources SET kind = ?, body = ? WHERE name = ?", values)
    connection.execute("ALTER TABLE resources DROP COLUMN private")
    connection.execute("ALTER TABLE monitoring_windows ADD COLUMN sketches BLOB")
    connection.commit()
    connection.close()


def test_an_older_home_serves_and_lists_what_it_did(server: Portico) -> None:
    ask = Asking(server)
    ask("POST", "storage/v1/b?project=p", {"name": "data"})
    rows = np.random.default_rng(0).random((200, 2))
    booster = lightgbm.train({"verbose": -1, "num_threads": 1}, lightgbm.Dataset(rows, rows.sum(axis=1)), 5)
    for name, text in (("m/model.txt", booster.model_to_string()), ("t.csv", "a,b\n1,2\n3,4\n")):
        url = f"{server.url}/upload/storage/v1/b/data/o?uploadType=media&name={name}"
        assert requests.post(url, data=text.encode(), timeout=240).ok
    model = {"displayName": "m", "artifactUri": "gs://data/m", "containerSpec": {"imageUri": IMAGE}}
    uploaded = ask.done(f"{L}/models:upload", {"model": model})
    endpoint = ask.done(f"{L}/endpoints", {"displayName": "e"})["name"]
    deployed = {"model": uploaded["model"], "dedicatedResources": {"minReplicaCount": 1}}
    ask.done(f"v1/{endpoint}:deployModel", {"deployedModel": deployed, "trafficSplit": {"0": 100}})
    dataset = ask.done(
        f"{L}/datasets",
        {
            "displayName": "d",
            "metadataSchemaUri": "gs://google-cloud-aiplatform/schema/dataset/metadata/tabular_1.0.0.yaml",
            "metadata": {"inputConfig": {"gcsSource": {"uri": ["gs://data/t.csv"]}}},
        },
    )["name"]
    ask.done(f"v1/{dataset}/datasetVersions", {})
    instances = {"instances": rows[:3].tolist()}

    def seen() -> list[Any]:
        kinds = ("models", "endpoints", "datasets")
        return [
            *(ask("GET", f"{L}/{kind}") for kind in kinds),
            ask("GET", f"v1/{dataset}/datasetVersions"),
            ask("GET", f"v1/{uploaded['model']}:listVersions"),
            ask("POST", f"v1/{endpoint}:predict", instances),
        ]

    before = seen()
    server.stop()
    older(server.home)
    server.start()
    assert seen() == before
    database = Database(server.home)
    with database.read() as connection:
        row = resources.get(connection, endpoint)
        assert row is not None and "_" not in row.body
        private = EndpointPrivate.of(row)
        columns = connection.exec_driver_sql("PRAGMA table_info(monitoring_windows)").all()
    database.close()
    assert "sketches" not in [column.name for column in columns]  # nobody read them
    assert (private.sampling, private.holdout) == ({"monitoring": 0.25, "steward": 1.0}, 0.5)
    # What needs the private part: another version of data and model, and the end of a deployment.
    ask.done(f"v1/{dataset}/datasetVersions", {})
    again = ask.done(f"{L}/models:upload", {"model": model, "parentModel": uploaded["model"]})
    assert again["modelVersionId"] == "2"
    ask.done(
        f"v1/{endpoint}:undeployModel",
        {"deployedModelId": before[1]["endpoints"][0]["deployedModels"][0]["id"]},
    )


def test_labels_of_an_older_home_say_their_keys(tmp_path: Path) -> None:
    database = Database(tmp_path)
    database.create_tables()
    names = ["id:0:key:[1]", 'key:[["a"],["1"]]', 'at:1.5:key:[["a"],["2"]]']
    with database.write() as connection:
        labels.add(connection, "e", [Label(name, 1, 0.0, 0.0) for name in names])
        connection.exec_driver_sql("DROP INDEX labels_by_key")
        connection.exec_driver_sql("ALTER TABLE labels DROP COLUMN key")
    database.create_tables()
    with database.read() as connection:
        found = labels.of_keys(connection, "e", {'key:[["a"],["1"]]', 'key:[["a"],["2"]]', "key:[1]"})
        assert sorted(found) == sorted(names[1:])
        assert columns_of_labels(connection, "e") == {("a",)}
    database.close()


def test_objects_of_a_home_that_knew_no_soft_deletion(tmp_path: Path) -> None:
    home.begin(tmp_path, 1.0)
    database = Database(tmp_path)
    gcs = Gcs(tmp_path, database)
    with database.write() as connection:
        bucket = buckets.insert(connection, "first", "p", {"location": "US"}, 1.0)
    row = gcs.write("gs://first/o", b"x")
    with database.write() as connection:
        connection.exec_driver_sql("DROP INDEX storage_objects_soft_deleted")
        connection.exec_driver_sql("ALTER TABLE storage_objects DROP COLUMN hard_deleted")
        connection.exec_driver_sql("DROP TABLE storage_soft_deleted_buckets")
    database.create_tables()
    assert gcs.find("gs://first/o") == row
    with database.write() as connection:
        kept = {"softDeletePolicy": {"retentionDurationSeconds": "604800"}}
        bucket = buckets.update(connection, bucket, {**bucket.fields, **kept}, 2.0)
        assert generations.delete(connection, bucket, row, 3.0) == []
        assert soft_deleted.get(connection, "first", "o", row.generation, 4.0).hard_deleted == 604803.0
    database.close()


def test_every_private_part_of_an_older_home_is_read(tmp_path: Path) -> None:
    """In the words in which older Porticos wrote them."""
    bodies = {
        "stewards": {
            "pipeline": None, "data": {"dataset": "d"}, "episode": None, "coolDown": 7.5, "began": 1.0, "next": 2.0,
            "retrainings": [[1.0, 1000]], "references": {"1": {"auc": 0.5}},
            "drift": {"champion": "1", "place": [1.0, 2, 3]}, "estimates": [{"metric": "auc"}],
        },
        "models": {"last": 3, "artifact": "a", "format": "portico"},
        "modelVersions": {"artifact": "a", "format": "lightgbm", "digest": "d"},
    }  # fmt: skip
    database = Database(tmp_path)
    database.create_tables()
    with database.write() as connection:
        for kind, private in bodies.items():
            resources.insert(
                connection, name=kind, kind=kind, parent="", body={"x": 1, "_": private}, now=1.0
            )
    for _ in range(2):
        database.create_tables()
    with database.read() as connection:
        found = {kind: resources.get(connection, kind) for kind in bodies}
    database.close()
    steward, model, version = found.values()
    assert steward and model and version
    assert [row.body for row in (steward, model, version)] == [{"x": 1}] * 3
    assert (steward.kind, version.kind) == ("portico:stewards", "aiplatform:models.versions")
    private = StewardPrivate.of(steward)
    assert (private.cool_down, private.retrainings, private.references) == (
        7.5,
        [(1.0, 1000)],
        {"1": {"auc": 0.5}},
    )
    assert ModelPrivate.of(model).last == 3
    assert VersionPrivate.of(version) == VersionPrivate("a", "lightgbm", "d")

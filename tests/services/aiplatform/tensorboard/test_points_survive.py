"""Points over both databases: as the store keeps them, and after a kill."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import aiplatform_v1 as v1

from portico.store import tensorboard
from portico.store.database import Database
from portico.store.tensorboard import Point

NAME = "projects/p/locations/l/tensorboards/1/experiments/e/runs/r/timeSeries/2"


@pytest.mark.usefixtures("either_store")
def test_points_in_the_store(tmp_path: Path) -> None:
    database = Database(tmp_path)
    database.create_tables()
    with database.write() as connection:
        made = tensorboard.add_series(connection, NAME, 2**62, "SCALAR")
        several = [Point(step, 1000 - step, bytes([step])) for step in range(100)]
        tensorboard.put(connection, {NAME: (made, several, 0)})
    with database.write() as connection:
        (found,) = tensorboard.find(connection, [NAME]).values()
        assert (found.max_step, found.max_wall_time) == (99, 1000)
        tensorboard.put(connection, {NAME: (found, [Point(50, 2**62, b"new"), Point(2**62, 5, b"\0")], 0)})
    with database.read() as connection:
        assert [p.step for p in tensorboard.spread(connection, found.number, 3)] == [0, 50, 2**62]
        assert [p.step for p in tensorboard.spread(connection, found.number, 1)] == [2**62]
        assert len(tensorboard.spread(connection, found.number, 101)) == 101
        walked = tensorboard.walk(connection, found.number, by_time=True, descending=True, after=[902, 98])
        assert [p.step for p in walked] == [99, 2**62]
        assert tensorboard.size(connection, "projects/p/locations/l/tensorboards/1") == 101 * 25 + 2
    with database.write() as connection:
        tensorboard.add_views(connection, "t", "202611", "a", 2)
        tensorboard.add_views(connection, "t", "202611", "a", 3)
        tensorboard.delete(connection, NAME)
    with database.read() as connection:
        assert tensorboard.views_of(connection, "t") == [("202611", "a", 5)]
        assert tensorboard.find(connection, [NAME]) == {} and tensorboard.count(connection, 2**62) == 0
    database.close()


def test_what_was_acknowledged_survives_a_kill(new_portico: Any) -> None:
    server = new_portico().start()
    try:

        def client() -> Any:
            return v1.TensorboardServiceClient(
                client_options={"api_endpoint": server.url},
                transport="rest",
                credentials=AnonymousCredentials(),
            )

        api = client()
        board = api.create_tensorboard(
            parent="projects/p/locations/us-central1", tensorboard={"display_name": "b"}
        ).result()
        experiment = api.create_tensorboard_experiment(parent=board.name, tensorboard_experiment_id="e")
        run = api.create_tensorboard_run(
            parent=experiment.name, tensorboard_run={"display_name": "r"}, tensorboard_run_id="r"
        )
        loss = api.create_tensorboard_time_series(
            parent=run.name, tensorboard_time_series={"display_name": "loss", "value_type": "SCALAR"}
        )
        written = {"tensorboard_time_series_id": loss.name.rpartition("/")[2], "value_type": "SCALAR"}
        for step in range(20):
            values = [{"step": step, "scalar": {"value": step}}]
            api.write_tensorboard_run_data(
                tensorboard_run=run.name, time_series_data=[{**written, "values": values}]
            )
        server.kill()
        server.start()
        read = client().read_tensorboard_time_series_data(tensorboard_time_series=loss.name)
        assert [(p.step, p.scalar.value) for p in read.time_series_data.values] == [
            (step, float(step)) for step in range(20)
        ]
    finally:
        server.stop()

"""The values of runs' metrics, over both databases."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from portico.store import run_metrics
from portico.store.database import Database
from portico.store.run_metrics import Logged

pytestmark = pytest.mark.usefixtures("either_store")


def test_a_metrics_history_is_read_by_time_and_by_steps(tmp_path: Path) -> None:
    database = Database(tmp_path)
    database.create_tables()
    loss = [Logged("loss", step / 2, 1000 - step, step) for step in range(500)]
    with database.write() as connection:
        run_metrics.add(connection, 7, 0, loss)
        run_metrics.add(
            connection, 7, 500, [Logged("odd", math.inf, 1, -(2**62)), loss[3], Logged("loss", -1.0, 997, 3)]
        )
        run_metrics.add(connection, 8, 0, [Logged("loss", 5.0, 2**62, 900)])
        run_metrics.add(connection, 8, 1, [])
    with database.read() as connection:
        found = run_metrics.history(connection, 7, "loss")
        assert len(found) == 501 and found[0] == loss[-1] and found[-1] == loss[0]
        assert run_metrics.history(connection, 7, "loss", limit=2, offset=499) == found[499:]
        assert run_metrics.history(connection, 7, "odd") == [Logged("odd", math.inf, 1, -(2**62))]
        assert run_metrics.history(connection, 9, "loss") == []
        assert run_metrics.steps(connection, [7, 8], "loss", 498, 2**63 - 1) == [498, 499, 900]
        assert [one.value for one in run_metrics.at_steps(connection, 7, "loss", [3, 4])] in (
            [1.5, -1.0, 2.0],
            [-1.0, 1.5, 2.0],
        )
        assert run_metrics.greatest_step(connection, [7, 8], "loss") == {7: 499, 8: 900}
    with database.write() as connection:
        run_metrics.forget(connection, 7)
    with database.read() as connection:
        assert run_metrics.history(connection, 7, "loss") == []
        assert len(run_metrics.history(connection, 8, "loss")) == 1
    database.close()

"""What a steward's relative limit refers to: the evaluation, of areas what it says of the positive class."""

from __future__ import annotations

from portico.services.portico.steward.performance import _evaluated
from portico.store import resources
from portico.store.database import Database

MODEL = "projects/p/locations/l/models/m@1"
EVALUATION = f"{MODEL}/evaluations/7"
METRICS = {"auPrc": 0.9, "logLoss": 0.3}


def test_an_area_is_that_of_the_positive_class(tmp_path):
    database = Database(tmp_path)
    database.create_tables()
    with database.write() as connection:
        resources.insert(
            connection, name=EVALUATION, kind="aiplatform:models.evaluations", parent=MODEL,
            body={"metrics": METRICS}, now=1.0,
        )  # fmt: skip
        assert _evaluated(connection, MODEL, "auPrc", ["no", "yes"]) == 0.9  # it tells of no class apart
        for value, area in (("no", 0.95), ("yes", 0.4)):
            slice = {"dimension": "annotationSpec", "value": value}
            resources.insert(
                connection, name=f"{EVALUATION}/slices/{value}", parent=EVALUATION, now=1.0,
                kind="aiplatform:models.evaluations.slices", body={"slice": slice, "metrics": {"auPrc": area}},
            )  # fmt: skip
        assert _evaluated(connection, MODEL, "auPrc", ["no", "yes"]) == 0.4
        assert _evaluated(connection, MODEL, "logLoss", ["no", "yes"]) == 0.3
        assert _evaluated(connection, MODEL, "accuracy", ["no", "yes"]) is None
        assert _evaluated(connection, "projects/p/locations/l/models/other@1", "auPrc", []) is None
    database.close()

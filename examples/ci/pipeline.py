"""Who comes to the appointment? A pipeline of Portico's components and one of its own."""

from kfp import dsl

from cleaning import with_weekday
from portico.client import components

SCHEMA = {
    "rows": {"least": 200},
    "columns": {
        "came": {"type": "text", "values": ["yes", "no"], "missing": 0.0},
        "age": {"type": "number", "least": 0, "most": 120},
    },
}
FEATURES = ["age", "waited", "weekday", "district"]


@dsl.pipeline(name="appointments")
def appointments(data: str, parameters: dict = {"max_iter": 60, "max_leaf_nodes": 8}):  # noqa: B006 (kfp's defaults)
    visits = dsl.importer(artifact_uri=data, artifact_class=dsl.Dataset, reimport=False)
    valid = components.validate_data(data=visits.output, schema=SCHEMA)
    cleaned = with_weekday(data=visits.output).after(valid)
    parts = components.split_data(data=cleaned.outputs["cleaned"], order="day", test_fraction=0.3)
    trained = components.train_model(
        data=parts.outputs["train"], target="came", features=FEATURES, parameters=parameters
    )
    components.evaluate_model(
        data=parts.outputs["test"], model=trained.outputs["model"], positive="no", slices=["district"]
    )

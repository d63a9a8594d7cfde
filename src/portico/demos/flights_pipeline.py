"""The pipeline of `portico demo pipeline`, as a user writes one with kfp: run with kfp, it compiles itself.

All its components are Portico's (`portico.client.components`); it compiles for Google Cloud as well.
"""

import sys

from kfp import compiler, dsl

from portico.client import components
from portico.client.components import image

SCHEMA = {
    "rows": {"least": 10_000},
    "columns": {
        "late": {"type": "text", "values": ["yes", "no"], "missing": 0.0},
        "carrier": {"type": "text", "missing": 0.0},
        "hour": {"type": "number", "least": 0, "most": 24},
        "distance": {"type": "number", "least": 1},
    },
}
FEATURES = ["carrier", "origin", "dest", "weekday", "hour", "distance"]


@dsl.pipeline(name="late-flights", description="Which flights arrive more than 15 minutes late?")
def late_flights(
    data: str,
    name: str,
    project: str,
    location: str,
    candidates: list,
    most_unfair: float = 1.0,
):
    flights = dsl.importer(artifact_uri=data, artifact_class=dsl.Dataset, reimport=False)
    valid = components.validate_data(data=flights.output, schema=SCHEMA)
    parts = components.split_data(data=flights.output, order="day").after(valid)
    train, test = parts.outputs["train"], parts.outputs["test"]
    with dsl.ParallelFor(candidates, parallelism=4) as candidate:
        trial = components.train_model(
            data=train, target="late", features=FEATURES, parameters=candidate, validation_fraction=0.2
        ).set_display_name("trial")
    best = components.best_parameters(parameters=candidates, losses=dsl.Collected(trial.outputs["Output"]))
    trained = components.train_model(
        data=train, target="late", features=FEATURES, parameters=best.output
    ).set_display_name("train")
    measured = components.evaluate_model(
        data=test, model=trained.outputs["model"], positive="yes", slices=["carrier"], threshold=0.3
    )
    gate = components.gate_model(
        evaluation=measured.outputs["evaluation"], least={"auRoc": 0.6}, most_unfair=most_unfair
    )
    with dsl.If(gate.outputs["passed"] == True, name="it passes the gate"):  # noqa: E712 (a condition of kfp's)
        registered = components.register_model(
            model=trained.outputs["model"], project=project, location=location, display_name=name
        )
        deployed = components.deploy_by_canary(
            model_name=registered.output, project=project, location=location, endpoint_display_name=name,
            instances=[["UA", "EWR", "ORD", 5, 17, 719], ["B6", "JFK", "BOS", 1, 6, 187]], probes=20,
        )  # fmt: skip
        components.batch_predict(
            data=test, model=trained.outputs["model"], model_name=registered.output, project=project,
            location=location,
        ).after(deployed)  # fmt: skip


@dsl.component(base_image=image.PYTHON, packages_to_install=image.LEARNING)
def learning():
    """Has the packages that learning needs."""


@dsl.component(base_image=image.PYTHON, packages_to_install=image.SERVING)
def serving():
    """Has those that registering and deploying need."""


@dsl.component(base_image=image.PYTHON, packages_to_install=[*image.LEARNING, *image.SERVING])
def both():
    """Has both."""


@dsl.pipeline(name="set-up")
def set_up():
    learning()
    serving()
    both()


if __name__ == "__main__":
    compiler.Compiler().compile(late_flights, f"{sys.argv[1]}/late_flights.yaml")
    compiler.Compiler().compile(set_up, f"{sys.argv[1]}/set_up.yaml")

"""Components that take a model to those who ask it: the registry, an endpoint by canary, a batch."""

from kfp import dsl
from kfp.dsl import Artifact, Dataset, Input, Model, Output

from portico.client.components import image


@dsl.component(base_image=image.PYTHON, packages_to_install=image.SERVING)
def register_model(
    model: Input[Model],
    project: str,
    location: str,
    display_name: str,
    serving_container_image_uri: str = "us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest",
    labels: dict = {},  # noqa: B006
) -> str:
    """Registers the model as the newest version of the model of that display name; returns the version's resource
    name."""
    from google.cloud import aiplatform

    aiplatform.init(project=project, location=location)
    there = aiplatform.Model.list(filter=f'display_name="{display_name}"')
    made = aiplatform.Model.upload(
        display_name=display_name,
        artifact_uri=model.uri,
        serving_container_image_uri=serving_container_image_uri,
        parent_model=there[0].resource_name if there else None,
        labels=labels or None,
    )
    return made.versioned_resource_name


@dsl.component(base_image=image.PYTHON, packages_to_install=image.SERVING)
def deploy_by_canary(
    model_name: str,
    project: str,
    location: str,
    endpoint_display_name: str,
    machine_type: str = "n1-standard-2",
    steps: list = [10, 50, 100],  # noqa: B006
    instances: list = [],  # noqa: B006
    probes: int = 50,
    most_errors: float = 0.01,
    most_milliseconds: float = 1000.0,
) -> str:
    """Deploys a model beside the one that serves, and lets it have the percentages `steps` of the traffic, one after
    the other; then the other one goes. Returns the endpoint's resource name.

    In each step the endpoint is asked for `instances`, `probes` times: where more than `most_errors` of the answers
    fail, or the new model's median takes longer than `most_milliseconds`, the traffic goes back, the new model is
    undeployed, and the component fails.
    """
    import statistics
    import time

    if not steps or sorted(set(steps)) != steps or steps[0] <= 0 or steps[-1] != 100:
        raise ValueError(f"steps must be percentages that rise to 100, not {steps}.")

    from google.cloud import aiplatform

    aiplatform.init(project=project, location=location)
    model = aiplatform.Model(model_name)
    there = aiplatform.Endpoint.list(filter=f'display_name="{endpoint_display_name}"')
    endpoint = there[0] if there else aiplatform.Endpoint.create(display_name=endpoint_display_name)
    before = {id: share for id, share in endpoint.traffic_split.items() if share}
    old = {one.id for one in endpoint.list_models()}
    endpoint.deploy(
        model, machine_type=machine_type, traffic_percentage=steps[0] if before else 100, sync=True
    )
    new = next(one.id for one in endpoint.list_models() if one.id not in old)

    def failing():
        """Why the new model is not to have more of the traffic; empty where nothing speaks against it."""
        failed, took = [], []
        for _ in range(probes if instances else 0):
            begun = time.perf_counter()
            try:
                if endpoint.predict(instances=instances).deployed_model_id == new:
                    took.append((time.perf_counter() - begun) * 1000)
            except Exception as error:
                failed.append(str(error))
        if len(failed) > most_errors * probes:
            return f"{len(failed)} of {probes} requests failed, the last with: {failed[-1][:200]}"
        if took and statistics.median(took) > most_milliseconds:
            return f"its median takes {statistics.median(took):.0f} ms, above {most_milliseconds:g}"
        return ""

    for share in steps if before else [100]:
        split = {new: share}
        if before and share < 100:
            # What is left is shared as it was, the rounding going to the first.
            rest = {id: (100 - share) * had // sum(before.values()) for id, had in before.items()}
            first = next(iter(rest))
            rest[first] += 100 - share - sum(rest.values())
            split |= rest
        endpoint.update(traffic_split=split)
        reason = failing()
        if reason:
            if before:
                endpoint.update(traffic_split=before)
            endpoint.undeploy(new, **({} if before else {"traffic_split": {}}))
            raise RuntimeError(f"{model_name} is rolled back at {share}% of the traffic: {reason}")
        print(f"{share}% of the traffic: well")
    for id in old:
        endpoint.undeploy(id)
    return endpoint.resource_name


@dsl.component(base_image=image.PYTHON, packages_to_install=[*image.LEARNING, *image.SERVING])
def batch_predict(
    data: Input[Dataset],
    model: Input[Model],
    predictions: Output[Artifact],
    model_name: str,
    project: str,
    location: str,
    machine_type: str = "n1-standard-2",
):
    """Asks the registered model for every row of `data`, by a batch prediction job; `model` says which columns it
    learned from."""
    import json

    import pandas as pd
    from google.cloud import aiplatform

    aiplatform.init(project=project, location=location)
    frame = pd.read_parquet(data.path) if data.path.endswith(".parquet") else pd.read_csv(data.path)
    rows = (
        frame[model.metadata["features"]]
        .astype(object)
        .where(frame[model.metadata["features"]].notna(), None)
    )
    with open(predictions.path + ".jsonl", "w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows.to_numpy().tolist())
    job = aiplatform.Model(model_name).batch_predict(
        job_display_name="batch",
        gcs_source=predictions.uri + ".jsonl",
        gcs_destination_prefix=predictions.uri,
        instances_format="jsonl",
        machine_type=machine_type,
    )
    predictions.uri = job.output_info.gcs_output_directory
    predictions.metadata |= {"rows": len(rows), "batchPredictionJob": job.resource_name}

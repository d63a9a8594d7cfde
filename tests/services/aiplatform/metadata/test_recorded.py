"""What is recorded without being asked, from the generations of the data to the endpoint."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
import requests
from tests.waiting import until

PLAIN = "python:3.11"


def by_uri(aiplatform: Any, tail: str) -> Any:
    """The artifact of a resource of Vertex AI, or of what is at a gs:// name."""
    found = aiplatform.Artifact.list(filter=f'uri="*{tail}"')
    assert len(found) == 1, found
    return found[0]


def entries(portico, filter):
    body = {"resourceNames": ["projects/test-project"], "filter": filter}
    return requests.post(f"{portico.url}/apis/logging/v2/entries:list", json=body, timeout=240).json()[
        "entries"
    ]


def around(client: Any, artifact: Any, hops: int) -> dict[str, set[str]]:
    """The names of inputs and outputs by the execution, within so many events of an artifact."""
    graph = client.query_artifact_lineage_subgraph(
        request={"artifact": artifact.resource_name, "max_hops": hops}
    )
    names = {a.name: a.display_name for a in graph.artifacts}
    runs = {e.name: e.display_name for e in graph.executions}
    found: dict[str, set[str]] = {}
    for event in graph.events:
        found.setdefault(f"{runs[event.execution]} {event.type_.name}", set()).add(names[event.artifact])
    return found


def test_a_training_its_evaluation_deployment_and_batch(portico, aiplatform, client, bucket):
    blob = bucket.blob("data.csv")
    rows = "".join(f"{n % 7},{n % 5},{n % 7 * 2 + n % 5}\n" for n in range(300))
    blob.upload_from_string(f"a,b,y\n{rows}", content_type="text/csv")
    generation = str(blob.generation)
    dataset = aiplatform.TabularDataset.create(display_name="sums", gcs_source=f"gs://{bucket.name}/data.csv")
    training = aiplatform.AutoMLTabularTrainingJob(
        display_name="sums",
        optimization_prediction_type="regression",
        column_specs={"a": "auto", "b": "auto"},
    )
    model = training.run(
        dataset=dataset, target_column="y", budget_milli_node_hours=1, model_display_name="adder"
    )
    blob.upload_from_string("a,b,y\n", content_type="text/csv")  # what was trained on is known all the same
    endpoint = model.deploy(machine_type="n1-standard-4")
    bucket.blob("in.jsonl").upload_from_string('{"a": 1, "b": 2}\n')
    batch = model.batch_predict(
        job_display_name="nightly", gcs_source=f"gs://{bucket.name}/in.jsonl",
        gcs_destination_prefix=f"gs://{bucket.name}/out",
    )  # fmt: skip

    artifact = by_uri(aiplatform, model.versioned_resource_name)
    assert artifact.schema_title == "google.VertexModel"
    assert around(client, artifact, 2) == {
        "train sums INPUT": {"sums", "data.csv"},
        "train sums OUTPUT": {"adder"},
        "evaluate adder INPUT": {"adder"},
        "evaluate adder OUTPUT": {"metrics"},
        "deploy to adder_endpoint INPUT": {"adder"},
        "deploy to adder_endpoint OUTPUT": {"adder_endpoint"},
        "nightly INPUT": {"adder", "in.jsonl"},
        "nightly OUTPUT": {"nightly", batch.output_info.gcs_output_directory.rpartition("/")[2]},
    }
    # From a data version to the models and endpoints downstream.
    data = aiplatform.Artifact.list(filter=f'uri="gs://{bucket.name}/data.csv"')
    assert [a.metadata for a in data] == [{"generation": generation}]
    assert around(client, data[0], 4)["deploy to adder_endpoint OUTPUT"] == {"adder_endpoint"}
    by_uri(aiplatform, endpoint.resource_name)
    asked = f'metadata.trainingPipeline.string_value="{training.resource_name}" AND state="COMPLETE"'
    [run] = aiplatform.Execution.list(filter=asked)
    facts = run.metadata
    assert facts["parameters"]["targetColumn"] == "y" and "seed" in facts and "lightgbm" in facts["versions"]
    of_it = f'schema_title="google.RegressionMetrics" AND uri="*{model.resource_name}/evaluations/*"'
    [measured] = aiplatform.Artifact.list(filter=of_it)
    assert measured.metadata["rootMeanSquaredError"] >= 0
    # Who made the model: the job of its training, in the audit log.
    made = entries(portico, f'protoPayload.resourceName="{model.resource_name}"')[0]["protoPayload"]
    assert made["authenticationInfo"]["principalEmail"].startswith("service-test-project@")
    assert made["request"]["resource"] == training.resource_name

    # What a person records by the client meets what is recorded by itself.
    with aiplatform.start_execution(schema_title="system.Run", display_name="look") as look:
        look.assign_input_artifacts([model])
    assert [a.resource_name for a in look.get_input_artifacts()] == [artifact.resource_name]
    endpoint.undeploy_all()


def test_an_uploaded_model_comes_from_its_files(aiplatform, client, upload):
    model = upload()
    artifact = by_uri(aiplatform, model.versioned_resource_name)
    assert around(client, artifact, 2) == {"upload trees INPUT": {"model"}, "upload trees OUTPUT": {"trees"}}


def custom_job(aiplatform: Any, bucket: Any, script: str) -> Any:
    container = {"image_uri": PLAIN, "command": ["python", "-c", script]}
    pool = {
        "machine_spec": {"machine_type": "n1-standard-4"},
        "replica_count": 1,
        "container_spec": container,
    }
    return aiplatform.CustomJob("mine", [pool], staging_bucket=f"gs://{bucket.name}")


def test_a_custom_job_belongs_to_its_experiment_run(aiplatform, bucket):
    name = f"exp-{uuid.uuid4().hex[:12]}"
    aiplatform.init(experiment=name, experiment_tensorboard=False)
    try:
        aiplatform.start_run("one")
        said = "import os; print(os.environ['AIP_EXPERIMENT_NAME'], os.environ['AIP_EXPERIMENT_RUN_NAME'])"
        job = custom_job(aiplatform, bucket, said)
        job.run(experiment=name, experiment_run="one", service_account="sa@p.iam.gserviceaccount.com")
        run = aiplatform.ExperimentRun("one", experiment=name)
        assert [j.resource_name for j in run.get_logged_custom_jobs()] == [job.resource_name]
        assert run.get_state() == "COMPLETE"
        [execution] = run.get_executions()
        assert execution.schema_title == "system.CustomJobExecution" and execution.state.name == "COMPLETE"
        assert execution.metadata["customJob"] == job.resource_name
        assert said in json.dumps(execution.metadata["workerPoolSpecs"])

        failing = custom_job(aiplatform, bucket, "raise SystemExit('no')")
        with pytest.raises(RuntimeError):
            failing.run(experiment=name, service_account="sa@p.iam.gserviceaccount.com")
        own = until(
            lambda: aiplatform.ExperimentRun.get(failing.resource_name.rpartition("/")[2], experiment=name),
            "the job has a run of its own",
        )
        assert own.get_state() == "FAILED" and [e.state.name for e in own.get_executions()] == ["FAILED"]
        assert "no" in own.get_executions()[0].metadata["error"]
        assert len(aiplatform.get_experiment_df()) == 2
    finally:
        aiplatform.metadata.metadata._experiment_tracker.reset()


def test_a_job_moves_also_where_its_lineage_cannot_be_told(tmp_path, caplog):
    from portico.host import wiring
    from portico.jobs import kinds
    from portico.store import jobs
    from portico.store.database import Database

    wiring.import_services()
    database = Database(tmp_path)
    database.create_tables()
    name = "projects/p/locations/l/models/m"
    with database.write() as connection:
        # What an upload's payload never lacks.
        jobs.insert(
            connection, id="1", kind="models.upload", resource=name, payload={"artifact": ""}, now=1.0
        )
        job = jobs.get(connection, "1")
        jobs.end(connection, job, "CANCELLED", 2.0)
        kinds.moved(connection, job, 2.0)
    with database.read() as connection:
        assert jobs.get(connection, "1").state == "CANCELLED"
    assert "the lineage of the job 1 is not recorded" in caplog.text
    database.close()

"""What a pipeline's run leaves in ML Metadata, and what Google's client makes of it."""

from __future__ import annotations

from google.cloud import aiplatform_v1


def test_a_run_is_recorded(run_pipeline, aiplatform, portico):
    job = run_pipeline("types", i=5)
    run = job._get_context()
    assert run.schema_title == "system.PipelineRun" and run.name == job.job_id
    [pipeline] = run.gca_resource.parent_contexts
    assert pipeline.endswith("/contexts/types")
    client = aiplatform_v1.MetadataServiceClient(
        client_options={"api_endpoint": portico.url}, transport="rest"
    )
    graph = client.query_context_lineage_subgraph(context=run.resource_name)
    executions = {one.display_name: one for one in graph.executions}
    assert {name: one.schema_title for name, one in executions.items()} == {
        job.job_id: "system.Run", "kinds": "system.ContainerExecution", "measured": "system.ContainerExecution",
    }  # fmt: skip
    assert {one.state.name for one in graph.executions} == {"COMPLETE"}
    assert executions[job.job_id].metadata["input:i"] == 5 and executions["kinds"].metadata["output:i"] == 5
    made = {one.schema_title for one in graph.artifacts}
    assert made >= {
        "system.Metrics",
        "system.ClassificationMetrics",
        "system.HTML",
        "system.Markdown",
        "system.Model",
    }
    written = {event.artifact for event in graph.events if event.execution == executions["measured"].name}
    assert written == {one.name for one in graph.artifacts}

    frame = aiplatform.get_pipeline_df("types")
    [row] = frame[frame.run_name == job.job_id].to_dict("records")
    assert row["param.input:i"] == 5 and row["metric.accuracy"] == 0.75


def test_what_one_task_gave_another_took(run_pipeline, aiplatform, portico):
    job = run_pipeline("nested")
    tasks = {task.task_name: task for task in job.task_details}
    [data] = tasks["write"].outputs["data"].artifacts
    assert tasks["read"].inputs["data"].artifacts[0].name == data.name and dict(data.metadata) == {
        "length": 5
    }
    client = aiplatform_v1.MetadataServiceClient(
        client_options={"api_endpoint": portico.url}, transport="rest"
    )
    graph = client.query_artifact_lineage_subgraph(artifact=data.name)
    events = {(event.execution.rpartition("/")[2], event.type_.name) for event in graph.events}
    assert events == {(str(tasks["write"].task_id), "OUTPUT"), (str(tasks["read"].task_id), "INPUT")}
    assert tasks["inside"].execution.schema_title == "system.DagExecution"


def test_an_experiment_has_its_pipelines(submit_pipeline, aiplatform, bucket):
    from tests.services.aiplatform.kfp_compiled import compiled
    from tests.services.aiplatform.kfp_sources import CONSTRUCTS

    name = f"exp-{bucket.name.rpartition('-')[2]}"
    aiplatform.init(experiment=name)
    job = aiplatform.PipelineJob(
        display_name="measured", template_path=compiled(CONSTRUCTS)["types"], pipeline_root=f"gs://{bucket.name}/root",
        job_id=f"in-{name}", parameter_values={"i": 3},
    )  # fmt: skip
    job.submit(experiment=name)
    job.wait()
    assert job.get_associated_experiment().name == name
    [row] = aiplatform.get_experiment_df(name).to_dict("records")
    assert row["run_type"] == "system.PipelineRun" and row["run_name"] == job.job_id
    assert row["param.i"] == 3 and row["metric.accuracy"] == 0.75 and row["state"] == "COMPLETE"

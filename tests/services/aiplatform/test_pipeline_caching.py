"""What a pipeline does not do again: tasks whose code, inputs and environment are those of one that has succeeded."""

from __future__ import annotations

import pytest
from tests.services.aiplatform.kfp_compiled import compiled
from tests.services.aiplatform.pipelines_run import failed, outputs, states

from portico.cli import logs

# Each names itself after the task that has run it: what is taken over shows whose it is.
SOURCE = r"""
@dsl.component
def make(x: int, data: Output[Dataset]) -> str:
    import os
    with open(data.path, "w") as file:
        file.write(f"{x % 10}")
    data.metadata["digit"] = x % 10
    return os.environ["CLOUD_ML_JOB_ID"]

@dsl.component
def beside(x: int, data: Output[Dataset]):
    with open(data.path + ".txt", "w") as file:
        file.write(f"{x}")

@dsl.component
def use(data: Input[Dataset]) -> str:
    import os
    return os.environ["CLOUD_ML_JOB_ID"]

@dsl.component
def other(x: int) -> str:
    import os
    return os.environ["CLOUD_ML_JOB_ID"]

@dsl.component
def only_if(gcs: str, data: Input[Dataset]) -> str:
    import os
    if not os.path.exists("/gcs/" + gcs):
        raise ValueError("not there yet")
    return os.environ["CLOUD_ML_JOB_ID"]

@dsl.component
def named(name: str) -> str:
    import os
    return os.environ["CLOUD_ML_JOB_ID"]

@dsl.container_component
def shell(x: int, job: str, out: dsl.OutputPath(str)):
    return dsl.ContainerSpec("alpine", ["sh", "-c", 'mkdir -p "$(dirname $2)"; date +%N > $2', "sh", job, out])

@dsl.pipeline(name="one")
def one(x: int = 1):
    use(data=make(x=x).outputs["data"])

@dsl.pipeline(name="two")
def two(x: int = 1):
    first = make(x=x)
    with dsl.ParallelFor([1, 2]) as item:
        other(x=item)
    use(data=first.outputs["data"])

@dsl.pipeline(name="changed")
def changed(x: int = 1):
    first = make(x=x).set_env_variable("A", "b")
    use(data=first.outputs["data"]).set_cpu_limit("1")

@dsl.pipeline(name="not-at-all")
def not_at_all(x: int = 1):
    use(data=make(x=x).set_caching_options(False).outputs["data"])

@dsl.pipeline(name="imports")
def imports(uri: str, again: bool = False):
    use(data=dsl.importer(uri, Dataset).output)
    use(data=dsl.importer(uri, Dataset, reimport=True).output)

@dsl.pipeline(name="files-beside")
def files_beside(x: int):
    use(data=beside(x=x).output)

@dsl.pipeline(name="fails")
def fails(gcs: str, x: int = 1):
    first = make(x=x)
    only_if(gcs=gcs, data=first.outputs["data"])
    other(x=x)

@dsl.pipeline(name="of-the-run")
def of_the_run():
    named(name=dsl.PIPELINE_JOB_NAME_PLACEHOLDER)
    shell(x=1, job="a")
    shell(x=1, job=dsl.PIPELINE_JOB_ID_PLACEHOLDER)

@dsl.pipeline(name="chosen")
def chosen(x: int):
    other(x=x).set_caching_options(True, cache_key="mine")
    other(x=x).set_caching_options(True, cache_key="{{$.pipeline_job_uuid}}")
"""


@pytest.fixture
def submit(aiplatform, bucket, submit_pipeline):
    """Submits a pipeline of SOURCE; with its number in a test for an id."""
    number = iter(range(100))

    def start(name, root="root", caching=None, **values):
        suffix = f"{bucket.name.rpartition('-')[2]}-{next(number)}"
        job = aiplatform.PipelineJob(
            display_name=name, template_path=compiled(SOURCE)[name], pipeline_root=f"gs://{bucket.name}/{root}",
            job_id=f"cache-{name.replace('_', '-')}-{suffix}", enable_caching=caching, parameter_values=values,
        )  # fmt: skip
        job.submit()
        return job

    return start


@pytest.fixture
def run(submit):
    def to_the_end(*given, **values):
        job = submit(*given, **values)
        job.wait()
        return job

    return to_the_end


def skipped(job):
    return sorted(name for name, state in states(job).items() if state == "SKIPPED")


def task_of(job, name):
    return next(task for task in job.task_details if task.task_name == name)


def test_what_was_done_is_not_done_again(run, portico):
    first, second = run("one"), run("one")
    assert skipped(first) == [] and skipped(second) == ["make", "use"]
    assert outputs(second) == outputs(first)
    before, task = task_of(first, "make"), task_of(second, "make")
    assert task.outputs["data"].artifacts[0].name == before.outputs["data"].artifacts[0].name
    told = dict(task.execution.metadata)
    assert task.execution.state.name == "CACHED" and told["input:x"] == 1
    assert (told["cached_run"], told["cached_execution"]) == (first.resource_name, before.execution.name)
    assert not task.executor_detail.container_detail.main_job
    log = logs.as_json(portico.home, second.resource_name, follow=False)["log"]
    assert (
        f"make was not run: its outputs are those of the task {before.task_id} of {first.resource_name}"
        in log
    )
    third = run("one")
    assert dict(task_of(third, "make").execution.metadata)["cached_run"] == first.resource_name


def test_other_inputs(run):
    run("one")
    assert skipped(run("one", x=2)) == []
    # The same comes out of it: what follows has nothing else to do.
    assert skipped(run("one", x=12)) == ["use"]


def test_other_code(run):
    run("one")
    assert skipped(run("changed")) == ["use"]  # what it asks of the machine is not what it does
    assert skipped(run("changed")) == ["make", "use"]


def test_other_pipelines_of_a_root(run):
    run("one")
    assert skipped(run("two")) == ["make", "use"]
    again = run("two")
    assert sum(task.state.name == "SKIPPED" for task in again.task_details) == 4  # two iterations of a loop
    assert skipped(run("two", root="another")) == []


def test_without_caching(run):
    run("one")
    assert skipped(run("one", caching=False)) == []
    assert skipped(run("not_at_all")) == ["use"]
    assert skipped(run("not_at_all", caching=True)) == ["make", "use"]


def test_other_content_at_a_place(run, bucket):
    blob = bucket.blob("there.csv")
    blob.upload_from_string("a")
    uri = f"gs://{bucket.name}/there.csv"
    assert skipped(run("imports", uri=uri)) in ([], ["use"], ["use-2"])
    assert skipped(run("imports", uri=uri)) == ["use", "use-2"]
    blob.upload_from_string("b")
    assert len(skipped(run("imports", uri=uri))) < 2
    blob.upload_from_string("a")
    assert skipped(run("imports", uri=uri)) == ["use", "use-2"]


def test_files_beside_an_artifact_are_its_content(run):
    run("files_beside", x=1)
    assert skipped(run("files_beside", x=2)) == []
    assert skipped(run("files_beside", x=2)) == ["beside", "use"]


def test_outputs_that_are_gone_or_changed(run, bucket, aiplatform):
    first = run("one")
    artifact = task_of(first, "make").outputs["data"].artifacts[0]
    blob = bucket.blob(artifact.uri.removeprefix(f"gs://{bucket.name}/"))
    blob.upload_from_string("other")
    second = run("one")
    assert skipped(second) == ["use"]
    artifact = task_of(second, "make").outputs["data"].artifacts[0]
    bucket.blob(artifact.uri.removeprefix(f"gs://{bucket.name}/")).delete()
    third = run("one")
    assert skipped(third) == ["use"]
    aiplatform.Artifact.get(task_of(third, "make").outputs["data"].artifacts[0].name).delete()
    assert skipped(run("one")) == ["use"]
    assert skipped(run("one")) == ["make", "use"]


def test_a_job_that_is_deleted_takes_what_it_did_with_it(run):
    run("one").delete()
    assert skipped(run("one")) == []


def test_a_failed_pipeline_goes_on_from_where_it_failed(submit, run, bucket):
    gcs = f"{bucket.name}/ready"
    assert "not there yet" in failed(submit("fails", gcs=gcs))
    assert failed(again := submit("fails", gcs=gcs)) and skipped(again) == ["make", "other"]
    bucket.blob("ready").upload_from_string("")
    assert skipped(run("fails", gcs=gcs)) == ["make", "other"]
    assert skipped(run("fails", gcs=gcs)) == ["make", "only-if", "other"]


def test_what_knows_of_its_run_is_of_that_run(run):
    run("of_the_run")
    assert skipped(run("of_the_run")) == ["shell"]


def test_a_key_that_is_chosen(run):
    run("chosen", x=1)
    second = run("chosen", x=2)
    assert skipped(second) == ["other"]

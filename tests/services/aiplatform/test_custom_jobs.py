"""A user's own training code, run by the official client."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import pytest
import requests
from google.api_core import exceptions
from tests.waiting import until

from portico.services.aiplatform.custom import packages
from portico.services.aiplatform.custom.recognised import packaged

PLAIN = "python:3.11"
SKLEARN = "us-docker.pkg.dev/vertex-ai/training/scikit-learn-cpu.1-6:latest"

SCRIPT = """
import argparse, json, os, subprocess, sys
parser = argparse.ArgumentParser()
parser.add_argument("--word")
print("the word is", parser.parse_args().word, file=sys.stderr)
task = json.loads(os.environ["CLUSTER_SPEC"])["task"]
print("task", task["type"], task["index"], os.environ["MINE"], os.environ["AIP_MODEL_DIR"])
print(subprocess.run(["echo", "from a child"], capture_output=True, text=True).stdout)
"""


def job_of(aiplatform: Any, bucket: Any, tmp_path: Path, script: str, **options: Any) -> Any:
    path = tmp_path / "task.py"
    path.write_text(script)
    return aiplatform.CustomJob.from_local_script(
        display_name="mine",
        script_path=str(path),
        container_uri=options.pop("container_uri", SKLEARN),
        staging_bucket=f"gs://{bucket.name}/staging",
        **options,
    )


def told(portico: Any, job: Any) -> str:
    job_id = job.resource_name.rpartition("/")[2]
    logs = [path.read_text() for path in portico.home.glob("jobs/*/log.txt")]
    return "\n".join(text for text in logs if job_id in text)


def plain(script: str, **spec: Any) -> list[dict[str, Any]]:
    container = {"image_uri": PLAIN, "command": ["python", "-c", script], **spec}
    return [
        {"machine_spec": {"machine_type": "n1-standard-4"}, "replica_count": 1, "container_spec": container}
    ]


def ended(job: Any) -> Any:
    """The job's resource once it has ended."""

    def state() -> Any:
        job._sync_gca_resource()
        return job._gca_resource if job.state.name in ("JOB_STATE_FAILED", "JOB_STATE_CANCELLED") else None

    return until(state, "the job has ended")


def package(bucket: Any, script: str, requires: str = "") -> str:
    """An sdist with the module trainer.task, as setuptools makes it."""
    files = {
        "setup.py": "raise SystemExit('it is not to be run')",
        "trainer/__init__.py": "",
        "trainer/task.py": script,
        "trainer.egg-info/requires.txt": requires,
    }
    bucket.blob("trainer-1.0.tar.gz").upload_from_string(packed(files))
    return f"gs://{bucket.name}/trainer-1.0.tar.gz"


def packed(files: dict[str, str]) -> bytes:
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w:gz") as archive:
        for name, text in files.items():
            entry = tarfile.TarInfo(f"trainer-1.0/{name}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))
    return held.getvalue()


def test_a_package_runs_with_the_contract_and_what_it_needs(portico, aiplatform, bucket):
    script = SCRIPT + "import threadpoolctl; print(threadpoolctl.__version__)\n"
    job = aiplatform.CustomPythonPackageTrainingJob(
        "mine", package(bucket, script, "threadpoolctl==3.5.0\n\n[gpu]\nnothing\n"), "trainer.task", PLAIN,
        staging_bucket=f"gs://{bucket.name}",
    )  # fmt: skip
    job.run(
        args=["--word", "hello"],
        # Those two lists are more than the user's: the package itself is found by one.
        environment_variables={"MINE": "m y", "PYTHONPATH": "/opt/own", "PATH": "/opt/bin"},
        base_output_dir=f"gs://{bucket.name}/o",
        enable_web_access=True,
    )
    assert job.state.name == "PIPELINE_STATE_SUCCEEDED"
    log = told(portico, job)
    assert "the word is hello" in log and "from a child" in log and "3.5.0" in log
    assert f"task workerpool0 0 m y gs://{bucket.name}/o/model/" in log
    assert "Without effect on this machine: jobSpec.enableWebAccess." in log
    behind = aiplatform.CustomJob.get(job.gca_resource.training_task_metadata["backingCustomJob"])
    assert behind.state.name == "JOB_STATE_SUCCEEDED" and behind.display_name == "mine-custom-job"
    assert behind.job_spec.worker_pool_specs[0].python_package_spec.python_module == "trainer.task"
    assert behind.job_spec.base_output_directory.output_uri_prefix == f"gs://{bucket.name}/o"
    assert behind.name in {
        one.name for one in aiplatform.CustomJob.list(filter='display_name="mine-custom-job"')
    }
    assert behind._gca_resource.start_time and behind._gca_resource.end_time


# As Google's samples make one: a folder, packed with tar. What would be found by running setup.py is not run.
_TARRED = {
    "PKG-INFO": "Metadata-Version: 1.0\n\nName: Iris\n\nVersion: 0.0.0\n",
    "setup.cfg": "[egg_info]\n\ntag_build =\n\ntag_date = 0\n",
    "setup.py": "import setuptools\n\nsetuptools.setup(\n\n    install_requires=[\n\n        'threadpoolctl==3.5.0',"
    "\n\n    ],\n\n    packages=setuptools.find_packages())\n",
}


# As cloudml-hypertune does, which Google's samples also call where nobody tunes.
METRIC = """
import os
path = os.environ.get("CLOUD_ML_HP_METRIC_FILE", "/var/hypertune/output.metrics")
os.makedirs(os.path.dirname(path), exist_ok=True)
with open(path, "w") as file:
    file.write("accuracy 1")
print(open(path).read())
"""


def test_a_folder_that_was_only_packed_says_in_setup_py_what_it_needs(portico, aiplatform, bucket):
    script = "import threadpoolctl; print('threadpoolctl', threadpoolctl.__version__)\n" + METRIC
    files = {**_TARRED, "trainer/__init__.py": "", "trainer/task.py": script}
    bucket.blob("tarred.tar.gz").upload_from_string(packed(files))
    job = aiplatform.CustomPythonPackageTrainingJob(
        "tarred", f"gs://{bucket.name}/tarred.tar.gz", "trainer.task", PLAIN,
        staging_bucket=f"gs://{bucket.name}",
    )  # fmt: skip
    job.run()
    assert "threadpoolctl 3.5.0" in told(portico, job) and "accuracy 1" in told(portico, job)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("setup.py", "NEEDS = ('one>=1', 'two')\nsetup(name='x', install_requires=NEEDS)"),
        ("setup.py", "import setuptools\nif True:\n  setuptools.setup(install_requires='one>=1\\ntwo')"),
        ("setup.cfg", "[options]\ninstall_requires =\n  one>=1\n  # not three\n  two\n"),
        ("pyproject.toml", "[project]\nname = 'x'\ndependencies = ['one>=1', 'two']"),
        ("PKG-INFO", "Name: x\nRequires-Dist: one>=1\nRequires-Dist: two\nRequires-Dist: t; extra == 'e'\n"),
    ],
)  # fmt: skip
def test_where_a_package_says_what_it_needs(tmp_path, name, text):
    assert packages_of(tmp_path, {name: text}) == ["one>=1", "two"]


def test_what_cannot_be_read_without_running_it_is_no_requirement(tmp_path):
    for text in ("setup(install_requires=open('r').read())", "setup(", "setup(install_requires=NEEDS)"):
        assert packages_of(tmp_path, {"setup.py": text, "setup.cfg": "nonsense"}) == []


def packages_of(folder: Path, files: dict[str, str]) -> list[str]:
    """What a package of these files needs."""
    (folder / "x.tar.gz").write_bytes(packed(files))

    class Stored:
        find = staticmethod(str)
        path = staticmethod(lambda uri: folder / "x.tar.gz")

    stored: Any = Stored()
    return packages.unpack(stored, ["gs://b/x.tar.gz"], folder / "unpacked", "packageUris").requirements


@pytest.mark.slow
def test_a_script_runs_with_the_contract(portico, aiplatform, bucket, tmp_path):
    job = job_of(
        aiplatform, bucket, tmp_path, SCRIPT, args=["--word", "hello"], environment_variables={"MINE": "m y"}
    )
    job.run(sync=True)
    assert job.state.name == "JOB_STATE_SUCCEEDED"
    log = told(portico, job)
    assert "the word is hello" in log and "from a child" in log
    assert f"task workerpool0 0 m y gs://{bucket.name}/staging/aiplatform-custom-job" in log


COMMANDS = """
import os, subprocess
os.makedirs("made/deep"); open("made/one.txt", "w").write("1"); open("made/deep/two.txt", "w").write("2")
def run(text):
    told = subprocess.run(text, shell=True, capture_output=True, text=True)
    print(text, "->", told.returncode, told.stdout.split(), told.stderr.splitlines()[-1:] if told.returncode else "")
bucket = os.environ["AIP_MODEL_DIR"].split("/")[2]
run(f"gsutil -m cp -r made gs://{bucket}/up/")
run(f"gsutil ls gs://{bucket}/up")
run(f"gcloud storage cp gs://{bucket}/up/made/one.txt back.txt && cat back.txt")
run(f"gsutil cp gs://{bucket}/up/made/*.txt . && ls one.txt")
run(f"gcloud storage cp --recursive gs://{bucket}/up/made/* gs://{bucket}/all")
run(f"gsutil ls -r gs://{bucket}/all/")
run(f"gcloud storage rm -r gs://{bucket}/up/made/deep")
run(f"gsutil cat gs://{bucket}/up/made/deep/two.txt")
run(f"gcloud storage buckets create --location us-central1 --project=p gs://{bucket}-more")
run(f"gcloud storage ls gs://{bucket}-more")
run("gcloud compute instances list")
"""


@pytest.mark.slow
def test_gsutil_and_gcloud_storage(portico, aiplatform, bucket, tmp_path):
    job = job_of(aiplatform, bucket, tmp_path, COMMANDS)
    job.run(sync=True)
    log = told(portico, job)
    for line in (
        f"cp -r made gs://{bucket.name}/up/ -> 0",
        f"gs://{bucket.name}/up -> 0 ['gs://{bucket.name}/up/made/']",
        "cat back.txt -> 0 ['1']",
        "ls one.txt -> 0 ['one.txt']",
        f"/all/ -> 0 ['gs://{bucket.name}/all/deep/two.txt', 'gs://{bucket.name}/all/one.txt']",
        "up/made/deep -> 0",
        "two.txt -> 1",
        f"--project=p gs://{bucket.name}-more -> 0",
        f"gcloud storage ls gs://{bucket.name}-more -> 0 []",
        "gcloud compute instances list -> 1 [] ['gcloud compute instances list is not built in Portico",
    ):
        assert line in log.replace('"', "'"), log
    assert [blob.name for blob in bucket.list_blobs(prefix="up/")] == ["up/made/one.txt"]


@pytest.mark.slow
def test_what_it_writes_is_in_the_bucket(portico, aiplatform, bucket, tmp_path):
    script = """
import os
from google.cloud import storage, aiplatform
bucket, _, prefix = os.environ["AIP_MODEL_DIR"].removeprefix("gs://").partition("/")
storage.Client().bucket(bucket).blob(prefix + "note.txt").upload_from_string("made by a job")
os.makedirs(f"/gcs/{bucket}/early", exist_ok=True)
for text in ("as a file", "changed since"):
    with open(f"/gcs/{bucket}/early/a.txt", "w") as file:
        file.write(text)
    assert storage.Client().bucket(bucket).blob("early/a.txt").download_as_text() == text
assert [blob.name for blob in storage.Client().list_blobs(bucket, prefix="early/")] == ["early/a.txt"]
with open(f"/gcs/{bucket}/early/a.txt", "a") as file:
    file.write(", and at the end")
aiplatform.init(project=os.environ["CLOUD_ML_PROJECT_ID"], location=os.environ["CLOUD_ML_REGION"])
print("models:", len(aiplatform.Model.list()))
"""
    job = job_of(aiplatform, bucket, tmp_path, script, base_output_dir=f"gs://{bucket.name}/out")
    job.run(sync=True)
    assert bucket.blob("out/model/note.txt").download_as_text() == "made by a job"
    assert bucket.blob("early/a.txt").download_as_text() == "changed since, and at the end"
    assert "models: " in told(portico, job)


def test_the_codes_own_error_is_told(aiplatform, bucket):
    job = aiplatform.CustomJob("bad", plain("print('before'); raise ValueError('on purpose')"),
                               staging_bucket=f"gs://{bucket.name}")  # fmt: skip
    job.submit()
    found = ended(job)
    assert found.error.code == 9 and "non-zero status of 1" in found.error.message
    assert "ValueError: on purpose" in found.error.message


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ("import time; time.sleep(600)", "timeout of 1 seconds"),
        ("import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(600)", "timeout of 1 seconds"),
    ],
)
def test_a_timeout_ends_it(aiplatform, bucket, script, says):
    job = aiplatform.CustomJob("long", plain(script), staging_bucket=f"gs://{bucket.name}")
    job.submit(timeout=1)
    found = ended(job)
    assert found.error.code == 4 and says in found.error.message


def test_its_limits_are_stated_and_exceeded_with_words(portico, aiplatform, bucket):
    script = "files = [open('/dev/null') for _ in range(70_000)]"
    job = aiplatform.CustomJob("files", plain(script), staging_bucket=f"gs://{bucket.name}")
    job.submit()
    assert "at most 65,536 open files" in ended(job).error.message
    shown = job.gca_resource.job_spec
    assert shown.scheduling.timeout.total_seconds() == 604800
    assert shown.worker_pool_specs[0].disk_spec.boot_disk_size_gb == 16
    log = told(portico, job)
    assert "The job's code runs " in log and "512 processes" in log and "604,800 s in all" in log


def test_cancelling_ends_the_whole_tree(portico, aiplatform, bucket):
    import psutil

    script = "import subprocess, time; subprocess.Popen(['sleep', '987']); print('up', flush=True); time.sleep(987)"
    job = aiplatform.CustomJob("tree", plain(script), staging_bucket=f"gs://{bucket.name}")
    job.submit()

    def sleepers() -> list[int]:
        return [p.pid for p in psutil.process_iter(["cmdline"]) if p.info["cmdline"] == ["sleep", "987"]]

    until(sleepers, "its child runs")
    with pytest.raises(exceptions.BadRequest, match="cancel it first"):
        job.delete()
    job.cancel()
    assert ended(job).state.name == "JOB_STATE_CANCELLED"
    until(lambda: not sleepers(), "nothing is left of it")
    job.delete()


def test_it_sees_nothing_of_the_server_but_its_address(portico, aiplatform, bucket):
    script = f"""
import os, pathlib
for path in ({str(portico.home / "credentials.json")!r}, {str(portico.home / "home.id")!r}):
    try:
        open(path).read(1); print("RE" + "AD", path)
    except OSError as error:
        print("no:", error.strerror)
print("key" if "GOOGLE_APPLICATION_CREDENTIALS" in os.environ else "no " + "key")
try:
    pathlib.Path({str(portico.home)!r}, "x").write_text("x")
except OSError as error:
    print("no:", error.strerror)
import json, urllib.request
uri = os.environ["MLFLOW_TRACKING_URI"]
shown = {{"authorization": "Bearer " + os.environ["MLFLOW_TRACKING_TOKEN"]}}
asked = urllib.request.Request(uri + "/api/2.0/mlflow/experiments/get?experiment_id=0", headers=shown)
with urllib.request.urlopen(asked) as answer:
    print("MLflow:", uri.partition("/apis/")[2], json.load(answer)["experiment"]["name"])
"""
    job = aiplatform.CustomJob("curious", plain(script), staging_bucket=f"gs://{bucket.name}")
    job.run(sync=True)
    log = told(portico, job)
    # A home below /tmp is not there at all, for the job has a /tmp of its own: what it writes is there.
    assert "READ" not in log and "no key" in log and log.count("no: ") >= 2, log
    assert not (portico.home / "x").exists()
    assert "MLflow: mlflow/projects/test-project/locations/us-central1 Default" in log


def test_buckets_are_folders(portico, aiplatform, bucket):
    bucket.blob("in/a.txt").upload_from_string("as it was")
    bucket.blob("in/b.txt").upload_from_string("goes")
    bucket.blob("in/c/d.txt").upload_from_string("goes too")
    bucket.blob("in/e/old.txt").upload_from_string("goes with its folder, which comes again")
    script = f"""
import os, pathlib, shutil
here = pathlib.Path("/gcs/{bucket.name}")
print(sorted(str(path.relative_to(here)) for path in here.rglob("*.txt")), (here / "in/a.txt").read_text())
(here / "in/a.txt").write_text("changed")
(here / "in/b.txt").unlink()
shutil.rmtree(here / "in/c")
shutil.rmtree(here / "in/e")
(here / "in/e").mkdir()
(here / "in/e/again.txt").write_text("again")
(here / "out/deep").mkdir(parents=True)
(here / "out/deep/new.txt").write_text("new")
"""
    first = bucket.get_blob("in/a.txt").generation
    job = aiplatform.CustomJob("files", plain(script), staging_bucket=f"gs://{bucket.name}")
    job.run(sync=True)
    assert "['in/a.txt', 'in/b.txt', 'in/c/d.txt', 'in/e/old.txt'] as it was" in told(portico, job)
    assert {blob.name: blob.download_as_text() for blob in bucket.list_blobs() if blob.name.endswith(".txt")} == {
        "in/a.txt": "changed", "in/e/again.txt": "again", "out/deep/new.txt": "new",
    }  # fmt: skip
    assert bucket.get_blob("in/a.txt").generation > first


WELL: dict[str, Any] = {"workerPoolSpecs": [{"containerSpec": {"imageUri": PLAIN, "command": ["true"]}}]}
BAD = [
    ({"enableWebAccess": True}, "jobSpec.workerPoolSpecs"),
    ({"workerPoolSpecs": [{"replicaCount": "1"}]}, "jobSpec.workerPoolSpecs[0]"),
    (
        {"workerPoolSpecs": [{"containerSpec": {"imageUri": "no image", "command": ["x"]}}]},
        "jobSpec.workerPoolSpecs[0].containerSpec.imageUri",
    ),
    (
        {"workerPoolSpecs": [{"containerSpec": {"imageUri": PLAIN}}]},
        "jobSpec.workerPoolSpecs[0].containerSpec.command",
    ),
    (
        {"workerPoolSpecs": [{"pythonPackageSpec": {
            "executorImageUri": SKLEARN, "packageUris": ["/a"], "pythonModule": "a.b"}}]},
        "jobSpec.workerPoolSpecs[0].pythonPackageSpec.packageUris[0]",
    ),
    (
        {"workerPoolSpecs": [{"machineSpec": {"acceleratorType": 0}, "containerSpec": {"imageUri": PLAIN}}]},
        "jobSpec.workerPoolSpecs[0].containerSpec.command",  # 0 is no accelerator
    ),
    (
        {"workerPoolSpecs": [{"machineSpec": {"machineType": "banana-4"}}]},
        "jobSpec.workerPoolSpecs[0].machineSpec.machineType",
    ),
    (
        {"workerPoolSpecs": [{"machineSpec": {"machineType": "n1-standard-4", "acceleratorType": "NVIDIA_TESLA_T4"}}]},
        "jobSpec.workerPoolSpecs[0].machineSpec.acceleratorCount",
    ),
    (
        {"workerPoolSpecs": [{"diskSpec": {"bootDiskType": "floppy"}}]},
        "jobSpec.workerPoolSpecs[0].diskSpec.bootDiskType",
    ),
    (
        {"workerPoolSpecs": [{"machineSpec": {"acceleratorCount": -1}}]},
        "jobSpec.workerPoolSpecs[0].machineSpec.acceleratorCount",
    ),
    (
        {"workerPoolSpecs": [{"diskSpec": {"bootDiskSizeGb": -1}}]},
        "jobSpec.workerPoolSpecs[0].diskSpec.bootDiskSizeGb",
    ),
    (
        {"workerPoolSpecs": [{"nfsMounts": [{"server": "10.0.0.1", "path": "/a", "mountPoint": "b"}]}]},
        "jobSpec.workerPoolSpecs[0].nfsMounts",
    ),
    ({"workerPoolSpecs": [{"containerSpec": {"imageUri": PLAIN, "command": ["python"], "args": ["a", "b\0"]}}]},
     "jobSpec.workerPoolSpecs[0].containerSpec.args[1]"),
    ({"workerPoolSpecs": [{"containerSpec": {"imageUri": PLAIN, "command": ["python"],
                                             "env": [{"name": "A", "value": "\0"}]}}]},
     "jobSpec.workerPoolSpecs[0].containerSpec.env[0].value"),
    (WELL | {"scheduling": {"maxWaitDuration": "-5s"}}, "jobSpec.scheduling.maxWaitDuration"),
    (WELL | {"experiment": "mine"}, "jobSpec.experiment"),
    (WELL | {"experimentRun": "projects/p/locations/l/contexts/mine"}, "jobSpec.experimentRun"),
]  # fmt: skip


@pytest.mark.parametrize(("spec", "field"), BAD)
def test_a_bad_spec_names_the_field(portico, spec, field):
    answer = requests.post(
        f"{portico.url}/v1/projects/p/locations/us-central1/customJobs",
        json={"displayName": "x", "jobSpec": spec},
        timeout=240,
    )
    assert answer.status_code in (400, 501), answer.text
    assert field in answer.text


TRAINER = """
import glob, os, sys
import joblib, pandas
from google.cloud import storage
from sklearn.linear_model import LinearRegression

client = storage.Client()
def read(pattern):
    bucket, _, prefix = pattern.removeprefix("gs://").rstrip("*").partition("/")
    files = [blob.open() for blob in client.list_blobs(bucket, prefix=prefix)]
    return pandas.concat([pandas.read_csv(file) for file in files])
rows = read(os.environ["AIP_TRAINING_DATA_URI"])
print(len(rows), len(read(os.environ["AIP_TEST_DATA_URI"])), os.environ["AIP_DATA_FORMAT"])
joblib.dump(LinearRegression().fit(rows[["x"]].values, rows["y"]), "model.joblib")
bucket, _, prefix = os.environ["AIP_MODEL_DIR"].removeprefix("gs://").partition("/")
client.bucket(bucket).blob(prefix + "model.joblib").upload_from_filename("model.joblib")
"""


@pytest.mark.slow
def test_a_training_pipeline_of_ones_own_code_makes_a_model_that_serves(
    portico, aiplatform, bucket, tmp_path
):
    rows = "".join(f"{number},{3 * number + 1}\n" for number in range(100))
    bucket.blob("rows.csv").upload_from_string("x,y\n" + rows)
    dataset = aiplatform.TabularDataset.create("rows", gcs_source=f"gs://{bucket.name}/rows.csv")
    (tmp_path / "task.py").write_text(TRAINER)
    job = aiplatform.CustomTrainingJob(
        "own", str(tmp_path / "task.py"), SKLEARN, staging_bucket=f"gs://{bucket.name}",
        model_serving_container_image_uri="us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest",
    )  # fmt: skip
    model = job.run(dataset, model_display_name="line", base_output_dir=f"gs://{bucket.name}/made")
    assert model.uri == f"gs://{bucket.name}/made/model" and model.display_name == "line"
    assert "80 10 csv" in told(portico, job)
    endpoint = model.deploy(machine_type="n1-standard-2")
    try:
        assert endpoint.predict([[5.0]]).predictions[0] == pytest.approx(16)
    finally:
        endpoint.undeploy_all()


def test_a_pipeline_whose_code_saves_no_model_fails_with_words(aiplatform, bucket):
    job = aiplatform.CustomContainerTrainingJob(
        "none", PLAIN, command=["python", "-c", "print('nothing')"], staging_bucket=f"gs://{bucket.name}",
        model_serving_container_image_uri="us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest",
    )  # fmt: skip
    with pytest.raises(RuntimeError, match="it has nothing"):
        job.run(model_display_name="none", base_output_dir=f"gs://{bucket.name}/nothing")
    behind = aiplatform.CustomJob.get(job.gca_resource.training_task_metadata["backingCustomJob"])
    assert behind.state.name == "JOB_STATE_FAILED" and "it has nothing" in behind.error.message
    job.delete()
    behind.delete()  # which was there still, as on Vertex AI


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        ({"workerPoolSpecs": "abc"}, "workerPoolSpecs: 'abc' is not a list"),
        (
            {"workerPoolSpecs": [{"replicaCount": "x"}]},
            r"workerPoolSpecs\[0\].replicaCount: 'x' is not a number",
        ),
        (
            {"workerPoolSpecs": [{"machineSpec": "n1"}]},
            r"workerPoolSpecs\[0\].machineSpec: 'n1' is not an object",
        ),
        ({"workerPoolSpecs": [{"containerSpec": {"command": "true"}}]}, "command: 'true' is not a list"),
        ({"scheduling": {"timeout": "soon"}}, "scheduling.timeout: 'soon' is not seconds"),
        ({"workerPools": []}, "has no field 'workerPools'"),
    ],
)
def test_inputs_of_a_training_are_checked_as_a_message(aiplatform, inputs, said):
    from google.protobuf import json_format, struct_pb2

    job = aiplatform.CustomJob("x", plain("pass"), staging_bucket="gs://none")
    with pytest.raises(exceptions.BadRequest, match=f"trainingTaskInputs.*{said}"):
        aiplatform.initializer.global_config.create_client(
            client_class=aiplatform.utils.PipelineClientWithOverride
        ).create_training_pipeline(
            parent=f"projects/{job.project}/locations/{job.location}",
            training_pipeline={
                "display_name": "x",
                "training_task_definition": aiplatform.schema.training_job.definition.custom_task,
                "training_task_inputs": json_format.ParseDict(inputs, struct_pb2.Value()),
            },
        )


def test_a_local_script_runs_in_an_image_that_is_none_of_googles(portico, aiplatform, bucket, tmp_path):
    job = job_of(
        aiplatform, bucket, tmp_path, "import sys\nprint('run with', sys.argv[1:])\n", container_uri=PLAIN,
        args=["--word", "a,b"],
    )  # fmt: skip
    job.run()
    assert "run with ['--word', 'a,b']" in told(portico, job)


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ("python3 -m a.task --x 'a b'", ("gs://b/f/a-0.1.tar.gz", "a.task", ["--x", "a b"])),
        ("python3 -m a.task", ("gs://b/f/a-0.1.tar.gz", "a.task", [])),
        ("python3 -m a.task $HOME", None),
        ("python3 -m a.task; reboot", None),
        ("python3 -m a.task --x 'a", None),
    ],
)
def test_what_installs_a_package_and_runs_it_is_one(script, found):
    start = "pip install --upgrade pip && pip3 install -q --user /gcs/b/f/a-0.1.tar.gz && "
    read = packaged({"imageUri": PLAIN, "command": ["sh", "-c", start + script]})
    assert (read and (*read["packageUris"], read["pythonModule"], read["args"])) == found

"""Custom jobs whose image is a container's own: run by Docker or Podman where one answers, else refused with words."""

from __future__ import annotations

import io
import os
import shutil
import signal
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from typing import Any

import psutil
import pytest
from tests.conftest import Portico
from tests.services.aiplatform.kfp_compiled import compiled
from tests.services.aiplatform.pipelines_run import outputs
from tests.services.aiplatform.test_custom_jobs import ended, told
from tests.waiting import until

from portico.errors import FailedPrecondition, InvalidArgument
from portico.sandbox import containers
from portico.services.aiplatform.custom import spec
from portico.store.database import Database
from portico.store.gcs import Gcs

# For a container in a container, which may neither raise limits nor make groups.
_CONF = """
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
"""
_PROGRAMS = ("sh", "bash", "cat", "env", "sleep", "mkdir", "rm")


def job_spec(image: str, **container: Any) -> dict[str, Any]:
    return {"workerPoolSpecs": [{"containerSpec": {"imageUri": image, **container}}]}


def test_where_no_engine_answers_an_image_is_refused_with_what_it_needs(monkeypatch, tmp_path):
    database = Database(tmp_path / "home")
    database.create_tables()
    gcs = Gcs(tmp_path / "home", database)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(FailedPrecondition) as refused:
        spec.check(job_spec("gcr.io/mine/image:1"), "jobSpec", gcs)
    assert "gcr.io/mine/image:1 is a container image of its own" in refused.value.message
    assert "Docker (apt-get install docker.io" in refused.value.message
    assert "none answers on this machine" in refused.value.message
    (violation,) = refused.value.violations
    assert violation.field == "jobSpec.workerPoolSpecs[0].containerSpec.imageUri"
    (tmp_path / "docker").write_text("#!/bin/sh\necho Cannot connect to the Docker daemon >&2; exit 1\n")
    (tmp_path / "docker").chmod(0o755)
    with pytest.raises(FailedPrecondition, match="none answers"):
        spec.check(job_spec("gcr.io/mine/image:1"), "jobSpec", gcs)
    (tmp_path / "podman").write_text("#!/bin/sh\necho 5.0\n")
    (tmp_path / "podman").chmod(0o755)
    spec.check(job_spec("gcr.io/mine/image:1"), "jobSpec", gcs)
    for wrong in ("--privileged", "a b"):
        with pytest.raises(InvalidArgument, match="no name of an image"):
            spec.check(job_spec(wrong), "jobSpec", gcs)


def root_of(programs: tuple[str, ...]) -> bytes:
    """A tar of a root in which there is nothing but `programs` of this machine, and what they load."""
    files: dict[str, str] = {}
    for program in programs:
        found = shutil.which(program) or pytest.skip(f"no {program}")
        files[f"bin/{program}"] = os.path.realpath(found)
        for line in subprocess.run(["ldd", found], capture_output=True, text=True).stdout.splitlines():
            path = next((word for word in line.split() if word.startswith("/")), "")
            if path:
                files[path.lstrip("/")] = os.path.realpath(path)
    held = io.BytesIO()
    with tarfile.open(fileobj=held, mode="w") as archive:
        for name, source in files.items():
            archive.add(source, name)
        for name in ("tmp", "etc", "proc", "dev", "sys"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o755
            archive.addfile(folder)
    return held.getvalue()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A tiny image, made here of this machine's own files."""
    with pytest.MonkeyPatch.context() as patch:
        conf = tmp_path_factory.mktemp("podman") / "containers.conf"
        conf.write_text(_CONF)
        patch.setenv("CONTAINERS_CONF", str(conf))
        engine = containers.engine()
        name = "localhost/portico-tests:1"
        if engine is None or _runs(engine, "import", "--change", "ENTRYPOINT [\"/bin/sh\", \"-c\"]", "-", name,
                                   input=root_of(_PROGRAMS)):  # fmt: skip
            pytest.skip("no container engine answers here")
        if _runs(engine, "run", "--rm", "--network=host", name, "true"):
            pytest.skip("the container engine runs no containers here")
        yield name
        _runs(engine, "rmi", "--force", name)


def _runs(*command: str, input: bytes | None = None) -> int:
    return subprocess.run(command, input=input, capture_output=True).returncode


@pytest.fixture(scope="module")
def portico(image: str, new_portico: Callable[..., Portico]) -> Iterator[Portico]:
    server = new_portico().start()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_EMULATOR_HOST", server.url)
        patch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(server.home / "credentials.json"))
        yield server
    server.stop()


@pytest.fixture
def submit(aiplatform: Any, bucket: Any, image: str) -> Callable[..., Any]:
    def submitted(*args: str, **container: Any) -> Any:
        pool = {
            "machine_spec": {"machine_type": "n1-standard-4"},
            "replica_count": 1,
            "container_spec": {"image_uri": image, "args": list(args), **container},
        }
        job = aiplatform.CustomJob(
            "contained",
            [pool],
            staging_bucket=f"gs://{bucket.name}",
            base_output_dir=f"gs://{bucket.name}/out",
        )
        job.submit()
        return job

    return submitted


def left() -> list[str]:
    """What is left of containers of ours."""
    engine = containers.engine()
    assert engine
    told = ""
    for what in (("ps", "--all", "--format={{.Names}}"), ("volume", "ls", "--format={{.Name}}")):
        told += subprocess.run([engine, *what], capture_output=True, text=True).stdout
    return [name for name in told.split() if name.startswith("portico-")]


@pytest.mark.slow
def test_a_container_runs_with_the_contract(portico, submit, bucket):
    bucket.blob("in.txt").upload_from_string("from the bucket")
    script = f"""
set -e
cat /gcs/{bucket.name}/in.txt
mkdir -p "/gcs/{bucket.name}/out/model"
echo "$MINE" > "/gcs/{bucket.name}/out/model/model.txt"
echo "saves in $AIP_MODEL_DIR; $CLUSTER_SPEC; $STORAGE_EMULATOR_HOST"
rm /gcs/{bucket.name}/in.txt
cat {portico.home}/credentials.json || echo "no" "credentials"
"""
    job = submit(script, env=[{"name": "MINE", "value": "a word"}, {"name": "LD_PRELOAD", "value": "/no"}])
    until(lambda: job.state.name in ("JOB_STATE_SUCCEEDED", "JOB_STATE_FAILED"), "it has ended")
    log = told(portico, job)
    assert job.state.name == "JOB_STATE_SUCCEEDED", log
    assert "from the bucket" in log and f"saves in gs://{bucket.name}/out/model/" in log
    assert '"workerpool0"' in log and portico.url in log and "no credentials" in log
    assert bucket.blob("out/model/model.txt").download_as_bytes() == b"a word\n"
    assert not bucket.blob("in.txt").exists()
    assert not left()


@pytest.mark.slow
def test_who_asks_from_a_container_without_a_token_is_nobody(portico, submit):
    script = f"""
exec 3<>/dev/tcp/127.0.0.1/{portico.port}
printf 'GET /storage/v1/b?project=test-project HTTP/1.0\\r\\nHost: 127.0.0.1\\r\\n\\r\\n' >&3
cat <&3
"""
    job = submit(script, command=["/bin/bash", "-c"])
    until(lambda: job.state.name == "JOB_STATE_SUCCEEDED", "it has ended")
    log = told(portico, job)
    assert " 401 " in log and "storage#buckets" not in log, log


@pytest.mark.slow
def test_its_end_is_told_and_cancelling_ends_all_of_it(portico, submit):
    failed = submit("/bin/sh -c 'echo its last words; exit 7'", command=["/bin/sh", "-c"])
    assert "non-zero status of 7" in ended(failed).error.message
    assert "its last words" in failed.error.message
    job = submit("sleep 9874 & sleep 9874")

    def sleepers() -> list[psutil.Process]:
        return [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", "9874"]]

    until(lambda: len(sleepers()) == 2, "it runs")
    job.cancel()
    assert ended(job).state.name == "JOB_STATE_CANCELLED"
    until(lambda: not sleepers(), "nothing is left of it")
    assert not left()


@pytest.mark.slow
def test_a_crash_leaves_no_container(portico, submit):
    job = submit("sleep 9875")

    def sleepers() -> list[int]:
        return [
            one.pid for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", "9875"]
        ]

    (first,) = until(sleepers, "it runs")
    os.kill(
        portico.pid, signal.SIGKILL
    )  # all of its own end with it; a container of Docker's is no child of any
    portico.process.wait(240)
    until(lambda: not psutil.pid_exists(first), "its container goes with the server")
    portico.start()
    until(lambda: sleepers(), "it runs again")
    job.cancel()
    assert ended(job).state.name == "JOB_STATE_CANCELLED"
    until(lambda: not left(), "nothing is left")


@pytest.mark.slow
def test_an_image_that_is_nowhere_fails_with_the_engines_words(portico, aiplatform, bucket):
    pool = {"replica_count": 1, "container_spec": {"image_uri": "localhost:1/nothing:1"}}
    job = aiplatform.CustomJob("nowhere", [pool], staging_bucket=f"gs://{bucket.name}")
    job.submit()
    assert "localhost:1/nothing:1" in ended(job).error.message


@pytest.mark.slow
def test_components_of_a_pipeline_run_in_their_image(portico, aiplatform, bucket, image):
    source = """
@dsl.container_component
def first(word: str, told: dsl.OutputPath(str), data: Output[Dataset]):
    script = 'mkdir -p "${0%/*}" "${2%/*}"; echo "$1" > "$2"; echo "$1 in a container" > "$0"'
    return dsl.ContainerSpec("IMAGE", ["/bin/sh", "-c", script], [told, word, data.path])

@dsl.container_component
def second(told: str, data: Input[Dataset], out: dsl.OutputPath(str)):
    script = 'mkdir -p "${0%/*}"; echo "$1" > "$0"; cat "$2" >> "$0"'
    return dsl.ContainerSpec("IMAGE", ["/bin/sh", "-c", script], [out, told, data.path])

@dsl.pipeline(name="contained")
def contained(word: str = "a word"):
    one = first(word=word)
    second(told=one.outputs["told"], data=one.outputs["data"])
"""
    template = compiled(source.replace("IMAGE", image))["contained"]
    job = aiplatform.PipelineJob("contained", template, pipeline_root=f"gs://{bucket.name}/root")
    job.run()
    assert outputs(job)["second"]["out"].split("\n") == ["a word in a container", "", "a word", ""]
    assert not left()

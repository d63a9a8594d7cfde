"""What a task of a pipeline runs: components that kfp compiled, launched."""

from __future__ import annotations

import hashlib
import json
import subprocess
import threading
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests import processes
from tests.environments import ENVIRONMENTS
from tests.services.aiplatform import kfp_compiled
from tests.services.aiplatform.kfp_compiled import NEWEST, OLDEST, VERSIONS, compiled
from tests.waiting import until

from portico.cli.jobs import in_lines, unended
from portico.clock import SystemClock
from portico.errors import DeadlineExceeded, FailedPrecondition, ResourceExhausted
from portico.ids import RandomIds
from portico.jobs.worker import Context
from portico.sandbox import environments
from portico.services.aiplatform.custom.kept import TELLS, reserve
from portico.services.aiplatform.custom.persistent_run import Keeper
from portico.services.aiplatform.custom.recognised import recognise
from portico.services.aiplatform.pipelines.components import launch as launching
from portico.services.aiplatform.pipelines.components import outputs as reading
from portico.services.aiplatform.pipelines.components import resources
from portico.services.aiplatform.pipelines.components.launch import Launch
from portico.services.aiplatform.pipelines.components.warm import Warm
from portico.store.database import Database
from portico.store.jobs import Job

_COMPILE = """
import json, sys, yaml
from kfp import compiler, dsl
from kfp.dsl import *
from typing import *
SOURCE
found = {}
for name, one in list(globals().items()):
    if hasattr(one, "component_spec") and not isinstance(one, type):
        compiler.Compiler().compile(one, sys.argv[1] + ".yaml")
        spec = next(yaml.safe_load_all(open(sys.argv[1] + ".yaml")))
        [executor] = spec["deploymentSpec"]["executors"].values()
        found[name] = executor["container"]
json.dump(found, open(sys.argv[1], "w"))
"""


def containers(source: str, version: str = NEWEST) -> dict[str, dict[str, Any]]:
    """The containers of the components that `source` defines, as that version of kfp compiles them."""
    key = hashlib.sha256(f"{version}{_COMPILE}{source}".encode()).hexdigest()[:16]
    made = ENVIRONMENTS.parent / "kfp" / f"{key}.json"
    if not made.exists():
        made.parent.mkdir(parents=True, exist_ok=True)
        program = made.with_suffix(".py")
        program.write_text(_COMPILE.replace("SOURCE", source))  # kfp reads a function's source from its file
        subprocess.run([kfp_compiled.python(version), "-W", "ignore", program, made], check=True)
    found: dict[str, dict[str, Any]] = json.loads(made.read_text())
    return found


@pytest.fixture
def run(portico: Any, bucket: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Runs a container as a task; {"parameterValues", "artifacts"}. `told` has the log of the last."""
    from portico.client import jobs  # noqa: F401

    monkeypatch.setattr(launching, "be_nice", lambda: None)
    database = Database(portico.home)

    def launch(
        container: dict[str, Any],
        inputs: dict[str, Any] | None = None,
        outputs: dict[str, Any] | None = None,
        **more: Any,
    ) -> Any:
        ids = RandomIds()
        job = _job(ids.number())
        launch.lines = []  # type: ignore[attr-defined]
        context = Context(
            portico.home, database, SystemClock(), ids, job, lambda: False, launch.lines.append  # type: ignore[attr-defined]
        )  # fmt: skip
        folder = f"/gcs/{more.pop('root', bucket.name)}/root/{job.id}"
        uri, wanted = f"gs://{bucket.name}/root/{job.id}", outputs or {}
        given = {
            "inputs": inputs or {},
            "outputs": {
                "outputFile": f"{folder}/executor_output.json",
                "parameters": {
                    name: {"outputFile": f"{folder}/{name}"} for name in wanted.get("parameters", ())
                },
                "artifacts": {
                    name: {"artifacts": [{"name": name, "uri": f"{uri}/{name}", "metadata": {}}]}
                    for name in wanted.get("artifacts", ())
                },
            },
        }
        told = json.dumps(given)

        def filled(words: list[str]) -> list[str]:
            return [word.replace("{{$}}", told).replace("{{ROOT}}", folder) for word in words]

        made = launching.run(
            context,
            Launch(
                container["image"], filled(container.get("command") or []), filled(container.get("args") or []),
                more.pop("env", {}), given, "test-project", "us-central1", **more,
            ),
        )  # fmt: skip
        launch.environment = made.pop("environment", "")  # type: ignore[attr-defined]
        return made

    yield launch
    database.close()


def _job(number: str) -> Job:
    return Job(
        id=number, kind="pipelineJobs.tasks", lane="process", priority=0, state="RUNNING", payload={},
        resource=f"projects/test-project/locations/us-central1/pipelineJobs/{number}", attempts=1, lost=0, owner=None,
        lease_until=None, cancel_requested=False, progress=0.0, message="", result=None, error=None, create_time=0.0,
        start_time=None, end_time=None, cores=1.0, memory=1 << 30, accelerators=0, parent=None, wake_at=None,
    )  # fmt: skip


PLAIN = """
@dsl.component
def add(a: int, words: str = "x") -> int:
    print("said", words)
    return a + 1
"""


@pytest.mark.parametrize("version", VERSIONS)
def test_every_version_of_kfp_is_recognised(version):
    found = containers(
        PLAIN
        + """
@dsl.component(base_image="python:3.11", packages_to_install=["threadpoolctl==3.5.0"],
               pip_index_urls=["https://a.example/simple", "https://b.example/simple"])
def more(a: int) -> int:
    return a + 1
""",
        version,
    )
    plain = recognise([*found["add"]["command"], *found["add"]["args"]])
    assert plain.source and "def add" in plain.source and plain.module.endswith(".executor_main")
    assert plain.arguments[:2] == ("--executor_input", "{{$}}") and plain.options == ()
    kfp = [one for one in (*plain.requirements, *plain.apart) if one.startswith("kfp")]
    assert kfp == [f"kfp=={version}"]
    more = recognise([*found["more"]["command"], *found["more"]["args"]])
    assert "threadpoolctl==3.5.0" in more.requirements and more.source
    assert more.options.count("--index-url") == 1 and "https://b.example/simple" in more.options


def test_what_is_no_script_of_kfps_runs_as_it_stands():
    def installs(words: str) -> tuple[str, ...]:
        script = f'PIP_DISABLE_PIP_VERSION_CHECK=1 python3 -m pip install --quiet {words} && "$0" "$@"'
        return recognise(["sh", "-c", script, "python3", "-m", "mine"]).command

    rest = ("python3", "-m", "mine")
    for words in ("six", "'a @ https://x.example/a-1-py3-none-any.whl'", "'six>=1,<2; python_version<\"3.9\"'",
                  "-i https://x.example/simple 'six[all]'"):  # fmt: skip
        assert installs(words) == rest, words
    # Nothing of this machine is read outside the walls.
    for words in ("'a @ file:///etc/a.whl'", "/etc/a.whl", "-r https://x.example/r.txt", "-f /etc six", "six; reboot",
                  "git+https://x.example/a", "'a @ git+https://x.example/a'", "$(reboot)"):  # fmt: skip
        assert installs(words)[0] == "sh", words
    venv = containers(
        """
@dsl.component(packages_to_install=["six"], use_venv=True)
def in_venv():
    pass
"""
    )["in_venv"]
    assert recognise([*venv["command"], *venv["args"]]).requirements == ("six",)


@pytest.mark.parametrize("version", VERSIONS)
def test_a_lightweight_component_runs_as_each_version_compiles_it(version, run, bucket):
    source = PLAIN.replace("@dsl.component", '@dsl.component(base_image="python:3.11")')
    made = run(containers(source, version)["add"], {"parameterValues": {"a": 2}}, {"parameters": ["Output"]})
    assert made == {"parameterValues": {"Output": 3}, "artifacts": {}}
    assert "said x" in run.lines and ":" in run.environment
    [written] = bucket.list_blobs(prefix="root/")
    assert json.loads(written.download_as_text())["parameterValues"] == {"Output": 3}


@pytest.mark.slow
def test_the_image_that_an_older_kfp_takes_by_itself(run):
    """python:3.7, or the closest that this machine has."""
    container = containers(PLAIN, OLDEST)["add"]
    made = run(container, {"parameterValues": {"a": 2}}, {"parameters": ["Output"]})
    assert made["parameterValues"] == {"Output": 3}
    assert container["image"] == "python:3.7"


WRITING = """
@dsl.component(base_image="python:3.11", packages_to_install=["threadpoolctl==3.5.0"])
def write(given: Input[Dataset], made: Output[Model], number: OutputPath(int)) -> NamedTuple("o", [("x", dict)]):
    import os, threadpoolctl
    with open(given.path) as read, open(made.path, "w") as out:
        out.write(read.read() + threadpoolctl.__version__)
    made.metadata["rows"] = 7
    with open(number, "w") as out:
        out.write("12")
    assert os.environ["MINE"] == "m y" and "AWS_SECRET" not in os.environ
    return ({"a": [1, None]},)
"""


def test_artifacts_files_and_packages(run, bucket, monkeypatch):
    monkeypatch.setenv("AWS_SECRET", "of the server")
    bucket.blob("in/data.txt").upload_from_string("given ")
    container = containers(WRITING)["write"]
    uri = f"gs://{bucket.name}/in/data.txt"
    inputs = {"artifacts": {"given": {"artifacts": [{"name": "1", "uri": uri, "metadata": {}}]}}}
    made = run(container, inputs, {"parameters": ["x", "number"], "artifacts": ["made"]}, env={"MINE": "m y"})
    assert made["parameterValues"] == {"x": {"a": [1, None]}, "number": "12"}
    [model] = made["artifacts"]["made"]["artifacts"]
    assert model["metadata"] == {"rows": 7}
    assert bucket.blob(f"root/{model['uri'].partition('/root/')[2]}").download_as_text() == "given 3.5.0"


def python(script: str, image: str = "python:3.11") -> dict[str, Any]:
    return {"image": image, "command": ["python3", "-c", script, "{{ROOT}}"]}


def test_a_component_that_fails_says_its_last_lines(run):
    with pytest.raises(FailedPrecondition, match="status of 3") as raised:
        run(python("import sys; print('it is', 'broken'); sys.exit(3)"))
    assert "it is broken" in raised.value.message
    with pytest.raises(DeadlineExceeded, match="timeout of 1 seconds"):
        run(python("import time; time.sleep(900)"), timeout=1)


def test_the_last_lines_are_the_components_not_kfps(run):
    source = """
@dsl.component(base_image="python:3.11")
def fails(code: int):
    if code:
        import sys; sys.exit(code)
    print("it is told", {"inputs": 1})
    raise ValueError("as it is")
"""
    container = containers(source)["fails"]
    with pytest.raises(FailedPrecondition) as raised:
        run(container, {"parameterValues": {"code": 0}})
    _, _, last = raised.value.message.partition("Its last lines:\n")
    assert last.startswith("it is told {'inputs': 1}\nTraceback"), raised.value.message
    assert "ValueError: as it is" in last
    assert any("Got executor_input" in line for line in run.lines)  # the log has all
    with pytest.raises(FailedPrecondition) as raised:
        run(container, {"parameterValues": {"code": 3}})
    assert "status of 3" in raised.value.message
    assert "KFP Executor" not in raised.value.message
    assert "last lines" not in raised.value.message


def test_a_container_component_has_the_commands_of_its_image(run):
    script = (
        "mkdir -p {{ROOT}} && pip install --quiet threadpoolctl==3.5.0 && "
        "python -c 'import threadpoolctl; print(threadpoolctl.__version__, end=\"\")' > {{ROOT}}/version"
    )
    container = {"image": "python:3.11-slim", "command": ["sh", "-c", script]}
    assert run(container, {}, {"parameters": ["version"]})["parameterValues"] == {"version": "3.5.0"}
    nothing = {"parameterValues": {}, "artifacts": {}}
    assert (
        run({"image": "busybox", "command": ["true"]}, {}, {"parameters": ["x"], "artifacts": ["y"]})
        == nothing
    )
    # Of that task alone.
    with pytest.raises(FailedPrecondition, match="No module named"):
        run(python("import threadpoolctl", "python:3.11-slim"))
    shell = {
        "image": "alpine:3.19",
        "command": ["sh", "-c"],
        "args": ["mkdir -p {{ROOT}}; echo -n hi > {{ROOT}}/x"],
    }
    assert run(shell, {}, {"parameters": ["x"]})["parameterValues"] == {"x": "hi"}
    assert any("this machine's own shell" in line for line in run.lines)
    for image in ("alpine", "python:3.11"):
        with pytest.raises(FailedPrecondition, match=f"no program 'my_program' in what {image} is here"):
            run({"image": image, "command": ["my_program", "--x"]})
    with pytest.raises(FailedPrecondition, match="container engine"):
        run({"image": "gcr.io/mine/own:1", "command": ["sh"]})


@pytest.mark.parametrize(
    ("script", "error", "words"),
    [
        ("open(R + '/x', 'w').write('1' * 200_000)", ResourceExhausted, "output parameter x .* too large"),
        ("os.symlink('/etc/passwd', R + '/x')", FailedPrecondition, "not in a file of its own"),
        ("os.symlink('/etc', R + '/d'); os.rename(R + '/d', R + '/x')", FailedPrecondition, "of its own"),
        ("open(R + '/executor_output.json', 'w').write('{')", FailedPrecondition, "no JSON"),
        ("O(parameterValues={'other': 1})", FailedPrecondition, "'other', which the component does not have"),
        ("O(artifacts={'other': {}})", FailedPrecondition, "'other', which the component does not have"),
        ("O(artifacts={'made': {'artifacts': [{'name': '9'}]}})", FailedPrecondition, "another's artifact"),
        ("O(artifacts={'made': {'artifacts': [9]}})", FailedPrecondition, "no list of artifacts"),
        ("os.mkfifo(R + '/x')", FailedPrecondition, "of its own"),
        ("O(parameterValues={'x': '\\ud800'})", FailedPrecondition, "output x .* no text in UTF-8"),
        ("O(parameterValues={'x': {'\\ud800': 1}})", FailedPrecondition, "output x .* no text in UTF-8"),
        (
            "d = []\nfor _ in range(500): d = [d]\nO(parameterValues={'x': d})",
            FailedPrecondition,
            "at most 100 levels",
        ),
    ],
)
def test_hostile_outputs_are_contained(run, script, error, words):
    head = (
        "import json, os, sys; R = sys.argv[1]; os.makedirs(R, exist_ok=True)\n"
        "def O(**told): open(R + '/executor_output.json', 'w').write(json.dumps(told))\n"
    )
    with pytest.raises(error, match=words):
        run(python(head + script), {}, {"parameters": ["x"], "artifacts": ["made"]})


def test_what_a_container_asks_for(tmp_path):
    asked = resources.asks_of(
        {"resources": {"cpuLimit": 1.0, "memoryLimit": 2.0, "memoryRequest": 0.5}}, tmp_path
    )
    assert (asked.cores, asked.memory, asked.accelerators) == (1.0, 500_000_000, 0)
    words = {"resourceCpuRequest": "500m", "resourceMemoryLimit": "1Gi",
             "accelerator": {"resourceType": "NVIDIA_TESLA_T4", "resourceCount": "1"}}  # fmt: skip
    asked = resources.asks_of({"resources": words}, tmp_path)
    assert (asked.cores, asked.memory, asked.accelerators) == (0.5, 1 << 30, 0)
    assert resources.memory_of({"resources": words}) == 1 << 30
    assert resources.asks_of({}, tmp_path).cores == 1.0


LEAVING = """
@dsl.component(base_image="python:3.11")
def leave(how: str) -> str:
    import os, subprocess, sys
    try:
        parent = open(f"/proc/{os.getppid()}/cmdline").read()
    except OSError:
        parent = ""
    if how == "kill it" and "runner.py" in parent:
        os.kill(os.getppid(), 9)
    if how == "stay":
        subprocess.Popen(["sleep", "981.25"])
    seen = "first" in os.listdir()
    open("first", "w").write("x")
    return f"{'runner.py' in parent} {seen} {os.environ.get('MINE')}"
"""


def test_later_tasks_are_forked_from_a_process_that_waits(run, bucket):
    container = containers(LEAVING)["leave"]

    def left(how: str, **env: str) -> Any:
        made = run(container, {"parameterValues": {"how": how}}, {"parameters": ["Output"]}, env=env)
        return made["parameterValues"]["Output"]

    until(lambda: left("plain", MINE="a") == "True False a", "one waits")
    assert left("plain") == "True False None"  # in a folder, with variables, and a view of /gcs of its own
    assert left("stay") == "True False None"
    assert not [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] == ["sleep", "981.25"]]
    assert left("kill it") == "False False None"
    assert any("begins anew in one of its own" in line for line in run.lines)
    assert left("plain") == "True False None"


SEEING = """
@dsl.component(base_image="python:3.11")
def see(folder: str) -> str:
    import os
    at = dsl.Dataset(uri=folder).path
    beside = at.rsplit("/", 1)[0] + "/beside"
    return f"{sorted(os.listdir(at))} {os.path.exists(beside)}"

@dsl.component(base_image="python:3.11")
def see_all(name: str) -> str:
    return open("/gcs/" + name).read()

@dsl.component(base_image="python:3.11")
def miss(name: str) -> str:
    return open("/" + "gcs/" + name).read()
"""


def test_a_component_sees_what_its_inputs_name_or_all(run, bucket):
    for name in ("in/a", "in/b", "beside"):
        bucket.blob(f"see/{name}").upload_from_string(name)
    made = containers(SEEING)
    inputs = {"parameterValues": {"folder": f"gs://{bucket.name}/see/in"}}
    found = run(made["see"], inputs, {"parameters": ["Output"]})
    assert found["parameterValues"]["Output"] == "['a', 'b'] False"
    inputs = {"parameterValues": {"name": f"{bucket.name}/see/beside"}}
    found = run(made["see_all"], inputs, {"parameters": ["Output"]})
    assert found["parameterValues"]["Output"] == "beside"
    with pytest.raises(FailedPrecondition) as raised:
        run(made["miss"], inputs, {"parameters": ["Output"]})
    assert "sees all of it" in raised.value.message
    with pytest.raises(FailedPrecondition, match="there is no such bucket"):
        run({**made["see"], "args": ["--executor_input", "{{$}}"]}, {}, {}, root="gone")


CLIENT = """
@dsl.component(base_image="python:3.11", packages_to_install=["google-cloud-storage"])
def write(bucket: str) -> str:
    import os
    import google.auth
    from google.cloud import storage
    client = storage.Client()
    client.bucket(bucket).blob("by/client").upload_from_string("by the client")
    return f"{client.project} {os.environ['CLOUD_ML_PROJECT_ID']}"
"""


def test_googles_clients_in_a_component_reach_this_server(portico, aiplatform, bucket):
    source = (
        CLIENT + "\n@dsl.pipeline\ndef clients(bucket: str) -> str:\n    return write(bucket=bucket).output\n"
    )
    job = aiplatform.PipelineJob(
        display_name="clients", template_path=compiled(source)["clients"], pipeline_root=f"gs://{bucket.name}/root",
        parameter_values={"bucket": bucket.name},
    )  # fmt: skip
    job.submit()
    job.wait()
    [task] = [one for one in job.task_details if one.task_name == "write"]
    assert dict(task.execution.metadata)["output:Output"] == "test-project test-project"
    assert bucket.blob("by/client").download_as_text() == "by the client"
    shown = [one for one in unended(portico.home) if one["kind"] == "pipelineJobs.processes"]
    assert shown and all("keeps processes for pipelines' tasks" in line for line in in_lines(shown))


@pytest.fixture
def keeper(portico: Any, tmp_path: Path) -> Any:
    """A keeper of processes, one at a time: itself, where it listens, and the thread that it is."""
    ids = RandomIds()
    context = Context(tmp_path, Database(portico.home), SystemClock(), ids, _job(ids.number()), lambda: False)
    path = Path(f"/tmp/portico-{ids.number()}")
    kept = Keeper(context, path, lambda: 1)
    thread = threading.Thread(target=kept.run)
    thread.start()
    yield kept, path, thread
    kept.idle = 0
    thread.join(240)
    context.database.close()


def held(path: Path, modules: str, *readable: Path) -> Warm:
    python = environments.environment([], "3.11", ENVIRONMENTS)
    kept = Warm(until(lambda: reserve(path), "one is free"))
    kept.prepare(
        {
            "python": str(python), "readable": [str(one) for one in (*environments.prefixes(python), *readable)],
            "environment": {"PYTHONPATH": ":".join(map(str, readable))}, "modules": modules,
            "limits": {"memory": 1 << 30, "processes": 16},
        }
    )  # fmt: skip
    return kept


def test_what_waits_ends_when_nobody_has_used_it(keeper):
    itself, path, thread = keeper
    kept = held(path, "json")
    itself.idle = 0
    assert reserve(path) is None  # one is in use, and there may be one
    kept.close()
    thread.join(240)
    assert not thread.is_alive() and not path.exists()
    until(lambda: not processes.alive(kept.pid), "it ends")


def test_what_starts_threads_is_not_imported_before_a_fork(keeper, tmp_path):
    (tmp_path / "own").mkdir()
    starts = "import threading; threading.Thread(target=threading.Event().wait, daemon=True).start()"
    (tmp_path / "own" / "threads.py").write_text(starts)

    def run() -> int:
        kept = held(keeper[1], "json", tmp_path / "own")
        try:
            kept.view.lower.mkdir(parents=True, exist_ok=True)
            kept.begin(["python", "-c", "pass"], {}, [])
            code = kept.wait(60)
            (kept.folder / "work" / TELLS).write_text("json,threads")
            return code
        finally:
            kept.close()

    # The first tells what it imported; the process that imports that for the next ends, and that next one knows better.
    codes = [run() for _ in range(4)]
    assert codes[0] == 0 and codes[-2:] == [0, 0]


def test_what_ended_before_it_saw_a_file_has_written_nothing(tmp_path: Path) -> None:
    told = {
        "outputs": {
            "outputFile": "/gcs/b/r/executor_output.json",
            "parameters": {"x": {"outputFile": "/gcs/b/r/x"}},
        }
    }
    assert reading.read(tmp_path / "none", {"outputs": told}) == {"parameterValues": {}, "artifacts": {}}

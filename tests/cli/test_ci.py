"""`portico ci`: the example repository as it stands, by its own workflow; what it refuses; what its gates say."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import psutil
import pytest
import yaml
from tests import environments, processes

import portico
from portico.cli.ci import beside, declaration, fetched, gates, run
from portico.cli.ci.declaration import Gates
from portico.cli.ci.evaluation import Evaluation, Measure, Slice, read
from portico.cli.ci.repository import Repository
from portico.cli.ci.verdict import Check, Verdict
from portico.errors import InvalidArgument

TREE = Path(portico.__file__).parents[2]
EXAMPLE = TREE / "examples" / "ci"


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the example, and beside it the home whose environments are used."""
    environments.share(_home(tmp_path))
    kept = shutil.ignore_patterns("build", "portico-ci", "verdict", "__pycache__", ".pytest_cache")
    return Path(shutil.copytree(EXAMPLE, tmp_path / "repository", ignore=kept))


def _home(folder: Path) -> Path:
    home = folder / "home"
    home.mkdir(exist_ok=True)
    return home


def workflow(repository: Path) -> tuple[dict[str, int], str]:
    """Runs the workflow's own steps as a code host does; the exit code of each, and the summary that they write.

    What `uses` an action is the host's: here the repository is checked out already, and `portico` beside its files.
    """
    (repository / "portico").symlink_to(TREE)
    job = yaml.safe_load((repository / ".github/workflows/model.yml").read_text())["jobs"]["check"]
    path, summary = repository.parent / "path", repository.parent / "summary.md"
    path.touch()
    env = os.environ | {
        "GITHUB_PATH": str(path), "GITHUB_STEP_SUMMARY": str(summary), "PORTICO_HOME": str(repository.parent / "home"),
    }  # fmt: skip
    codes: dict[str, int] = {}
    for step in job["steps"]:
        if "run" not in step or (any(codes.values()) and step.get("if") != "always()"):
            continue
        env["PATH"] = os.pathsep.join([*path.read_text().split(), os.environ["PATH"]])
        done = subprocess.run(
            ["bash", "-e", "-c", step["run"]], cwd=repository, env=env, check=False, timeout=240
        )
        codes[step["name"]] = done.returncode
    return codes, summary.read_text()


def cases(verdict: Path) -> dict[str, str]:
    """The checks of a JUnit file that are not well, by name, with their message."""
    found = {}
    for case in ElementTree.parse(verdict).getroot().iter("testcase"):
        for one in case:
            if one.tag in ("failure", "error"):
                found[case.get("name", "")] = f"{one.tag}: {one.get('message')}"
    return found


def left(folder: Path) -> list[list[str]]:
    """Servers of `portico ci` that still run; their homes lie in the temporary folder that a test gives."""
    own = [command for one in psutil.process_iter() if "up" in (command := processes.command(one))]
    return [one for one in own if any(str(folder) in word for word in one)]


@pytest.mark.slow
def test_the_example_passes_by_its_workflow(repository: Path, temporary: Path) -> None:
    codes, summary = workflow(repository)
    assert set(codes.values()) == {0} and len(codes) == 3
    assert summary.startswith("# repository: passed\n") and "| north |" in summary
    assert cases(repository / "verdict" / "verdict.xml") == {}
    new, old = (read((repository / "verdict" / name).read_bytes(), name) for name in FILES)
    assert new.rows == old.rows == 300
    assert new.metrics["auRoc"].low > 0.65 and new.metrics["auRoc"] != old.metrics["auRoc"]
    assert left(temporary) == [] and list(temporary.glob("portico-ci-*")) == []


FILES = ("evaluation.json", "deployed-evaluation.json")


@pytest.mark.slow
def test_the_example_fails_at_the_gate(repository: Path, temporary: Path) -> None:
    source = repository / "pipeline.py"
    source.write_text(source.read_text().replace('FEATURES = ["age", "waited",', "FEATURES = ["))
    codes, summary = workflow(repository)
    assert codes["Hold the model to the one deployed"] == 1 and codes["Show the verdict"] == 0
    assert summary.startswith("# repository: a gate failed\n")
    found = cases(repository / "verdict" / "verdict.xml")
    assert {"least auRoc", "as good as the deployed model"} <= set(found)
    assert found["least auRoc"].startswith("failure: it may be as low as 0.")
    assert left(temporary) == []


@pytest.fixture
def temporary(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """Where the commands put what they need for a while: by a short path, for a server's sockets lie below it."""
    with tempfile.TemporaryDirectory(prefix="ci-") as folder:
        monkeypatch.setenv("TMPDIR", folder)
        yield Path(folder)


def ci(repository: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "portico.cli.main", "ci", "--unconfined"], cwd=repository, text=True, timeout=240,
        capture_output=True, env=os.environ | {"PORTICO_HOME": str(repository.parent / "home")}, check=False,
    )  # fmt: skip


def test_a_pipeline_that_does_not_compile_could_not_be_run(repository: Path) -> None:
    source = repository / "pipeline.py"
    source.write_text(source.read_text().replace("data=visits.output, schema", "date=visits.output, schema"))
    done = ci(repository)
    assert done.returncode == 2 and "# repository: it could not be run" in done.stdout
    found = cases(repository / "portico-ci" / "verdict.xml")
    assert found == {"pipeline.py": "error: pipeline.py does not compile:"}
    assert "validate-data() got an unexpected keyword argument" in done.stdout
    assert "| gates: not begun | skipped |" in done.stdout


def test_a_component_whose_test_fails_stops_it(repository: Path) -> None:
    source = repository / "cleaning.py"
    source.write_text(source.read_text().replace(">= 0", "> 30"))
    done = ci(repository)
    assert done.returncode == 1 and "assert [] == [0]" in done.stdout
    assert list(cases(repository / "portico-ci" / "verdict.xml")) == ["python -m pytest -q tests"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("pipelines: a.py", "portico-ci.yaml:2: pipelines: there is no such field."),
        ("tests: 3", "portico-ci.yaml:2: tests: Expected `str`, got `int`."),
        ("evaluation: there", "evaluation: 'there' is no TASK.OUTPUT."),
        ("files: {here: a.csv}", "portico-ci.yaml:2: files: 'here' is no gs://BUCKET/OBJECT."),
        ("deployed: {}", "portico-ci.yaml:2: deployed: it has either an evaluation or a model."),
        ("gates: {metric: auRoc, least: {auRoc: high}}", "Expected `float`, got `str`."),
    ],
)
def test_a_declaration_that_is_wrong_could_not_be_run(tmp_path: Path, line: str, words: str) -> None:
    file = tmp_path / "portico-ci.yaml"
    given = {"pipeline": "a.py", "evaluation": "e.evaluation", "gates": {"metric": "auRoc"}}
    given.pop(line.partition(":")[0], None)
    file.write_text(f"# a comment\n{line}\n" + yaml.safe_dump(given))
    found = run.run(file, tmp_path / "out", False, lambda words: None)
    assert found.code == 2 and words in found.checks[0].words
    assert words.partition("`")[0] in (tmp_path / "out" / "verdict.md").read_text()


def test_no_declaration_could_not_be_run(tmp_path: Path) -> None:
    found = run.run(tmp_path / "portico-ci.yaml", tmp_path, False, lambda words: None)
    assert found.code == 2 and "can't be read" in found.checks[0].words


def test_the_example_is_declared_as_it_reads() -> None:
    found = declaration.load(EXAMPLE / "portico-ci.yaml")
    assert found.gates.worse == 0.02 and found.deployed and found.deployed.metadata["target"] == "came"


def evaluation(auc: float, loss: float = 0.4, unfair: float = 0.1, median: float = 2.0) -> Evaluation:
    half = 0.05
    return Evaluation(
        rows=100,
        metrics={
            "auRoc": Measure(auc, auc - half, auc + half), "logLoss": Measure(loss, loss - half, loss + half),
        },
        baseline={"auRoc": 0.5, "logLoss": 0.6},
        slices={"where": {"a": Slice(60, {"auRoc": auc - 0.1}), "b": Slice(40, {"auRoc": auc, "logLoss": loss})}},
        fairness={"where": {"demographicParityDifference": unfair}},
        latency_milliseconds={"median": median, "p95": 2 * median},
    )  # fmt: skip


@pytest.mark.parametrize(
    ("asked", "failed"),
    [
        ({"least": {"auRoc": 0.74}}, []),
        ({"least": {"auRoc": 0.76}}, ["least auRoc"]),
        ({"most": {"logLoss": 0.46}}, []),
        ({"most": {"logLoss": 0.44}}, ["most logLoss"]),
        ({"weakest_slice": 0.69}, []),
        ({"weakest_slice": 0.71}, ["weakest slice"]),
        ({"metric": "logLoss", "worse": 1, "weakest_slice": 0.41}, []),
        ({"metric": "logLoss", "worse": 1, "weakest_slice": 0.39}, ["weakest slice"]),
        ({"most_unfair": 0.1}, []),
        ({"most_unfair": 0.09}, ["fairness"]),
        ({"most_milliseconds": 2.0}, []),
        ({"most_milliseconds": 1.9}, ["latency"]),
        ({"worse": 0.0}, ["as good as the deployed model"]),
        ({"metric": "logLoss", "worse": 0.09}, ["as good as the deployed model"]),
        ({"metric": "logLoss", "worse": 0.11}, []),
        ({"worse_slice": 0.05}, []),
        ({"worse_slice": 0.01}, ["as good on each slice"]),
        ({"slower": 2.1}, []),
        ({"slower": 1.9}, ["as fast as the deployed model"]),
        ({"more_unfair": 0.06}, []),
        ({"more_unfair": 0.04}, ["as fair as the deployed model"]),
    ],
)  # fmt: skip
def test_each_gate_stops_what_it_is_about(asked: dict[str, Any], failed: list[str]) -> None:
    given = Gates(**({"metric": "auRoc", "worse": 0.03} | asked))
    judged = gates.judge(given, evaluation(0.8), evaluation(0.82, 0.3, 0.05, 1.0))
    assert [one.name for one in judged if not one.passed] == failed
    assert all(one.words for one in judged)


def test_what_is_not_better_than_the_simple_answer_for_sure_does_not_pass() -> None:
    for metric, bad in (("auRoc", evaluation(0.54)), ("logLoss", evaluation(0.8, 0.56))):
        [judged] = gates.judge(Gates(metric=metric), bad, None)
        assert judged.name == "better than the simple answer" and not judged.passed


@pytest.mark.parametrize(
    ("asked", "lacks", "words"),
    [
        ({"metric": "rSquared"}, {}, "The evaluation has no rSquared; it has auRoc, logLoss."),
        ({"least": {"f1": 1.0}}, {}, "The evaluation has no f1"),
        ({"weakest_slice": 0.1}, {"slices": {}}, "the evaluation has no slices"),
        ({"most_unfair": 0.1}, {"fairness": {}}, "the evaluation has no fairness"),
        ({"most_milliseconds": 1.0}, {"latency_milliseconds": {}}, "has no median; it has nothing"),
        ({"worse_slice": 0.1}, {"slices": {}}, "no slice in common"),
        ({"more_unfair": 0.1}, {"fairness": {}}, "no fairness in common"),
    ],
)
def test_a_gate_about_what_was_not_measured_is_no_gate(
    asked: dict[str, Any], lacks: dict[str, Any], words: str
) -> None:
    new = evaluation(0.8)
    for name, value in lacks.items():
        setattr(new, name, value)
    with pytest.raises(InvalidArgument, match=words):
        gates.judge(Gates(**({"metric": "auRoc"} | asked)), new, evaluation(0.8))


def test_an_evaluation_that_is_none_is_told() -> None:
    with pytest.raises(InvalidArgument, match=r"mine\.json is no evaluation.*metrics"):
        read(b'{"rows": 1}', "mine.json")


def test_the_deployed_model_is_evaluated_by_the_same_task_wherever_it_stands() -> None:
    model = {"artifactType": {"schemaTitle": "system.Model", "schemaVersion": "0.0.1"}}
    task = {
        "componentRef": {"name": "comp-e"}, "dependentTasks": ["train"], "taskInfo": {"name": "measure"},
        "inputs": {"artifacts": {"m": {"componentInputArtifact": "given"}}, "parameters": {"p": {}}},
    }  # fmt: skip
    spec: dict[str, Any] = {
        "root": {"dag": {"tasks": {"condition-1": {"componentRef": {"name": "comp-condition-1"}}}}},
        "components": {
            "comp-condition-1": {"dag": {"tasks": {"e": task}}},
            "comp-e": {"executorLabel": "exec-e", "inputDefinitions": {"artifacts": {"m": model}}},
        },
        "deploymentSpec": {"executors": {"exec-e": {}}},
    }
    made = beside.with_deployed(spec, "measure", "gs://b/m", {"target": "y"})
    tasks = made["components"]["comp-condition-1"]["dag"]["tasks"]
    assert tasks["e"] == task and set(tasks) == {"e", beside.EVALUATION, beside.MODEL}
    again = tasks[beside.EVALUATION]
    assert again["inputs"]["artifacts"]["m"]["taskOutputArtifact"]["producerTask"] == beside.MODEL
    assert again["inputs"]["parameters"] == {"p": {}} and beside.MODEL in again["dependentTasks"]
    with pytest.raises(InvalidArgument, match="no task f; it has condition-1, e"):
        beside.with_deployed(spec, "f", "gs://b/m", {})
    spec["components"]["comp-e"]["inputDefinitions"] = {}
    with pytest.raises(InvalidArgument, match="has 0 inputs that are models"):
        beside.with_deployed(spec, "e", "gs://b/m", {})


def test_what_is_deployed_may_lie_in_cloud_storage(aiplatform: Any, bucket: Any, tmp_path: Path) -> None:
    for blob in ("old/model.joblib", "old/more/a.json", "older/b", "e.json", "e.json.bak"):
        bucket.blob(blob).upload_from_string(blob)
    opened = Repository(tmp_path, declaration.load(EXAMPLE / "portico-ci.yaml"), Path(sys.executable), "")

    def local(name: str, out: str) -> Path:
        return fetched.local(name, "deployed.model", opened, tmp_path / out)

    folder = local(f"gs://{bucket.name}/old", "a")
    files = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert files == {"model.joblib", "more/a.json"}
    assert local(f"gs://{bucket.name}/e.json", "b").read_text() == "e.json"
    model = aiplatform.Model.upload(
        display_name="ci", artifact_uri=f"gs://{bucket.name}/old",
        serving_container_image_uri="us-docker.pkg.dev/vertex-ai/prediction/sklearn-cpu.1-6:latest",
    )  # fmt: skip
    assert (local(model.resource_name, "d") / "model.joblib").read_text() == "old/model.joblib"
    empty = aiplatform.Endpoint.create(display_name="ci").resource_name
    gone = empty.replace("endpoints", "models")
    for name in (f"gs://{bucket.name}/none", "gs://no-such-bucket-of-ci/a", "none", empty, gone):
        with pytest.raises(InvalidArgument, match=r"deployed\.model: .*"):
            local(name, "c")


def test_a_verdict_holds_whatever_was_printed() -> None:
    checks = [Check("test", "a | b", "failed", "\x1b[31mred <b>&\n|\x00"), Check("run", "r", "passed", "ok")]
    found = Verdict("it", checks, evaluation(0.8))
    case = ElementTree.fromstring(found.junit()).find(".//failure")
    assert case is not None and "[31mred <b>&" in str(case.text)
    assert "| test: a \\| b | failed |" in found.markdown() and found.code == 1
    assert "| a | 60 | auRoc | 0.7000 |  |" in found.markdown()

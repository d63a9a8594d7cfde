"""What a repository's `portico-ci.yaml` says."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import orjson

from portico.client import yaml_file
from portico.errors import InvalidArgument

KFP = "kfp==2.17.3"
_AT = re.compile(r"(?P<problem>.*?)(?: - at `\$\.?(?P<field>.*)`)?", re.DOTALL)
_UNKNOWN = re.compile(r"Object contains unknown field `(.*)`")
_OUTPUT = re.compile(r"[^.\s]+\.[^.\s]+")


class Deployed(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """The model that would be replaced. Either its evaluation as there is one, or its files, which are evaluated on the
    same rows by the same task; both are paths in the repository or gs:// names."""

    evaluation: str = ""
    model: str = ""
    """Also the name of a model, or of the endpoint where it serves: projects/…/endpoints/E."""
    metadata: dict[str, Any] = {}
    """Of the artifact that stands for `model`: what the evaluating component reads of it."""


class Gates(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    """What the new model has to keep to. `metric` is the one by which it is compared with others."""

    metric: str
    least: dict[str, float] = {}
    most: dict[str, float] = {}
    """Bounds of measures, for the nearer end of the interval."""
    beats_baseline: bool = True
    weakest_slice: float | None = None
    most_unfair: float | None = None
    most_milliseconds: float | None = None
    """For the median of one row's prediction."""
    worse: float = 0.0
    """How much worse than the deployed model's `metric` may be; `worse_slice` of any slice of both."""
    worse_slice: float | None = None
    slower: float | None = None
    """How many times the deployed model's median it may take."""
    more_unfair: float | None = None


class Declaration(msgspec.Struct, forbid_unknown_fields=True, kw_only=True, rename="camel"):
    pipeline: str
    """A file that defines a pipeline with kfp, or one that is compiled already (.yaml, .json)."""
    function: str = ""
    """The pipeline's function, where the file has several."""
    python: str = "3.11"
    packages: list[str] = []
    """Beside kfp: what the file, the tests and `prepare` import."""
    tests: str = ""
    prepare: str = ""
    """Commands, run in the repository with that Python: the components' tests, and what makes the sample."""
    files: dict[str, str] = {}
    """gs:// names that the sample's run reads -> the files that they are, in the repository."""
    parameters: dict[str, Any] = {}
    evaluation: str
    """TASK.OUTPUT: an evaluation as `portico.client.components.evaluate_model` writes it."""
    deployed: Deployed | None = None
    gates: Gates
    timeout: float = 1800.0
    """Seconds that the sample's run may take."""


def load(path: Path) -> Declaration:
    """
    Raises:
        InvalidArgument: naming line and field.
    """
    body, lines = yaml_file.read(path)
    try:
        found = msgspec.json.decode(orjson.dumps(body), type=Declaration)
    except msgspec.ValidationError as error:
        told = _AT.fullmatch(str(error))
        assert told is not None
        field, problem = told["field"] or "", told["problem"]
        if unknown := _UNKNOWN.fullmatch(problem):
            field, problem = f"{field}.{unknown[1]}".lstrip("."), "there is no such field"
        raise _error(path, lines, field, problem) from None
    if not _OUTPUT.fullmatch(found.evaluation):
        raise _error(path, lines, "evaluation", f"{found.evaluation!r} is no TASK.OUTPUT")
    for name in found.files:
        if not re.fullmatch(r"gs://[^/]+/.+", name):
            raise _error(path, lines, "files", f"{name!r} is no gs://BUCKET/OBJECT")
    if found.deployed is not None and bool(found.deployed.evaluation) == bool(found.deployed.model):
        raise _error(path, lines, "deployed", "it has either an evaluation or a model")
    return found


def _error(path: Path, lines: dict[str, int], field: str, problem: str) -> InvalidArgument:
    at = field
    while at and at not in lines:
        at = at[: max(at.rfind("."), at.rfind("["), 0)]
    where = f"{path.name}:{lines.get(at, 1)}"
    return InvalidArgument(f"{where}: {field or 'the file'}: {problem}.", field=field)

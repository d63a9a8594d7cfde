"""Google's own pipeline templates for the evaluation of models, which `Model.evaluate` of the client runs: at
https://us-kfp.pkg.dev/vertex-evaluation/pipeline-templates. They are in the package of Google's components, and
compiled from there in its environment, whatever version is asked for.
"""

from __future__ import annotations

import functools
import logging
import re
import subprocess
import tempfile
from pathlib import Path

from portico.errors import FailedPrecondition, NotFound
from portico.sandbox.installer import Teller, niced
from portico.services.aiplatform.custom.environments import python_of
from portico.services.aiplatform.pipelines.components import prebuilt

log = logging.getLogger(__name__)

_PACKAGE = re.compile(
    r"projects/vertex-evaluation/locations/[^/]+/repositories/pipeline-templates/packages/(?P<name>[^/]+)"
)
_KINDS = ("automl-tabular-feature-attribution-", "automl-tabular-", "feature-attribution-", "")
_NAMES = tuple(
    f"evaluation-{kind}{task}-pipeline" for kind in _KINDS for task in ("classification", "regression")
)
_TASK = re.compile("classification_|regression_")
_PLAIN = "evaluation_automl_unstructure_data_pipeline"  # the module of those without a kind
_COMPILE = """
import importlib, sys, warnings
warnings.filterwarnings("ignore")
from kfp import compiler
module, function, path = sys.argv[1:]
compiler.Compiler().compile(getattr(importlib.import_module(module), function), path)
"""
_SECONDS = 300


def publish(home: Path, package: str, version: str) -> bytes | None:
    """
    Raises:
        NotFound: there is no such template. FailedPrecondition: it can't be compiled here.
    """
    found = _PACKAGE.fullmatch(package)
    if found is None:
        return None
    if found["name"] not in _NAMES:
        raise NotFound(
            f"There is no template {found['name']!r} for evaluations; there are {', '.join(_NAMES)}."
        )
    return _compiled(home, found["name"])


@functools.lru_cache
def _compiled(home: Path, name: str) -> bytes:
    image = prebuilt.python_of(prebuilt.IMAGE, "image")
    assert image is not None
    python = python_of(image, (), home, Teller(log.info))
    function = name.replace("-", "_")
    module = _TASK.sub("", function)
    module = _PLAIN if module == "evaluation_pipeline" else module
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "template.yaml")
        said = [f"google_cloud_pipeline_components.v1.model_evaluation.{module}", function, str(path)]
        command = [*niced(), str(python), "-I", "-c", _COMPILE, *said]
        try:
            done = subprocess.run(
                command, capture_output=True, text=True, timeout=_SECONDS, check=False, cwd=folder
            )
        except subprocess.TimeoutExpired:
            raise FailedPrecondition(
                f"The template {name} took longer than {_SECONDS} s to compile."
            ) from None
        if done.returncode or not path.is_file():
            raise FailedPrecondition(
                f"The template {name} of {prebuilt.IMAGE} can't be compiled here: {done.stderr.strip()[-1000:]}"
            )
        return path.read_bytes()

"""What a serving container's image name means here: which framework and version, and how it is served.

Google's prebuilt scikit-learn, XGBoost, TensorFlow and PyTorch images resolve to Python environments for replica
processes. Our own names are `us-docker.pkg.dev/portico/prediction/lightgbm-cpu.4-7:latest` (artifact `model.txt`) and
`us-docker.pkg.dev/portico/prediction/onnx-cpu.1-32:latest` (`model.onnx`), with any region, minor version and
tag; they are served in the front's process.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

from portico.errors import FailedPrecondition, InvalidArgument, PorticoError, Unimplemented
from portico.services.registry.model_store import VersionPrivate
from portico.store.replicas import ReplicaSet
from portico.store.resources import Resource

# google/cloud/aiplatform/constants/prediction.py, and the other names that these images have or had.
_PREBUILT = re.compile(
    r"(?:[a-z0-9-]+-docker\.pkg\.dev/(?P<project>vertex-ai|cloud-aiplatform|portico)/prediction"
    r"|(?:(?:us|eu|asia)\.)?gcr\.io/(?:vertex-ai|cloud-aiplatform)/prediction)"
    r"/(?P<short>(?P<framework>[a-z0-9]+)-(?P<accelerator>[a-z]+)\.(?P<version>\d+(?:-\d+)*))"
    r"(?P<tag>(?::[\w.-]+)?(?:@sha256:[0-9a-f]+)?)"
)

# https://hub.docker.com/r/tensorflow/serving: tags are versions of TensorFlow.
_TF_SERVING = re.compile(
    r"(?:docker\.io/)?tensorflow/serving"
    r"(?::(?:latest|nightly|(?P<version>\d+\.\d+)(?:\.\d+)?(?:-rc\d+)?)(?:-gpu)?)?(?:@sha256:[0-9a-f]+)?"
)


@dataclass(frozen=True, slots=True)
class Serving:
    """How a model with a prebuilt image is served.

    `image` is the image's short name ("sklearn-cpu.1-5"), `version` the framework's ("1.5"). `artifacts` are
    the file names it may have, the first found wins. For a "replica", `requirements` (PEP 508) and `pythons`
    (versions that fit, the best first) make its environment. `container` is what runs an image that was built here
    (`source_images`); `note` says where it is not what the image names. With `versions` a model's files are in folders
    that are called by numbers, of which the highest is served, as TensorFlow Serving does.
    """

    kind: Literal["replica", "native"]
    framework: str
    version: str
    image: str
    artifacts: tuple[str, ...]
    requirements: tuple[str, ...] = ()
    pythons: tuple[str, ...] = ()
    container: dict[str, Any] = field(default_factory=dict)
    note: str = ""
    versions: bool = False

    def to_json(self) -> dict[str, Any]:
        """As JSON has it, for the registry."""
        return {
            name: list(value) if isinstance(value, tuple) else value for name, value in asdict(self).items()
        }

    def replica_set(self, id: str, model_dir: Path, count: int = 1, memory: int = 4 << 30) -> ReplicaSet:
        """The replicas that serve the model of a folder; `memory` in bytes, each."""
        return ReplicaSet(
            id=id, image=self.image, framework=self.framework, version=self.version,
            requirements=list(self.requirements), pythons=list(self.pythons), artifacts=list(self.artifacts),
            model_dir=str(model_dir), count=count, memory=memory, container=self.container,
        )  # fmt: skip

    @staticmethod
    def from_json(told: dict[str, Any]) -> Serving:
        values: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value for name, value in told.items()
        }
        return Serving(**values)


_SKLEARN_FILES = ("model.joblib", "model.pkl", "model.skops")  # the last is what MLflow saves
_XGBOOST_FILES = ("model.bst", "model.joblib", "model.pkl")
# Upper bounds are what was current when the version was: later ones import but fail, or warn.
# version -> (bounds on what it stands on, Pythons with wheels of it)
_SKLEARN = {
    "0.20": ("numpy<1.17 scipy<1.3 pandas<1 joblib<1", "3.7"),
    "0.22": ("numpy<1.19 scipy<1.5 pandas<1.1 joblib<1", "3.7 3.8"),
    "0.23": ("numpy<1.20 scipy<1.6 pandas<1.2 joblib<1.1", "3.7 3.8"),
    "0.24": ("numpy<1.22 scipy<1.8 pandas<1.4 joblib<1.2", "3.7 3.8 3.9"),
    "1.0": ("numpy<1.24 scipy<1.11 pandas<2 joblib<1.3", "3.7 3.8 3.9 3.10"),
    "1.1": ("numpy<1.24 scipy<1.11 pandas<2 joblib<1.3", "3.10 3.9 3.8 3.11"),
    "1.2": ("numpy<1.27 scipy<1.12 pandas<2.1 joblib<1.4", "3.10 3.11 3.9 3.8"),
    "1.3": ("numpy<2 scipy<1.13 pandas<2.3 joblib<1.5", "3.10 3.11 3.12 3.9 3.8"),
    "1.4": ("numpy<2 scipy<1.14 pandas<2.3 joblib<1.5", "3.10 3.11 3.12 3.9"),
    "1.5": ("numpy<2.3 scipy<1.15 pandas<2.3 joblib<1.5", "3.10 3.11 3.12 3.9 3.13"),
    "1.6": ("numpy<2.3 scipy<1.16 pandas<3 joblib<1.6", "3.10 3.11 3.12 3.13 3.9"),
}
_XGBOOST = {
    "0.82": ("numpy<1.20 scipy<1.6 pandas<1.2 scikit-learn<0.24 joblib<1.2 setuptools<70", "3.7 3.8"),
    "0.90": ("numpy<1.20 scipy<1.6 pandas<1.2 scikit-learn<0.24 joblib<1.2 setuptools<70", "3.7 3.8"),
    "1.1": ("numpy<1.22 scipy<1.8 pandas<1.4 scikit-learn<1.0 joblib<1.2 setuptools<70", "3.7 3.8 3.9"),
    "1.2": ("numpy<1.22 scipy<1.8 pandas<1.4 scikit-learn<1.0 joblib<1.2 setuptools<70", "3.7 3.8 3.9"),
    "1.3": ("numpy<1.22 scipy<1.8 pandas<1.4 scikit-learn<1.0 joblib<1.2 setuptools<70", "3.7 3.8 3.9"),
    "1.4": ("numpy<1.22 scipy<1.8 pandas<1.4 scikit-learn<1.0 joblib<1.2 setuptools<70", "3.7 3.8 3.9"),
    "1.5": ("numpy<1.24 scipy<1.11 pandas<2 scikit-learn<1.2 joblib<1.3 setuptools<70", "3.8 3.9 3.10 3.7"),
    "1.6": ("numpy<1.24 scipy<1.11 pandas<2 scikit-learn<1.2 joblib<1.3 setuptools<70", "3.10 3.9 3.8 3.11"),
    "1.7": ("numpy<1.27 scipy<1.12 pandas<2.1 scikit-learn<1.3 joblib<1.4", "3.10 3.11 3.9 3.8"),
    "2.0": ("numpy<2 scipy<1.13 pandas<2.3 scikit-learn<1.4 joblib<1.5", "3.10 3.11 3.12 3.9 3.8"),
    "2.1": ("numpy<2.3 scipy<1.15 pandas<2.3 scikit-learn<1.6 joblib<1.5", "3.10 3.11 3.12 3.9"),
}
# Below which version -> what it needs bounds for, beside those that it states itself.
_TENSORFLOW = (
    ((2, 9), "protobuf<3.21 numpy<1.24 setuptools<70"),
    ((2, 12), "numpy<1.24 setuptools<70"),
    ((2, 16), "numpy<2 setuptools<70"),
)
_XRAI = "saliency==0.2.1"  # by the authors of XRAI
# Versions after the tables: what is current then fits.
_LATER = "3.11 3.12 3.13 3.14 3.10"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_NATIVE = {"lightgbm": ("model.txt",), "onnx": ("model.onnx",)}
_TENSORFLOW_FILES = ("saved_model.pb",)
_PYTORCH_FILES = ("model.mar",)


def resolve(image_uri: str) -> Serving:
    """What serves a model whose `containerSpec.imageUri` is `image_uri`.

    Raises:
        InvalidArgument: it is empty, or names a version that a prebuilt image does not have.
        Unimplemented: it cannot be served here, with what would be needed.
    """
    if not image_uri:
        raise InvalidArgument("The model has no image to be served with.", field="container_spec.image_uri")
    if serving := _TF_SERVING.fullmatch(image_uri):
        version = serving["version"] or "2.16"  # at least
        short = image_uri.removeprefix("docker.io/")
        needs = _tensorflow(version) if serving["version"] else (("tensorflow-cpu",), tuple(_LATER.split()))
        return Serving("replica", "tensorflow", version, short, _TENSORFLOW_FILES, *needs, versions=True)
    match = _PREBUILT.fullmatch(image_uri)
    if match is None:
        raise Unimplemented(
            f"{image_uri} is a container image of its own, and it was not built here: build it under `portico exec` "
            f"(docker build, or LocalModel.build_cpr_model), which keeps its source, and upload the model then. Models "
            f"for Google's prebuilt scikit-learn, XGBoost, TensorFlow and PyTorch images, for tensorflow/serving, "
            f"LightGBM, ONNX and AutoML models are served without."
        )
    framework, version, short = match["framework"], match["version"].replace("-", "."), match["short"]
    if match["project"] == "portico":
        if framework not in _NATIVE or match["accelerator"] != "cpu":
            raise InvalidArgument(
                f"There is no image {short} of Portico's; there are lightgbm-cpu and onnx-cpu.",
                field="container_spec.image_uri",
            )
        return Serving("native", framework, version, short, _NATIVE[framework])
    if framework == "pytorch":  # which PyTorch installs here is found when it is deployed (`model_archives`)
        return Serving("replica", "pytorch", version, short, _PYTORCH_FILES)
    if framework in ("tf", "tf2"):
        return Serving("replica", "tensorflow", version, short, _TENSORFLOW_FILES, *_tensorflow(version))
    table = {"sklearn": _SKLEARN, "xgboost": _XGBOOST}.get(framework)
    if table is None or match["accelerator"] != "cpu" or not _known(version, table):
        names = ", ".join(f"{framework}-cpu.{known.replace('.', '-')}" for known in table or {})
        raise InvalidArgument(
            f"There is no prebuilt image {short}" + (f"; there are {names}." if names else "."),
            field="container_spec.image_uri",
        )
    bounds, pythons = table.get(version) or ("pandas joblib scikit-learn", _LATER)
    below = [line for line in bounds.split() if framework != "sklearn" or line != "scikit-learn"]
    library = [f"scikit-learn=={version}.*"] if framework == "sklearn" else _xgboost(version)
    files = _SKLEARN_FILES if framework == "sklearn" else _XGBOOST_FILES
    requirements = (*library, *below)
    return Serving("replica", framework, version, short, files, requirements, tuple(pythons.split()))


def of_files(serving: Serving, names: Collection[str]) -> Serving:
    """What serves a model with the files `names` that was uploaded for `serving`: BigQuery ML exports ONNX here where
    Google's exports a SavedModel, and samples name a TensorFlow image for that."""
    onnx = _NATIVE["onnx"]
    if serving.framework != "tensorflow" or serving.artifacts[0] in names or onnx[0] not in names:
        return serving
    return Serving("native", "onnx", "", serving.image, onnx)


def bounds_of(library: str, version: str) -> list[str]:
    """What the package `library` of `version` ("1.1.3") stands on, as requirements; none for a current one."""
    if library == "tensorflow":
        return next((bounds.split() for below, bounds in _TENSORFLOW if _numbers(version)[:2] < below), [])
    table = {"scikit-learn": _SKLEARN, "xgboost": _XGBOOST}.get(library, {})
    bounds, _ = table.get(".".join(version.split(".")[:2]), ("", ""))
    return bounds.split()


def profiler_of(library: str, version: str) -> list[str]:
    """What bounds TensorBoard's profiler beside the package `library` of `version`: its later versions are xprof's,
    whose messages need a later protobuf than they say, and than TensorFlow had before 2.18."""
    early = library == "tensorflow" and _numbers(version)[:2] < (2, 18)
    return ["tensorboard-plugin-profile<2.16"] if early else []


def explaining(serving: Serving, spec: Mapping[str, Any]) -> Serving:
    """`serving` with what explaining by the ExplanationSpec `spec` needs beside.

    Raises:
        InvalidArgument: models of its framework aren't explained so.
    """
    parameters = spec.get("parameters") or {}
    gradients = [name for name in ("integratedGradientsAttribution", "xraiAttribution") if name in parameters]
    if gradients and serving.framework != "tensorflow":
        raise InvalidArgument(
            f"{gradients[0]} needs gradients, which are known of TensorFlow models; explain this {serving.framework} "
            "model by sampledShapleyAttribution.",
            field="explanation_spec.parameters",
        )
    if "xraiAttribution" in gradients:
        return replace(serving, requirements=(*serving.requirements, _XRAI))
    return serving


def check_container(spec: Mapping[str, Any]) -> None:
    """That a Model's `containerSpec` can be a container's, whatever image it has.

    Raises:
        InvalidArgument: a port or a variable is none.
    """
    field = "model.containerSpec"
    for kind in ("ports", "grpcPorts"):
        for position, port in enumerate(spec.get(kind) or []):
            if not 1 <= int(port.get("containerPort") or 0) <= 65535:
                raise InvalidArgument(
                    f"A port is from 1 to 65535, not {port.get('containerPort')}.",
                    field=f"{field}.{kind}[{position}].containerPort",
                )
    for position, variable in enumerate(spec.get("env") or []):
        if not _VARIABLE.fullmatch(str(variable.get("name") or "")):
            raise InvalidArgument(
                f"{variable.get('name')!r} is no name of a variable: letters, digits and _, and no digit first.",
                field=f"{field}.env[{position}].name",
            )


def require_served(name: str, version: Resource) -> None:
    """
    Raises:
        FailedPrecondition: the model's `version` is registered, but nothing here serves it.
    """
    if VersionPrivate.of(version).format:
        return
    image = VersionPrivate.of(version).image or (version.body.get("containerSpec") or {}).get("imageUri", "")
    if not image:
        raise FailedPrecondition(
            f"The Model {name!r} has no container that would serve it: upload a version with "
            "containerSpec.imageUri (serving_container_image_uri) and artifactUri."
        )
    try:
        resolve(image)
    except PorticoError as error:
        raise FailedPrecondition(f"The Model {name!r} can't be served here. {error.message}") from None
    raise FailedPrecondition(
        f"The Model {name!r} has no files to predict with: upload a version with artifactUri, the gs:// folder that "
        "holds the model's file."
    )


def _known(version: str, table: dict[str, tuple[str, str]]) -> bool:
    """Whether `version` is in `table`, or a later one."""
    return version in table or (version.count(".") == 1 and _numbers(version) > max(map(_numbers, table)))


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split("."))


def _tensorflow(version: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Requirements and Pythons. A SavedModel is read by later versions too: where the image's has no wheel for a Python
    of today, the next that has."""
    named = f"{version}.*" if (2, 12) <= _numbers(version) < (2, 16) else "2.15.*"
    later = f"=={version}.*" if _numbers(version) >= (2, 16) else ">=2.16"
    if _numbers(version) >= (2, 16):
        return (f"tensorflow-cpu{later}",), tuple(_LATER.split())
    return (
        f"tensorflow-cpu=={named} ; python_version < '3.12'",
        f"tensorflow-cpu{later} ; python_version >= '3.12'",
    ), ("3.11", "3.10", "3.9", "3.12", "3.13")


def _xgboost(version: str) -> list[str]:
    if _numbers(version) < (2, 1):
        return [f"xgboost=={version}.*"]
    # The same library without the parts for CUDA, which take 300 MB; it has no wheels for macOS.
    return [
        f"xgboost-cpu=={version}.* ; sys_platform != 'darwin'",
        f"xgboost=={version}.* ; sys_platform == 'darwin'",
    ]

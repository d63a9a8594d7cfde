"""What the image of a component is here: a Python, this machine's shell, or a container."""

from __future__ import annotations

import re
from dataclasses import dataclass

from portico.errors import FailedPrecondition, InvalidArgument, Unimplemented
from portico.sandbox import containers
from portico.services.aiplatform import images as serving
from portico.services.aiplatform.custom import training_images
from portico.services.aiplatform.custom.training_images import TrainingImage
from portico.services.aiplatform.pipelines.components import prebuilt, tfx

# Images that hold little but a shell and the usual commands.
_SHELLS = re.compile(
    r"(?:(?:docker\.io|gcr\.io|ghcr\.io|mirror\.gcr\.io|public\.ecr\.aws|quay\.io|registry\.k8s\.io)/(?:[\w.-]+/)*)?"
    r"(?:library/)?"
    r"(?:alpine|busybox|bash|debian|ubuntu|ubuntu-slim|google/cloud-sdk|(?:google\.com/cloudsdktool/)?(?:google-)?cloud-(?:sdk|cli))"
    r"(?::[\w.-]+)?(?:@sha256:[0-9a-f]+)?"
)
_SERVING = re.compile(r"[a-z0-9.-]+/(?:vertex-ai|cloud-aiplatform)/prediction/.*")
_EVALUATION = re.compile(r"gcr\.io/ml-pipeline/model-evaluation(?::[\w.-]+)?(?:@sha256:[0-9a-f]+)?")
# What Google has not published, and what there is of it here.
_GOOGLES_OWN = (
    (
        re.compile(r"[a-z0-9-]+-docker\.pkg\.dev/vertex-ai(?:-restricted)?/automl-tabular/.*|gcr\.io/ml-pipeline/automl-.*"),
        "of tabular workflows and forecasting; AutoMLTabularTrainingJobRunOp and "
        "AutoMLForecastingTrainingJobRunOp train here",
    ),
    (
        re.compile(
            r"gcr\.io/ml-pipeline/llm-model-evaluation(?:[:@].*)?|[a-z0-9-]+-docker\.pkg\.dev/vertex-evaluation/.*"
            r"|[a-z0-9-]+-docker\.pkg\.dev/vertex-ai-restricted/(?:llm-eval|vision-error-analysis)/.*"
        ),
        "of the model evaluation; ModelEvaluationClassificationOp, ModelEvaluationRegressionOp and "
        "ModelEvaluationForecastingOp run here",
    ),
    (
        re.compile(r"[a-z0-9-]+-docker\.pkg\.dev/vertex-ai(?:-restricted)?/(?:starryn|time-series-forecasting|[\w-]*vision[\w-]*)/.*"),
        "of forecasting and vision; AutoMLForecastingTrainingJobRunOp trains here",
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Base:
    """One of these: the Python that an image stands for, `shell`, the command of a container's `engine`, or what the
    stand-in `evaluation` does."""

    uri: str
    python: TrainingImage | None = None
    shell: bool = False
    engine: str = ""
    evaluation: bool = False


def base_of(uri: str, field: str = "image") -> Base:
    """
    Raises:
        InvalidArgument: it is empty, or no image that Google has.
        FailedPrecondition: it can't be run here, with what would be needed.
        Unimplemented: it holds what only Google has.
    """
    if _SHELLS.fullmatch(uri):
        return Base(uri, shell=True)
    if _SERVING.fullmatch(uri):
        return Base(uri, python=_of_serving(uri, field))
    if _EVALUATION.fullmatch(uri):
        return Base(uri, evaluation=True)
    if known := prebuilt.python_of(uri, field) or tfx.python_of(uri, field):
        return Base(uri, python=known)
    try:
        found = training_images.resolve(uri, field)
    except FailedPrecondition:
        for pattern, what in _GOOGLES_OWN:
            if pattern.fullmatch(uri):
                raise Unimplemented(
                    f"{uri} holds code that Google has not published, {what}.", field=field
                ) from None
        raise FailedPrecondition(
            f"{uri} is a container image of its own: {containers.NEEDED}, and none answers on this machine. "
            "python:3.X, Google's prebuilt training and prediction images, and images of a plain shell (alpine, "
            "busybox, debian, ubuntu) run without one.",
            field=field,
        ) from None
    return Base(uri, engine=found.engine) if found.engine else Base(uri, python=found)


def _of_serving(uri: str, field: str) -> TrainingImage:
    try:
        found = serving.resolve(uri)
    except (InvalidArgument, Unimplemented) as error:
        raise InvalidArgument(error.message, field=field) from None
    return TrainingImage(found.image, "", "", found.pythons, found.requirements, False)

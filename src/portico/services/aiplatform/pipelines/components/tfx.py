"""TFX's image: the Python that it stands for.

A pipeline that TFX's runner for Vertex AI (`KubeflowV2DagRunner`) compiles has TFX's executors run by
`python -m tfx.orchestration.kubeflow.v2.container.kubeflow_v2_run_executor`, in an environment that has that version.
"""

from __future__ import annotations

import re

from portico.services.aiplatform.custom.training_images import TAG, TrainingImage, tag_of

_IMAGE = re.compile(
    r"(?:(?:(?:us|eu|asia)\.)?gcr\.io/tfx-oss-public|(?:(?:docker\.io|mirror\.gcr\.io)/)?tensorflow)"
    rf"/tfx{TAG}"
)
_VERSION = re.compile(r"\d+\.\d+(?:\.\d+)*(?:rc\d+)?")
# From which version on, which Pythons, and what goes with it: kfp's messages, which TFX imports and has only as an
# extra, and what it did not know of yet. Newer Beams come without dill, which TFX's libraries of that time import.
_KINDS = (
    ((1, 21), ("3.12", "3.11", "3.10", "3.13"), ("kfp-pipeline-spec>=0.2.2",)),
    ((1, 17), ("3.10", "3.9"), ("kfp-pipeline-spec>=0.2.2", "apache-beam<2.66", "setuptools<81")),
    ((1, 15), ("3.10", "3.9"), ("kfp-pipeline-spec>=0.2.2", "apache-beam<2.61", "setuptools<81")),
    ((1, 14), ("3.10", "3.9", "3.8"), ("kfp-pipeline-spec>0.1.13,<0.3", "apache-beam<2.51", "setuptools<81")),
    ((0, 0), ("3.9", "3.8", "3.7"), ("kfp-pipeline-spec>=0.1.10,<0.2", "apache-beam<2.48", "setuptools<81")),
)  # fmt: skip
_NEWEST = "1.16.0"  # of which the libraries have wheels for every Linux; those of 1.21 need glibc 2.39


def python_of(uri: str, field: str) -> TrainingImage | None:
    """What the image `uri` is, if it is TFX's.

    Raises:
        InvalidArgument: its tag is no version.
    """
    tag = tag_of(uri, _IMAGE, _VERSION, "TFX", field)
    if tag is None:
        return None
    version = _NEWEST if tag == "latest" else tag
    release = tuple(map(int, re.findall(r"\d+", version)[:2]))
    pythons, beside = next((pythons, beside) for first, pythons, beside in _KINDS if release >= first)
    return TrainingImage(f"tfx:{tag}", "", "", pythons, (f"tfx=={version}", *beside), False)

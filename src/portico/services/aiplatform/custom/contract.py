"""What user code sees of Vertex AI: the environment variables of a training job.

https://cloud.google.com/vertex-ai/docs/training/code-requirements, .../distributed-training
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any


def variables(spec: Mapping[str, Any], job: str, data: Mapping[str, str]) -> dict[str, str]:
    """Of a job's only worker. `job` is its resource name; `data` says what was exported of a dataset (`AIP_*`)."""
    project, job_id = job.split("/")[1], job.rpartition("/")[2]
    task = {"type": "workerpool0", "index": 0, "trial": ""}
    cluster = {"workerpool0": [f"{job_id}-workerpool0-0:2222"]}
    chief = {"chief": [f"{job_id}-workerpool0-0:2222"]}
    made = {
        "CLUSTER_SPEC": json.dumps({"cluster": cluster, "environment": "cloud", "task": task}),
        "TF_CONFIG": json.dumps(
            {"cluster": chief, "environment": "cloud", "task": {"type": "chief", "index": 0}}
        ),
        "CLOUD_ML_JOB_ID": job_id,
        "CLOUD_ML_PROJECT_ID": project,
        "CLOUD_ML_REGION": job.split("/")[3],
        "GOOGLE_CLOUD_PROJECT": project,
        "PYTHONUNBUFFERED": "1",
    }
    if prefix := (spec.get("baseOutputDirectory") or {}).get("outputUriPrefix"):
        base = prefix.rstrip("/")
        made |= {
            "AIP_MODEL_DIR": f"{base}/model/",
            "AIP_CHECKPOINT_DIR": f"{base}/checkpoints/",
            "AIP_TENSORBOARD_LOG_DIR": f"{base}/logs/",
        }
    pool = spec["workerPoolSpecs"][0]
    given = (pool.get("pythonPackageSpec") or pool.get("containerSpec") or {}).get("env") or []
    return made | dict(data) | {one["name"]: one.get("value", "") for one in given}

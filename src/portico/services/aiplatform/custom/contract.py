"""What user code sees of Vertex AI: the environment variables of a training job.

https://cloud.google.com/vertex-ai/docs/training/code-requirements, .../distributed-training
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from portico.ml import openmp
from portico.services.aiplatform.custom.record import SEEDS
from portico.services.aiplatform.metadata import metadata_runs

# What the pools are for TensorFlow: https://cloud.google.com/vertex-ai/docs/training/distributed-training
_ROLES = ("chief", "worker", "ps", "evaluator")


@dataclass(frozen=True, slots=True)
class Cluster:
    """Where the workers of a job reach each other: `pools` has an address for each replica of each pool, `master` one
    more of the first pool's first, for a rendezvous."""

    pools: tuple[tuple[str, ...], ...]
    master: int

    @classmethod
    def of(cls, counts: Sequence[int], ports: Sequence[int], master: int) -> Cluster:
        """`counts` are the replicas of each pool, for each of which there is one of `ports`."""
        left = iter(ports)
        return cls(tuple(tuple(f"127.0.0.1:{next(left)}" for _ in range(count)) for count in counts), master)

    @property
    def size(self) -> int:
        return sum(map(len, self.pools))

    def rank(self, pool: int, index: int) -> int:
        return sum(map(len, self.pools[:pool])) + index


def folder(scratch: Path, pool: int, index: int) -> Path:
    """The folder of a worker in its job's."""
    return scratch / "work" / f"workerpool{pool}-{index}"


def metric_file(folder: Path) -> Path:
    """Where a worker reports its metrics to a trial (CLOUD_ML_HP_METRIC_FILE), in its own folder."""
    return folder / ".hypertune" / "output.metrics"


def metrics_seen(chief: Path) -> dict[str, Path]:
    """For code that writes to /var/hypertune/output.metrics by itself: the folder there is that of the chief's file."""
    return {"var/hypertune": metric_file(chief).parent}


def account_of(spec: Mapping[str, Any], job: str) -> str:
    """As whom the code acts: the service account that the job names, or Vertex AI's own for the project's code."""
    project = job.split("/")[1]
    return str(
        spec.get("serviceAccount") or f"service-{project}@gcp-sa-aiplatform-cc.iam.gserviceaccount.com"
    )


def variables(
    spec: Mapping[str, Any], job: str, data: Mapping[str, str], cluster: Cluster, pool: int, index: int
) -> dict[str, str]:
    """Of the worker with `index` in `pool`. `job` is the job's resource name; `data` says what was exported of a
    dataset (`AIP_*`)."""
    project, job_id = job.split("/")[1], job.rpartition("/")[2]
    filled = [(number, list(hosts)) for number, hosts in enumerate(cluster.pools) if hosts]
    trial = data.get("CLOUD_ML_TRIAL_ID", "")
    made = {
        "CLUSTER_SPEC": json.dumps(
            {
                "cluster": {f"workerpool{number}": hosts for number, hosts in filled},
                "environment": "cloud",
                "task": {"type": f"workerpool{pool}", "index": index, "trial": trial},
                **(
                    {"open_ports": [cluster.master]} if cluster.size > 1 else {}
                ),  # on the first pool's machine
            }
        ),
        "TF_CONFIG": json.dumps(
            {
                "cluster": {_ROLES[number]: hosts for number, hosts in filled if number < len(_ROLES)},
                "environment": "cloud",
                "task": {"type": _ROLES[min(pool, len(_ROLES) - 1)], "index": index},
            }
        ),
        "CLOUD_ML_JOB_ID": job_id,
        "CLOUD_ML_PROJECT_ID": project,
        "CLOUD_ML_REGION": job.split("/")[3],
        "GOOGLE_CLOUD_PROJECT": project,
        "PYTHONUNBUFFERED": "1",
        **openmp.ENVIRONMENT,
        **SEEDS,
    }
    if spec.get("experiment"):  # Google's client logs into this run when the code starts none
        made |= {
            "AIP_EXPERIMENT_NAME": spec["experiment"],
            "AIP_EXPERIMENT_RUN_NAME": metadata_runs.run_of(spec, job),
        }
    if cluster.size > 1:  # what Google's PyTorch images set
        made |= {
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": str(cluster.master),
            "RANK": str(cluster.rank(pool, index)),
            "WORLD_SIZE": str(cluster.size),
        }
    if prefix := (spec.get("baseOutputDirectory") or {}).get("outputUriPrefix"):
        base = prefix.rstrip("/")
        made |= {
            "AIP_MODEL_DIR": f"{base}/model/",
            "AIP_CHECKPOINT_DIR": f"{base}/checkpoints/",
            "AIP_TENSORBOARD_LOG_DIR": f"{base}/logs/",
        }
    asked = spec["workerPoolSpecs"][pool]
    given = (asked.get("pythonPackageSpec") or asked.get("containerSpec") or {}).get("env") or []
    return made | dict(data) | {one["name"]: one.get("value", "") for one in given}

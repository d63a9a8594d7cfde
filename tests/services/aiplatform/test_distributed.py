"""Distributed training by the frameworks' own means, as their users write it: each in its environment."""

from __future__ import annotations

from typing import Any

import pytest
from tests.services.aiplatform.test_custom_jobs import told

pytestmark = [pytest.mark.slow]
IMAGES = "us-docker.pkg.dev/vertex-ai/training"


def ran(portico: Any, aiplatform: Any, bucket: Any, image: str, script: str, replicas: int = 2) -> str:
    container = {"image_uri": f"{IMAGES}/{image}:latest", "command": ["python", "-c", script]}
    pool = {"machine_spec": {"machine_type": "n1-standard-2"}, "container_spec": container}
    pools = [{**pool, "replica_count": 1}, {**pool, "replica_count": replicas - 1}]
    job = aiplatform.CustomJob("distributed", pools, staging_bucket=f"gs://{bucket.name}")
    job.run()
    return told(portico, job)


TORCH = """
import torch, torch.distributed as dist
dist.init_process_group("gloo")
rank, size = dist.get_rank(), dist.get_world_size()
torch.manual_seed(0)
model = torch.nn.parallel.DistributedDataParallel(torch.nn.Linear(2, 1))
rows = torch.randn(64, 2)[rank::size]
wanted = rows @ torch.tensor([[2.0], [-1.0]]) + 0.5
steps = torch.optim.SGD(model.parameters(), lr=0.2)
for _ in range(60):
    steps.zero_grad()
    torch.nn.functional.mse_loss(model(rows), wanted).backward()
    steps.step()
weights = [round(float(one), 2) for one in model.module.weight[0]]
print("rank", rank, "of", size, weights)
dist.destroy_process_group()
"""


def test_torch_distributed(portico, aiplatform, bucket):
    log = ran(portico, aiplatform, bucket, "pytorch-cpu.2-4.py311", TORCH, 3)
    assert all(f"rank {rank} of 3 [2.0, -1.0]" in log for rank in range(3)), log


XGBOOST = """
import json, os, socket, threading, time
import numpy, xgboost
from xgboost import collective
from xgboost.tracker import RabitTracker
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
chief = (os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]))
if rank == 0:
    tracker = RabitTracker(host_ip=chief[0], n_workers=size)
    tracker.start()
    found = tracker.worker_args()
    with socket.create_server(chief) as server:
        for _ in range(size - 1):
            with server.accept()[0] as other:
                other.sendall(json.dumps(found).encode())
else:
    while True:
        try:
            with socket.create_connection(chief) as reached:
                found = json.load(reached.makefile())
            break
        except ConnectionRefusedError:
            time.sleep(0.1)
with collective.CommunicatorContext(**found):
    rows = numpy.random.default_rng(rank).normal(size=(200, 3))
    data = xgboost.DMatrix(rows, label=rows[:, 0] * 3)
    seen = {}
    xgboost.train({"max_depth": 2}, data, 8, evals=[(data, "train")], evals_result=seen, verbose_eval=False)
    total = collective.allreduce(numpy.array([200.0]), collective.Op.SUM)
    print("rows", int(total[0]), "rmse", seen["train"]["rmse"][-1])
"""


def test_xgboost_collective(portico, aiplatform, bucket):
    log = ran(portico, aiplatform, bucket, "xgboost-cpu.2-1", XGBOOST)
    told_by = [line.partition("rows ")[2] for line in log.splitlines() if ": rows 400 rmse" in line]
    assert len(told_by) == 2 and told_by[0] == told_by[1], log  # both hold the same model


TENSORFLOW = """
import json, os
import tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()
rank = int(os.environ["RANK"])
rows = tf.random.stateless_normal((128, 2), seed=(2, 3))[rank::2]  # each worker has its own half
wanted = rows @ [[2.0], [-1.0]]

@tf.function
def gradient(weights):
    def each():
        with tf.GradientTape() as tape:
            tape.watch(weights)
            loss = tf.reduce_mean((rows @ weights - wanted) ** 2)
        together = tf.distribute.get_replica_context()
        return together.all_reduce(tf.distribute.ReduceOp.MEAN, tape.gradient(loss, weights))
    return strategy.run(each)

weights = tf.zeros((2, 1))
for _ in range(60):
    weights -= 0.1 * gradient(weights)
print("replicas", strategy.num_replicas_in_sync, [round(float(one), 1) for one in weights[:, 0]])
"""


def test_tensorflow_over_several_workers(portico, aiplatform, bucket):
    log = ran(portico, aiplatform, bucket, "tf-cpu.2-17.py311", TENSORFLOW)
    assert log.count("replicas 2 [2.0, -1.0]") == 2, log

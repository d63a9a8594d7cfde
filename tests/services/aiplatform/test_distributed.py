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
import json, os, threading
import numpy, xgboost
from xgboost import collective
from xgboost.tracker import RabitTracker
rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
address, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
if rank == 0:
    tracker = RabitTracker(host_ip=address, n_workers=size, port=port)
    tracker.start()
    threading.Thread(target=tracker.wait_for, daemon=True).start()
with collective.CommunicatorContext(dmlc_tracker_uri=address, dmlc_tracker_port=port, dmlc_retry=10):
    draw = numpy.random.default_rng(collective.get_rank())
    rows = draw.normal(size=(200, 3))
    data = xgboost.DMatrix(rows, label=rows[:, 0] * 3)
    found = {}
    xgboost.train({"max_depth": 2}, data, 8, evals=[(data, "train")], evals_result=found, verbose_eval=False)
    total = collective.allreduce(numpy.array([200.0]), collective.Op.SUM)
    print("rows", int(total[0]), "rmse", found["train"]["rmse"][-1])
"""


def test_xgboost_collective(portico, aiplatform, bucket):
    log = ran(portico, aiplatform, bucket, "xgboost-cpu.2-1", XGBOOST)
    told_by = [line.partition("rows ")[2] for line in log.splitlines() if ": rows 400 rmse" in line]
    assert len(told_by) == 2 and told_by[0] == told_by[1], log  # both hold the same model


TENSORFLOW = """
import os
import tensorflow as tf
strategy = tf.distribute.MultiWorkerMirroredStrategy()
with strategy.scope():
    model = tf.keras.Sequential([tf.keras.Input((2,)), tf.keras.layers.Dense(1)])
    model.compile(optimizer=tf.keras.optimizers.SGD(0.1), loss="mse")
tf.random.set_seed(1)
rows = tf.random.normal((128, 2), seed=2)
data = tf.data.Dataset.from_tensor_slices((rows, rows @ [[2.0], [-1.0]])).batch(32).repeat()
model.fit(data, epochs=1, steps_per_epoch=60, verbose=0)
print("replicas", strategy.num_replicas_in_sync, [round(float(one), 1) for one in model.get_weights()[0][:, 0]])
"""


def test_tensorflow_over_several_workers(portico, aiplatform, bucket):
    log = ran(portico, aiplatform, bucket, "tf-cpu.2-17.py311", TENSORFLOW)
    assert log.count("replicas 2 [2.0, -1.0]") == 2, log

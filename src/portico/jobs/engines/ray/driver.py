"""Speaks with a Ray cluster for the engine (`engine.py`): runs in an environment that has the cluster's Ray.

It is a driver of Ray's, so this machine is a node of the cluster. Each job gets a placement group, by which Ray chooses
the node, and is then run by that node's keeper (`node.py`), to which it belongs: a driver that ends leaves all running.
Placement groups and keepers are detached, in a namespace of this home's. Self-contained.

JSON lines over the socket that it gets as standard input. In: {"run": JOB, "cores", "memory", "accelerators"},
{"stop": JOB, "now": BOOL}, {"follow": [JOB]} first of all. Out: {"nodes": {ID: {"host", "cores", "memory",
"accelerators", "fault"}}}, {"followed": {JOB: NODE}}, {"placed": JOB, "node": ID}, {"ended": JOB, "status": N | null},
or {"refused": WORDS}.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import hashlib
import importlib.util
import json
import logging
import os
import signal
import socket
import sys
import time
from pathlib import Path
from typing import Any

_ANSWER = 5.0  # seconds
_LOOK = 1.0  # seconds between two looks at the nodes
_GREET = 60.0  # seconds between two greetings, by which a keeper knows that it is needed
_AGAIN = 0.5  # seconds before what can't be reached is asked again


def main() -> None:
    settings = json.loads(sys.argv[1])
    channel = socket.socket(fileno=0)
    try:
        _require_version(settings)
        os.environ["RAY_DEFAULT_PYTHON_VERSION_MATCH_LEVEL"] = "minor"
        import ray

        ray.init(
            address=settings["address"], namespace=_namespace(settings), log_to_driver=False,
            logging_level=logging.ERROR,
        )  # fmt: skip
    except Exception as error:
        words = " ".join(str(error).split())[:500]
        channel.sendall(json.dumps({"refused": words}).encode() + b"\n")
        sys.exit(1)
    asyncio.run(_Driver(settings, channel).run())
    os._exit(0)  # at once: what Ray would tidy up belongs to the cluster


def _namespace(settings: dict[str, Any]) -> str:
    return "portico-" + hashlib.sha256(settings["home"].encode()).hexdigest()[:12]


def _require_version(settings: dict[str, Any]) -> None:
    """Goes on in another environment, where the cluster's Ray is another (`launch.py`)."""
    host, _, port = settings["address"].rpartition(":")
    socket.create_connection((host, int(port)), timeout=_ANSWER).close()
    import ray
    from ray._raylet import GcsClient

    told = GcsClient(address=settings["address"]).internal_kv_get(
        b"CLUSTER_METADATA", b"cluster", timeout=_ANSWER
    )
    there = json.loads(told or b"{}")
    if not there:
        raise RuntimeError("what answers there says no version: it is no Ray cluster, or not its head")
    python = ".".join(there["python_version"].split(".")[:2])
    found = [ray.__version__, "{}.{}".format(*sys.version_info[:2])]
    if found != [there["ray_version"], python]:
        if settings.get("again"):
            raise RuntimeError(f"it is Ray {there['ray_version']} with Python {python}, and here is {found}")
        settings |= {"ray": there["ray_version"], "python": python, "again": True}
        os.execv(settings["portico"], [settings["portico"], *settings["launch"], json.dumps(settings)])


class _Driver:
    def __init__(self, settings: dict[str, Any], channel: socket.socket) -> None:
        self._recipe = settings["recipe"]
        self._token = settings["token"]
        self._namespace = _namespace(settings)
        self._channel = channel
        self._began = time.time()
        self._keepers: dict[str, Any] = {}
        self._greeted: dict[str, float] = {}
        self._nodes: dict[str, dict[str, Any]] = {}
        self._tasks: dict[str, asyncio.Task[None]] = {}
        self._signals: dict[str, int] = {}
        self._placed: dict[str, str] = {}
        # The keeper of each job: not always its node's in `_keepers`, where Portico has changed since.
        self._runners: dict[str, Any] = {}

    async def run(self) -> None:
        """Works until the engine closes the channel."""
        self._channel.setblocking(False)
        looking = asyncio.create_task(self._look_at_nodes())
        buffer = b""
        while True:
            reading = asyncio.ensure_future(asyncio.get_running_loop().sock_recv(self._channel, 65536))
            await asyncio.wait([reading, looking], return_when=asyncio.FIRST_COMPLETED)
            if looking.done():
                looking.result()  # it has failed: so does this, and the engine begins anew
            try:
                piece = reading.result()
            except OSError:
                piece = b""
            if not piece:
                return
            *lines, buffer = (buffer + piece).split(b"\n")
            for line in lines:
                await self._hear(json.loads(line))

    def _say(self, **message: Any) -> None:
        self._channel.setblocking(True)
        try:
            self._channel.sendall(json.dumps(message).encode() + b"\n")
        except OSError:
            os._exit(0)
        self._channel.setblocking(False)

    async def _hear(self, asked: dict[str, Any]) -> None:
        if "run" in asked:
            job = asked["run"]
            self._tasks[job] = asyncio.create_task(self._told(job, self._run(asked)))
        elif "follow" in asked:
            await self._follow(set(asked["follow"]))
        elif "stop" in asked and asked["stop"] in self._tasks:
            self._signals[asked["stop"]] = signal.SIGKILL if asked["now"] else signal.SIGTERM
            await self._stop(asked["stop"])

    async def _told(self, job: str, work: Any) -> None:
        """Does the work for a job and tells its end."""
        status = None
        try:
            status = await work
        except Exception as error:
            print(f"job {job}: {error!r}", file=sys.stderr, flush=True)
            node = self._placed.get(job, "")
            self._keepers.pop(node, None)  # it is made anew, where the node is there
            self._greeted.pop(node, None)
            await asyncio.sleep(_LOOK)  # it may be run again at once: where its node is known to be gone
        for known in (self._tasks, self._signals, self._placed, self._runners):
            known.pop(job, None)
        self._say(ended=job, status=status)

    async def _run(self, asked: dict[str, Any]) -> int | None:
        from ray.util import placement_group, remove_placement_group

        job, name = asked["run"], f"{self._namespace}-{asked['run']}-{self._began}"
        wanted = {"CPU": asked["cores"], "memory": asked["memory"], "GPU": asked["accelerators"]}
        bundle = {kind: amount for kind, amount in wanted.items() if amount}
        group = await asyncio.to_thread(placement_group, [bundle], "PACK", name, "detached")
        status: int | None = None
        try:
            node = await self._node_of(group, job)
            if node is None:
                return signal.SIGTERM  # as if it had been stopped
            environment = await _devices(group) if asked["accelerators"] else {"CUDA_VISIBLE_DEVICES": ""}
            self._placed[job] = node
            keeper = await self._keeper(node)
            self._runners[job] = keeper
            self._say(placed=job, node=node)
            running = keeper.run.remote(self._began, job, name, environment)
            if job in self._signals:
                await self._stop(job)
            status = await self._end_of(keeper, job, running)
        finally:
            if status is None:  # else the keeper has done it
                await asyncio.to_thread(remove_placement_group, group)
        return status

    async def _node_of(self, group: Any, job: str) -> str | None:
        """The node that Ray has chosen, once it has; None when the job shall stop before that."""
        from ray.util import placement_group_table

        pause = 0.002
        while True:
            found = await asyncio.to_thread(placement_group_table, group)
            if found.get("state") == "CREATED":
                return str(found["bundles_to_node_id"][0])
            if job in self._signals or found.get("state") == "REMOVED":
                return None
            await asyncio.sleep(pause)
            pause = min(0.25, pause * 1.5)

    async def _end_of(self, keeper: Any, job: str, running: Any) -> int | None:
        """What a keeper tells of a job's end; None when it is gone, and the job with it."""
        from ray.exceptions import ActorUnavailableError

        while True:
            try:
                status: int | None = await running
                return status
            except ActorUnavailableError:  # it may be there still
                await asyncio.sleep(_AGAIN)
                running = keeper.follow.remote(job)

    async def _stop(self, job: str) -> None:
        if keeper := self._runners.get(job):
            keeper.stop.remote(job, self._signals[job])

    async def _follow(self, asked: set[str]) -> None:
        """Finds what an earlier driver has left: follows the jobs that run, and gives back what others held."""
        from ray.util import (
            get_placement_group,
            list_named_actors,
            placement_group_table,
            remove_placement_group,
        )

        followed: dict[str, str] = {}
        for name in await asyncio.to_thread(list_named_actors):
            node = name.split("-")[1] if name.startswith("keeper-") else ""
            try:
                keeper = await asyncio.to_thread(_get_actor, name)
                _, running = await keeper.greet.remote(self._began, self._token)
            except Exception:  # it is gone
                continue
            for job in running:
                if job not in asked:
                    keeper.stop.remote(job, signal.SIGKILL)
                    continue
                followed[job] = self._placed[job] = node
                self._runners[job] = keeper
                following = self._end_of(keeper, job, keeper.follow.remote(job))
                self._tasks[job] = asyncio.create_task(self._told(job, following))
        for group in (await asyncio.to_thread(placement_group_table)).values():
            prefix, _, _ = group["name"].rpartition("-")
            job = prefix.removeprefix(f"{self._namespace}-")
            if job != prefix and job not in self._tasks and group["state"] != "REMOVED":
                with contextlib.suppress(ValueError):
                    remove_placement_group(get_placement_group(group["name"]))
        self._say(followed=followed)

    async def _look_at_nodes(self) -> None:
        import ray

        told: dict[str, dict[str, Any]] | None = None
        while True:
            alive = {one["NodeID"]: one for one in await asyncio.to_thread(ray.nodes) if one["Alive"]}
            for node in set(self._nodes) - set(alive):
                for known in (self._nodes, self._keepers, self._greeted):
                    known.pop(node, None)
            new = [node for node, one in alive.items() if one["Resources"].get("CPU") and self._stale(node)]
            for node, fault in zip(new, await asyncio.gather(*map(self._greet, new)), strict=True):
                if fault is not None:
                    self._nodes[node] = {**_node(alive[node]), "fault": fault}
            if self._nodes != told:
                self._say(nodes=self._nodes)
                told = dict(self._nodes)
            await asyncio.sleep(_LOOK)

    def _stale(self, node: str) -> bool:
        return time.monotonic() - self._greeted.get(node, -_GREET) >= _GREET

    async def _greet(self, node: str) -> str | None:
        """Why the node can't run jobs, or ""; None when it can't be reached."""
        try:
            fault, _ = await (await self._keeper(node)).greet.remote(self._began, self._token)
        except Exception as error:
            print(f"node {node}: {error!r}", file=sys.stderr, flush=True)
            self._keepers.pop(node, None)
            return None
        if not fault:
            self._greeted[node] = time.monotonic()
        return str(fault)

    async def _keeper(self, node: str) -> Any:
        if node not in self._keepers:
            keeper = await asyncio.to_thread(_make_keeper, node, self._recipe)
            await keeper.greet.remote(self._began, self._token)
            self._keepers[node] = keeper
        return self._keepers[node]


def _node(found: dict[str, Any]) -> dict[str, Any]:
    has = found["Resources"]
    return {
        "host": found["NodeManagerAddress"], "cores": has["CPU"], "memory": int(has.get("memory", 0)),
        "accelerators": int(has.get("GPU", 0)),
    }  # fmt: skip


def _get_actor(name: str) -> Any:
    import ray

    return ray.get_actor(name)


@functools.cache
def _keeper_class() -> Any:
    """Brought to the nodes by value: they don't have the file."""
    import ray

    spec = importlib.util.spec_from_file_location("portico_node", Path(__file__).with_name("node.py"))
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    ray.cloudpickle.register_pickle_by_value(module)
    return ray.remote(module.Keeper)


def _make_keeper(node: str, recipe: dict[str, Any]) -> Any:
    """The node's keeper for this very Portico, which may be there."""
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    kind = hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()[:12]
    return (
        _keeper_class()
        .options(
            name=f"keeper-{node}-{kind}", get_if_exists=True, lifetime="detached", num_cpus=0, max_concurrency=10_000,
            scheduling_strategy=NodeAffinitySchedulingStrategy(node, soft=False),
        )
        .remote(recipe)
    )  # fmt: skip


async def _devices(group: Any) -> dict[str, str]:
    """Which accelerators of its node a group holds."""
    import ray
    from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

    count = int(group.bundle_specs[0]["GPU"])
    strategy = PlacementGroupSchedulingStrategy(group)
    asking = ray.remote(_gpu_ids).options(num_cpus=0, num_gpus=count, scheduling_strategy=strategy)
    return {"CUDA_VISIBLE_DEVICES": ",".join(map(str, await asking.remote()))}


def _gpu_ids() -> list[int]:
    import ray

    return list(ray.get_gpu_ids())


if __name__ == "__main__":
    main()

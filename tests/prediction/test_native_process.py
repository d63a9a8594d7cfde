"""Native models in processes of their own: bad files, endless work, abandoned work."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import psutil
import pytest
from fronts import NAME, PREDICT, Processes, Raw, endpoint, eventually, lightgbm_model
from tests.processes import alive, command

from portico.errors import DeadlineExceeded, FailedPrecondition, InvalidArgument, Unavailable
from portico.prediction.front.handover import front_admin
from portico.prediction.models.native import files, process
from portico.prediction.models.native.process import ModelProcess, Spec, try_out
from portico.prediction.models.native.trees import check_trees
from portico.sandbox.confine import landlock_abi
from portico.store.served import ServedModel

ROW = [1.0, 2.0, 3.0, 4.0, "red", 1]
OTHER = NAME.replace("/123", "/124")


def loop_model(path: Path) -> Path:
    """An ONNX model that goes round as often as its input says."""
    from onnx import TensorProto, helper, save

    number = helper.make_tensor_value_info
    body = helper.make_graph(
        [helper.make_node("Identity", ["go"], ["on"]), helper.make_node("Add", ["sum", "one"], ["more"])],
        "body",
        [
            number("i", TensorProto.INT64, []),
            number("go", TensorProto.BOOL, []),
            number("sum", TensorProto.FLOAT, [1]),
        ],
        [number("on", TensorProto.BOOL, []), number("more", TensorProto.FLOAT, [1])],
    )
    constant = helper.make_tensor
    graph = helper.make_graph(
        [
            helper.make_node("ReduceMax", ["x"], ["most"], keepdims=0),
            helper.make_node("Cast", ["most"], ["trips"], to=TensorProto.INT64),
            helper.make_node("Loop", ["trips", "true", "zero"], ["y"], body=body),
            helper.make_node("Reshape", ["y", "shape"], ["out"]),
        ],
        "endless",
        [number("x", TensorProto.FLOAT, [None, 1])],
        [number("out", TensorProto.FLOAT, [1, 1])],
        [
            constant("true", TensorProto.BOOL, [], [True]),
            constant("zero", TensorProto.FLOAT, [1], [0.0]),
            constant("one", TensorProto.FLOAT, [1], [1.0]),
            constant("shape", TensorProto.INT64, [2], [1, 1]),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    path.mkdir(exist_ok=True)
    save(model, str(path / "model.onnx"))
    return path


@pytest.fixture(scope="session")
def endless(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return loop_model(tmp_path_factory.mktemp("onnx") / "endless")


ENDLESS = b'{"instances":[[1e15]]}'
SHORT = b'{"instances":[[3]]}'


def edited(text: bytes, *changes: tuple[bytes, bytes]) -> bytes:
    """`text` with lines of its first tree changed; its sizes stay true."""
    head, rest = text.split(b"\nTree=0\n")
    tree, more = rest.split(b"\nTree=1\n")
    before = len(tree)
    lines = dict(line.split(b"=", 1) for line in tree.split(b"\n") if b"=" in line)
    for key, value in changes:
        tree = tree.replace(key + b"=" + lines[key], key + b"=" + value)
    sizes = head.split(b"tree_sizes=")[1].split(b"\n")[0].split()
    changed = [b"%d" % (int(sizes[0]) + len(tree) - before), *sizes[1:]]
    return head.replace(b" ".join(sizes), b" ".join(changed)) + b"\nTree=0\n" + tree + b"\nTree=1\n" + more


BAD: dict[str, Callable[[bytes], bytes]] = {
    "cut": lambda text: text[: len(text) // 2],
    "cut between trees": lambda text: text[: text.index(b"Tree=5")],
    "a node that is its own child": lambda text: edited(text, (b"left_child", b"0 0 0 0 0 0")),
    "a child that is not there": lambda text: edited(text, (b"left_child", b"99 -2 -3 -4 -5 -6")),
    "a feature that is not there": lambda text: edited(text, (b"split_feature", b"9999 0 0 0 0 0")),
    "too few values": lambda text: edited(text, (b"leaf_value", b"1 2")),
    "many leaves": lambda text: edited(text, (b"num_leaves", b"2000000000")),
    "many classes": lambda text: text.replace(b"num_class=1", b"num_class=2147483647"),
    "sizes": lambda text: text.replace(b"tree_sizes=", b"tree_sizes=9"),
    "no text": lambda text: bytes(range(256)) * 50,
    "empty": lambda text: b"",
}


@pytest.mark.parametrize("kind", BAD)
def test_a_damaged_lightgbm_file_is_told_from_a_sound_one(boosters: dict[str, Path], kind: str) -> None:
    text = boosters["regression"].read_bytes()
    check_trees(text)
    with pytest.raises(FailedPrecondition, match="damaged"):
        check_trees(BAD[kind](text))


def test_sound_files_of_every_kind_pass(boosters: dict[str, Path]) -> None:
    import lightgbm

    for path in boosters.values():
        check_trees(path.read_bytes())
    data = np.random.default_rng(1).normal(size=(200, 3))
    for parameters in ({"linear_tree": True}, {"boosting": "rf", "bagging_freq": 1, "bagging_fraction": 0.5}):
        booster = lightgbm.train(
            {"verbose": -1, "num_threads": 1, **parameters}, lightgbm.Dataset(data, data[:, 0]), 5
        )
        check_trees(booster.model_to_string().encode())
        check_trees(booster.model_to_string(num_iteration=2).encode())
    constant = lightgbm.train({"verbose": -1}, lightgbm.Dataset(data, np.ones(200)), 2)
    check_trees(constant.model_to_string().encode())


def test_a_file_is_tried_in_a_process_that_may_die(
    tmp_path: Path, boosters: dict[str, Path], endless: Path
) -> None:
    try_out(Spec("lightgbm", str(boosters["binary"]), files.digest(boosters["binary"])))
    wide = {f"a column of a wide table, {number}": {} for number in range(10_000)}
    try_out(Spec("lightgbm", str(boosters["binary"]), explanation={"metadata": {"inputs": wide}}))
    try_out(Spec("onnx", str(endless)))
    (tmp_path / "model.onnx").write_bytes((endless / "model.onnx").read_bytes()[:-40])
    with pytest.raises(FailedPrecondition, match="onnx model can't be loaded"):
        try_out(Spec("onnx", str(tmp_path)))
    with pytest.raises(FailedPrecondition, match="changed on the disk"):
        try_out(Spec("onnx", str(tmp_path), files.digest(endless)))


def test_a_process_that_dies_with_its_file_is_words(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, endless: Path
) -> None:
    dying = tmp_path / "python"
    dying.write_text("#!/bin/sh\nkill -SEGV $$\n")
    dying.chmod(0o700)
    monkeypatch.setattr(sys, "executable", str(dying))
    with pytest.raises(FailedPrecondition, match=r"ends the process that loads it \(signal SIGSEGV\)"):
        try_out(Spec("onnx", str(endless)))


def test_a_file_that_wants_too_much_memory_is_words(monkeypatch: pytest.MonkeyPatch, endless: Path) -> None:
    monkeypatch.setattr(process, "_MEMORY", 1 << 20)  # where it fails is the system's to say
    with pytest.raises(FailedPrecondition, match=r"The onnx model .*[a-z]"):
        try_out(Spec("onnx", str(endless)))


@pytest.fixture
def model(endless: Path) -> Iterator[ModelProcess]:
    yield ModelProcess(Spec("onnx", str(endless)), lasting=True)


def test_what_is_late_or_not_wanted_is_killed(model: ModelProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    async def late() -> None:
        assert (await model.ask(0, SHORT)).body == b'{"predictions":[3.0]}'
        first = model.pid
        with pytest.raises(InvalidArgument, match=r"instances\[0\]"):
            await model.ask(0, b'{"instances":["x"]}')
        assert model.pid == first
        monkeypatch.setattr(process, "TIMEOUT", 0.3)
        with pytest.raises(DeadlineExceeded):
            await model.ask(0, ENDLESS)
        monkeypatch.undo()
        assert await asyncio.to_thread(eventually, lambda: not alive(first))
        assert (await model.ask(0, SHORT)).rows == 1
        second = model.pid
        asked = asyncio.ensure_future(model.ask(0, ENDLESS))
        waits = asyncio.ensure_future(model.ask(0, SHORT))  # behind it
        await asyncio.to_thread(eventually, lambda: psutil.Process(second).cpu_percent(0.05) > 1)
        asked.cancel()
        assert (await waits).rows == 1
        assert await asyncio.to_thread(eventually, lambda: not alive(second))
        third = model.pid
        os.kill(third, 9)
        with pytest.raises(Unavailable, match="SIGKILL"):
            await model.ask(0, SHORT)
        assert (await model.ask(0, SHORT)).rows == 1
        await model.close()
        assert model.pid == 0

    asyncio.run(late())


def test_a_slow_model_slows_only_itself(tmp_path: Path, endless: Path, boosters: dict[str, Path]) -> None:
    processes = Processes(tmp_path / "home")
    try:
        front = processes.start_front()
        assert eventually(lambda: front_admin(processes.home, 0).exists())
        slow = ServedModel("7", "projects/p/locations/l/models/7", "1", "slow", "onnx", str(endless))
        processes.serve(endpoint(slow, name=OTHER))
        processes.serve(endpoint(lightgbm_model(boosters["binary"])))
        other = PREDICT.replace("/123", "/124")
        assert Raw(processes.port).ask(other, SHORT)[1]["predictions"] == [3.0]
        leaving = Raw(processes.port)
        leaving.send(leaving.request(other, ENDLESS))
        busy = [p for p in psutil.Process(front.pid).children() if command(p)[2:3]]
        assert len(busy) == 1 and eventually(lambda: busy[0].cpu_percent(0.05) > 1)
        client = Raw(processes.port)
        for _ in range(20):
            assert client.ask(PREDICT, {"instances": [ROW]})[0] == 200
        many = {"instances": [ROW] * 3000}  # more than the loop is asked for
        assert len(client.ask(PREDICT, many)[1]["predictions"]) == 3000
        leaving.close()
        assert eventually(lambda: not alive(busy[0].pid))  # its client left
        assert client.ask(other, SHORT)[0] == 200
        leaving = Raw(processes.port)
        leaving.send(leaving.request(other, ENDLESS))
        pids = [child.pid for child in psutil.Process(front.pid).children() if alive(child.pid)]
        front.kill()
        front.wait()
        assert eventually(lambda: not any(map(alive, pids)))  # they end with their front, also at work
    finally:
        processes.close()


def test_a_file_that_changed_or_kills_is_left_out_and_the_rest_serves(
    tmp_path: Path, boosters: dict[str, Path]
) -> None:
    processes = Processes(tmp_path / "home")
    changed, old = tmp_path / "changed", tmp_path / "old"
    for folder in (changed, old):
        folder.mkdir()
        (folder / "model.txt").write_bytes(boosters["binary"].read_bytes())
    try:
        processes.serve(endpoint(lightgbm_model(boosters["binary"], "5")))
        processes.serve(endpoint(lightgbm_model(changed, "6", digest=files.digest(changed)), name=OTHER))
        third = NAME.replace("/123", "/125")
        processes.serve(endpoint(lightgbm_model(old, "7"), name=third))  # as an older Portico deployed it
        for folder in (changed, old):
            text = boosters["binary"].read_bytes()
            (folder / "model.txt").write_bytes(edited(text, (b"left_child", b"0 0 0 0 0 0")))
        processes.start_front()
        answers = []
        for name in ("123", "124", "125"):
            answers.append(Raw(processes.port).ask(PREDICT.replace("123", name), {"instances": [ROW]}))
        assert [status for status, _ in answers] == [200, 503, 503]
        assert "changed on the disk" in answers[1][1]["error"]["message"]
        assert "damaged" in answers[2][1]["error"]["message"]
        # A sound model beside it is served: the endpoint can be repaired.
        processes.serve(
            endpoint(
                lightgbm_model(old, "7"),
                lightgbm_model(boosters["binary"], "8"),
                name=third,
                split={"8": 100},
            ),
            only="8",
        )
        assert Raw(processes.port).ask(PREDICT.replace("123", "125"), {"instances": [ROW]})[0] == 200
    finally:
        processes.close()


def test_what_killed_a_front_three_times_is_not_loaded_again(
    tmp_path: Path, boosters: dict[str, Path]
) -> None:
    from portico.prediction.front.loading import Deaths

    file = tmp_path / "run" / "front-0.loading"
    path = str(boosters["binary"])
    for died in range(3):
        deaths = Deaths(file)
        assert deaths.of(path) == died
        noted: Any = deaths.noted(path)
        noted.__enter__()  # and this process dies
    processes = Processes(tmp_path)
    try:
        processes.serve(endpoint(lightgbm_model(boosters["binary"])))
        processes.serve(endpoint(lightgbm_model(boosters["regression"]), name=OTHER))
        processes.start_front()
        status, told = Raw(processes.port).ask(PREDICT, {"instances": [ROW]})
        assert status == 503 and "3 times" in told["error"]["message"]
        assert Raw(processes.port).ask(PREDICT.replace("123", "124"), {"instances": [ROW]})[0] == 200
    finally:
        processes.close()


WALLED = """
import os, socket, subprocess, sys
from pathlib import Path
from portico.sandbox.isolation import wall_in

assert wall_in([Path(sys.argv[1])])
Path(sys.argv[1]).read_bytes()
import json.tool, lightgbm  # what is imported late is there
for name, forbidden in {
    "credentials": lambda: open(sys.argv[2]),
    "home": lambda: os.listdir(os.path.dirname(sys.argv[2])),
    "network": lambda: socket.create_connection(("127.0.0.1", int(sys.argv[3]))),
    "socket": lambda: socket.socket(socket.AF_UNIX).connect(sys.argv[4]),
    "write": lambda: open(sys.argv[1], "ab"),
    "create": lambda: open("/tmp/portico-was-here", "w"),
    "process": lambda: subprocess.run(["/bin/true"]),
    "exec": lambda: os.execv("/bin/true", ["true"]),
    "signal": lambda: os.kill(os.getppid(), 0),
}.items():
    try:
        forbidden()
    except OSError:
        print(name, "refused")
    else:
        print(name, "DONE")
"""


@pytest.mark.skipif(landlock_abi() < 1, reason="this kernel has no Landlock")
def test_a_model_process_reads_its_model_and_reaches_nothing_else(tmp_path: Path) -> None:
    model, secret = tmp_path / "models" / "model.txt", tmp_path / "credentials.json"
    model.parent.mkdir()
    model.write_text("tree")
    secret.write_text("{}")
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.socket(socket.AF_UNIX) as beside:
        beside.bind(str(tmp_path / "socket"))
        beside.listen()
        where = [str(model), str(secret), str(listener.getsockname()[1]), str(tmp_path / "socket")]
        told = subprocess.run(
            [sys.executable, "-c", WALLED, *where], capture_output=True, text=True, timeout=240
        )
    assert told.returncode == 0, told.stderr
    names = "credentials home network socket write create process exec signal"
    assert told.stdout.split("\n")[:-1] == [f"{name} refused" for name in names.split()]


@pytest.mark.skipif(landlock_abi() < 1, reason="this kernel has no Landlock")
def test_the_walls_stand_before_a_model_is_loaded_and_it_answers_behind_them(endless: Path) -> None:
    child = process.Child(Spec("onnx", str(endless)))
    try:
        child.wait_loaded()
        status = Path(f"/proc/{child.process.pid}/status").read_text()
        assert "NoNewPrivs:\t1" in status and "Seccomp:\t2" in status
        assert orjson.loads(child.ask(0, SHORT, 240).body)["predictions"]
    finally:
        child.kill()
        child.reap()

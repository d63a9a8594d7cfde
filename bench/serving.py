"""One online row over HTTP: Portico beside a bare handler, MLflow, Ray Serve and BentoML, the same booster in all.

    python -m bench.serving [--rounds 5] [--seconds 3] [--peers mlflow,ray,bentoml] [--no-side-load]

The request is the official client's own, captured at the start. Portico is a whole `portico up` with its tap on.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np

from bench.common import Report, Server, environment, free_port, interleaved, packages_of, ratio, versions
from bench.serving_portico import NAME, Portico
from bench.serving_side_load import side_load

HERE = Path(__file__).parent
TREES, NUMBERS, CATEGORIES = 200, 15, 5
PEERS = {
    "mlflow": ["mlflow", "lightgbm", "pandas<3", "scikit-learn"],
    "ray": ["ray[serve]", "lightgbm", "pandas<3", "scikit-learn"],
    "bentoml": ["bentoml", "lightgbm", "pandas<3", "scikit-learn"],
}


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.serving")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3, help="of each measurement")
    parser.add_argument("--peers", default="mlflow,ray,bentoml", help="empty: the bare handler alone")
    parser.add_argument("--no-side-load", action="store_true")
    options = parser.parse_args()
    report = Report("serving")
    peers = [name for name in options.peers.split(",") if name]
    pythons: dict[str, Path] = {}
    for peer in peers:
        try:
            pythons[peer] = environment(f"serving-{peer}", PEERS[peer])
        except subprocess.CalledProcessError:
            report.facts[f"{peer} is left out"] = "it does not install here"
    report.header(
        versions=versions("portico", "lightgbm", "uvicorn", "uvloop", "httptools", "orjson"),
        peers={k: v for peer, python in pythons.items() for k, v in packages_of(python, [peer]).items()},
        load_generator="bench.load at 1 connection, "
        + ("wrk" if shutil.which("wrk") else "bench.load")
        + " at 16",
    )
    values: dict[str, Any] = {}
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = folder / "model.txt"
        instance = make_model(model)
        portico = stack.enter_context(Portico(folder / "home", model))
        official = captured_request(portico, instance)
        sides = {"portico": Side(portico.port, official, folder)}
        for other in ("bare", *pythons):
            # In pairs, so that the others' idle work disturbs neither side.
            try:
                server = start(other, pythons.get(other), model, folder)
            except (RuntimeError, subprocess.CalledProcessError) as error:
                report.facts[f"{other} is left out"] = str(error)[-300:]
                continue
            with server:
                sides[other] = Side(server.port, request_for(other, instance, official), folder)
                same_answers(sides["portico"], sides[other])
                pair = ("portico", other)
                values[other] = interleaved(
                    pair, lambda s: sides[s].measure(s, options.seconds), options.rounds
                )
                lines(report, other, values[other])
                if other == "bare" and not options.no_side_load:
                    values["side load"] = side_load(
                        report, portico, lambda s: sides[s].load(1, 2 * options.seconds), options.rounds
                    )
    report.end(values=values)


def lines(report: Report, other: str, values: dict[str, dict[str, list[float]]]) -> None:
    name = "the bare handler" if other == "bare" else other
    p50, rate = ratio(values, "p50", "portico", other), ratio(values, "throughput", "portico", other)
    median_of = {side: median(values[side]["p50"]) for side in values}
    shown = f"p50 at 1 connection, to {name}'s ({median_of['portico']:.0f} to {median_of[other]:.0f} µs)"
    if other == "bare":
        report.limit(shown, p50, 0.8, at_least=False)
    else:
        report.beside(shown, p50)
    median_of = {side: median(values[side]["throughput"]) for side in values}
    shown = f"throughput at 16, to {name}'s ({median_of['portico']:.0f} to {median_of[other]:.0f} a second)"
    limit = {"bare": 1.5, "mlflow": 20.0}.get(other)
    if limit is None:
        report.beside(shown, rate)
    else:
        report.limit(shown, rate, limit, at_least=True)


class Side:
    """A server that is measured: its port, and the request that it is sent."""

    def __init__(self, port: int, request: bytes, folder: Path) -> None:
        self.port = port
        self.request = request
        self._file = folder / f"request-{port}"
        self._file.write_bytes(request)

    def measure(self, name: str, seconds: float) -> dict[str, float]:
        """p50 and p99 in µs at one connection, and requests a second at 16."""
        one = self.load(1, seconds)
        rate = self.throughput(seconds)
        print(
            f"{name:>8}: p50 {one['p50']:7.0f} µs, p99 {one['p99']:7.0f} µs, {rate:8.0f}/s at 16", flush=True
        )
        return {"p50": one["p50"], "p99": one["p99"], "throughput": rate}

    def load(self, connections: int, seconds: float, *more: str) -> dict[str, float]:
        """Runs the load generator in a process of its own."""
        arguments = [str(self.port), str(self._file), str(connections), str(seconds), *more]
        command = [sys.executable, str(HERE / "load.py"), *arguments]
        answer: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
        if answer["wrong"]:
            raise SystemExit(f"{answer['wrong']:.0f} of {answer['requests']:.0f} answers were not 200")
        return answer

    def throughput(self, seconds: float) -> float:
        """Requests a second at 16 connections."""
        if shutil.which("wrk") is None:
            answer = self.load(16, seconds)
            return answer["requests"] / answer["seconds"]
        head, _, body = self.request.partition(b"\r\n\r\n")
        first, *headers = head.decode().split("\r\n")
        skipped = ("host", "content-length", "connection")
        kept = [line.split(": ", 1) for line in headers if line.partition(":")[0].lower() not in skipped]
        script = self._file.with_suffix(".lua")
        script.write_text(
            f'wrk.method = "POST"\nwrk.body = {json.dumps(body.decode())}\n'
            + "".join(f"wrk.headers[{json.dumps(key)}] = {json.dumps(value)}\n" for key, value in kept)
        )
        url = f"http://127.0.0.1:{self.port}{first.split(' ')[1]}"
        command = ["wrk", "-t1", "-c16", f"-d{max(1, round(seconds))}s", "-s", str(script), url]
        output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        match = re.search(r"Requests/sec:\s+([\d.]+)", output)
        if "Non-2xx" in output or match is None:
            raise SystemExit(output)
        return float(match[1])


def make_model(path: Path) -> dict[str, Any]:
    """Trains the booster that every side serves; returns one instance."""
    import lightgbm
    import pandas as pd

    random = np.random.default_rng(0)
    frame = pd.DataFrame(random.normal(size=(20_000, NUMBERS)), columns=[f"n{i}" for i in range(NUMBERS)])
    for i in range(CATEGORIES):
        frame[f"c{i}"] = pd.Categorical(random.choice([f"value {k}" for k in range(8)], len(frame)))
    target = frame["n0"] * frame["n1"] + frame["c0"].cat.codes / 3 + random.normal(size=len(frame)) > 1
    data = lightgbm.Dataset(frame, target.astype(int))
    booster = lightgbm.train({"objective": "binary", "verbose": -1, "num_threads": 2}, data, TREES)
    booster.save_model(path)
    row = frame.iloc[0].to_dict()
    return {name: value if isinstance(value, str) else float(value) for name, value in row.items()}


def captured_request(portico: Any, instance: dict[str, Any], name: str = NAME) -> bytes:
    """The bytes that the official client sends for one row, with its headers and a token that Portico verifies."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        taken: list[bytes] = []

        def take() -> None:
            link, _ = listener.accept()
            data = b""
            while (match := re.search(rb"(?i)content-length: (\d+)", data)) is None or len(
                data.partition(b"\r\n\r\n")[2]
            ) < int(match[1]):
                data += link.recv(65536)
            taken.append(data)
            link.sendall(b'HTTP/1.1 200 OK\r\ncontent-length: 18\r\n\r\n{"predictions":[]}')

        thread = threading.Thread(target=take)
        thread.start()
        code = (
            "import json, sys\n"
            "from google.cloud.aiplatform_v1 import PredictionServiceClient as Client\n"
            "from google.oauth2.service_account import Credentials\n"
            "from google.protobuf import json_format, struct_pb2\n"
            "key, address, name, instance = sys.argv[1:]\n"
            "client = Client(transport='rest', credentials=Credentials.from_service_account_file(key),\n"
            "                client_options={'api_endpoint': 'http://' + address})\n"
            "client.predict(endpoint=name, instances=[json_format.Parse(instance, struct_pb2.Value())])\n"
        )
        address = f"127.0.0.1:{listener.getsockname()[1]}"
        arguments = [str(portico.key_file), address, name, json.dumps(instance)]
        subprocess.run([sys.executable, "-c", code, *arguments], check=True)
        thread.join()
    return taken[0].replace(address.encode(), f"127.0.0.1:{portico.port}".encode())


def start(other: str, python: Path | None, model: Path, folder: Path) -> Server:
    """The server of a side, in its own environment."""
    port = free_port()
    if python is None:
        return Server([sys.executable, HERE / "serving_bare.py", model, port], port)
    script = HERE / "serving_peers.py"
    command: list[Any] = [python, script, other, model, port]
    if other == "mlflow":
        saved = folder / "mlflow-model"
        subprocess.run([python, script, "mlflow-save", model, saved], check=True, capture_output=True)
        arguments = ["models", "serve", "-m", saved, "-p", port, "-w", "1", "--env-manager", "local"]
        command = [python.with_name("mlflow"), *arguments]
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"  # mlflow starts uvicorn by its name
    return Server(command, port, cwd=HERE, env={**os.environ, "PATH": path})


def request_for(other: str, instance: dict[str, Any], official: bytes) -> bytes:
    """The official client's headers, with the path and the body that the side takes."""
    if other == "bare":
        return official
    path, body = {
        "mlflow": ("/invocations", {"dataframe_records": [instance]}),
        "ray": ("/", {"instances": [instance]}),
        "bentoml": ("/predict", {"instances": [instance]}),
    }[other]
    content = json.dumps(body).encode()
    head = official.partition(b"\r\n\r\n")[0]
    head = re.sub(rb"^POST \S+", b"POST " + path.encode(), head)
    head = re.sub(rb"(?i)content-length: \d+", b"Content-Length: %d" % len(content), head)
    return head + b"\r\n\r\n" + content


def same_answers(*sides: Side) -> None:
    """Stops when the sides do not all give the same prediction. Waits until they answer."""
    answers = []
    for side in sides:
        deadline = time.monotonic() + 60
        while (number := prediction(side)) is None and time.monotonic() < deadline:
            time.sleep(0.5)
        answers.append(number)
    if None in answers or len(set(answers)) != 1:
        raise SystemExit(f"the sides do not agree: {answers}")


def prediction(side: Side) -> float | None:
    with socket.create_connection(("127.0.0.1", side.port), timeout=60) as link:
        link.sendall(side.request.replace(b"Connection: keep-alive", b"Connection: close"))
        data = b"".join(iter(lambda: link.recv(65536), b""))
    number = re.search(rb'"predictions": ?\[([-0-9.e]+)', data)
    return float(number[1]) if number else None


if __name__ == "__main__":
    main()

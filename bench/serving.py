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
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        instance = make_model(folder / "model.txt")
        portico = stack.enter_context(Portico(folder / "home", folder / "model.txt"))
        requests = {"portico": captured_request(portico, instance)}
        ports = {"portico": portico.port}
        bare = free_port()
        stack.enter_context(
            Server([sys.executable, HERE / "serving_bare.py", folder / "model.txt", bare], bare)
        )
        ports["bare"], requests["bare"] = bare, requests["portico"]
        found: dict[str, Any] = {}
        for peer in [name for name in options.peers.split(",") if name]:
            try:
                server, found[peer] = start_peer(peer, folder)
            except (RuntimeError, subprocess.CalledProcessError) as error:
                report.facts[f"{peer} is left out"] = str(error)[-300:]
                continue
            stack.enter_context(server)
            ports[peer] = server.port
            requests[peer] = peer_request(peer, instance, requests["portico"])
        report.header(
            versions=versions("portico", "lightgbm", "uvicorn", "uvloop", "httptools", "orjson"),
            peers={peer: version for packages in found.values() for peer, version in packages.items()},
            load_generator="bench.load at 1 connection, "
            + ("wrk" if shutil.which("wrk") else "bench.load")
            + " at 16",
        )
        same_answers(ports, requests)

        def measure(side: str) -> dict[str, float]:
            one = load(ports[side], requests[side], 1, options.seconds, folder)
            sixteen = throughput(ports[side], requests[side], options.seconds, folder)
            print(
                f"{side:>8}: p50 {one['p50']:7.0f} µs, p99 {one['p99']:7.0f} µs, {sixteen:8.0f}/s at 16",
                flush=True,
            )
            return {"p50": one["p50"], "p99": one["p99"], "throughput": sixteen}

        values = interleaved(list(ports), measure, options.rounds)
        medians = {side: {name: median(v) for name, v in of.items()} for side, of in values.items()}
        lines(report, values)
        busy: dict[str, Any] = {}
        if not options.no_side_load:
            busy = side_load(
                report,
                portico,
                lambda side, connections: load(
                    ports[side], requests[side], connections, 2 * options.seconds, folder
                ),
                options.rounds,
            )
        report.end(medians=medians, values=values, **busy)


def lines(report: Report, values: dict[str, dict[str, list[float]]]) -> None:
    p50, rate = ratio(values, "p50", "portico", "bare"), ratio(values, "throughput", "portico", "bare")
    report.limit("p50 at 1 connection, to the bare handler's", p50, 0.8, at_least=False)
    report.limit("throughput at 16 connections, to the bare handler's", rate, 1.5, at_least=True)
    for peer in values.keys() - {"portico", "bare"}:
        rate = ratio(values, "throughput", "portico", peer)
        what = f"throughput at 16 connections, to {peer}'s"
        if peer == "mlflow":
            report.limit(what, rate, 20, at_least=True)
        else:
            report.beside(what, rate)
        report.beside(f"p50 at 1 connection, to {peer}'s", ratio(values, "p50", "portico", peer))


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


def captured_request(portico: Portico, instance: dict[str, Any]) -> bytes:
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
        arguments = [str(portico.key_file), address, NAME, json.dumps(instance)]
        subprocess.run([sys.executable, "-c", code, *arguments], check=True)
        thread.join()
    return taken[0].replace(address.encode(), f"127.0.0.1:{portico.port}".encode())


def start_peer(peer: str, folder: Path) -> tuple[Server, dict[str, str]]:
    python = environment(f"serving-{peer}", PEERS[peer])
    model, port = folder / "model.txt", free_port()
    script = HERE / "serving_peers.py"
    if peer == "mlflow":
        saved = folder / "mlflow-model"
        subprocess.run([python, script, "mlflow-save", model, saved], check=True, capture_output=True)
        arguments = ["models", "serve", "-m", saved, "-p", port, "-w", "1", "--env-manager", "local"]
        command = [python.with_name("mlflow"), *arguments]
    else:
        command = [python, script, peer, model, port]
    path = f"{python.parent}{os.pathsep}{os.environ['PATH']}"  # mlflow starts uvicorn by its name
    return Server(command, port, cwd=HERE, env={**os.environ, "PATH": path}), packages_of(
        python, [PEERS[peer][0].partition("[")[0]]
    )


def peer_request(peer: str, instance: dict[str, Any], official: bytes) -> bytes:
    """The official client's headers, with the path and the body that the peer takes."""
    path, body = {
        "mlflow": ("/invocations", {"dataframe_records": [instance]}),
        "ray": ("/", {"instances": [instance]}),
        "bentoml": ("/predict", {"instances": [instance]}),
    }[peer]
    content = json.dumps(body).encode()
    head = official.partition(b"\r\n\r\n")[0]
    head = re.sub(rb"^POST \S+", b"POST " + path.encode(), head)
    head = re.sub(rb"(?i)content-length: \d+", b"Content-Length: %d" % len(content), head)
    return head + b"\r\n\r\n" + content


def same_answers(ports: dict[str, int], requests: dict[str, bytes]) -> None:
    """Stops when the sides do not all give the same prediction."""
    answers = {}
    for side, port in ports.items():
        with socket.create_connection(("127.0.0.1", port), timeout=60) as link:
            link.sendall(requests[side].replace(b"Connection: keep-alive", b"Connection: close"))
            data = b"".join(iter(lambda: link.recv(65536), b""))
        number = re.search(rb'"predictions": ?\[([-0-9.e]+)', data)
        if number is None:
            raise SystemExit(f"{side} answers {data.decode(errors='replace')[:2000]}")
        answers[side] = float(number[1])
    if len(set(answers.values())) != 1:
        raise SystemExit(f"the sides do not agree: {answers}")


def load(port: int, request: bytes, connections: int, seconds: float, folder: Path) -> dict[str, float]:
    """Runs the load generator in a process of its own."""
    file = folder / f"request-{port}"
    file.write_bytes(request)
    command = [sys.executable, str(HERE / "load.py"), str(port), str(file), str(connections), str(seconds)]
    answer: dict[str, float] = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    if answer["wrong"]:
        raise SystemExit(f"{answer['wrong']:.0f} of {answer['requests']:.0f} answers were not 200")
    return answer


def throughput(port: int, request: bytes, seconds: float, folder: Path) -> float:
    """Requests per second at 16 connections."""
    if shutil.which("wrk") is None:
        answer = load(port, request, 16, seconds, folder)
        return answer["requests"] / answer["seconds"]
    head, _, body = request.partition(b"\r\n\r\n")
    first, *headers = head.decode().split("\r\n")
    skipped = ("host", "content-length", "connection")
    kept = [line for line in headers if line.partition(":")[0].lower() not in skipped]
    script = folder / "request.lua"
    script.write_text(
        f'wrk.method = "POST"\nwrk.body = {json.dumps(body.decode())}\n'
        + "".join(
            f"wrk.headers[{json.dumps(k)}] = {json.dumps(v)}\n" for k, v in (h.split(": ", 1) for h in kept)
        )
    )
    url = f"http://127.0.0.1:{port}{first.split(' ')[1]}"
    command = ["wrk", "-t1", "-c16", f"-d{max(1, round(seconds))}s", "-s", str(script), url]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    if "Non-2xx" in output or (match := re.search(r"Requests/sec:\s+([\d.]+)", output)) is None:
        raise SystemExit(output)
    return float(match[1])


if __name__ == "__main__":
    main()

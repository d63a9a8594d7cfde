"""What a permission check adds to a control call and to a prediction: the owner, who is asked for nothing, beside a
user with a role on the project, each with a token, a connection and the same requests, in turns.

    python -m bench.permissions [--rounds 15] [--seconds 0.4]
"""

from __future__ import annotations

import argparse
import http.client
import json
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

import lightgbm
import numpy as np

from bench.serving_portico import NAME, Portico
from portico.client.api import Client

USER = "bench@example.com"
PLACE = NAME.rpartition("/endpoints/")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=0.4)
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="portico-bench-") as folder:
        booster = _model(Path(folder) / "model.txt")
        with Portico(Path(folder) / "home", booster) as portico:
            shown = _tokens(portico)
            calls = {
                "control call (models.list)": ("GET", f"/v1/{PLACE}/models", None),
                "prediction (one row)": (
                    "POST",
                    f"/v1/{NAME}:predict",
                    json.dumps({"instances": [[0.1] * 15]}),
                ),
            }
            for what, call in calls.items():
                asks = {who: _asker(portico.port, token, *call) for who, token in shown.items()}
                print(what, _told(_measured(asks, asked.rounds, asked.seconds)))


def _model(path: Path) -> Path:
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(2000, 15))
    names = [f"f{number}" for number in range(15)]
    data = lightgbm.Dataset(rows, rows[:, 0], feature_name=names)
    lightgbm.train({"verbose": -1, "num_threads": 1}, data, 100).save_model(path)
    return path


def _tokens(portico: Portico) -> dict[str, str]:
    client = Client(home=portico.home)
    client.call("POST", "users", {"email": USER})
    policy = {"bindings": [{"role": "roles/aiplatform.user", "members": [f"user:{USER}"]}]}
    client.call("POST", "/apis/cloudresourcemanager/v3/projects/portico:setIamPolicy", {"policy": policy})
    user = client.call("POST", f"users/{USER}:createToken", {})["token"]
    from portico.services.iam import tokens

    owner = tokens.access_token(portico.home, tokens.home_key(portico.home).email, time.time(), 3600)
    return {"owner": owner, "user": user}


def _asker(port: int, token: str, verb: str, path: str, body: str | None) -> Callable[[], None]:
    connection = http.client.HTTPConnection("127.0.0.1", port)
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}

    def ask() -> None:
        connection.request(verb, path, body, headers)
        answer = connection.getresponse()
        told = answer.read()
        assert answer.status == 200, told

    return ask


def _measured(
    asks: dict[str, Callable[[], None]], rounds: int, seconds: float
) -> dict[str, list[list[float]]]:
    """Seconds of each request, by who asks and round."""
    found: dict[str, list[list[float]]] = {who: [] for who in asks}
    for _ in range(rounds):
        for who, ask in asks.items():
            end, taken = time.perf_counter() + seconds, []
            while (begun := time.perf_counter()) < end:
                ask()
                taken.append(time.perf_counter() - begun)
            found[who].append(taken)
    return found


def _told(found: dict[str, list[list[float]]]) -> str:
    halves = {who: [median(one) * 1e6 for one in rounds] for who, rounds in found.items()}
    pairs = list(zip(halves["owner"], halves["user"], strict=True))
    more = median(user - owner for owner, user in pairs)
    share = median(user / owner - 1 for owner, user in pairs)
    owner, user = (median(halves[who]) for who in ("owner", "user"))
    return f"p50: owner {owner:.0f} µs, user {user:.0f} µs; a check adds {more:.0f} µs, {share:+.1%} (median of rounds)"


if __name__ == "__main__":
    main()

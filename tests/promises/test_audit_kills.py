"""No change without its entry in the audit log, whatever is killed; and the log is whole afterwards."""

from __future__ import annotations

import random
import threading

import requests
from tests.waiting import until

PARENT = "projects/audit-kills/locations/us-central1"


def test_what_is_there_after_a_kill_has_its_entry(new_portico):
    server, chance = new_portico().start(), random.Random(0)
    answered: list[int] = []
    for _ in range(3):
        over = threading.Event()

        def change(url: str = server.url, over: threading.Event = over) -> None:
            while not over.is_set():
                try:
                    made = requests.post(
                        f"{url}/v1/{PARENT}/endpoints", json={"displayName": "one"}, timeout=240
                    )
                    answered.append(made.status_code)
                except requests.RequestException:
                    return

        threads = [threading.Thread(target=change) for _ in range(3)]
        for thread in threads:
            thread.start()
        wanted = len(answered) + chance.randrange(20, 60)  # the kill's moment is the test
        until(lambda wanted=wanted: len(answered) >= wanted, f"{wanted} changes are answered")
        server.kill()
        over.set()
        for thread in threads:
            thread.join()
        server.start()
    made = every(server.url, "GET", f"/v1/{PARENT}/endpoints?pageSize=100", "endpoints")
    assert len(made) >= answered.count(200) > 0
    body = {"resourceNames": ["projects/audit-kills"], "pageSize": 1000}
    entries = every(server.url, "POST", "/apis/logging/v2/entries:list", "entries", body)
    told = {one["protoPayload"]["resourceName"] for one in entries}
    assert {one["name"] for one in made} <= told
    verdict = requests.get(f"{server.url}/apis/portico/v1/audit:verify", timeout=240).json()
    assert verdict["whole"], verdict


def every(url: str, verb: str, path: str, key: str, body: dict | None = None) -> list[dict]:
    found: list[dict] = []
    token = ""
    while True:
        join = "&" if "?" in path else "?"
        target = f"{url}{path}{join}pageToken={token}" if verb == "GET" else f"{url}{path}"
        given = None if body is None else body | {"pageToken": token}
        answer = requests.request(verb, target, json=given, timeout=240).json()
        found += answer.get(key, [])
        token = answer.get("nextPageToken", "")
        if not token:
            return found

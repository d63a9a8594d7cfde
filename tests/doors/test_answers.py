"""How answers look: for a program in one line, for a command's output in many."""

from __future__ import annotations

from typing import Any

import pytest
import requests


@pytest.mark.parametrize(
    ("agent", "query", "pretty"),
    [
        ("python-requests/2", "", False),
        ("python-requests/2", "?prettyPrint=true", True),
        ("curl/8.5.0", "", True),
        ("Wget/1.21", "", True),
        ("curl/8.5.0", "?$prettyPrint=false", False),
    ],
)
def test_a_command_is_answered_line_by_line(portico: Any, agent: str, query: str, pretty: bool) -> None:
    made = requests.post(
        f"{portico.url}/v1/projects/test-project/locations/us-central1/endpoints{query}",
        json={"displayName": "lines"}, headers={"user-agent": agent}, timeout=240,
    )  # fmt: skip
    assert made.status_code == 200, made.text
    assert ('"done": true' in [line.strip(" ,") for line in made.text.splitlines()]) == pretty
    name = made.json()["response"]["name"]
    requests.delete(f"{portico.url}/v1/{name}", timeout=240).raise_for_status()

"""The pages for machines: health and metrics."""

from __future__ import annotations

import re

import requests


def test_health(portico):
    answer = requests.get(f"{portico.url}/-/healthz", timeout=240)
    assert (answer.status_code, answer.json()["status"]) == (200, "ok")


def test_metrics_are_prometheus_text(portico):
    answer = requests.get(f"{portico.url}/-/metrics", timeout=240)
    assert answer.headers["content-type"].startswith("text/plain")
    families = set(re.findall(r"^# TYPE (\S+) (?:gauge|counter|histogram)$", answer.text, re.MULTILINE))
    assert {"portico_jobs", "portico_resources", "portico_prediction_seconds"} <= families
    sample = re.compile(r'[a-z_]+(?:\{[a-z_]+="[^"]*"(?:,[a-z_]+="[^"]*")*\})? \S+')
    for line in answer.text.splitlines():
        assert line.startswith("# ") or sample.fullmatch(line), line


def test_there_are_no_other_pages(portico):
    answer = requests.get(f"{portico.url}/-/nothing", timeout=240)
    assert answer.status_code == 404
    assert answer.json()["error"]["status"] == "NOT_FOUND"

"""Executors of the kind customJob: each does what Google's component does that starts a custom job and waits for it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from portico.services.aiplatform.pipelines.components.prebuilt import IMAGE

_LAUNCHER = "google_cloud_pipeline_components.container.v1.custom_job.launcher"
_CAPITAL = re.compile("[A-Z]")
_PLACEHOLDER = re.compile(r"\{\{\$(\.[^{}]*?)?(?:\.json_escape\[(\d+)\])?\}\}")


def container_of(spec: Mapping[str, Any]) -> dict[str, Any]:
    """The PipelineContainerSpec that does what an AIPlatformCustomJobSpec says."""
    payload = {"display_name": "{{$.pipeline_task_name}}", "job_spec": spec.get("customJob") or {}}
    told = {
        "type": "CustomJob",
        "payload": json.dumps(_as_payload(payload)),
        "project": "{{$.pipeline_google_cloud_project_id}}",
        "location": "{{$.pipeline_google_cloud_location}}",
        "gcp_resources": "{{$.outputs.output_file}}.gcp_resources",
    }
    args = [text for name, value in told.items() for text in (f"--{name}", value)]
    return {"image": IMAGE, "command": ["python3", "-u", "-m", _LAUNCHER], "args": args}


def _as_payload(value: Any) -> Any:
    """With the names of fields that the component's client has, and each placeholder such that what it stands for can
    be in a JSON text."""
    if isinstance(value, dict):
        return {
            _CAPITAL.sub(lambda found: f"_{found[0].lower()}", key): _as_payload(one)
            for key, one in value.items()
        }
    if isinstance(value, list):
        return [_as_payload(one) for one in value]
    return _PLACEHOLDER.sub(_escaped, value) if isinstance(value, str) else value


def _escaped(found: re.Match[str]) -> str:
    return f"{{{{${found[1] or ''}.json_escape[{int(found[2] or 0) + 1}]}}}}"

"""Which part of Cloud Storage a lightweight component is shown at /gcs.

All of it would be links to all objects there are, for each task. A component reads what its inputs name; one whose code
speaks of /gcs or gs:// itself is shown everything.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from portico.services.aiplatform.custom.recognised import Recognised

_NAMED = re.compile(r"(?:gs://|/gcs/)(?P<bucket>[A-Za-z0-9][\w.-]*)(?P<name>/[^\s\"'\\,;|*?\[\]{}<>]*)?")
_OWN = ("/gcs", "gs://")
WORDS = (
    "\nOf Cloud Storage this component saw below /gcs what its inputs and variables name (gs://BUCKET/…). One whose "
    "own code says /gcs or gs:// sees all of it."
)


def named(program: Recognised, executor_input: Mapping[str, Any], env: Mapping[str, str]) -> list[str] | None:
    """The beginnings of the objects' URIs that a component is shown, `gs://BUCKET/…`; None for all."""
    if not program.module or any(word in (program.source or "") for word in _OWN):
        return None
    outputs = (executor_input.get("outputs") or {}).get("outputFile") or ""
    told = json.dumps([executor_input.get("inputs"), outputs, dict(env)], ensure_ascii=False)
    found = {f"gs://{one['bucket']}{one['name'] or '/'}" for one in _NAMED.finditer(told)}
    return sorted(found)

"""How the console writes numbers, times and states for people."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from markupsafe import Markup, escape

from portico.clock import parse_rfc3339

# What a state means at a glance: the class of its badge.
_GOOD = {"SUCCEEDED", "ACTIVE", "PROMOTED", "DONE", "COMPLETE", "CLOSED", "SKIPPED", "ONLINE"}
_BAD = {"FAILED", "REJECTED", "ROLLED_BACK", "OPEN", "INFEASIBLE", "PARTIALLY_SUCCEEDED", "BREACHED"}
_BUSY = {"RUNNING", "RETRAINING", "GATING", "SHADOW", "CANARY", "ADJUSTING", "STOPPING", "CANCELLING"}
_WAITS = {"AWAITING_APPROVAL", "PENDING", "QUEUED", "WAITING", "PAUSED", "REQUESTED"}
ENDED = {"SUCCEEDED", "FAILED", "CANCELLED", "PARTIALLY_SUCCEEDED", "EXPIRED"}


def plain_state(state: str) -> str:
    """A state without its enum's prefix: JOB_STATE_RUNNING as RUNNING."""
    return re.sub(r"^(JOB|PIPELINE)_STATE_", "", str(state))


def state(value: str) -> Markup:
    """A state as a badge: its word, and a colour beside."""
    plain = plain_state(value or "UNKNOWN")
    kinds = (("good", _GOOD), ("bad", _BAD), ("busy", _BUSY), ("waits", _WAITS))
    kind = next((kind for kind, some in kinds if plain in some), "calm")
    return Markup('<span class="state {}">{}</span>').format(kind, plain.lower().replace("_", " "))


def when(text: str) -> Markup:
    """A time, RFC 3339, for people; empty for none."""
    if not text:
        return Markup("")
    at = datetime.fromtimestamp(parse_rfc3339(str(text)), UTC)
    return Markup('<time datetime="{}">{} {:%b %Y, %H:%M}</time>').format(text, at.day, at)


def day(text: str) -> str:
    at = datetime.fromtimestamp(parse_rfc3339(text), UTC)
    return f"{at.day} {at:%b %Y}"


def number(value: Any) -> str:
    """Four digits that count; whole numbers whole."""
    if value is None or isinstance(value, str) or not isinstance(value, int | float):
        return str(value) if isinstance(value, str) else ""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int) or (value == int(value) and abs(value) < 1e9):
        return f"{int(value):,}"
    return f"{value:,.4g}" if abs(value) < 1e4 else f"{value:,.0f}"


def share(value: Any) -> str:
    return "" if not isinstance(value, int | float) else f"{value:.1%}"


def seconds(value: Any) -> str:
    """A duration, from microseconds to days."""
    if not isinstance(value, int | float):
        return ""
    if value < 0.001:
        return f"{value * 1e6:.0f} µs"
    if value < 1:
        return f"{value * 1e3:.3g} ms"
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def duration(text: Any) -> str:
    """A duration in proto3's JSON form, "345600s", for people."""
    left = str(text or "").removesuffix("s")
    if not left.replace(".", "", 1).isdigit():
        return ""
    whole = float(left)
    return plural(int(whole // 86400), "day") if whole and whole % 86400 == 0 else seconds(whole)


def took(one: Mapping[str, Any]) -> str:
    """How long something ran, or runs so far."""
    if not one.get("startTime"):
        return ""
    end = parse_rfc3339(one["endTime"]) if one.get("endTime") else datetime.now(UTC).timestamp()
    return seconds(max(0.0, end - parse_rfc3339(one["startTime"])))


def size(value: Any) -> str:
    """Bytes."""
    left = float(value or 0)
    for unit in ("bytes", "KiB", "MiB", "GiB"):
        if left < 1024:
            return f"{left:.0f} {unit}" if unit == "bytes" else f"{left:.1f} {unit}"
        left /= 1024
    return f"{left:.1f} TiB"


def short(name: Any) -> str:
    """The last part of a resource's name."""
    return str(name or "").rpartition("/")[2]


def title(resource: Mapping[str, Any]) -> str:
    """What a page about a resource is called."""
    return resource.get("displayName") or short(resource["name"])


def metric(name: str) -> str:
    """A metric's name as words: meanAbsoluteError as "mean absolute error"."""
    known = {
        "auRoc": "area under ROC",
        "auPrc": "area under precision-recall",
        "rSquared": "R²",
        "logLoss": "log loss",
    }
    return known[name] if name in known else re.sub(r"(?<=[a-z0-9])(?=[A-Z])", " ", name).lower()


def interval(bounds: Any) -> str:
    """A 95% interval."""
    if not bounds or len(bounds) != 2:
        return ""
    return f"{number(bounds[0])} to {number(bounds[1])}"


def pretty(value: Any) -> str:
    """JSON to be read."""
    shown = value
    if isinstance(value, str):
        try:
            shown = json.loads(value)
        except ValueError:
            return value
    return json.dumps(shown, indent=2, ensure_ascii=False)


def in_script(figure: Any) -> Markup:
    """A figure as JSON, the content of a script element that is data."""
    text = json.dumps(_as_written(figure), ensure_ascii=True, allow_nan=False)
    return Markup(text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026"))


def _as_written(part: Any) -> Any:
    """Plotly takes what looks like a tag in a name for one: with their signs as entities names show as they are."""
    if isinstance(part, dict):
        return {key: _as_written(value) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return [_as_written(one) for one in part]
    return html.escape(part, quote=False) if isinstance(part, str) else part


def plural(count: int, one: str, many: str = "") -> str:
    """ "1 model", "3 models"."""
    return f"{count:,} {one if count == 1 else many or one + 's'}"


def gist(message: Any) -> str:
    """The end of an error's message: of a pipeline that of the task that failed first, of a program its last line."""
    lines = str(message or "").partition("\nIts inputs: ")[0].strip().splitlines() or ["no reason is known"]
    last = lines[-1].rpartition("]. ")[2]
    return last if len(last) < 300 else f"{last[:299]}…"


def code(text: str) -> Markup:
    """Text whose `commands` are shown as such."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(text))))


FILTERS = {
    "state": state,
    "plain_state": plain_state,
    "when": when,
    "day": day,
    "number": number,
    "share": share,
    "seconds": seconds,
    "duration": duration,
    "took": took,
    "size": size,
    "short": short,
    "metric": metric,
    "interval": interval,
    "pretty": pretty,
    "in_script": in_script,
    "plural": plural,
    "code": code,
    "gist": gist,
}

"""What a compiled pipeline says for Kubernetes beside its spec (PlatformSpec, the second document of kfp's file).

Timeouts hold here too. Where a pod runs and how it is called is nothing to a machine of its own; what would change what
a component finds (secrets, volumes, fields of pods) is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from portico.errors import InvalidArgument, Unimplemented
from portico.services.registry.templates import PLATFORMS

_DEADLINE = "activeDeadlineSeconds"
_KEPT = "resourceTtl"  # how long Kubernetes keeps what a run left: here a run is there until it is deleted
_NO_MATTER = frozenset(
    {"enabledSharedMemory", "imagePullPolicy", "imagePullSecret", "nodeAffinity", "nodeSelector", "podAffinity",
     "podMetadata", "tolerations"}
)  # fmt: skip


def timeouts(platforms: Any) -> tuple[float | None, dict[str, float]]:
    """How many seconds a run may take, None where nothing is said; and a task, by the label of its executor.

    Raises:
        InvalidArgument, Unimplemented: naming the field.
    """
    found: dict[str, float] = {}
    whole: float | None = None
    for name, platform in _object({} if platforms is None else platforms, PLATFORMS).items():
        at = f"{PLATFORMS}[{name}]"
        if name != "kubernetes":
            raise Unimplemented(
                f"{at}: this is no platform that Portico knows; there is kubernetes.", field=at
            )
        platform = _object(platform, at)
        config = _object(platform.get("pipelineConfig") or {}, f"{at}.pipelineConfig")
        for key, value in config.items():
            if key == _DEADLINE:
                whole = _seconds(value, f"{at}.pipelineConfig.{key}")
            elif not key.startswith(_KEPT):
                raise _refused(f"{at}.pipelineConfig.{key}")
        deployment = _object(platform.get("deploymentSpec") or {}, f"{at}.deploymentSpec")
        executors = _object(deployment.get("executors") or {}, f"{at}.deploymentSpec.executors")
        for label, told in executors.items():
            place = f"{at}.deploymentSpec.executors[{label}]"
            for key, value in _object(told, place).items():
                if key == _DEADLINE:
                    found[label] = _seconds(value, f"{place}.{key}")
                elif key not in _NO_MATTER:
                    raise _refused(f"{place}.{key}")
    return whole, found


def _object(value: Any, at: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InvalidArgument(f"{at} must be an object.", field=at)
    return value


def _seconds(value: Any, at: str) -> float:
    try:
        seconds = 0 if isinstance(value, bool) else int(value)
    except (TypeError, ValueError, OverflowError):
        seconds = 0
    if seconds <= 0:
        raise InvalidArgument(
            f"{at} is {str(value)[:100]!r}; it must be a whole number of seconds above 0.", field=at
        )
    return float(seconds)


def _refused(at: str) -> Unimplemented:
    return Unimplemented(
        f"{at} asks for something of Kubernetes that Portico does not build; leave it out, and give the component what "
        "it needs by its inputs.",
        field=at,
    )

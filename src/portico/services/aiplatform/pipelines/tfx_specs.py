"""What TFX leaves open in the specs that it compiles, of either schema, said in them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_TFX = "tfx-"  # how its sdkVersion begins


def mend(spec: Mapping[str, Any], executors: Mapping[str, Any]) -> None:
    """Changes a spec, as `ir` has parsed it: what comes from a resolver may not be there, as a blessed model before the
    first. And a task whose output is another's parameter gets its name: TFX adds "_task" to that, which it has not."""
    if not str(spec.get("sdkVersion") or "").startswith(_TFX):
        return
    named = spec.get("components") or {}
    resolvers = {
        name
        for name, one in named.items()
        if "resolver" in (executors.get(one.get("executorLabel", "")) or {})
    }
    for component in [*named.values(), spec.get("root") or {}]:
        tasks = (component.get("dag") or {}).get("tasks") or {}
        for task in tasks.values():
            inputs, definitions = task.get("inputs") or {}, named.get(_component_of(task)) or {}
            wanted = (definitions.get("inputDefinitions") or {}).get("artifacts") or {}
            for name, one in (inputs.get("artifacts") or {}).items():
                producer = (one.get("taskOutputArtifact") or {}).get("producerTask", "")
                if _component_of(tasks.get(producer) or {}) in resolvers and name in wanted:
                    wanted[name]["isOptional"] = True
            for one in (inputs.get("parameters") or {}).values():
                source = one.get("taskOutputParameter") or {}
                producer = source.get("producerTask", "")
                if producer not in tasks and producer.removesuffix("_task") in tasks:
                    source["producerTask"] = producer.removesuffix("_task")


def _component_of(task: Mapping[str, Any]) -> str:
    return str((task.get("componentRef") or {}).get("name", ""))

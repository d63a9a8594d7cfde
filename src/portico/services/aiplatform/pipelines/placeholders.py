"""Placeholders in what a pipeline says of a task: `{{$.inputs.parameters['x']}}`, Concat, IfPresent, …

Each text is gone over once: what a value brings is not looked at again, but for what is written in the pipeline itself.
There the whole ExecutorInput may stand, as in the arguments that `create_custom_training_job_from_component` writes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from portico.errors import FailedPrecondition, PorticoError, Unimplemented
from portico.services.aiplatform.pipelines.values import in_text
from portico.store.gcs import parse_uri

_PLACEHOLDER = re.compile(r"\{\{\$((?:\.[^{}]*?)?)\}\}")
_WHOLE = re.compile(r"\{\{\$((?:\.json_escape\[\d+\])?)\}\}")
_STEP = re.compile(r"\.(\w+)|\[\s*(?:'([^']*)'|\"([^\"]*)\"|(\d+))\s*\]")


@dataclass(frozen=True, slots=True)
class Scope:
    """`executor` is the task's ExecutorInput; `facts` what placeholders without a path stand for
    ("pipeline_job_name", …). `written`: the input parameters whose value the pipeline itself holds. `empty`: what
    stands for one that has none, where that is not ""."""

    executor: Mapping[str, Any]
    facts: Mapping[str, str]
    written: Collection[str] = ()
    empty: Mapping[str, Any] = field(default_factory=dict)

    def fill(self, text: str) -> str:
        """`text` with all placeholders replaced.

        Raises:
            FailedPrecondition: there is one that nothing is known of. Unimplemented: it is of a workspace.
        """
        return _PLACEHOLDER.sub(lambda found: in_text(self._value(found[0], found[1])), text)

    def fill_all(self, value: Any) -> Any:
        """The same for all texts in a JSON value; a text that is one placeholder alone becomes its value."""
        if isinstance(value, str):
            whole = _PLACEHOLDER.fullmatch(value)
            return self._value(whole[0], whole[1]) if whole else self.fill(value)
        if isinstance(value, list):
            return [self.fill_all(one) for one in value]
        if isinstance(value, dict):
            return {self.fill(key): self.fill_all(one) for key, one in value.items()}
        return value

    def arguments(self, given: list[str]) -> list[str]:
        """A container's command or arguments: Concat and IfPresent resolved, placeholders replaced."""
        made: list[str] = []
        for one in given:
            if one.startswith(('{"Concat":', '{"IfPresent":')):
                made += self._structure(_load(one))
            else:
                made.append(self.fill(one))
        return made

    def _structure(self, one: Any) -> list[str]:
        if isinstance(one, str):
            return [self.fill(one)]
        if isinstance(one, list):
            return [text for part in one for text in self._structure(part)]
        if isinstance(one, dict) and "Concat" in one:
            return ["".join(text for part in one["Concat"] for text in self._structure(part))]
        if isinstance(one, dict) and "IfPresent" in one:
            inside = one["IfPresent"]
            chosen = inside.get("Then") if self._has(inside.get("InputName", "")) else inside.get("Else")
            return [] if chosen is None else self._structure(chosen)
        raise FailedPrecondition(f"{json.dumps(one)[:200]} is no placeholder that can be read.")

    def _has(self, name: str) -> bool:
        inputs = self.executor.get("inputs") or {}
        return name in (inputs.get("parameterValues") or {}) or name in (inputs.get("artifacts") or {})

    def _value(self, placeholder: str, path: str) -> Any:
        steps = _steps(path)
        if steps is None:
            raise _unknown(placeholder)
        if _WHOLE.fullmatch(placeholder) and not self.executor["outputs"]:
            return placeholder  # what the whole is, is not known yet
        escapes = 0
        if len(steps) >= 2 and steps[-2] == "json_escape":
            escapes = int(steps[-1]) if steps[-1].isdigit() else 0
            steps = steps[:-2]
        value = self._at(placeholder, steps)
        for _ in range(escapes):
            value = json.dumps(in_text(value))[1:-1]
        return value

    def _at(self, placeholder: str, steps: list[str]) -> Any:
        match steps:
            case []:
                return json.dumps(self.executor)
            case ["inputs", "parameters", name] if name in self.written:
                value = in_text(self.executor["inputs"]["parameterValues"][name])
                return _WHOLE.sub(lambda found: in_text(self._value(found[0], found[1])), value)
            case ["outputs", "output_file"] | ["outputMetadataUri"]:
                return self.executor["outputs"]["outputFile"]
            case ["inputs", "parameters", name, *rest]:
                held = self.executor["inputs"].get("parameterValues") or {}
                return _inside(held.get(name, self.empty.get(name)), rest)
            case ["outputs", "parameters", name, "output_file"]:
                found = (self.executor["outputs"].get("parameters") or {}).get(name)
                if found:
                    return found["outputFile"]
            case ["inputs" | "outputs" as side, "artifacts", name, *rest]:
                held = (self.executor[side].get("artifacts") or {}).get(name)
                if held is not None or side == "inputs":
                    return _of_artifact((held or {}).get("artifacts") or [], rest)
            case [fact] if fact in self.facts:
                return self.facts[fact]
        raise _unknown(placeholder)


def _unknown(placeholder: str) -> PorticoError:
    if placeholder.startswith("{{$.workspace_path"):
        return Unimplemented(
            "A pipeline's workspace is a volume of Kubernetes, and not built in Portico: pass files on as artifacts."
        )
    return FailedPrecondition(f"Nothing is known of the placeholder {placeholder}.")


def _steps(path: str) -> list[str] | None:
    steps, at = [], 0
    while at < len(path):
        found = _STEP.match(path, at)
        if found is None:
            return None
        steps.append(next(one for one in found.groups() if one is not None))
        at = found.end()
    return steps


def _load(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise FailedPrecondition(f"{text[:200]} is no placeholder that can be read.") from None


def _inside(value: Any, steps: list[str]) -> Any:
    """What lies at `steps` in a value; "" where there is nothing, as where an optional input has no value."""
    for step in steps:
        if isinstance(value, dict):
            value = value.get(step)
        elif isinstance(value, list) and step.isdigit() and int(step) < len(value):
            value = value[int(step)]
        else:
            value = None
    return "" if value is None else value


def _of_artifact(artifacts: list[Mapping[str, Any]], steps: list[str]) -> Any:
    if not steps:
        return json.dumps(artifacts)
    if not artifacts:
        return ""
    first, (what, *rest) = artifacts[0], steps
    read: dict[str, Callable[[], Any]] = {
        "uri": lambda: first.get("uri", ""),
        "path": lambda: path_of(first.get("uri", "")),
        "name": lambda: first.get("name", ""),
        "metadata": lambda: (
            _inside(first.get("metadata") or {}, rest) if rest else first.get("metadata") or {}
        ),
    }
    if what not in read:
        raise FailedPrecondition(f"An artifact has no {what!r} that a placeholder could stand for.")
    return read[what]()


def path_of(uri: str) -> str:
    """Where a component sees what lies at a gs:// name."""
    return "/gcs/{}/{}".format(*parse_uri(uri)) if uri.startswith("gs://") else uri

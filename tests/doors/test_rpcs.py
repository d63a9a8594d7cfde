"""The names that methods have in gRPC are those of the official client."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from portico.doors.contract.documents import Contract
from portico.doors.contract.rpcs import rules

# The document of the same day lacks them, or they are of other APIs beside it.
_LACKING = re.compile(
    r".*(Location|Iam|IamPermissions|Operation|Operations|Locations|IamPolicy|RagEngineConfig)"
)
_STREAMS = {
    "ServerStreamingPredict",
    "StreamGenerateContent",
    "AppendEvent",
    "MutateDeployedIndex",
    "DeleteSavedQuery",
}


def known(version: str) -> Iterator[tuple[str, dict[str, Any]]]:
    package = importlib.import_module(f"google.cloud.aiplatform_{version}.services")
    for service in pkgutil.iter_modules(package.__path__):
        try:
            module = importlib.import_module(f"{package.__name__}.{service.name}.transports.rest_base")
        except ImportError:
            continue
        for _, transport in inspect.getmembers(module, inspect.isclass):
            for name, method in vars(transport).items():
                if name.startswith("_Base") and hasattr(method, "_get_http_options"):
                    yield name.removeprefix("_Base"), method._get_http_options()[0]


@pytest.mark.parametrize("version", ["v1", "v1beta1"])
def test_the_rules_are_the_clients(version: str, tmp_path: Path) -> None:
    found = rules(Contract.load(tmp_path))[version]
    wrong = {}
    for name, option in known(version):
        if _LACKING.fullmatch(name) or name in _STREAMS or name not in found:
            continue
        verb, path, body = found[name]
        words = option.get("body", "").split("_")
        wanted = words[0] + "".join(word.capitalize() for word in words[1:])
        if (verb, path.rpartition(":")[2] if ":" in path else "", body) != (
            option["method"].upper(), option["uri"].rpartition(":")[2] if ":" in option["uri"] else "", wanted,
        ):  # fmt: skip
            wrong[name] = (found[name], option)
    assert wrong == {}
    essential = {"UploadModel", "DeployModel", "Predict", "CreatePipelineJob", "CreateCustomJob", "DeleteModelVersion",
                 "ListModelVersions", "QueryContextLineageSubgraph", "GetOperation"}  # fmt: skip
    assert essential <= set(found)

"""`gcloud ai endpoints`: what is deployed to one, and what is asked of it.

It runs in the caller's own Python, as `portico_gcloud_command` does.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import portico_gcloud_ai as ai
import portico_gcloud_asking as asking
import portico_gcloud_shown as shown

if TYPE_CHECKING:
    from typing import Any


def _split(asked: asking.Asked) -> dict[str, Any]:
    if not asked.options.get("--traffic-split"):
        return {}
    told = asking.pairs(asked.options["--traffic-split"], "--traffic-split")
    return {"trafficSplit": {model: int(share) for model, share in told.items()}}


def _deploy(asked: asking.Asked) -> int:
    name, model = ai.named(asked, "endpoints"), ai.named(asked, "models", asked.options["--model"])
    kinds = asked.ask("GET", model, None, ai.API).get("supportedDeploymentResourcesTypes", [])
    counts = {
        field: int(asked.options[option])
        for option, field in (
            ("--min-replica-count", "minReplicaCount"),
            ("--max-replica-count", "maxReplicaCount"),
        )
        if asked.options.get(option)
    }
    deployed: dict[str, Any] = {"model": model, "displayName": asked.options["--display-name"]}
    if "DEDICATED_RESOURCES" in kinds:
        machine: dict[str, Any] = {}
        if asked.options.get("--machine-type"):
            machine["machineType"] = asked.options["--machine-type"]
        if asked.options.get("--accelerator"):
            told = asking.pairs(asked.options["--accelerator"], "--accelerator")
            machine["acceleratorType"] = told.get("type", "").upper().replace("-", "_")
            machine["acceleratorCount"] = int(told.get("count") or 1)
        deployed["dedicatedResources"] = {"machineSpec": machine, "minReplicaCount": 1, **counts}
    else:
        deployed["automaticResources"] = counts
    for option, field in (("--service-account", "serviceAccount"), ("--deployed-model-id", "id")):
        if asked.options.get(option):
            deployed[field] = asked.options[option]
    for option, field in (
        ("--enable-access-logging", "enableAccessLogging"),
        ("--disable-container-logging", "disableContainerLogging"),
    ):
        if option in asked.options:
            deployed[field] = True
    body = {"deployedModel": deployed, **_split(asked)}
    made = ai.ended(asked, asked.ask("POST", f"{name}:deployModel", body, ai.API))
    number = made.get("deployedModel", {}).get("id", "")
    print(
        f"Deployed a model to the endpoint {name.rpartition('/')[2]}. Id of the deployed model: {number}.",
        file=sys.stderr,
    )
    shown.resource(made, asked.form or "none")
    return 0


def _undeploy(asked: asking.Asked) -> int:
    body = {"deployedModelId": asked.options["--deployed-model-id"], **_split(asked)}
    ai.ended(asked, asked.ask("POST", f"{ai.named(asked, 'endpoints')}:undeployModel", body, ai.API))
    return 0


def _body(asked: asking.Asked) -> dict[str, Any]:
    """What --json-request says.

    Raises:
        ValueError: it is no JSON with instances.
    """
    file = asked.options["--json-request"]
    with sys.stdin if file == "-" else open(file) as source:
        text = source.read()
    try:
        told = json.loads(text)
    except ValueError:
        raise ValueError(f'Input is not in JSON format: {file} is to have {{"instances": [...]}}.') from None
    if not isinstance(told, dict) or not told.get("instances"):
        raise ValueError('Invalid JSON request: missing "instances" attribute')
    return told


def _predict(asked: asking.Asked) -> int:
    told = asked.ask("POST", f"{ai.named(asked, 'endpoints')}:predict", _body(asked), ai.API)
    shown.predicted(told, "predictions", asked.form)
    return 0


def _explain(asked: asking.Asked) -> int:
    body = _body(asked)
    if asked.options.get("--deployed-model-id"):
        body["deployedModelId"] = asked.options["--deployed-model-id"]
    told = asked.ask("POST", f"{ai.named(asked, 'endpoints')}:explain", body, ai.API)
    if told.get("deployedModelId"):
        print(f"Deployed model id to be used for explanation: {told['deployedModelId']}", file=sys.stderr)
    shown.predicted(told, "explanations", asked.form)
    return 0


def _raw(asked: asking.Asked) -> int:
    request = asked.options["--request"]
    if request.startswith("@"):
        with open(0 if request == "@-" else request[1:], "rb") as source:
            body = source.read()
    else:
        body = request.encode()
    headers = {"Content-Type": "application/json"}
    headers.update(asking.pairs(asked.options.get("--http-headers", ""), "--http-headers"))
    answer: bytes = asked.ask("POST", f"{ai.named(asked, 'endpoints')}:rawPredict", body, ai.API, headers)
    if asked.form:
        try:
            shown.resource(json.loads(answer), asked.form)
        except json.JSONDecodeError:
            raise ValueError(
                f"No JSON object could be decoded from the HTTP response body:\n{answer!r}"
            ) from None
        return 0
    sys.stdout.flush()
    sys.stdout.buffer.write(answer)
    return 0


_NAME = ("ENDPOINT",)
COMMANDS = {
    "endpoints deploy-model": asking.Command(
        _deploy,
        (ai.REGION, "--machine-type", "--accelerator", "--min-replica-count", "--max-replica-count",
         "--traffic-split", "--service-account", "--deployed-model-id", "--enable-access-logging",
         "--disable-container-logging"),
        _NAME, ("--model", "--display-name"),
    ),
    "endpoints undeploy-model": asking.Command(
        _undeploy, (ai.REGION, "--traffic-split"), _NAME, ("--deployed-model-id",)
    ),
    "endpoints predict": asking.Command(_predict, (ai.REGION,), _NAME, ("--json-request",)),
    "endpoints explain": asking.Command(
        _explain, (ai.REGION, "--deployed-model-id"), _NAME, ("--json-request",)
    ),
    "endpoints raw-predict": asking.Command(
        _raw, (ai.REGION, "--http-headers"), _NAME, ("--request",)
    ),
}  # fmt: skip

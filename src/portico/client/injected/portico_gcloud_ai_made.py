"""What `gcloud ai … create` and `models upload` make: a body of what their options and files say.

It runs in the caller's own Python, as `portico_gcloud_command` does.
"""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING
from urllib.parse import quote

import portico_gcloud_ai as ai
import portico_gcloud_asking as asking
import portico_gcloud_shown as shown

if TYPE_CHECKING:
    from typing import Any

_POOL = {  # of --worker-pool-spec and --resource-pool-spec: what a machine is
    "machine-type": "machineType", "accelerator-type": "acceleratorType", "accelerator-count": "acceleratorCount",
}  # fmt: skip
_METHODS = {
    "sampled-shapley": ("sampledShapleyAttribution", "--explanation-path-count", "pathCount"),
    "integrated-gradients": ("integratedGradientsAttribution", "--explanation-step-count", "stepCount"),
    "xrai": ("xraiAttribution", "--explanation-step-count", "stepCount"),
}
_TRAINED = ("--network", "--service-account", "--enable-web-access", "--enable-dashboard-access")


def _file(path: str) -> dict[str, Any]:
    """What a file of YAML or JSON says.

    Raises:
        ValueError: it says nothing, or something else.
    """
    with open(path) as file:
        text = file.read()
    try:
        told = json.loads(text)
    except ValueError:
        import yaml

        try:
            told = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise ValueError(f"Failed to parse YAML from [{path}]: {error}") from None
    if not isinstance(told, dict):
        raise ValueError(f"[{path}] has no keys with values, as YAML or JSON.")
    return told


def _said(asked: asking.Asked, fields: dict[str, str]) -> dict[str, Any]:
    """What these options say, as fields; with the labels."""
    found: dict[str, Any] = {
        field: asked.options[option] for option, field in fields.items() if asked.options.get(option)
    }
    if asked.options.get("--labels"):
        found["labels"] = asking.pairs(asked.options["--labels"], "--labels")
    return found


def _trained(asked: asking.Asked, spec: dict[str, Any]) -> None:
    """What the options of jobs say instead of the file."""
    spec.update(_only(asked, {"--network": "network", "--service-account": "serviceAccount"}))
    for option, field in (
        ("--enable-web-access", "enableWebAccess"),
        ("--enable-dashboard-access", "enableDashboardAccess"),
    ):
        if option in asked.options:
            spec[field] = True


def _only(asked: asking.Asked, fields: dict[str, str]) -> dict[str, Any]:
    return {field: asked.options[option] for option, field in fields.items() if asked.options.get(option)}


def _custom_job(asked: asking.Asked) -> int:
    config, pools = asked.options.get("--config"), asked.options.get("--worker-pool-spec")
    if not config and not pools:
        raise asking.Usage("Exactly one of (--config | --worker-pool-spec) must be specified.")
    spec = _file(config) if config else {}
    if pools:
        spec["workerPoolSpecs"] = [_worker(asked, one) for one in pools.split(asking.BETWEEN)]
    for option, field in (("--args", "args"), ("--command", "command")):
        if asked.options.get(option):
            for pool in spec.get("workerPoolSpecs", []):
                for kind in ("containerSpec", "pythonPackageSpec"):
                    if kind in pool and (field, kind) != ("command", "pythonPackageSpec"):
                        pool[kind][field] = asking.items(asked.options[option])
    _trained(asked, spec)
    spec.update(_only(asked, {"--persistent-resource-id": "persistentResourceId"}))
    body = {"jobSpec": spec, **_said(asked, {"--display-name": "displayName"})}
    made = asked.ask("POST", f"{ai.parent(asked)}/customJobs", body, ai.API)
    name = made["name"]
    print(
        f"CustomJob [{name}] is submitted successfully.\n\nYour job is still active. You may view the status of your "
        f"job with the command\n\n  $ {ai.tracked(asked)} custom-jobs describe {name}\n\nor continue streaming the "
        f"logs with the command\n\n  $ {ai.tracked(asked)} custom-jobs stream-logs {name}",
        file=sys.stderr,
    )
    shown.resource(made, asked.form or "none")
    return 0


def _machine(told: dict[str, str]) -> dict[str, Any]:
    machine: dict[str, Any] = {field: told.pop(key) for key, field in _POOL.items() if key in told}
    if "acceleratorType" in machine:
        machine["acceleratorType"] = machine["acceleratorType"].upper().replace("-", "_")
        machine["acceleratorCount"] = int(machine.get("acceleratorCount", 1))
    return machine


def _worker(asked: asking.Asked, text: str) -> dict[str, Any]:
    """One of --worker-pool-spec."""
    told = asking.pairs(text, "--worker-pool-spec")
    pool: dict[str, Any] = {"machineSpec": _machine(told), "replicaCount": told.pop("replica-count", "1")}
    package = {
        field: told.pop(key)
        for key, field in (("executor-image-uri", "executorImageUri"), ("python-module", "pythonModule"))
        if key in told
    }
    if "container-image-uri" in told:
        pool["containerSpec"] = {"imageUri": told.pop("container-image-uri")}
    if told:
        raise asking.Usage(
            f"--worker-pool-spec with {', '.join(sorted(told))} is not built in Portico: build an image with `docker "
            "build` and name it as container-image-uri, or a package as --python-package-uris."
        )
    if package:
        uris = asking.items(asked.options.get("--python-package-uris", ""))
        pool["pythonPackageSpec"] = {**package, "packageUris": uris}
    return pool


def _tuning_job(asked: asking.Asked) -> int:
    body = _file(asked.options["--config"])
    for option, field in (
        ("--max-trial-count", "maxTrialCount"),
        ("--parallel-trial-count", "parallelTrialCount"),
    ):
        body[field] = int(asked.options.get(option) or body.get(field) or 1)
    _trained(asked, body.setdefault("trialJobSpec", {}))
    if asked.options.get("--algorithm") and body.get("studySpec"):
        body["studySpec"]["algorithm"] = asked.options["--algorithm"].upper().replace("-", "_")
    body.update(_said(asked, {"--display-name": "displayName"}))
    made = asked.ask("POST", f"{ai.parent(asked)}/hyperparameterTuningJobs", body, ai.API)
    job, region = made["name"].rpartition("/")[2], made["name"].split("/")[3]
    print(
        f"Hyperparameter tuning job [{job}] submitted successfully.\n\nYour job is still active. You may view the "
        f"status of your job with the command\n\n  $ {ai.tracked(asked)} hp-tuning-jobs describe {job} "
        f"--region={region}\n\nJob State: {made['state']}",
        file=sys.stderr,
    )
    shown.resource(made, asked.form or "none")
    return 0


def _persistent(asked: asking.Asked) -> int:
    config, pools = asked.options.get("--config"), asked.options.get("--resource-pool-spec")
    if not config and not pools:
        raise asking.Usage("Exactly one of (--config | --resource-pool-spec) must be specified.")
    body = _file(config) if config else {}
    if pools:
        body["resourcePools"] = [_pool(one) for one in pools.split(asking.BETWEEN)]
    body.update(_said(asked, {"--display-name": "displayName", "--network": "network"}))
    place = ai.parent(asked)
    chosen = asked.options.get("--persistent-resource-id", "")
    query = f"?persistentResourceId={quote(chosen)}" if chosen else ""
    operation = asked.ask("POST", f"{place}/persistentResources{query}", body, ai.API)
    number = operation["name"].rpartition("/")[2]
    print(
        f"Operation to create PersistentResource [{operation['name']}] is submitted successfully.\n\nYou may view the "
        f"status of your PersistentResource create operation with the command\n\n  $ {ai.tracked(asked)} operations "
        f"describe {place}/operations/{number}\n",
        file=sys.stderr,
    )
    shown.resource(operation, asked.form or "none")
    return 0


def _pool(text: str) -> dict[str, Any]:
    """One of --resource-pool-spec."""
    told = asking.pairs(text, "--resource-pool-spec")
    pool: dict[str, Any] = {"machineSpec": _machine(told)}
    pool.update({"replicaCount": told.pop("replica-count")} if "replica-count" in told else {})
    scaled = {"min-replica-count": "minReplicaCount", "max-replica-count": "maxReplicaCount"}
    disk = {"disk-type": "bootDiskType", "disk-size": "bootDiskSizeGb"}
    for field, keys in (("autoscalingSpec", scaled), ("diskSpec", disk)):
        found = {name: told.pop(key) for key, name in keys.items() if key in told}
        pool.update({field: found} if found else {})
    if told:
        raise asking.Usage(
            f"argument --resource-pool-spec: valid keys are {', '.join((*_POOL, *scaled, *disk))}."
        )
    return pool


def _made(asked: asking.Asked, path: str, body: dict[str, Any], told: str) -> int:
    made = ai.ended(asked, asked.ask("POST", path, body, ai.API))
    print(told.format(made.get("name", "")), file=sys.stderr)
    shown.resource(made, asked.form or "none")
    return 0


def _endpoint(asked: asking.Asked) -> int:
    fields = {"--display-name": "displayName", "--description": "description", "--network": "network"}
    body = _said(asked, fields)
    if asked.options.get("--request-response-logging-table"):
        body["predictRequestResponseLoggingConfig"] = {
            "enabled": True,
            "samplingRate": float(asked.options.get("--request-response-logging-rate") or 0),
            "bigqueryDestination": {"outputUri": asked.options["--request-response-logging-table"]},
        }
    chosen = asked.options.get("--endpoint-id", "")
    query = f"?endpointId={quote(chosen)}" if chosen else ""
    return _made(asked, f"{ai.parent(asked)}/endpoints{query}", body, "Created Vertex AI endpoint: {}.")


def _tensorboard(asked: asking.Asked) -> int:
    body = _said(asked, {"--display-name": "displayName", "--description": "description"})
    return _made(asked, f"{ai.parent(asked)}/tensorboards", body, "Created Vertex AI Tensorboard: {}.")


def _model(asked: asking.Asked) -> int:
    model = _said(
        asked,
        {
            "--display-name": "displayName", "--description": "description", "--artifact-uri": "artifactUri",
            "--version-description": "versionDescription",
        },
    )  # fmt: skip
    container: dict[str, Any] = _only(
        asked,
        {
            "--container-image-uri": "imageUri", "--container-predict-route": "predictRoute",
            "--container-health-route": "healthRoute",
        },
    )  # fmt: skip
    for option, field in (("--container-command", "command"), ("--container-args", "args")):
        container.update({field: asking.items(asked.options[option])} if asked.options.get(option) else {})
    if asked.options.get("--container-env-vars"):
        told = asking.pairs(asked.options["--container-env-vars"], "--container-env-vars")
        container["env"] = [{"name": name, "value": value} for name, value in told.items()]
    if asked.options.get("--container-ports"):
        container["ports"] = [
            {"containerPort": int(one)} for one in asking.items(asked.options["--container-ports"])
        ]
    model["containerSpec"] = container
    if asked.options.get("--version-aliases"):
        model["versionAliases"] = asking.items(asked.options["--version-aliases"])
    if asked.options.get("--explanation-method"):
        model["explanationSpec"] = _explained(asked)
    chosen = _only(asked, {"--parent-model": "parentModel", "--model-id": "modelId"})
    if "parentModel" in chosen:
        chosen["parentModel"] = ai.named(asked, "models", chosen["parentModel"])
    made = ai.ended(
        asked, asked.ask("POST", f"{ai.parent(asked)}/models:upload", {"model": model, **chosen}, ai.API)
    )
    shown.resource(made, asked.form or "none")
    return 0


def _explained(asked: asking.Asked) -> dict[str, Any]:
    method = asked.options["--explanation-method"].lower()
    if method not in _METHODS:
        raise asking.Usage(f"--explanation-method is one of {', '.join(_METHODS)}, not {method}.")
    field, option, count = _METHODS[method]
    if not asked.options.get(option):
        raise asking.Usage(f"--explanation-method={method} needs {option}=COUNT.")
    spec: dict[str, Any] = {"parameters": {field: {count: int(asked.options[option])}}}
    if asked.options.get("--explanation-metadata-file"):
        spec["metadata"] = _file(asked.options["--explanation-metadata-file"])
    return spec


_HERE = (ai.REGION, "--labels")
_NAMED = ("--display-name",)
COMMANDS = {
    "custom-jobs create": asking.Command(
        _custom_job,
        (*_HERE, *_TRAINED, "--config", "--worker-pool-spec", "--python-package-uris", "--args", "--command",
         "--persistent-resource-id"),
        (), _NAMED,
    ),
    "hp-tuning-jobs create": asking.Command(
        _tuning_job, (*_HERE, *_TRAINED, "--max-trial-count", "--parallel-trial-count", "--algorithm"),
        (), (*_NAMED, "--config"),
    ),
    "persistent-resources create": asking.Command(
        _persistent,
        (*_HERE, *_NAMED, "--persistent-resource-id", "--config", "--resource-pool-spec", "--network"),
    ),
    "endpoints create": asking.Command(
        _endpoint,
        (*_HERE, "--description", "--endpoint-id", "--network", "--request-response-logging-table",
         "--request-response-logging-rate"),
        (), _NAMED,
    ),
    "tensorboards create": asking.Command(_tensorboard, (*_HERE, "--description"), (), _NAMED),
    "models upload": asking.Command(
        _model,
        (*_HERE, "--description", "--version-description", "--artifact-uri", "--container-command",
         "--container-args", "--container-env-vars", "--container-ports", "--container-predict-route",
         "--container-health-route", "--parent-model", "--model-id", "--version-aliases", "--explanation-method",
         "--explanation-path-count", "--explanation-step-count", "--explanation-metadata-file"),
        (), (*_NAMED, "--container-image-uri"),
    ),
}  # fmt: skip

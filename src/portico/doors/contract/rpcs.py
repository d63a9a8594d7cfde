"""The names that Vertex AI's methods have in gRPC, for clients from before its clients spoke REST.

A document does not say them, but its messages do: UploadModelRequest is that of UploadModel, what answers
ListModelsResponse is ListModels, and of a resource Model there are CreateModel, GetModel, UpdateModel and DeleteModel.
"""

from __future__ import annotations

from portico.doors.contract.documents import Contract, Method

Rule = tuple[
    str, str, str
]  # of google.api.http: the verb, the path, which field is the body ("*" for all, "" for none)

_API = "aiplatform"
# What no message says.
_KNOWN = {
    "projects.locations.models.deleteVersion": "DeleteModelVersion",
    "projects.locations.datasets.datasetVersions.restore": "RestoreDatasetVersion",
    "projects.locations.operations.cancel": "CancelOperation",
    "projects.locations.operations.delete": "DeleteOperation",
    "projects.locations.operations.wait": "WaitOperation",
}


def rules(contract: Contract) -> dict[str, dict[str, Rule]]:
    """By version ("v1") and name ("UploadModel")."""
    versions: dict[str, list[Method]] = {}
    for method in contract.methods:
        if method.api == _API and "{" in method.path:  # others are for a project that its key says
            versions.setdefault(method.version, []).append(method)
    return {version: _rules(version, methods) for version, methods in versions.items()}


def _rules(version: str, methods: list[Method]) -> dict[str, Rule]:
    def short(name: str) -> str:
        name = name.removeprefix(f"GoogleCloudAiplatform{version.capitalize()}")
        return name.removeprefix("GoogleLongrunning")

    resources = {m.id.rpartition(".")[0]: short(m.response) for m in methods if m.id.endswith(".get")}
    found: dict[str, Rule] = {}
    for method in methods:
        collection, _, verb = method.id.rpartition(".")
        request, response = short(method.request), short(method.response)
        body = request[:1].lower() + request[1:]
        if known := _KNOWN.get(method.id):
            name, body = known, ""
        elif request.endswith("Request"):
            name, body = request.removesuffix("Request"), "*"
        elif request:
            name = {"create": "Create", "patch": "Update", "update": "Update"}.get(verb, verb) + request
        elif verb == "get":
            name = f"Get{response}"
        elif verb == "delete" and collection in resources:
            name = f"Delete{resources[collection]}"
        elif response.endswith("Response"):
            name = response.removesuffix("Response")
        else:
            name = verb[:1].upper() + verb[1:]
        found.setdefault(name, (method.http, method.path, body))
    return found

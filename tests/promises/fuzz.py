"""Requests to every route of the contract, made from its own schemas: valid-looking ones, and every way to be wrong."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from nonsense import FIELDS, FILTERS, INSTANCES, MASKS, ORDERS, SEGMENTS, TEXTS, WANTED
from world import World

from portico.doors.contract.documents import Contract, Method, Parameter
from portico.services.aiplatform.required import REQUIRED
from portico.services.standard.apis import declared

_DEEP = 5
_SECRETS = (b"Traceback", b'File "', b"<html", b"<HTML", b"sqlalchemy", b"sqlite", b"portico/")


@dataclass(frozen=True)
class Request:
    method: Method
    http: str
    target: str
    body: bytes | None
    media: str


class Fuzzer:
    """Makes requests from `seed`, to what is in `world` and to what is not there."""

    def __init__(self, contract: Contract, world: World, seed: int) -> None:
        self.random = random.Random(seed)
        self._rate = 0.0  # how often a value of the present request's body is nonsense
        self._contract = contract
        self._world = world
        self._ids = {
            "projectsId": world.location.split("/")[1],
            "locationsId": world.location.split("/")[3],
            "datasetsId": world.dataset.rpartition("/")[2],
            "datasetVersionsId": world.version.rpartition("/")[2],
            "modelsId": world.model.rpartition("/")[2],
            "evaluationsId": world.evaluation.rpartition("/")[2],
            "endpointsId": world.endpoint.rpartition("/")[2],
            "trainingPipelinesId": world.training.rpartition("/")[2],
            "batchPredictionJobsId": world.batch.rpartition("/")[2],
            "operationsId": world.operation.rpartition("/")[2],
            "repositoriesId": world.tag.split("/")[5],
            "packagesId": world.tag.split("/")[7],
            "tagsId": world.tag.split("/")[9],
            "triggersId": world.trigger.rpartition("/")[2],
            "schedulesId": world.schedule.rpartition("/")[2],
            "bucket": world.bucket,
            "sourceBucket": world.bucket,
            "destinationBucket": world.bucket,
            "object": "rows.csv",
            "sourceObject": "rows.csv",
            "destinationObject": "copy.csv",
        }

    def plain(self, method: Method) -> Request:
        """One request to `method` with nothing wrong but, mostly, that what it names is not there."""
        body = b"{}" if method.http in ("POST", "PUT", "PATCH") else None
        return Request(method, method.http, "/" + self._path(method, self._there), body, "application/json")

    def wrong(self, method: Method) -> Request:
        """One request to `method` in which something may be wrong anywhere."""
        chance = self.random.random
        # What is there is rarely deleted, so that the other methods find it.
        keep = method.http == "DELETE" or re.search(r"undeploy|delete", method.id)
        there = self._missing if keep and chance() < 0.95 else self._there
        path = self._path(method, self._segment if chance() < 0.2 else there)
        target = "/" + path
        if query := self._query(method):
            target += "?" + query
        media = "application/json"
        body: bytes | None = None
        if method.http in ("POST", "PUT", "PATCH") or chance() < 0.03:
            body = self._body(method)
            if chance() < 0.03:
                media = self.random.choice(
                    ("text/plain", "", "application/json; charset=latin-1", "\xff", "a/b/c")
                )
        return Request(method, method.http, target, body, media)

    # --- paths and queries ---

    def _path(self, method: Method, fill: Callable[[str], str]) -> str:
        return re.sub(r"\{\+?([^}]+)\}", lambda m: fill(m[1]), method.flat_path)

    def _there(self, name: str) -> str:
        return quote(self._ids.get(name, "1"), safe="")

    def _missing(self, name: str) -> str:
        return quote(self._ids[name]) if name in ("projectsId", "locationsId") else "missing"

    def _segment(self, name: str) -> str:
        return self.random.choice(SEGMENTS) if self.random.random() < 0.4 else self._there(name)

    def _query(self, method: Method) -> str:
        pairs: list[tuple[str, str]] = []
        for parameter in method.parameters:
            if "{" + parameter.name + "}" in method.path or "{+" + parameter.name + "}" in method.path:
                continue
            if self.random.random() < (0.9 if parameter.required else 0.35):
                pairs += [(parameter.name, self._argument(parameter))] * self.random.choice((1, 1, 1, 2))
        if self.random.random() < 0.1:
            pairs.append(self.random.choice((("unknown", "1"), ("$alt", "json;enum-encoding=int"))))
        if self.random.random() < 0.1:
            pairs.append(("fields", self.random.choice(FIELDS)))
        query = urlencode(pairs, errors="surrogatepass")
        if self.random.random() < 0.05:
            query += self.random.choice(("&%", "&%zz=%ff", "&&&=&", "&a;b", "?x", "&filter=%ff%fe"))
        return query

    def _argument(self, parameter: Parameter) -> str:
        name = parameter.name.lower()
        if self.random.random() < 0.15:
            return self.random.choice(TEXTS)
        for word, pool in (("filter", FILTERS), ("orderby", ORDERS), ("mask", MASKS)):
            if word in name:
                return self.random.choice(pool)
        if parameter.enum:
            return self.random.choice((*parameter.enum, "NOT_IN_IT", "0", "99", "-1", "²"))
        if parameter.type == "integer" or "int" in parameter.format:
            return self.random.choice(
                ("0", "1", "2", "-1", "1000", "99999999999", "1e3", "x", "", "1.0", "٣")
            )
        if parameter.type == "boolean":
            return self.random.choice(("true", "false", "1", "yes", "", "TRUE"))
        if parameter.format == "google-duration":
            return self.random.choice(("0s", "0.01s", "-1s", "1", "s", "1e3s", "x"))
        return self.random.choice(TEXTS)

    # --- bodies ---

    def _body(self, method: Method) -> bytes:
        if self.random.random() < 0.08:
            return self.random.choice(
                (
                    *(
                        b"",
                        b" ",
                        b"null",
                        b"[]",
                        b"1",
                        b'"x"',
                        b"{",
                        b'{"a":',
                        b"\xff\xfe",
                        b"NaN",
                        b'{"a": NaN}',
                    ),
                    *(b'{"displayName": "\\ud800"}', b'{"displayName": "a", "displayName": "b"}', b"{}{}"),
                    *(
                        b'{"a":' * 2000,
                        b"[" * 5000,
                        b'{"labels": {"a": 1e999}}',
                        b'{"displayName": "\xc3"}',
                        b"\0",
                    ),
                    *(
                        b'{"": 1}',
                        b'{"displayName": %s}' % (b"9" * 5000),
                        b'{"display_name": "x", "displayName": "y"}',
                    ),
                )
            )
        self._rate = self.random.choice((0.0, 0.01, 0.03, 0.1))
        value = self._object(method, method.request, 0) if method.request else {}
        if self.random.random() < 0.05:
            value = {"unknown": value, **value} if isinstance(value, dict) else value
        return json.dumps(value).encode("utf-8", "surrogatepass")

    def _object(self, method: Method, name: str, depth: int) -> Any:
        schema = self._contract.schema(method.api, method.version, name)
        return self._of_schema(method, schema, name, depth)

    def _of_schema(self, method: Method, schema: dict[str, Any], hint: str, depth: int) -> Any:
        if self.random.random() < self._rate:
            return self._nonsense()
        if "$ref" in schema:
            return self._object(method, schema["$ref"], depth)
        kind = schema.get("type", "any")
        if "enum" in schema:
            return self.random.choice((*schema["enum"], 0, 1, 99, "NOT_IN_IT"))
        if kind == "object":
            return self._members(method, schema, hint, depth)
        if kind == "array":
            count = self.random.choice((0, 1, 1, 2))
            return [self._of_schema(method, schema["items"], hint, depth + 1) for _ in range(count)]
        if kind == "any":
            return self._any(hint)
        if kind == "boolean":
            return self.random.choice((True, False))
        if kind in ("integer", "number") or "int" in schema.get("format", ""):
            number = self.random.choice((0, 1, 2, -1, 100, 2**31, 2**63, 1.5, 20.0, "7", "x"))
            return str(number) if kind == "string" and self.random.random() < 0.7 else number
        return self._text(schema.get("format", ""), hint)

    def _members(self, method: Method, schema: dict[str, Any], hint: str, depth: int) -> Any:
        properties = schema.get("properties", {})
        if depth > _DEEP:
            return {}
        if not properties:
            extra = schema.get("additionalProperties", {"type": "string"})
            return {
                self.random.choice(("team", "a", "", "A b", "x" * 70, "é", "0")): self._of_schema(
                    method, extra, hint, depth + 1
                )
                for _ in range(self.random.choice((0, 1, 2)))
            }
        likely = 0.7 if depth < 2 and len(properties) < 12 else 0.3
        needed = {path.rpartition(".")[2] for path in REQUIRED.get(method.id, ())} | WANTED
        return {
            _snaked(name) if self.random.random() < 0.1 else name: self._of_schema(method, p, name, depth + 1)
            for name, p in properties.items()
            if self.random.random() < (0.95 if name in needed and depth < 4 else likely)
        }

    def _text(self, form: str, hint: str) -> str:
        known = self._known(hint.lower())
        if known is not None and self.random.random() < 0.7:
            return known
        if form == "google-fieldmask":
            return self.random.choice(MASKS)
        if form in ("google-datetime", "date-time"):
            return self.random.choice(
                ("2026-01-31T12:00:00Z", "2026-01-31", "yesterday", "9999-99-99T00:00:00Z", "")
            )
        if form == "byte":
            return self.random.choice(("aGk=", "aGk", "!", "-_", ""))
        if form == "google-duration":
            return self.random.choice(("1s", "-1s", "1", "1e9s", ""))
        return self.random.choice(TEXTS)

    def _known(self, hint: str) -> str | None:
        """What the service would find sensible in a field of this name."""
        world = self._world
        for words, value in (
            (("imageuri",), "us-docker.pkg.dev/portico/prediction/lightgbm-cpu.4-7:latest"),
            (("artifacturi",), f"gs://{world.bucket}/model"),
            (("uri", "uris", "outputuriprefix"), f"gs://{world.bucket}/rows.csv"),
            (("model", "parentmodel", "sourcemodel"), world.model),
            (("endpoint",), world.endpoint),
            (("deployedmodelid",), world.deployed),
            (("datasetid", "dataset"), world.dataset.rpartition("/")[2]),
            (
                ("metadataschemauri",),
                "gs://google-cloud-aiplatform/schema/dataset/metadata/tabular_1.0.0.yaml",
            ),
            (
                ("metricsschemauri",),
                "gs://google-cloud-aiplatform/schema/modelevaluation/regression_metrics_1.0.0.yaml",
            ),
            (("instancesformat", "predictionsformat"), "jsonl"),
            (("displayname",), "fuzzed"),
            (
                ("trainingtaskdefinition",),
                "gs://google-cloud-aiplatform/schema/trainingjob/definition/automl_tabular_1.0.0.yaml",
            ),
        ):
            if hint in words:
                return value
        return None

    def _any(self, hint: str) -> Any:
        if hint == "metadata" and self.random.random() < 0.7:
            uri = self.random.choice(
                (f"gs://{self._world.bucket}/rows.csv", "gs://x/y", 1, None, ["gs://"], {})
            )
            return {"inputConfig": {"gcsSource": {"uri": self.random.choice(([uri], uri))}}}
        if hint == "trainingTaskInputs" and self.random.random() < 0.8:
            return self._inputs()
        if hint == "instances":
            return self.random.choice(INSTANCES)
        return self._nonsense()

    def _inputs(self) -> dict[str, Any]:
        """Those of an AutoML training, each in a good and in a bad form. None of them would start."""
        choose = self.random.choice
        values: dict[str, Any] = {
            "targetColumn": choose(("missing", 1, None, [], {})),
            "predictionType": choose(("regression", "classification", "x", 1, None)),
            "transformations": choose(([{"auto": {"columnName": "a"}}], [{}], {}, "a", [1], [{"auto": 1}])),
            "trainBudgetMilliNodeHours": choose(("1", 1, -1, "x", None, 1e30, [])),
            "optimizationObjective": choose(("minimize-rmse", "x", 1, None)),
            "disableEarlyStopping": choose((True, "yes", None)),
            "weightColumnName": choose(("b", 1, None)),
            "quantiles": choose(([0.5], "x", [2], None)),
        }
        return {key: value for key, value in values.items() if self.random.random() < 0.7}

    def _nonsense(self) -> Any:
        deep: Any = 1
        for _ in range(self.random.choice((3, 150, 800))):
            deep = {"a": deep} if self.random.random() < 0.5 else [deep]
        return self.random.choice(
            (
                *(
                    None,
                    True,
                    False,
                    0,
                    -1,
                    1.5,
                    10**30,
                    "",
                    "x",
                    [],
                    {},
                    [[]],
                    [None],
                    {"": None},
                    {"a": 1},
                    [{}],
                ),
                deep,
                self.random.choice(TEXTS),
            )
        )


def _snaked(name: str) -> str:
    return re.sub(r"[A-Z]", lambda m: "_" + m[0].lower(), name)


def complaints(request: Request, status: int, headers: dict[str, str], body: bytes) -> Iterator[str]:
    """What is wrong with an answer; nothing, if it is one that Google's clients can read."""
    media = headers.get("content-type", "")
    if status >= 500 and status != 501:
        yield f"status {status}"
    if status < 200 or (300 <= status < 400 and status != 304):
        yield f"status {status}"
    lowered = body[:20_000] if status >= 400 else b""
    for secret in _SECRETS:
        if secret in lowered and not (request.body and secret in request.body):
            yield f"it tells {secret!r}"
    if status < 400:
        if body and "json" in media and request.method.id != "mlflow-artifacts.downloadArtifact":
            json.loads(body)
        return
    if "xml" in media and request.target.count("/") >= 1 and not request.target.startswith("/v1"):
        return
    if request.http == "HEAD":
        return
    if declared()[request.method.api].errors == "flat":
        error = json.loads(body)
        if not (re.fullmatch(r"[A-Z_]+", error["error_code"]) and error["message"].strip()):
            yield "not MLflow's shape"
        return
    try:
        error = json.loads(body)["error"]
    except (ValueError, KeyError, TypeError):
        yield "no error in JSON"
        return
    if error.get("code") != status:
        yield "the code is not the status"
    if not error.get("message", "").strip():
        yield "no message"
    if request.target.startswith(("/storage/", "/upload/", "/download/")):
        first = (error.get("errors") or [{}])[0]
        if not (first.get("reason") and first.get("message")):
            yield "not Cloud Storage's shape"
    elif not re.fullmatch(r"[A-Z_]+", error.get("status", "")):
        yield "no status"
    if status == 501 and "not built" not in error["message"] and "cannot use" not in error["message"]:
        yield "501 without saying what is not built"

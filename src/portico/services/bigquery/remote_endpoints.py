"""The endpoints of Vertex AI that remote models of BigQuery ML ask: those of this platform."""

from __future__ import annotations

import re
from typing import Any

import orjson

from portico.errors import BY_CODE, Internal, InvalidArgument, NotFound, Unimplemented
from portico.prediction.front.calling import FrontConnection
from portico.services.call import Call
from portico.services.standard.serving import ENDPOINTS
from portico.store import resources

_NAME = re.compile(r"projects/[^/]+/locations/[^/]+/endpoints/[^/:]+")
_URL = re.compile(
    r"https?://(?P<host>[^/]+)/v\d\w*/(?P<name>projects/[^/]+/locations/[^/]+/endpoints/[^/:]+)(:predict)?"
)
_GOOGLE = re.compile(r"([a-z]+-)*aiplatform\.googleapis\.com|[a-z0-9-]+-aiplatform\.googleapis\.com")
_SPENT = 256  # rows of one query that are asked for alone because others beside them are wrong
_OF_A_ROW = ("INVALID_ARGUMENT", "RESOURCE_EXHAUSTED", "DEADLINE_EXCEEDED", "UNAVAILABLE", "INTERNAL")


def endpoint(call: Call, text: str) -> str:
    """The resource name of the endpoint that a remote model's ENDPOINT says.

    Raises:
        NotFound: there is none. Unimplemented: it is elsewhere, or a model of Google's. InvalidArgument: it is no name.
    """
    name = _name(call, text.strip())
    with call.rooms.database.read() as connection:
        found = resources.get(connection, name)
    if found is None or found.kind != ENDPOINTS.kind:
        raise NotFound(f"Not found: ENDPOINT {text!r}: this platform has no {name}", reason="notFound")
    return name


def _name(call: Call, text: str) -> str:
    if _NAME.fullmatch(text):
        return text
    if (url := _URL.fullmatch(text)) is not None:
        here = url["host"].lower() == call.headers.get("host", "").lower()
        if here or _GOOGLE.fullmatch(url["host"].lower()):
            return url["name"]
    if "/publishers/" in text or re.fullmatch(r"[\w.@-]+", text):
        raise Unimplemented(
            f"ENDPOINT {text!r} is a model of Google's, which is not on this machine; deploy a model and name its "
            "endpoint."
        )
    if text.startswith(("http://", "https://")):
        raise Unimplemented(
            f"ENDPOINT {text!r} is elsewhere: Portico asks only endpoints of this platform, "
            "https://LOCATION-aiplatform.googleapis.com/v1/projects/PROJECT/locations/LOCATION/endpoints/ENDPOINT."
        )
    raise InvalidArgument(
        f"ENDPOINT {text!r} is no endpoint's address: "
        "https://LOCATION-aiplatform.googleapis.com/v1/projects/PROJECT/locations/LOCATION/endpoints/ENDPOINT",
        reason="invalidQuery",
    )


class Asker:
    """Asks endpoints for one job, in its thread."""

    def __init__(self, call: Call) -> None:
        self._connection = FrontConnection(call.rooms.home)
        self._spent = 0

    def close(self) -> None:
        self._connection.close()

    def predict(self, endpoint: str, instances: list[Any]) -> list[tuple[Any, str]]:
        """Each instance's prediction, or what is wrong with it. Where some are wrong the others are asked for again, in
        halves; of very many they are not told apart.

        Raises:
            PorticoError: the endpoint can't be asked: there is none, nothing is deployed on it, nothing serves it.
        """
        status, answer = self._connection.post(
            f"/v1/{endpoint}:predict", orjson.dumps({"instances": instances})
        )
        found = orjson.loads(answer)
        if status == 200:
            predictions = found.get("predictions")
            if not isinstance(predictions, list) or len(predictions) != len(instances):
                raise Internal(f"{endpoint} did not answer one prediction an instance")
            return [(one, "") for one in predictions]
        error = found["error"] if isinstance(found, dict) and isinstance(found.get("error"), dict) else {}
        code, said = str(error.get("status", "INTERNAL")), str(error.get("message", ""))
        if code not in _OF_A_ROW:
            raise BY_CODE.get(code, Internal)(f"{endpoint}: {said}", reason="invalidQuery")
        if code == "INVALID_ARGUMENT" and len(instances) > 1 and self._spent < _SPENT:
            half = len(instances) // 2
            return self.predict(endpoint, instances[:half]) + self.predict(endpoint, instances[half:])
        self._spent += 1
        return [(None, f"{code}: {said}")] * len(instances)

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
_PLACE = re.compile(r"\binstances\[(\d+)\]")
_SPENT = 20_000  # times that a query takes instances apart because some are wrong
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
        """Each instance's prediction, or what is wrong with it. Those beside a wrong one are asked for again.

        Raises:
            PorticoError: the endpoint can't be asked: there is none, nothing is deployed on it, nothing serves it.
        """
        answers: list[tuple[Any, str]] = []
        waiting = [instances]
        while waiting:
            asked = waiting.pop()
            predictions, error = self._asked(endpoint, asked)
            if not error:
                answers += [(one, "") for one in predictions]
            elif (parts := self._apart(asked, error)) is None:
                answers += [(None, error)] * len(asked)
            else:
                waiting += parts[::-1]
        return answers

    def _apart(self, asked: list[Any], error: str) -> list[list[Any]] | None:
        """Parts in which they are asked for anew: the instance that the error names by itself, else halves; None where
        they are told the same."""
        if len(asked) < 2 or not error.startswith("INVALID_ARGUMENT") or self._spent >= _SPENT:
            return None
        self._spent += 1
        named = _PLACE.search(error)
        place = int(named[1]) if named else len(asked)
        if place >= len(asked):
            half = len(asked) // 2
            return [asked[:half], asked[half:]]
        return [part for part in (asked[:place], asked[place : place + 1], asked[place + 1 :]) if part]

    def _asked(self, endpoint: str, instances: list[Any]) -> tuple[list[Any], str]:
        """One request's predictions, or what is wrong with its instances."""
        status, answer = self._connection.post(
            f"/v1/{endpoint}:predict", orjson.dumps({"instances": instances})
        )
        found = orjson.loads(answer)
        if status == 200:
            predictions = found.get("predictions")
            if not isinstance(predictions, list) or len(predictions) != len(instances):
                raise Internal(f"{endpoint} did not answer one prediction an instance")
            return predictions, ""
        error = found["error"] if isinstance(found, dict) and isinstance(found.get("error"), dict) else {}
        code, said = str(error.get("status", "INTERNAL")), str(error.get("message", ""))
        if code not in _OF_A_ROW:
            raise BY_CODE.get(code, Internal)(f"{endpoint}: {said}", reason="invalidQuery")
        return [], f"{code}: {said}"

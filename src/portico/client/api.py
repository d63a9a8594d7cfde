"""`portico.Client`: Portico's own API from Python. For what Google has an API for, use Google's clients."""

from __future__ import annotations

import http.client
import json
import os
import re
import select
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode, urlsplit

from portico.errors import BY_CODE, NUMBERS, NotFound, PorticoError, Unavailable

_PREFIX = "/apis/portico/v1/"
# Of two kinds with one status the commoner: not every API's errors say their code.
_BY_STATUS = {kind.status: kind for kind in reversed(BY_CODE.values())}
_BY_NUMBER = {NUMBERS[code]: kind for code, kind in BY_CODE.items()}
_SIGNED_FOR = 3600  # seconds
_RUN = re.compile(r"[a-z][a-z0-9-]{0,127}")  # the id of a pipeline's run
_TIMEOUT = 1200.0  # seconds: the clock's advance waits for what is due


def is_over(connection: http.client.HTTPConnection) -> bool:
    """Whether the server has closed an idle connection, as it does after a while: then there is something to read."""
    if connection.sock is None:
        return False
    reads = select.poll()
    reads.register(connection.sock, select.POLLIN)
    return bool(reads.poll(0))


class Client:
    """Talks to the Portico at `url`, or running on `home`; without either, at $PORTICO_URL or on the usual home.

    Not safe for threads: give each its own. Methods return the API's JSON and raise `portico.errors.PorticoError`.
    """

    def __init__(
        self,
        url: str = "",
        home: Path | str | None = None,
        project: str = "portico",
        location: str = "us-central1",
    ) -> None:
        self.parent = f"projects/{project}/locations/{location}"
        parts = urlsplit(url or _url(home))
        assert parts.hostname is not None
        self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=_TIMEOUT)
        self._home = home
        self._token = ""

    def call(self, verb: str, path: str, body: Any = None, **query: Any) -> dict[str, Any]:
        """A method of our API by its path below /apis/portico/v1/, or of another's by the whole path ("/v1/…").

        Raises:
            PorticoError: what the server answered. Unavailable: it does not answer.
        """
        target = path if path.startswith("/") else _PREFIX + quote(path, safe="/:@")
        if query:
            target += "?" + urlencode(query)
        data = None if body is None else json.dumps(body)
        status, text = self._answered(verb, target, data)
        found: dict[str, Any] = json.loads(text) if text else {}
        if status != 200:
            raise _error(found.get("error") or {}, status)
        return found

    def _answered(self, verb: str, target: str, data: str | None) -> tuple[int, bytes]:
        status, text = self._asked(verb, target, data)
        if status == 401 and not self._token:  # the server can't tell by the socket that we are its owner
            self._token = _token(self._home)
            if self._token:
                status, text = self._asked(verb, target, data)
        return status, text

    def _asked(self, verb: str, target: str, data: str | None) -> tuple[int, bytes]:
        headers = {"content-type": "application/json"}
        if self._token:
            headers["authorization"] = f"Bearer {self._token}"
        if is_over(self._connection):
            self._connection.close()  # the next request opens it
        # A connection that stood before: the server may be restarted just now.
        again = verb == "GET" and self._connection.sock is not None
        try:
            self._connection.request(verb, target, data, headers)
            answer = self._connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection.close()
            if again:
                return self._asked(verb, target, data)
            raise Unavailable(f"Portico does not answer: {error!r}.") from None

    def close(self) -> None:
        self._connection.close()

    # --- the domain clock ---

    def now(self) -> str:
        """The domain clock, RFC 3339."""
        return str(self.call("GET", "clock")["time"])

    def advance(self, *, to: str = "", seconds: float = 0.0) -> str:
        """Moves the domain clock, and returns it when everything due until then has been done."""
        body = {"time": to} if to else {"duration": f"{seconds:.6f}s"}
        return str(self.call("POST", "clock:advance", body)["time"])

    # --- labels ---

    def add_labels(self, endpoint: str, labels: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Ground truth: [{"key": {…} or "requestId": "…", "truth": …}, …], at most 10,000."""
        return self.call("POST", f"{endpoint}:addLabels", {"labels": list(labels)})

    def import_labels(
        self,
        endpoint: str,
        uris: str | Sequence[str],
        *,
        truth: str = "truth",
        request_id: str = "",
        index: str = "",
        key: Sequence[str] = (),
        time: str = "",
        observed: str = "",
        influenced: str = "",
        format: str = "",
    ) -> dict[str, Any]:
        """Ground truth from files in gs://, which the server reads: the names of their columns, `key` or `request_id`.

        Returns when it has read them: how many labels were "new", "repeated" and "contradicted", how many "badRows"
        there are, and "errors", which names the first of them.

        Raises:
            PorticoError: a file can't be read, or lacks a column.
        """
        asked = {
            "gcsSource": {"uris": [uris] if isinstance(uris, str) else list(uris)},
            "format": format,
            "truthColumn": truth,
            "requestIdColumn": request_id,
            "indexColumn": index,
            "keyColumns": list(key),
            "timeColumn": time,
            "observedTimeColumn": observed,
            "influencedColumn": influenced,
        }
        found = self.waited(self.call("POST", f"{endpoint}:importLabels", asked))
        found.pop("@type", None)
        return found

    # --- the prediction log ---

    def predictions(
        self, endpoint: str, *, start: str = "", end: str = "", page: int = 100
    ) -> Iterator[dict[str, Any]]:
        """The logged predictions made in [start, end) (RFC 3339), the newest first, read `page` at a time."""
        query: dict[str, Any] = {"pageSize": page, "startTime": start, "endTime": end}
        return self.pages(
            f"{endpoint}:searchPredictions",
            "predictions",
            **{name: value for name, value in query.items() if value},
        )

    # --- long-running operations ---

    def waited(self, operation: Mapping[str, Any]) -> dict[str, Any]:
        """The response of a long-running operation, once it is done.

        Raises:
            PorticoError: the operation's error.
        """
        while not operation.get("done"):
            operation = self.call("POST", f"{operation['name']}:wait", timeout="30s")
        if failed := operation.get("error"):
            raise _BY_NUMBER.get(failed.get("code", 0), PorticoError)(failed.get("message", "It failed."))
        return dict(operation.get("response") or {})

    # --- service ---

    def service_stats(self, endpoint: str, start: str = "", end: str = "") -> dict[str, Any]:
        """How an endpoint served in [start, end), RFC 3339 in domain time: {"models": [{"deployedModelId": …}, …]}."""
        given = {"startTime": start, "endTime": end}
        return self.call("GET", f"{endpoint}:serviceStats", **{k: v for k, v in given.items() if v})

    # --- stewards ---

    def stewards(self) -> list[dict[str, Any]]:
        return list(self.pages(f"{self.parent}/stewards", "stewards"))

    def steward(self, name: str) -> dict[str, Any]:
        return self.call("GET", self.steward_name(name))

    def create_steward(self, name: str, spec: Mapping[str, Any]) -> dict[str, Any]:
        parent, _, steward_id = self.steward_name(name).rpartition("/stewards/")
        return self.call("POST", f"{parent}/stewards", spec, stewardId=steward_id)

    def patch_steward(self, name: str, spec: Mapping[str, Any], mask: str) -> dict[str, Any]:
        return self.call("PATCH", self.steward_name(name), spec, updateMask=mask)

    def delete_steward(self, name: str) -> None:
        self.call("DELETE", self.steward_name(name))

    def pause_steward(self, name: str) -> dict[str, Any]:
        return self.call("POST", f"{self.steward_name(name)}:pause", {})

    def resume_steward(self, name: str) -> dict[str, Any]:
        return self.call("POST", f"{self.steward_name(name)}:resume", {})

    # --- episodes ---

    def episodes(self, steward: str) -> list[dict[str, Any]]:
        """The newest first."""
        return list(self.pages(f"{self.steward_name(steward)}/episodes", "episodes"))

    def episode(self, name: str) -> dict[str, Any]:
        return self.call("GET", name)

    def approve(self, episode: str, comment: str = "") -> dict[str, Any]:
        return self.call("POST", f"{episode}:approve", {"comment": comment})

    def reject(self, episode: str, comment: str = "") -> dict[str, Any]:
        return self.call("POST", f"{episode}:reject", {"comment": comment})

    def roll_back(self, episode: str, comment: str = "") -> dict[str, Any]:
        """Undoes a promotion."""
        return self.call("POST", f"{episode}:rollBack", {"comment": comment})

    def replay(self, episode: str) -> dict[str, Any]:
        """Every decision of an episode made again from its evidence: {"agrees": …, "decisions": […]}."""
        return self.call("POST", f"{episode}:replay", {})

    # --- reruns ---

    def rerun(self, name: str) -> dict[str, Any]:
        """Begins to repeat a training ("projects/…/trainingPipelines/T" or "…/customJobs/J") from what it was pinned
        to: {"name", "first", "job", "state"}.

        Raises:
            FailedPrecondition: it can't be repeated here; the message says why.
        """
        return self.call("POST", f"{name}:rerun", {})

    def rerun_of(self, name: str) -> dict[str, Any]:
        """How far the rerun of that name is; at its end "identical", and "files" with both hashes of each."""
        return self.call("GET", f"{name}:rerun")

    # --- lineage ---

    def lineage(self, name: str) -> tuple[dict[str, Any], dict[str, Any]]:
        """The artifact that stands for `name`, and all that events connect with it (a LineageSubgraph).

        `name`: a model ("projects/…/models/M", with or without @VERSION), a dataset, an endpoint, a batch prediction
        job, an artifact, an object ("gs://…", with or without #GENERATION; else the newest that was used), or what an
        artifact of this project is shown as.

        Raises:
            NotFound: nothing is recorded of it.
        """
        parts = name.split("/")
        location = "/".join(parts[:4]) if name.startswith("projects/") and len(parts) > 5 else self.parent
        if "/artifacts/" in name:
            found = [self.call("GET", f"/v1/{name}")]
        else:
            artifacts = f"/v1/{location}/metadataStores/default/artifacts"
            found = list(self.pages(artifacts, "artifacts", filter=self._of_artifact(name)))
        if not found:
            raise NotFound(f"Nothing is recorded of {name!r} in {location}.")
        graph = self.call("GET", f"/v1/{found[0]['name']}:queryArtifactLineageSubgraph")
        return found[0], graph

    def run_lineage(self, name: str) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """The execution of a pipeline's run, and all that its tasks took and gave (a LineageSubgraph); None where
        `name`, its resource name or its id, is none's.

        Raises:
            NotFound: `name` is a resource name, and there is no such run.
        """
        run = name if "/pipelineJobs/" in name else f"{self.parent}/pipelineJobs/{name}"
        if run != name and not _RUN.fullmatch(name):
            return None
        try:
            detail = self.call("GET", f"/v1/{run}")["jobDetail"]
        except PorticoError:
            if run == name:
                raise
            return None  # what is only named so may be something else
        roots = [task["execution"] for task in detail.get("taskDetails", []) if "parentTaskId" not in task]
        if not roots:
            raise NotFound(f"The run {run} has not begun: nothing is recorded of it yet.")
        context = detail["pipelineRunContext"]["name"]
        return roots[0], self.call("GET", f"/v1/{context}:queryContextLineageSubgraph")

    def _of_artifact(self, name: str) -> str:
        if name.startswith("gs://"):
            uri, _, generation = name.partition("#")
            asked = f"uri={json.dumps(uri.rstrip('/'))}"
            return f'{asked} AND metadata.generation.string_value="{generation}"' if generation else asked
        if not name.startswith("projects/"):
            return f"display_name={json.dumps(name)}"
        if "/models/" in name:
            version = self.call("GET", f"/v1/{name}")
            name = f"{version['name']}@{version['versionId']}"
        return f"uri={json.dumps(f'*/v1/{name}')}"

    # --- alerts ---

    def alerts(self, steward: str) -> list[dict[str, Any]]:
        """The newest first."""
        return list(self.pages(f"{self.steward_name(steward)}/alerts", "alerts"))

    def silence(self, alert: str, seconds: float) -> dict[str, Any]:
        """Nobody is told of this alert, or of another of the same metric, for so long; 0 ends a silence."""
        return self.call("POST", f"{alert}:silence", {"duration": f"{seconds:.6f}s"})

    def steward_name(self, name: str) -> str:
        return name if "/" in name else f"{self.parent}/stewards/{name}"

    def trigger_name(self, name: str) -> str:
        return name if "/" in name else f"{self.parent}/triggers/{name}"

    def pages(self, path: str, key: str, **query: Any) -> Iterator[dict[str, Any]]:
        """Everything that a method lists under `key`, page by page."""
        token = ""
        while True:
            found = self.call("GET", path, **query, **({"pageToken": token} if token else {}))
            yield from found.get(key, [])
            token = found.get("nextPageToken", "")
            if not token:
                return


def _url(home: Path | str | None) -> str:
    from portico.host.address import default_home, running

    if home is None and os.environ.get("PORTICO_URL"):
        return os.environ["PORTICO_URL"]
    place = default_home() if home is None else Path(home).expanduser().absolute()
    address = running(place)
    if address is None:
        raise Unavailable(f"Portico does not run on {place}. Start it with: portico up --home {place}")
    return address.url


def _token(home: Path | str | None) -> str:
    """A token signed with the key file that there is: of `home`, else the one that the settings name, else the usual
    home's. Empty where none can be read."""
    from portico.host.address import default_home

    named = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS")
    place = Path(home).expanduser() if home is not None else default_home()
    path = Path(named) if named and home is None else place / "credentials.json"
    try:
        key = json.loads(path.read_text())
    except (OSError, ValueError):
        return ""
    import jwt

    claims = {"iss": key["client_email"], "sub": key["client_email"], "exp": int(time.time()) + _SIGNED_FOR}
    claims["scope"] = "https://www.googleapis.com/auth/cloud-platform"
    headers = {"kid": key["private_key_id"]}
    return jwt.encode(claims, key["private_key"], algorithm="RS256", headers=headers)


def _error(body: Mapping[str, Any], status: int) -> PorticoError:
    violations = [v for d in body.get("details") or [] for v in d.get("fieldViolations") or []]
    field = violations[0].get("field", "") if violations else ""
    kind = BY_CODE.get(body.get("status", "")) or _BY_STATUS.get(status, PorticoError)
    return kind(body.get("message", "The server failed."), field=field)

"""The console as the wire sees it: every page answers, what is stored is escaped, forms come from our pages only, and
it can do nothing that its visitor can't."""

from __future__ import annotations

import json
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote

import psutil
import pytest
import requests
from tests import processes
from tests.doors.test_identity import sign
from tests.doors.test_owner import as_root, as_stranger, ask
from tests.services.iam.test_users import run
from tests.waiting import until

from portico.client.api import is_over
from portico.console.api import Api, Server, Visitor
from portico.console.sessions import Sessions
from portico.console.words import in_script
from portico.errors import Unauthenticated

L = "projects/console/locations/us-central1"
PAGES = (
    "",
    "/models",
    "/endpoints",
    "/stewards",
    "/training",
    "/training?kind=hyperparameterTuningJobs",
    "/training?kind=customJobs",
    "/training?kind=batchPredictionJobs",
    "/pipelineJobs",
    "/datasets",
    "/buckets",
    "/sql",
    "/experiments",
    "/alerts",
    "/people",
    "/audit",
    "/audit?verify=1",
    "/cost",
    "/cost?by=day",
    "/system",
)
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(2)>"


class Browser:
    """What of a browser a test of the wire needs: cookies, an origin, and the token of the page it has seen."""

    def __init__(self, url: str) -> None:
        self.url, self._session, self._token = url, requests.Session(), ""
        self._session.headers.update({"accept": "text/html", "sec-fetch-site": "same-origin"})

    def get(self, path: str, **options: Any) -> requests.Response:
        answer = self._session.get(f"{self.url}/-/console{path}", timeout=240, **options)
        if found := re.search(r'data-csrf="(\w+)"', answer.text):
            self._token = found[1]
        return answer

    def post(self, path: str, form: dict[str, str] | None = None, **options: Any) -> requests.Response:
        options.setdefault("headers", {"origin": self.url})
        data = {"csrf": self._token, **(form or {})}
        return self._session.post(f"{self.url}/-/console{path}", data, timeout=240, **options)

    @property
    def token(self) -> str:
        return self._token

    @property
    def session(self) -> requests.Session:
        return self._session


@pytest.fixture
def browser(portico: Any) -> Browser:
    return Browser(portico.url)


def text_of(answer: requests.Response) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.text))


# --- pages ---


def test_a_browser_that_opens_the_port_is_led_to_the_home_page(portico: Any) -> None:
    there = requests.get(portico.url, headers={"accept": "text/html,*/*"}, timeout=240)
    assert there.status_code == 200 and re.search(r"/-/console/projects/[^/]+/locations/[^/]+$", there.url)
    assert "<h1>Home</h1>" in there.text
    assert "html" not in requests.get(portico.url, timeout=240).headers["content-type"]


@pytest.mark.parametrize("path", PAGES)
def test_every_page_of_an_empty_project_says_what_to_do(browser: Browser, path: str) -> None:
    answer = browser.get(f"/projects/empty-console/locations/us-central1{path}")
    assert answer.status_code == 200 and answer.text.count("<h1>") == 1
    assert "Traceback" not in answer.text
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "unsafe" not in policy and "script-src 'self';" in policy
    assert answer.headers["x-frame-options"] == "DENY" and answer.headers["cache-control"] == "no-store"
    assert not re.search(r"<script(?![^>]*\bsrc=)(?![^>]*application/json)", answer.text)
    assert not re.search(r'(?:src|href)="(?:https?:)?//', answer.text)
    if path not in ("/system", "/people", "/sql", "/alerts"):
        assert 'class="empty"' in answer.text


def test_what_is_not_there_is_said_with_what_to_try(browser: Browser) -> None:
    for path in (
        f"/{L}/models/77",
        f"/{L}/nothing",
        "/nothing",
        f"/{L}/endpoints/77/try",
        f"/{L}/sql/nothing",
        f"/{L}/models/%ff%fe",
        f"/{L}/models/%00",
        f"/{L}/models/caf%C3%A9%20x",
        f"/{L}/stewards/%00",
    ):
        answer = browser.get(path)
        assert answer.status_code == 404 and "What to try." in answer.text
    odd = browser.get(f"/{L}/models?page=made-up")
    assert odd.status_code == 400 and "pageToken" in odd.text


def test_names_in_charts_are_no_markup() -> None:
    figure = {"data": [{"y": ["<i>a</i>", "b & c"], "x": [1, 2.5], "marker": {"color": "--one"}}]}
    [drawn] = json.loads(in_script(figure))["data"]
    assert drawn["y"] == ["&lt;i&gt;a&lt;/i&gt;", "b &amp; c"] and drawn["x"] == [1, 2.5]


def test_the_library_of_charts_comes_from_its_wheel(browser: Browser) -> None:
    place = re.search(r'data-plotly="/-/console([^"]+)"', browser.get("/places").text)
    assert place
    script = browser.get(place[1])
    assert script.text.startswith("/**\n* plotly.js") and "immutable" in script.headers["cache-control"]


# --- what is stored ---


class _Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))


def harmless(text: str) -> bool:
    """Whether a page runs nothing but our own script."""
    tags = _Tags()
    tags.feed(text)
    for tag, attributes in tags.found:
        if any(name.startswith("on") for name in attributes) or tag in ("img", "iframe", "object", "base"):
            return False
        ours = str(attributes.get("src") or "").startswith("/-/console/static/")
        if tag == "script" and not (ours or attributes.get("type") == "application/json"):
            return False
        if (attributes.get("href") or "").lower().startswith("javascript:"):
            return False
    return True


@pytest.fixture(scope="module")
def stored(portico: Any) -> Iterator[dict[str, str]]:
    """Things whose every word is a script; each page that shows them."""

    def made(path: str, body: Any) -> dict[str, Any]:
        answer = requests.post(f"{portico.url}{path}", json=body, timeout=240)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    said = {"displayName": HOSTILE, "description": HOSTILE}
    endpoint = made(f"/v1/{L}/endpoints", said)["response"]["name"]
    store = f"/v1/{L}/metadataStores/default"
    about = {**said, "schemaTitle": "system.Experiment", "schemaVersion": "0.0.1"}
    made(f"{store}/contexts?contextId=hostile", about)
    run = {
        **about,
        "schemaTitle": "system.ExperimentRun",
        "metadata": {
            "_state": HOSTILE,
            "_params": {HOSTILE: HOSTILE},
            "_metrics": {HOSTILE: 1.5, "javascript:alert(3)": 2},
        },
    }
    child = made(f"{store}/contexts?contextId=hostile-run", run)["name"]
    made(f"{store}/contexts/hostile:addContextChildren", {"childContexts": [child]})
    made("/storage/v1/b?project=console", {"name": "console-hostile"})
    for name in (f"{HOSTILE}.txt", f"{HOSTILE}/x"):
        sent = requests.post(
            f"{portico.url}/upload/storage/v1/b/console-hostile/o",
            params={"uploadType": "media", "name": name},
            data=HOSTILE,
            headers={"content-type": HOSTILE},
            timeout=240,
        )
        assert sent.status_code == 200, sent.text
    spec = {
        "workerPoolSpecs": [
            {
                "machineSpec": {"machineType": "n1-standard-4"},
                "replicaCount": "1",
                "containerSpec": {"imageUri": HOSTILE},
            }
        ]
    }
    job = requests.post(
        f"{portico.url}/v1/{L}/customJobs", json={"displayName": HOSTILE, "jobSpec": spec}, timeout=240
    )
    pages = {
        "endpoints": f"/{L}/endpoints",
        "an endpoint": f"/{endpoint}",
        "try": f"/{endpoint}/try",
        "log": f"/{endpoint}/log",
        "drift": f"/{endpoint}/drift",
        "experiments": f"/{L}/experiments",
        "an experiment": f"/{L}/experiments/hostile",
        "bucket": f"/{L}/buckets/console-hostile",
        "folder": f"/{L}/buckets/console-hostile?prefix={quote(HOSTILE + '/')}",
        "search": f"/{L}/models?q={quote(HOSTILE)}",
        "error": f"/{L}/models?page={quote(HOSTILE)}",
        "no page": f"/{quote(HOSTILE)}",
        "project": f"/projects/{quote(HOSTILE, safe='')}/locations/us-central1/models",
        "jobs": f"/{L}/training?kind=customJobs",
        "query": f"/{L}/sql?query={quote(HOSTILE)}",
        "home": f"/{L}",
    }
    if job.status_code == 200:
        pages["a job"] = f"/{job.json()['name']}"
    yield pages


PLACES = (
    "endpoints",
    "an endpoint",
    "try",
    "log",
    "drift",
    "experiments",
    "an experiment",
    "bucket",
    "folder",
    "search",
    "error",
    "no page",
    "project",
    "jobs",
    "query",
    "home",
    "a job",
)


@pytest.mark.parametrize("place", PLACES)
def test_a_script_that_is_stored_or_sent_is_shown_and_does_not_run(
    browser: Browser, stored: dict[str, str], place: str
) -> None:
    if place not in stored:
        pytest.skip("such a thing is refused")
    answer = browser.get(stored[place])
    assert answer.status_code in (200, 400, 404) and harmless(answer.text)
    if place in ("endpoints", "an endpoint", "experiments", "an experiment", "bucket", "search", "query"):
        assert "&lt;script&gt;alert(1)" in answer.text


def test_an_object_is_saved_and_never_opened(browser: Browser, stored: dict[str, str]) -> None:
    answer = browser.get(f"/{L}/buckets/console-hostile/object?name={quote(HOSTILE + '.txt')}")
    assert answer.text == HOSTILE and answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith("attachment")
    assert answer.headers["x-content-type-options"] == "nosniff"


# --- forms ---


def test_a_form_counts_only_from_a_page_of_ours(browser: Browser) -> None:
    path, form = f"/{L}/buckets", {"name": "console-forms"}
    browser.get(path)
    other = Browser(browser.url)
    other.get(path)
    refused = [
        browser.post(path, form | {"csrf": ""}),
        browser.post(path, form | {"csrf": "0" * 64}),
        browser.post(path, form | {"csrf": other.token}),
        Browser(browser.url).post(path, form | {"csrf": browser.token}),
        browser.post(path, form, headers={"origin": "https://evil.example"}),
        browser.post(path, form, headers={"origin": "null"}),
        browser.post(path, form, headers={"origin": browser.url, "sec-fetch-site": "cross-site"}),
        browser.post(path, form, headers={"sec-fetch-site": ""}),
    ]
    assert [answer.status_code for answer in refused] == [403] * len(refused)
    assert browser.get(f"{path}/console-forms").status_code == 404
    done = browser.post(path, form)
    assert done.status_code == 200 and done.url.endswith("/buckets/console-forms")


def test_files_go_up_and_down(browser: Browser) -> None:
    browser.get(f"/{L}/buckets")
    browser.post(f"/{L}/buckets", {"name": "console-files"})
    at, content = f"/{L}/buckets/console-files", bytes(range(256)) * 5000
    headers = {"origin": browser.url, "content-type": "application/octet-stream", "x-csrf": browser.token}
    sent = browser.session.post(
        f"{browser.url}/-/console{at}/upload?name=a/b%20c.bin", content, headers=headers, timeout=240
    )
    assert (sent.status_code, sent.text) == (200, "It is there.")
    without = browser.session.post(
        f"{browser.url}/-/console{at}/upload?name=no", b"x", headers=headers | {"x-csrf": ""}, timeout=240
    )
    assert without.status_code == 403
    assert "b c.bin" in browser.get(f"{at}?prefix=a/").text
    assert browser.get(f"{at}/object?name=a/b%20c.bin").content == content
    browser.post(f"{at}/delete", {"name": "a/b c.bin", "prefix": "a/"})
    assert "Nothing is here" in browser.get(at).text


def test_a_query_is_asked_and_its_result_has_an_address(browser: Browser) -> None:
    browser.get(f"/{L}/sql")
    there = browser.post(
        f"/{L}/sql", {"query": "SELECT n, '<b>' || n AS word FROM UNNEST(GENERATE_ARRAY(1, 120)) AS n"}
    )
    until(lambda: "120 rows" in browser.get(there.url.partition("/-/console")[2]).text, "the result")
    shown = browser.get(there.url.partition("/-/console")[2])
    assert "&lt;b&gt;50<" in shown.text and "&lt;b&gt;51<" not in shown.text
    more = re.search(r'href="/-/console([^"]+)" rel="next"', shown.text)
    assert more and "&lt;b&gt;51<" in browser.get(more[1].replace("&amp;", "&")).text
    wrong = browser.post(f"/{L}/sql", {"query": "SELECT nonsense"})
    until(lambda: "nonsense" in text_of(browser.get(wrong.url.partition("/-/console")[2])), "the error")
    assert "The query failed." in text_of(browser.get(wrong.url.partition("/-/console")[2]))
    priced = browser.post(f"/{L}/sql", {"query": "SELECT 1", "dry": "1"})
    assert "It would read 0 bytes" in text_of(priced)


def test_what_stands_beside_the_editor_comes_when_it_is_there(browser: Browser, portico: Any) -> None:
    """The page itself waits for no engine that starts."""
    place = "projects/console-tables/locations/us-central1"
    url = f"{portico.url}/bigquery/v2/projects/console-tables/datasets"
    made = requests.post(url, json={"datasetReference": {"datasetId": "beside"}}, timeout=240)
    assert made.status_code == 200

    def whole() -> bool:
        text = browser.get(f"/{place}/sql").text
        waits = 'id="beside" data-live="1"' in text
        assert waits == ("BigQuery's engine starts" in text) and 'id="query"' in text
        assert waits or "<summary>beside (0)</summary>" in text
        return not waits

    until(whole, "the tables")


def test_a_slow_engine_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    from portico.console.pages import sql

    asked, goes_on = threading.Event(), threading.Event()

    def slow(looking: Any) -> dict[str, Any]:
        asked.set()
        goes_on.wait(60)
        return {"tables": {}, "recent": []}

    monkeypatch.setattr(sql, "_tables", slow)
    monkeypatch.setattr(sql, "_PATIENCE", 0.01)
    known: list[str] = []
    api = SimpleNamespace(call=lambda verb, path, body: known.append(path))
    looking: Any = SimpleNamespace(project="p", api=api)
    assert sql._beside(looking) == {} and asked.wait(60) and len(known) == 1
    goes_on.set()
    monkeypatch.setattr(sql, "_PATIENCE", 60)
    assert sql._beside(looking) == {"tables": {}, "recent": []}


def test_counts_that_take_long_are_there_when_the_page_is_read_again(monkeypatch: pytest.MonkeyPatch) -> None:
    from portico.console.pages import endpoints

    goes_on, asked = threading.Event(), []

    def slow(verb: str, path: str) -> dict[str, Any]:
        asked.append(path)
        goes_on.wait(60)
        return {"predictions": 7}

    monkeypatch.setattr(endpoints, "_PATIENCE", 0.01)
    looking: Any = SimpleNamespace(visitor=Visitor(owner=True), api=SimpleNamespace(call=slow))
    assert endpoints._stats(looking, "e") == {} and endpoints._stats(looking, "e") == {}
    goes_on.set()
    monkeypatch.setattr(endpoints, "_PATIENCE", 60)
    assert endpoints._stats(looking, "e") == {"predictions": 7} and asked == ["e:labelStats"]


def test_lists_page_and_filter_on_the_server(browser: Browser, portico: Any) -> None:
    place = "projects/console-pages/locations/us-central1"
    for number in range(30):
        body = {"displayName": f"endpoint {number:02}"}
        assert requests.post(f"{portico.url}/v1/{place}/endpoints", json=body, timeout=240).status_code == 200
    first = browser.get(f"/{place}/endpoints")
    names = re.findall(r">(endpoint \d\d)<", first.text)
    more = re.search(r'href="/-/console([^"]+)" rel="next"', first.text)
    assert more and len(names) == 25
    rest = re.findall(r">(endpoint \d\d)<", browser.get(more[1].replace("&amp;", "&")).text)
    assert sorted([*names, *rest]) == [f"endpoint {number:02}" for number in range(30)]
    assert re.findall(r">(endpoint \d\d)<", browser.get(f"/{place}/endpoints?q=t%201").text) == [
        f"endpoint {number}" for number in range(19, 9, -1)
    ]


# --- who looks ---


def test_the_console_is_its_visitor_and_nobody_more(portico: Any) -> None:
    server = Server(portico.home)
    path = "/v1/projects/console/locations/us-central1/models"
    assert Api(server, Visitor(owner=True)).call("GET", path) is not None
    token = sign(portico)
    assert Api(server, Visitor(owner=False, authorization=f"Bearer {token}")).call("GET", path) is not None
    for visitor in (Visitor(owner=False), Visitor(owner=True, authorization="Bearer made.up.token")):
        with pytest.raises(Unauthenticated):
            Api(server, visitor).call("GET", path)


@as_root
def test_a_stranger_is_shown_nothing(portico: Any) -> None:
    headers = {"accept": "text/html", "x-portico-owner": "1"}
    for path in (f"/-/console/{L}/models", f"/-/console/{L}/sql", "/-/console/"):
        status, media, text = as_stranger(lambda path=path: ask(portico.port, "GET", path, headers=headers))
        assert status == 401 and media.startswith("text/html") and "What to try." in text


def test_who_may_do_what_is_listed(browser: Browser, viewer: str) -> None:
    said = text_of(browser.get(f"/{L}/people"))
    assert re.search(r"viewer-\d+@example\.com user roles/viewer", said)
    assert "viewer-" not in text_of(browser.get(f"/{L}/people?q=roles/editor"))


def test_what_may_not_be_seen_is_not_said_to_be_absent(browser: Browser, portico: Any) -> None:
    email = f"nobody-{time.time_ns()}@example.com"
    run(portico, "users", "add", email)
    browser.get("/sign-in")
    browser.post("/sign-in", {"token": run(portico, "users", "token", email), "to": "/-/console/places"})
    try:
        for path in ("", "/people", "/alerts", "/sql", "/system"):
            said = text_of(browser.get(f"/{L}{path}"))
            assert email in said and "You may not see all of this page" in said
            assert "Nothing that you may see." in said
            for untrue in (
                "There is no",
                "Nobody but the owner",
                "None was made",
                "Nothing watches",
                "No job runs",
            ):
                assert untrue not in said, path
        assert "How much would it read" not in browser.get(f"/{L}/sql").text
    finally:
        browser.get("/places")
        browser.post("/sign-out")


@pytest.fixture(scope="module")
def viewer(portico: Any) -> str:
    """The token of somebody who may look at the project, and change nothing."""
    email = f"viewer-{time.time_ns()}@example.com"
    run(portico, "users", "add", email)
    policy = {"bindings": [{"role": "roles/viewer", "members": [f"user:{email}"]}]}
    path = f"{portico.url}/apis/cloudresourcemanager/v3/projects/console:setIamPolicy"
    assert requests.post(path, json={"policy": policy}, timeout=240).status_code == 200
    return run(portico, "users", "token", email)


def test_who_signs_in_sees_what_they_may_and_is_offered_nothing_else(browser: Browser, viewer: str) -> None:
    assert "Make a bucket" in browser.get(f"/{L}/buckets").text
    browser.get("/sign-in")
    there = browser.post("/sign-in", {"token": viewer, "to": f"/-/console/{L}/endpoints"})
    assert there.status_code == 200 and there.url.endswith(f"{L}/endpoints") and "Sign out" in there.text
    for path in PAGES:
        if "verify" in path:  # the whole server's log is its owner's
            continue
        seen = browser.get(f"/{L}{path}")
        assert seen.status_code == 200, f"{path}: {text_of(seen)}"
        assert "Make a bucket" not in seen.text and "Everything is well" not in seen.text
    assert "Make a bucket" not in browser.get(f"/{L}/buckets").text
    refused = browser.post(f"/{L}/buckets", {"name": "console-viewer"})
    assert refused.status_code == 403 and "storage.buckets.create" in refused.text
    other = browser.get("/projects/console-forbidden/locations/us-central1/models")
    assert other.status_code == 403 and "aiplatform.models.list" in other.text
    browser.get(f"/{L}/buckets")
    assert "<h1>Sign in</h1>" in browser.post("/sign-out").text
    assert "Make a bucket" in browser.get(f"/{L}/buckets").text


def test_signing_in_is_no_way_past_anything(browser: Browser, viewer: str) -> None:
    browser.get("/sign-in")
    before = browser.session.cookies["portico-console"]
    for token in ("made.up.token", "", "two words", viewer[:-4] + "AAAA"):
        assert browser.post("/sign-in", {"token": token}).status_code in (400, 401)
    assert "portico-visitor" not in browser.session.cookies
    for to in (
        "https://evil.example",
        "//evil.example",
        "/-/console//evil.example",
        "/-/console/\\evil",
        "/v1",
    ):
        browser.get("/sign-in")
        there = browser.post("/sign-in", {"token": viewer, "to": to}, allow_redirects=False)
        assert (there.status_code, there.headers.get("location", there.text)) == (303, "/-/console/")
    for cookie in there.headers["set-cookie"].split(", portico"):
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie and "Path=/-/console" in cookie
    assert (
        browser.session.cookies["portico-console"] != before
    )  # a session that somebody else began is not gone on with
    assert viewer not in browser.session.cookies["portico-visitor"]
    browser.session.cookies.set("portico-visitor", "made-up", path="/-/console")
    assert "Sign out" not in browser.get("/places").text


def test_a_visit_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    sealed = Sessions(b"secret").seal("token")
    assert Sessions(b"secret").opened(sealed) == "token"
    assert Sessions(b"another").opened(sealed) == "" and Sessions(b"secret").opened("nothing") == ""
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 8 * 3600 + 61)
    assert Sessions(b"secret").opened(sealed) == ""


# --- its process ---


def consoles(pid: int) -> list[psutil.Process]:
    below = psutil.Process(pid).children(recursive=True)
    return [one for one in below if "portico.console.process" in processes.command(one)]


def test_its_process_starts_with_the_first_page_and_comes_again(new_portico: Any) -> None:
    server = new_portico().start()
    try:
        assert consoles(server.pid) == []
        browser = Browser(server.url)
        browser.get(f"/{L}/buckets")
        [first] = consoles(server.pid)
        first.kill()
        until(lambda: not processes.alive(first.pid), "its end")
        until(lambda: browser.session.get(f"{server.url}/-/console/places", timeout=240).ok, "a page")
        done = browser.post(f"/{L}/buckets", {"name": "console-again"})  # its token is still good
        assert done.status_code == 200, text_of(done)
        [second] = consoles(server.pid)
        assert second.pid != first.pid
    finally:
        server.stop()
    assert not processes.alive(second.pid)


def test_its_process_ends_when_nobody_looks(portico: Any, tmp_path: Path) -> None:
    import os

    path = tmp_path / "console.sock"
    command = [
        sys.executable,
        "-m",
        "portico.console.process",
        str(portico.home),
        str(path),
        str(os.getpid()),
        "0.2",
    ]
    console = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert console.stdin and console.stdout
    console.stdin.write("00" * 32 + "\n")
    console.stdin.close()
    assert console.stdout.readline() == "ready\n"
    began = time.monotonic()
    assert console.wait(240) == 0 and time.monotonic() - began > 0.1
    assert not path.exists()


def test_connections_that_the_server_closed_meanwhile_are_not_used(portico: Any) -> None:
    """All of them: where several were idle for long, the second try would meet one, too; and who changes something
    tries once."""
    server = Server(portico.home)
    with server.connection(True) as one, server.connection(True) as other:
        for idle in (one, other):
            idle.connect()
            idle.sock.shutdown(socket.SHUT_WR)
    for idle in (one, other):
        until(partial(is_over, idle), "the server closes it")
    path = "/apis/cloudresourcemanager/v3/projects/test-project:testIamPermissions"
    asked = Api(server, Visitor(True)).call("POST", path, {"permissions": ["storage.buckets.list"]})
    assert asked["permissions"] == ["storage.buckets.list"] and one.sock is None and other.sock is None

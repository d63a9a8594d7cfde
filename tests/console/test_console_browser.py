"""The console in a real browser: each page's main task, as its owner; in light and dark, on a phone, by keyboard."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import requests
from selenium.common.exceptions import WebDriverException
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from tests.console import chromium
from tests.services.iam.test_users import run
from tests.services.portico.conftest import World, home_of_its_own, trained, turned  # noqa: F401
from tests.waiting import until

L = "projects/portico/locations/us-central1"


class Person:
    """Somebody who looks, and reads what is there."""

    def __init__(self, browser: Chrome, url: str) -> None:
        self.browser, self.base = browser, f"{url}/-/console/"

    def opens(self, path: str) -> str:
        """Opens a page, and returns what it says. Nothing serious is wrong with it, and it fits its window."""
        self.browser.get(self.base + path)
        return self.looks()

    def looks(self) -> str:
        chromium.drawn(self.browser)
        assert chromium.faults(self.browser) == []
        assert chromium.complaints(self.browser) == []
        assert not self.browser.execute_script("return document.documentElement.scrollWidth > innerWidth + 1")
        return self.text

    @property
    def text(self) -> str:
        """What the page says; "" while another one is on its way."""
        try:
            return self.browser.find_element(By.TAG_NAME, "main").text
        except WebDriverException:
            return ""

    def clicks(self, words: str) -> None:
        """A button or a link with these words, which lead to a page, or words that hide something."""
        path = f"//main//*[(self::button or self::a or self::summary) and normalize-space()={words!r}]"
        element = self.browser.find_element(By.XPATH, path)
        with contextlib.nullcontext() if element.tag_name == "summary" else self.leaving():
            element.click()

    @contextlib.contextmanager
    def leaving(self) -> Iterator[None]:
        """What is done within leads to a page: it is there afterwards."""
        before = self.browser.execute_script("return performance.timeOrigin")
        yield
        script = "return document.readyState == 'complete' && performance.timeOrigin"
        until(lambda: self.browser.execute_script(script) not in (before, False), "the next page is there")

    def writes(self, place: str, words: str) -> None:
        field = self.browser.find_element(By.ID, place)
        field.clear()
        field.send_keys(words)


@pytest.fixture(scope="module")
def person(trained: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Person]:  # noqa: F811
    browser = chromium.start(tmp_path_factory.mktemp("profile"))
    yield Person(browser, trained.portico.url)
    browser.quit()


@pytest.fixture(scope="module")
def waiting(trained: World) -> tuple[World, dict[str, Any]]:  # noqa: F811
    """A world whose concept has changed, and whose challenger waits for a person."""
    world = trained
    world.deploy()
    world.keep(gates={"labels": 60, "approval": True}, notify={"webhooks": []})
    world.days(3)
    world.truth = turned
    return world, world.days_until({"AWAITING_APPROVAL"})


def test_a_manager_sees_what_needs_a_person_and_approves(
    person: Person, waiting: tuple[World, dict[str, Any]]
) -> None:
    world, episode = waiting
    said = person.opens("")
    assert "waits for your approval" in said and "Everything is well" not in said
    person.clicks("Look and decide")
    said = person.looks()
    assert "awaiting approval" in said and "Gate: better than the champion" in said and "passed" in said
    person.writes("comment", "<b>as it should</b>")
    person.clicks("Approve")
    said = person.looks()
    assert "approved: <b>as it should</b>" in said
    state = "return document.querySelector('#episode .state').textContent"
    until(lambda: person.browser.execute_script(state) != "awaiting approval", "it goes on")
    shown = world.api("GET", episode["name"])
    assert shown["approvals"][0]["comment"] == "<b>as it should</b>"
    person.clicks("Compute the decisions again from their evidence")
    assert "Every decision comes out as recorded." in person.looks()
    said = person.opens(episode["name"])
    assert "The challenger is taken out of service, the champion stays." in said
    a_promotion_is_undone(person, world, episode["name"])
    said = person.opens(f"{L}/stewards/keeper")
    assert "Champion and challenger at the gates" in said
    person.clicks("Pause")
    until(lambda: world.steward()["state"] == "PAUSED", "it is paused")
    person.clicks("Resume")
    until(lambda: world.steward()["state"] == "ACTIVE", "it goes on")


def a_promotion_is_undone(person: Person, world: World, episode: str) -> None:
    """By the form on its page, which is there as long as the challenger serves, and for who may use it."""
    for _ in range(12):
        if world.api("GET", episode)["state"] == "PROMOTED":
            break
        world.days(1, requests_a_day=2, rows=20)
    promoted = world.api("GET", episode)
    assert promoted["state"] == "PROMOTED"
    viewer = {"authorization": f"Bearer {known_as(world, 'watches@example.com', 'roles/viewer')}"}
    seen = requests.get(person.base + episode, headers=viewer, timeout=240)
    assert seen.status_code == 200 and "rollBack" not in seen.text and "Undo the promotion" not in seen.text
    said = person.opens(episode)
    old, new = promoted["champion"]["modelVersionId"], promoted["challenger"]["modelVersionId"]
    assert "Undo the promotion" in said
    assert f"Version {old} is deployed again and gets the traffic; then version {new} is taken out" in said
    person.writes("comment", "people <i>complain</i>")
    person.clicks("Roll back")
    assert "undid the promotion: people <i>complain</i>" in person.looks()
    state = "return document.querySelector('#episode .state').textContent"
    until(lambda: person.browser.execute_script(state) == "rolled back", "the champion is back")
    assert [one.model_version_id for one in world.endpoint.list_models()] == [old]
    assert "Undo the promotion" not in person.opens(episode)


def test_an_engineer_finds_the_models_card(person: Person, waiting: tuple[World, dict[str, Any]]) -> None:
    person.opens(f"{L}/models")
    person.writes("find", "usu")
    with person.leaving():
        person.browser.find_element(By.ID, "find").send_keys(Keys.ENTER)
    person.clicks("usual")
    said = person.looks()
    for words in (
        "How good it is",
        "mean absolute error",
        "Beside simple answers",
        "What it looks at",
        "Versions",
    ):
        assert words in said
    boxes = person.browser.find_elements(By.CSS_SELECTOR, ".graph a")
    assert any("/datasets/" in str(box.get_dom_attribute("href")) for box in boxes)
    person.clicks("Write down what it is for")
    person.writes("d", "For tests; not for people.")
    person.clicks("Save")
    assert "For tests; not for people." in person.looks()


def test_an_endpoint_is_tried_and_explains_itself(
    person: Person, waiting: tuple[World, dict[str, Any]]
) -> None:
    world, _ = waiting
    endpoint = world.endpoint.resource_name
    assert "requests in all" in person.opens(f"{endpoint}?span=90d")
    assert "Mean" in person.opens(f"{endpoint}/drift")
    person.opens(f"{endpoint}/log")
    until(lambda: "predictions are logged" in person.text, "they are counted")
    person.opens(f"{endpoint}/try")
    x = person.browser.find_element(By.NAME, "f:x")
    x.clear()
    with person.leaving():
        x.send_keys("0.5", Keys.ENTER)
    said = person.looks()
    assert "Its answer" in said and "Why it answers so" in said and "usual answer" in said
    assert person.browser.find_element(By.NAME, "f:x").get_attribute("value") == "0.5"
    person.clicks("Write the instance as JSON instead")
    person.writes("raw", "{nonsense")
    person.clicks("Predict")
    assert "The instance is no JSON" in person.looks()


def test_what_runs_moves_without_a_reload(person: Person, waiting: tuple[World, dict[str, Any]]) -> None:
    """A query's page shows its rows once it has ended, and a bucket what its form has uploaded."""
    said = person.opens(f"{L}/sql")
    assert "GoogleSQL" in said
    person.writes(
        "query", "SELECT COUNT(*) AS n FROM UNNEST(GENERATE_ARRAY(1, 2000000)) AS a WHERE MOD(a, 7) = 1"
    )
    person.browser.find_element(By.ID, "query").send_keys(Keys.CONTROL, Keys.ENTER)
    until(lambda: "285715" in person.text, "the result")
    assert person.looks()


def test_the_other_pages_say_what_is_there(
    person: Person, waiting: tuple[World, dict[str, Any]], tmp_path: Path
) -> None:
    world, _ = waiting
    assert "usual" in person.opens(f"{L}/training")
    person.clicks("usual")
    assert "It made" in person.looks() and "succeeded" in person.text
    person.opens(f"{L}/datasets")
    person.clicks("first")
    assert "Half of the rows lie between" in person.looks()
    file = tmp_path / "sent.csv"
    file.write_text("a,b\n1,2\n")
    person.opens(f"{L}/buckets/steward-world")
    person.browser.find_element(By.ID, "file").send_keys(str(file))
    person.clicks("Upload")
    until(lambda: "sent.csv" in person.text, "it is listed")
    for path in ("pipelineJobs", "experiments", "alerts", "system"):
        assert person.opens(f"{L}/{path}")
    answer = requests.get(f"{world.portico.url}/storage/v1/b/steward-world/o/sent.csv?alt=media", timeout=240)
    assert answer.text == "a,b\n1,2\n"


def test_a_phone_and_a_keyboard_are_enough(person: Person, waiting: tuple[World, dict[str, Any]]) -> None:
    endpoints = f"{waiting[0].portico.url}/v1/{L}/endpoints"
    made = requests.post(endpoints, json={"displayName": "without-log"}, timeout=240).json()
    unlogged = str(made["name"]).partition("/operations/")[0]
    metrics = {"width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": True}
    person.browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    dark = {"features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    person.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", dark)
    try:
        for path in (
            L,
            f"{L}/models",
            f"{L}/stewards/keeper",
            f"{waiting[0].endpoint.resource_name}?span=90d",
            f"{L}/sql",
            f"{unlogged}/log",
            f"{L}/audit",
        ):
            person.opens(path)
        person.opens(L)
        body = person.browser.find_element(By.TAG_NAME, "body")
        body.send_keys(Keys.TAB)
        first = person.browser.switch_to.active_element
        assert first.text == "Skip to the content"
        first.send_keys(Keys.ENTER)
        assert person.browser.switch_to.active_element.tag_name == "main"
        menu = person.browser.find_element(By.ID, "menu")
        models = person.browser.find_element(By.CSS_SELECTOR, "nav a[href$='/models']")
        assert not models.is_displayed()
        menu.send_keys(Keys.SPACE)
        models.send_keys(Keys.ENTER)
        until(lambda: "Find models by name" in person.text, "the models")
    finally:
        person.browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        person.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


PAGES = ("", "models", "endpoints", "stewards", "stewards/keeper", "training", "pipelineJobs", "datasets", "buckets",
         "buckets/steward-world", "sql", "experiments", "alerts", "people", "audit", "cost", "system")  # fmt: skip
ACTS = {"Approve", "Reject", "Roll back", "Pause", "Resume", "Save", "Upload", "Make a bucket", "Delete", "Run again",
        "Cancel", "Write down what it is for"}  # fmt: skip


def known_as(world: World, email: str, role: str = "") -> str:
    """The token of a user who has one role in the project, or none."""
    run(world.portico, "users", "add", email)
    path = f"{world.portico.url}/apis/cloudresourcemanager/v3/projects/portico"
    policy = requests.post(f"{path}:getIamPolicy", json={}, timeout=240).json()
    if role:
        policy["bindings"] = [*policy.get("bindings", []), {"role": role, "members": [f"user:{email}"]}]
        assert requests.post(f"{path}:setIamPolicy", json={"policy": policy}, timeout=240).status_code == 200
    return run(world.portico, "users", "token", email).strip()


def signs_in(person: Person, token: str) -> None:
    person.browser.get(person.base + "sign-in")
    person.clicks("Sign in with a token")
    person.writes("token", token)
    person.clicks("Sign in with the token")
    until(lambda: "Sign out" in person.browser.find_element(By.TAG_NAME, "body").text, "they are signed in")


def signs_out(person: Person) -> None:
    person.browser.find_element(By.XPATH, "//button[normalize-space()='Sign out']").click()
    until(lambda: "Sign in" in person.text, "they are signed out")


def test_a_viewer_sees_everything_and_is_offered_nothing_that_changes_it(
    person: Person, waiting: tuple[World, dict[str, Any]]
) -> None:
    world, episode = waiting
    signs_in(person, known_as(world, "looks@example.com", "roles/viewer"))
    try:
        for path in (*(f"{L}/{page}".rstrip("/") for page in PAGES), episode["name"]):
            said = person.opens(path)
            assert said and "What to try." not in said, path
            buttons = {one.text for one in person.browser.find_elements(By.CSS_SELECTOR, "main button")}
            assert not buttons & ACTS, path
        person.opens(f"{world.endpoint.resource_name}/try")
        x = person.browser.find_element(By.NAME, "f:x")
        x.clear()
        x.send_keys("0.5", Keys.ENTER)
        assert "Its answer" in person.looks()
    finally:
        signs_out(person)


def test_nobody_in_particular_is_told_what_to_try_and_shown_nothing(
    person: Person, waiting: tuple[World, dict[str, Any]]
) -> None:
    world, episode = waiting
    signs_in(person, known_as(world, "nobody@example.com"))
    try:
        for path in (f"{L}/models", f"{L}/stewards/keeper", f"{L}/buckets/steward-world", f"{L}/audit", f"{L}/cost",
                     episode["name"], f"{world.endpoint.resource_name}/log"):  # fmt: skip
            person.browser.get(person.base + path)
            assert "What to try." in person.text and "usual" not in person.text, path
            assert chromium.faults(person.browser) == []
            person.browser.get_log("browser")  # a page that is refused is an error of the browser's log
    finally:
        signs_out(person)

"""ComfyUI's page in a headless Chromium of the system, as a person uses it."""

import json
import re
import shutil
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
]
READY = "window.app?.graph && window.app.extensionManager && Object.keys(LiteGraph.registered_node_types).length > 300"
APP_RUN = "[data-testid=linear-run-button] button:has([data-testid=linear-run-button-icon])"
SECONDS = 60_000
"""Milliseconds to wait for what takes seconds."""


def chromium() -> str | None:
    """The system's browser; Playwright's own is downloaded from a place that not every machine reaches."""
    return next((found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))), None)


@contextmanager
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=FLAGS)
        try:
            yield opened
        finally:
            opened.close()


def ask(address: str, path: str, data: object = None) -> Any:
    body = None if data is None else json.dumps(data).encode()
    request = urllib.request.Request(address + path, data=body, headers={"Content-Type": "application/json"})
    with urllib.request.urlopen(request) as answer:
        text = answer.read()
    return json.loads(text) if text else None


class Page:
    """The page of a running ComfyUI, in a fresh browser of this size."""

    def __init__(self, browser: Any, address: str, size: tuple[int, int], **settings: object) -> None:
        """`settings`: of the page, named with `__` for the dot, such as Comfy__Locale."""
        self.address, self.errors, self.toured = address, [], False
        ask(address, "/api/settings", {name.replace("__", "."): value for name, value in settings.items()})
        self.context = browser.new_context(viewport={"width": size[0], "height": size[1]})
        self.page = self.context.new_page()
        self.page.set_default_timeout(SECONDS)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.goto(address)
        self.page.wait_for_function(READY)
        self.page.evaluate(SCRIPT)

    def do(self, call: str, *arguments: object) -> Any:
        """A function of `reader` (page.js)."""
        return self.page.evaluate(f"arguments => reader.{call}(...arguments)", list(arguments))

    def clicks_to_a_running_app(self, name: str) -> int:
        """How many it takes a person from here until the app of this template runs."""
        path = (
            self.page.get_by_role("button", name="Templates"),
            self.page.get_by_text("FantasyTalking", exact=True),
            self.page.get_by_test_id(f"template-workflow-{name}"),
        )
        for button in path:
            button.first.click()
        self.page.locator(APP_RUN).wait_for()
        tour = self.skip_tour()
        prompt = self.run()
        while not any(prompt in running for running in ask(self.address, "/queue")["queue_running"]):
            assert prompt and not ask(self.address, f"/history/{prompt}"), "it has ended without running"
            self.page.wait_for_timeout(100)
        return len(path) + tour + 1

    def skip_tour(self) -> int:
        """The newest page offers one with the first app. Returns the clicks."""
        if not self.is_app() or self.toured:
            return 0
        self.toured = True
        self.page.wait_for_timeout(1500)  # it fades in
        skip = self.page.get_by_role("button", name=re.compile("^(Skip|跳过)$"))
        if not skip.count():
            return 0
        skip.first.click()
        return 1

    def open_template(self, name: str) -> None:
        """As that click does, but in half the time."""
        self.show(app=False)  # an app that is opened from another app has no place on the canvas that it does not show
        self.do("open", name)
        self.settle()

    def without_errors(self) -> None:
        """From now on without the message over the canvas, which comes at some time after a template whose models are missing.

        Not by `add_style_tag`, which fails where the page asks for an address that it may not at that moment.
        """
        style = "Object.assign(document.createElement('style'), {textContent: '[data-testid=error-overlay] { display: none }'})"
        self.page.evaluate(f"() => void document.head.append({style})")

    def error(self) -> str:
        """The message over the canvas that follows a run: what kind of error, and at which node."""
        message = self.page.get_by_test_id("error-overlay").first
        message.wait_for(timeout=30_000)
        return message.inner_text()

    def reads(self, sentence: str, seconds: float) -> bool:
        """Whether a person reads it within so many seconds, without scrolling."""
        for _ in range(int(5 * seconds)):
            if self.do("readable", sentence):
                return True
            self.page.wait_for_timeout(200)
        return False

    def show_errors(self) -> None:
        """The one click: on "View details"."""
        self.page.get_by_test_id("error-overlay-see-errors").first.click(timeout=5000)  # fails where something lies over it
        self.page.get_by_test_id("properties-panel").wait_for()
        self.page.wait_for_timeout(300)  # the panel slides in

    def panel(self) -> str:
        """What stands in the panel at the right, if it is open."""
        panel = self.page.get_by_test_id("properties-panel")
        return panel.inner_text() if panel.count() else ""

    def interrupt(self) -> None:
        """Until nothing runs."""
        ask(self.address, "/interrupt", {})
        for _ in range(SECONDS // 100):
            queue = ask(self.address, "/queue")
            if not queue["queue_running"] and not queue["queue_pending"]:
                return
            self.page.wait_for_timeout(100)
        raise TimeoutError("a run does not end")

    def settle(self) -> None:
        """Until two looks at the graph show the same."""
        before, now = None, self.do("layout")
        while before != now:
            self.page.wait_for_timeout(200)
            before, now = now, self.do("layout")

    def is_app(self) -> bool:
        return self.page.get_by_test_id("linear-run-button").count() > 0

    def show(self, app: bool) -> None:
        """The opened template as its app or as its graph."""
        if self.is_app() != app:
            self.page.evaluate("app.extensionManager.command.execute('Comfy.ToggleLinear')")
            self.page.wait_for_function("app => !!document.querySelector('[data-testid=linear-run-button]') === app", arg=app)
            self.settle()

    def find_node(self, words: str, name: str) -> None:
        """Add a node by its name among what the page's search finds for some words, in an empty graph."""
        self.do("clear")
        self.page.evaluate("app.extensionManager.command.execute('Workspace.SearchBox.Toggle')")  # as a double click does
        self.page.locator("[role=dialog] input:visible").first.fill(words)
        self.page.get_by_text(name, exact=True).first.click()
        self.page.mouse.click(400, 200)
        self.page.wait_for_function("app.graph._nodes.length === 1")
        self.settle()

    def run(self) -> str | None:
        """A click on the Run button. Returns the number of what is queued, None if it is refused."""
        button = self.page.locator(APP_RUN if self.is_app() else "[data-testid=queue-button]")
        with self.page.expect_response(lambda response: response.url.endswith("/prompt")) as waiting:
            button.first.click()
        return waiting.value.json().get("prompt_id")

    def wait(self, prompt: str) -> dict[str, Any]:
        """Until it has run. Returns its part of the history."""
        for _ in range(SECONDS // 100):
            if history := ask(self.address, f"/history/{prompt}"):
                return history[prompt]
            self.page.wait_for_timeout(100)
        raise TimeoutError(f"{prompt} is not done")

    def close(self) -> None:
        self.context.close()

"""ComfyUI's page in a headless Chromium of the system, as a person uses it."""

import json
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
        self.address, self.errors = address, []
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

    def click_template(self, name: str) -> None:
        """Open it by a click on its card in the list of templates."""
        self.page.evaluate("app.extensionManager.command.execute('Comfy.BrowseTemplates')")
        self.page.get_by_text("FantasyTalking", exact=True).first.click()
        self.page.get_by_test_id(f"template-workflow-{name}").click()
        self.page.wait_for_function("name => app.extensionManager.workflow.activeWorkflow?.filename === name", arg=name)
        self.settle()

    def open_template(self, name: str) -> None:
        """As that click does, but in half the time."""
        self.do("open", name)
        self.settle()

    def dismiss_errors(self) -> None:
        """Close the message over the canvas, if there is one."""
        close = self.page.get_by_test_id("error-overlay-dismiss")
        if close.count():
            close.first.click()

    def error(self) -> str:
        """The message over the canvas that follows a run: what kind of error, and at which node."""
        message = self.page.get_by_test_id("error-overlay").first
        message.wait_for(timeout=30_000)
        return message.inner_text()

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
        before, now = None, self.do("titles")
        while before != now:
            self.page.wait_for_timeout(300)
            before, now = now, self.do("titles")

    def is_app(self) -> bool:
        return self.page.get_by_test_id("linear-run-button").count() > 0

    def show_graph(self) -> None:
        """Of a template that opens as an app."""
        if self.is_app():
            self.page.evaluate("app.extensionManager.command.execute('Comfy.ToggleLinear')")
            self.settle()

    def skip_tour(self) -> None:
        """The newest page offers one with the first app."""
        self.page.wait_for_timeout(1500)  # it fades in
        skip = self.page.get_by_role("button", name="Skip", exact=True)
        if skip.count():
            skip.first.click()

    def run(self) -> str | None:
        """A click on the Run button. Returns the number of what is queued, None if it is refused."""
        test_id = self.page.get_by_test_id
        app_run = test_id("linear-run-button").get_by_role("button", name="Run", exact=True)
        button = app_run if self.is_app() else test_id("queue-button")
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

    def seen(self) -> str:
        """What is written on the page, but for what the canvas draws."""
        return self.page.evaluate("document.body.innerText")

    def close(self) -> None:
        self.context.close()

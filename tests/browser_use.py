"""The real frontend in a real headless Chromium, as fixtures. A test module takes them by

    pytest_plugins = ["browser_use"]

One browser for all tests, and in it a page for each kind of canvas; a test with other settings opens its own page.
After a failed test there is a screenshot of the page in screenshots/; with REGIONAL_SCREENSHOTS=1 after each test.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from browser import find_browser
from comfy_server import ComfyServer
from host import ROOT
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright

SCREENSHOTS = ROOT / "screenshots"
ALL_SCREENSHOTS = bool(os.environ.get("REGIONAL_SCREENSHOTS"))
MODES = {"classic": False, "nodes2": True}  # the values of Comfy.VueNodes.Enabled

# What the frontend says of itself on an empty user folder. Whatever else it says fails the test.
HOST_NOISE = [
    r"Failed to load resource: .* 404 .*/(user\.css|userdata\b.*)$",
    r"legacy queue/history menu is deprecated",
    r"ComfyApp graph accessed before initialization",
    r"ComfyApp\.open_maskeditor is deprecated",
    r"violates the (document's|following) Content Security Policy",  # the default workflow's models
]


@pytest.fixture(scope="session")
def browser_server(server: ComfyServer) -> ComfyServer:
    """The server of all tests, with the frontend's settings for tests."""
    settings = {
        "Comfy.TutorialCompleted": True,
        "Comfy.Workflow.Persist": False,
        "Comfy.LinkRelease.Action": "no action",  # a link that is dropped is gone, without a menu
    }
    server.post("/settings", settings)
    return server


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        found = find_browser() or Path(playwright.chromium.executable_path)
        if not found.is_file():
            reason = "no Chromium or Chrome: run 'python scripts/dev.py setup --browser', or set CHROMIUM_PATH"
            (pytest.fail if os.environ.get("CI") else pytest.skip)(reason)
        args = ["--disable-background-networking", "--disable-component-update", "--disable-sync"]
        args += ["--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            args.append("--no-sandbox")
        browser = playwright.chromium.launch(executable_path=str(found), args=args)
        yield browser
        browser.close()


@dataclass
class Frontend:
    """A page with the frontend and an empty graph. `js` runs there; `app` is its own."""

    page: Page
    server: ComfyServer
    nodes2: bool
    name: str = ""  # of its screenshots
    said: list[str] = field(default_factory=list)

    def js(self, code: str, arg: Any = None) -> Any:
        return self.page.evaluate(code, arg)

    def empty(self) -> None:
        """A new workflow without nodes, and no other that is open."""
        self.load({"last_node_id": 0, "last_link_id": 0, "nodes": [], "links": [], "version": 0.4})
        self.js(
            """async () => {
                const { workflow } = app.extensionManager;
                const others = workflow.openWorkflows.filter(({ path }) => path !== workflow.activeWorkflow.path);
                for (const one of others) await workflow.closeWorkflow(one);
            }"""
        )
        self.center(300, 200)

    def add(self, kind: str, x: float = 0, y: float = 0) -> int:
        """A new node at a place on the canvas; returns its id."""
        code = """([kind, x, y]) => {
            const node = LiteGraph.createNode(kind);
            node.pos = [x, y];
            app.canvas.graph.add(node);
            return node.id;
        }"""
        return int(self.js(code, [kind, x, y]))

    def connect(self, source: int, node: int, name: str) -> None:
        """Links a node's first output to another's input, as a script would."""
        code = """([source, node, name]) => {
            const target = app.canvas.graph.getNodeById(node);
            const slot = target.inputs.findIndex((input) => input.name === name);
            app.canvas.graph.getNodeById(source).connect(0, target, slot);
        }"""
        self.js(code, [source, node, name])

    def disconnect(self, node: int, name: str) -> None:
        self.js("([node, name]) => app.canvas.graph.getNodeById(node).disconnectInput(name)", [node, name])

    def inputs(self, node: int) -> dict[str, int | None]:
        """Name of each input, in order, and the id of the node that it gets its value from.

        Every end of every link in the graph is looked at, too: AssertionError if they do not agree.
        """
        code = """(node) => {
            const graph = app.canvas.graph, wrong = [];
            for (const link of graph.links.values()) {
                const source = graph.getNodeById(link.origin_id), target = graph.getNodeById(link.target_id);
                if (source && !source.outputs[link.origin_slot].links.includes(link.id)) wrong.push(["origin", link]);
                if (target && target.inputs[link.target_slot]?.link !== link.id) wrong.push(["target", link]);
            }
            const inputs = graph.getNodeById(node).inputs;
            const from = (link) => (link == null ? null : Number(graph.links.get(link).origin_id));
            return [wrong, inputs.map(({ name, link }) => [name, from(link)])];
        }"""
        wrong, inputs = self.js(code, node)
        assert not wrong, wrong
        return dict(inputs)

    def widgets(self, node: int) -> dict[str, Any]:
        code = "(node) => app.canvas.graph.getNodeById(node).widgets.map(({ name, value }) => [name, value])"
        return dict(self.js(code, node))

    def nodes(self, kind: str) -> list[int]:
        """The ids of the nodes of this type in the graph that is shown, in the order in which they were added."""
        code = "(kind) => app.canvas.graph.nodes.filter((node) => node.type === kind).map(({ id }) => Number(id))"
        return list(self.js(code, kind))

    def size(self, node: int) -> list[float]:
        self.settle()
        return list(self.js("(node) => [...app.canvas.graph.getNodeById(node).size]", node))

    def select(self, *nodes: int) -> None:
        self.js("(ids) => app.canvas.selectItems(ids.map((id) => app.canvas.graph.getNodeById(id)))", nodes)

    def command(self, name: str) -> None:
        """Runs a command of the frontend's menus."""
        self.js("(name) => app.extensionManager.command.execute(name)", name)
        self.settle()

    def enter(self, node: int) -> None:
        """Shows the inside of a subgraph."""
        code = """(id) => {
            const node = app.canvas.graph.getNodeById(id);
            app.canvas.openSubgraph(node.subgraph, node);
        }"""
        self.js(code, node)
        self.settle()

    def leave(self) -> None:
        """Shows the outermost graph again."""
        self.js("() => app.canvas.setGraph(app.rootGraph)")
        self.settle()

    def save(self) -> dict[str, Any]:
        """The workflow as a file holds it."""
        return dict(self.js("() => JSON.parse(JSON.stringify(app.rootGraph.serialize()))"))

    def load(self, workflow: dict[str, Any]) -> None:
        self.js("(workflow) => app.loadGraphData(workflow)", workflow)
        self.settle()

    def load_prompt(self, prompt: dict[str, Any]) -> None:
        """Opens an API prompt, as a dropped file of one is."""
        self.js("(prompt) => app.loadApiJson(prompt, 'prompt')", prompt)
        self.settle()

    def set(self, node: int, name: str, value: Any) -> None:
        """Gives a widget a value, as a script would."""
        code = """([node, name, value]) => {
            const widget = app.canvas.graph.getNodeById(node).widgets.find((one) => one.name === name);
            widget.value = value;
            widget.callback?.(value);
        }"""
        self.js(code, [node, name, value])

    def setting(self, name: str, value: Any) -> None:
        self.js("([name, value]) => app.extensionManager.setting.set(name, value)", [name, value])

    def queue(self, only: list[int] | None = None) -> dict[str, Any]:
        """Queues the graph, or what these nodes need of it; returns the API prompt that the server got."""
        prompt, _ = self._queue(only)
        return prompt

    def _queue(self, only: list[int] | None = None) -> tuple[dict[str, Any], dict[str, Any]]:
        code = "(ids) => app.queuePrompt(0, 1, ids ? { queueNodeIds: ids } : {})"
        with self.page.expect_response("**/api/prompt") as response:
            self.js(code, only and [str(node) for node in only])
        self.settle()
        return response.value.request.post_data_json["prompt"], response.value.json()

    def run(self, timeout: float = 120.0) -> dict[str, Any]:
        """Queues the graph, waits for its end and returns its history entry; AssertionError if it failed."""
        _, reply = self._queue()
        assert not reply.get("node_errors") and "prompt_id" in reply, reply
        deadline = time.monotonic() + timeout
        while not (entry := self.server.get(f"/history/{reply['prompt_id']}")):
            assert time.monotonic() < deadline, self.server.log_tail()
            time.sleep(0.2)
        done: dict[str, Any] = entry[reply["prompt_id"]]
        assert done["status"]["status_str"] == "success", done["status"]
        return done

    def steps(self) -> int:
        """How many steps can be undone, once nothing is left to be noted."""
        self.page.mouse.click(1250, 550)  # on empty canvas: whenever the mouse goes up, the frontend looks for changes
        self.settle()
        return int(self.js("() => app.extensionManager.workflow.activeWorkflow.changeTracker.undoQueue.length"))

    def settle(self) -> None:
        """Waits until what was changed is drawn, and noted in the undo history."""
        self.js(
            """async () => {
                for (let i = 0; i < 4; i++) await new Promise(requestAnimationFrame);
            }"""
        )

    def still(self, selector: str) -> None:
        """Waits until an element has been at one place for six frames: Nodes 2.0 measures nodes after drawing them."""
        self.page.locator(selector).wait_for()
        self.js(
            """async (selector) => {
                let last = "";
                for (let same = 0; same < 6; ) {
                    await new Promise(requestAnimationFrame);
                    const now = JSON.stringify(document.querySelector(selector).getBoundingClientRect());
                    same = now === last ? same + 1 : 0;
                    last = now;
                }
            }""",
            selector,
        )

    def center(self, x: float, y: float, scale: float = 1.0) -> None:
        """Shows a place of the canvas in the middle of the page."""
        code = """([x, y, scale]) => {
            const { ds, canvas } = app.canvas;
            ds.scale = scale;
            ds.offset = [canvas.clientWidth / 2 / scale - x, canvas.clientHeight / 2 / scale - y];
            app.canvas.setDirty(true, true);
        }"""
        self.js(code, [x, y, scale])
        self.settle()

    def place(self, node: int, slot: int, output: bool = False) -> tuple[float, float]:
        """Where a slot's dot is on the page."""
        key = f"{node}-{'out' if output else 'in'}-{slot}"
        if self.nodes2:
            dot = self.page.locator(f'[data-slot-key="{key}"]').bounding_box()
            assert dot, key
            return dot["x"] + dot["width"] / 2, dot["y"] + dot["height"] / 2
        code = """([node, slot, output]) => {
            const one = app.canvas.graph.getNodeById(node), { canvas } = app.canvas;
            const [x, y] = app.canvas.convertOffsetToCanvas(output ? one.getOutputPos(slot) : one.getInputPos(slot));
            const { left, top } = canvas.getBoundingClientRect();
            return [left + x, top + y];
        }"""
        x, y = self.js(code, [node, slot, output])
        return x, y

    def drag(self, start: tuple[float, float], end: tuple[float, float]) -> None:
        mouse = self.page.mouse
        mouse.move(*start)
        mouse.down()
        mouse.move((start[0] + end[0]) / 2, (start[1] + end[1]) / 2, steps=4)
        mouse.move(*end, steps=4)
        self.settle()
        mouse.up()
        self.settle()

    def screenshot(self, what: str = "", always: bool = ALL_SCREENSHOTS) -> None:
        """Writes screenshots/<test>-<what>.png, if screenshots are wanted."""
        self.settle()
        if not always:
            return
        SCREENSHOTS.mkdir(exist_ok=True)
        self.page.screenshot(path=SCREENSHOTS / f"{self.name}{what and '-' + what}.png")

    def check_console(self) -> None:
        said, self.said = self.said, []
        assert [text for text in said if not any(re.search(noise, text) for noise in HOST_NOISE)] == []


def open_frontend(page: Page, server: ComfyServer, nodes2: bool) -> Frontend:
    """The frontend in a new page, once it is up, with all that it says from the start."""
    frontend = Frontend(page, server, nodes2)

    def note(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            frontend.said.append(f"{message.type}: {message.text} {message.location['url']}")

    page.on("console", note)
    page.on("pageerror", lambda error: frontend.said.append(f"uncaught: {error.stack or error}"))
    # The server keeps the settings of all pages: a panel that a test has opened must not cover the next page's canvas.
    server.post("/settings", {"Comfy.VueNodes.Enabled": nodes2, "Comfy.RightSidePanel.IsOpen": False})
    # A shared machine may stand still for half a minute; what never comes is found all the same.
    page.set_default_timeout(120_000)
    page.goto(server.address)
    page.wait_for_function(
        "() => window.app?.vueAppReady && app.graph && app.extensionManager?.workflow.activeWorkflow?.changeTracker"
    )
    return frontend


class Pages:
    """Pages of one browser."""

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._shared: tuple[str, Frontend] | None = None

    def open(self, server: ComfyServer, nodes2: bool) -> Frontend:
        context = self._browser.new_context(viewport={"width": 1400, "height": 900})
        return open_frontend(context.new_page(), server, nodes2)

    def shared(self, server: ComfyServer, mode: str) -> Frontend:
        """The page that tests share: one at a time, since an idle one draws, too."""
        if self._shared and self._shared[0] != mode:
            self.close_shared()
        if not self._shared:
            self._shared = mode, self.open(server, MODES[mode])
        return self._shared[1]

    def close_shared(self) -> None:
        if self._shared:
            self._shared[1].page.context.close()
        self._shared = None


@pytest.fixture(scope="session")
def pages(browser: Browser) -> Pages:
    return Pages(browser)


@pytest.fixture
def open_page(pages: Pages) -> Iterator[Callable[..., Frontend]]:
    """`open_page(server, nodes2)`: the frontend in a page of its own, open until the test's end."""
    opened = []

    def open_page(server: ComfyServer, nodes2: bool) -> Frontend:
        opened.append(pages.open(server, nodes2))
        return opened[-1]

    yield open_page
    for frontend in opened:
        frontend.page.context.close()


@pytest.fixture(scope="session", params=MODES)
def mode(request: pytest.FixtureRequest) -> str:
    """The kind of canvas. For the session, so that pytest runs all tests on one canvas, then all on the other."""
    return str(request.param)


@pytest.fixture
def frontend(
    request: pytest.FixtureRequest, mode: str, pages: Pages, browser_server: ComfyServer
) -> Iterator[Frontend]:
    """An empty graph in the page that tests share. The test fails if anything is said in the console."""
    failed_before = request.session.testsfailed
    opened = pages.shared(browser_server, mode)
    opened.name = re.sub(r"\W+", "-", request.node.name).strip("-")
    opened.page.keyboard.press("Escape")  # closes what a test has left open
    opened.empty()
    yield opened
    try:
        failed = request.session.testsfailed > failed_before
        opened.screenshot("end", always=failed or ALL_SCREENSHOTS)
        opened.check_console()
    except BaseException:
        failed = True
        raise
    finally:
        if failed:  # what it left open must not fail others
            pages.close_shared()

"""Makes the pictures of the help pages, web/docs/img/*.webp:

    .venv/bin/python scripts/make_help_pictures.py [ID ...]

Each is a screenshot of the real frontend: a node of an example workflow and the nodes connected to it, moved closer
together. If a node shows something after a run, the demo model runs it first. Without an ID it makes all.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from browser import find_browser
from comfy_server import ComfyServer
from dev import PACKS, ROOT, find_comfyui
from PIL import Image
from playwright.sync_api import Page, sync_playwright

FOLDER = ROOT / "web" / "docs" / "img"
WIDTH, QUALITY = 900, 82  # the greatest width in pixels; the quality of WebP
VIEW = {"width": 2000, "height": 1500}
ORIGIN = (360, 140)  # the graph's top left corner on the page, where no menu is
SETTINGS = {
    "Comfy.TutorialCompleted": True,
    "Comfy.Workflow.Persist": False,
    "Comfy.VueNodes.Enabled": False,
    "Comfy.Graph.CanvasInfo": False,
    "Comfy.Minimap.Visible": False,
    "Comfy.Canvas.SelectionToolbox": False,
    "Comfy.NodeBadge.NodeSourceBadgeMode": "None",
    "Comfy.NodeBadge.NodeLifeCycleBadgeMode": "None",
}
# The file that the examples name; an empty one is enough for the loader to show no error.
CHECKPOINT = "v1-5-pruned-emaonly-fp16.safetensors"


@dataclass(frozen=True)
class Picture:
    """The example that has a node of the class, and how the node is shown."""

    example: str
    number: int = 0  # which node, if the example has several of the class, in the order of their ids
    runs: str = ""  # the type of the node, this or a connected one, that is run because it then shows something
    direct: bool = False  # whether links between connected nodes are left out
    size: tuple[int, int] = (0, 0)  # of the node; 0 makes it as small as possible


PICTURES = {
    "RegionalSampler": Picture("lockstep_samplers"),
    "RegionalSamplerAdvanced": Picture("regional_sampler_advanced"),
    "TwoAdvancedSamplersForMask": Picture("two_advanced_samplers_for_mask"),
    "TwoSamplersForMask": Picture("two_samplers_for_mask"),
    "MaskGrid N KSamplers Advanced": Picture("mask_grid", direct=True),
    "RegionalGuider": Picture("regional_guider"),
    "RegionEditor": Picture("region_editor", size=(860, 770)),
    "RegionalPromptsFromColorMask": Picture("color_mask", runs="RegionalPromptsFromColorMask", size=(300, 560)),
    "RegionalGrid": Picture("grid", runs="RegionalGrid", size=(300, 560)),
    "RegionalPromptsFromMasks": Picture("masks", runs="RegionalPromptsFromMasks", size=(300, 560)),
    "RegionalMaskFromBatch": Picture("color_mask", runs="RegionalPromptsFromColorMask"),
    "RegionalPreview": Picture("check_regions", runs="RegionalPreview", direct=True, size=(340, 460)),
    "RegionalReport": Picture("check_regions", runs="RegionalReport", direct=True, size=(600, 540)),
    "RegionalPrompt": Picture("regional_sampler"),
    "RegionalPromptFromConditioning": Picture("regional_guider"),
    "CombineRegionalPrompts": Picture("two_loras"),
    "KSamplerAdvancedProvider": Picture("regional_sampler", number=1),
    "KSamplerProvider": Picture("two_samplers_for_mask"),
    "ToBasicPipe": Picture("regional_sampler"),
    "EditBasicPipe": Picture("basic_pipes"),
    "FromBasicPipe": Picture("basic_pipes"),
    "FromBasicPipe_v2": Picture("basic_pipes"),
    "GITSSchedulerFuncProvider": Picture("basic_pipes"),
    "ImpactNegativeConditioningPlaceholder": Picture("basic_pipes"),
}

# Replaces nodes of a type by nodes of another, which keep links and title.
REPLACE = """([from, to]) => {
    for (const old of app.graph.nodes.filter(({ type }) => type === from)) {
        const node = LiteGraph.createNode(to);
        node.title = old.title;
        app.graph.add(node);
        old.outputs.forEach((output, slot) => {
            for (const id of [...(output.links ?? [])]) {
                const { target_id, target_slot } = app.graph.links.get(id);
                node.connect(slot, app.graph.getNodeById(target_id), target_slot);
            }
        });
        app.graph.remove(old);
    }
}"""

# Queues the node. If it is not an output node, a PreviewImage is added for its preview; returns that one's id, or null.
RUN = """async (id) => {
    let node = app.graph.getNodeById(id), made = null;
    if (!node.constructor.nodeData.output_node) {
        made = LiteGraph.createNode("PreviewImage");
        app.graph.add(made);
        node.connect(node.outputs.findIndex(({ name }) => name === "preview"), made, 0);
    }
    await app.queuePrompt(0, 1, { queueNodeIds: [String((made ?? node).id)] });
    return made?.id ?? null;
}"""

# Removes all but the node, which gets a colour, and those connected to it; their titles become their default names.
CUT = """([id, direct]) => {
    const graph = app.graph, target = graph.getNodeById(id);
    const links = () => [...graph.links.values()];
    const before = new Set(), after = new Set();
    for (const { origin_id, target_id } of links()) {
        if (origin_id == id) after.add(graph.getNodeById(target_id));
        if (target_id == id) before.add(graph.getNodeById(origin_id));
    }
    for (const node of [...graph.nodes]) {
        if (node !== target && !before.has(node) && !after.has(node)) graph.remove(node);
    }
    for (const group of [...graph.groups]) graph.remove(group);
    for (const { id: link, origin_id, target_id } of links()) {
        if (origin_id == id || target_id == id) continue;
        // A link that passes the node would be drawn behind it.
        if (direct || after.has(graph.getNodeById(target_id))) graph.removeLink(link);
    }
    for (const node of graph.nodes) {
        const name = node.constructor.title.replace(/,[^)]*/, "");
        node.title = name.replace(/ \\([^)]*\\s[^)]*\\)/, "");
    }
    target.mode = 0; // an example may have it muted
    [target.color, target.bgcolor] = ["#2a4d69", "#1e3a52"];
}"""

# Makes nodes as small as possible, except those that show something after a run; texts get at least some lines.
SHRINK = """([id, keep, size]) => {
    const { ctx } = app.canvas;
    for (const node of app.graph.nodes) {
        const own = node.widgets?.length ?? 0;
        let [, high] = node.computeSize();
        ctx.font = `${LiteGraph.NODE_TEXT_SIZE}px Inter, sans-serif`;
        let wide = Math.max(ctx.measureText(node.title).width + 78, own > 10 ? 250 : own > 6 ? 235 : own ? 215 : 0);
        ctx.font = `${LiteGraph.NODE_SUBTEXT_SIZE}px Inter, sans-serif`;
        const words = (slots) => Math.max(0, ...slots.map(({ name }) => ctx.measureText(name).width));
        wide = Math.max(wide, words(node.inputs.filter(({ widget }) => !widget)) + words(node.outputs) + 60);
        if (node.widgets?.some(({ type }) => type === "customtext")) high = Math.max(high, 90);
        if (keep.includes(node.type)) [wide, high] = node.size;
        if (node.id == id) [wide, high] = [size[0] || wide, size[1] || high];
        node.setSize([wide, high]);
    }
}"""

# Places the nodes in columns in the direction of the links; returns left, top, width and height of the whole.
ARRANGE = """(id) => {
    const graph = app.graph, at = (id) => graph.getNodeById(id), links = [...graph.links.values()];
    const TITLE = LiteGraph.NODE_TITLE_HEIGHT, [ACROSS, DOWN] = [50, 18];
    const depth = new Map();
    const deep = (node) => {
        const before = links.filter((link) => link.target_id == node.id);
        const found = Math.max(0, ...before.map((link) => 1 + deep(at(link.origin_id))));
        depth.set(node, found);
        return found;
    };
    graph.nodes.forEach(deep);
    // Move each node to the column just before the first that it is linked to.
    for (const node of [...graph.nodes].sort((a, b) => depth.get(b) - depth.get(a))) {
        const after = links.filter((link) => link.origin_id == node.id).map((link) => depth.get(at(link.target_id)));
        if (after.length) depth.set(node, Math.min(...after) - 1);
    }
    // In a column, nodes are in the order of the sockets that they are linked to.
    const place = (node) => {
        const out = links.filter((link) => link.origin_id == node.id).map((link) => link.target_slot);
        const into = links.filter((link) => link.target_id == node.id).map((link) => link.origin_slot);
        return Math.min(...(out.length ? out : into), 99);
    };
    const columns = [];
    for (const node of graph.nodes) (columns[depth.get(node)] ??= []).push(node);
    const high = (nodes) => nodes.reduce((sum, node) => sum + node.size[1] + TITLE + DOWN, -TITLE - DOWN);
    const highest = Math.max(...columns.map(high));
    let x = 0;
    columns.forEach((nodes, column) => {
        nodes.sort((a, b) => place(a) - place(b));
        const wide = Math.max(...nodes.map((node) => node.size[0]));
        // Leave room above the column for links that pass it.
        const passing = links.filter((l) => depth.get(at(l.origin_id)) < column && depth.get(at(l.target_id)) > column);
        const slots = passing.map((link) => Math.max(link.origin_slot, link.target_slot));
        let y = slots.length ? (Math.max(...slots) + 1) * LiteGraph.NODE_SLOT_HEIGHT + TITLE + 14 : 0;
        const small = column >= depth.get(at(id)) && highest > 1.6 * high(columns[depth.get(at(id))]);
        if (small && columns.length < 4) y = Math.max(0, (highest - high(nodes)) / 2);
        for (const node of nodes) {
            node.pos = [x, y];
            node.setSize([wide, node.size[1]]);
            y += node.size[1] + TITLE + DOWN;
        }
        x += wide + ACROSS;
    });
    const bottom = Math.max(...graph.nodes.map((node) => node.pos[1] + node.size[1]));
    return [-14, -TITLE - 14, x - ACROSS + 28, bottom + TITLE + 28];
}"""

LOOK_AT = """([x, y, scale, left, top]) => {
    const { ds, canvas } = app.canvas, box = canvas.getBoundingClientRect();
    ds.scale = scale;
    ds.offset = [(left - box.left) / scale - x, (top - box.top) / scale - y];
    app.canvas.setDirty(true, true);
}"""


def main(wanted: list[str]) -> None:
    if unknown := set(wanted) - PICTURES.keys():
        raise SystemExit(f"no picture is made for {', '.join(sorted(unknown))}; there are {', '.join(PICTURES)}")
    FOLDER.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as base:
        checkpoints = Path(base) / "models" / "checkpoints"
        checkpoints.mkdir(parents=True)
        (checkpoints / CHECKPOINT).touch()
        take(wanted or list(PICTURES), base)


def take(names: list[str], base: str) -> None:
    with (
        ComfyServer(find_comfyui(), base, PACKS) as server,
        sync_playwright() as playwright,
    ):
        server.post("/settings", SETTINGS)
        found = find_browser() or Path(playwright.chromium.executable_path)
        args = ["--no-sandbox"] if hasattr(os, "geteuid") and os.geteuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=str(found), args=args)
        page = browser.new_page(viewport={"width": VIEW["width"], "height": VIEW["height"]})
        page.set_default_timeout(120_000)
        page.goto(server.address)
        page.wait_for_function("() => window.app?.vueAppReady && app.graph && app.extensionManager")
        for name in names:
            picture = photograph(page, server, name, PICTURES[name])
            file = FOLDER / f"{name.replace(' ', '')}.webp"
            picture.save(file, quality=QUALITY, method=6)
            print(f"{file.relative_to(ROOT)}: {picture.width} x {picture.height}, {file.stat().st_size / 1000:.0f} KB")
        browser.close()


def photograph(page: Page, server: ComfyServer, name: str, of: Picture) -> Image.Image:
    workflow = json.loads((ROOT / "example_workflows" / f"{of.example}.json").read_text("utf-8"))
    if of.runs:
        for one in workflow["nodes"]:
            if one["type"] == "CheckpointLoaderSimple":
                one.update(type="RegionalTestingLoader", widgets_values=["eps", "texture", False])
    page.evaluate("(workflow) => app.loadGraphData(workflow)", workflow)
    settle(page)
    node = first(page, name, of.number)
    if of.runs:
        run(page, server, first(page, of.runs))
        page.evaluate(REPLACE, ["RegionalTestingLoader", "CheckpointLoaderSimple"])
    page.evaluate(CUT, [node, of.direct])
    settle(page)
    page.evaluate(SHRINK, [node, [of.runs, "RegionEditor"], of.size])
    settle(page)
    left, top, width, height = page.evaluate(ARRANGE, node)
    scale = min(1.0, WIDTH / width)
    page.evaluate(LOOK_AT, [left, top, scale, *ORIGIN])
    page.mouse.move(5, 5)
    settle(page)
    page.wait_for_timeout(700)
    wide, high = round(width * scale), round(height * scale)
    shot = page.screenshot(clip={"x": ORIGIN[0], "y": ORIGIN[1], "width": wide, "height": high})
    with Image.open(io.BytesIO(shot)) as picture:
        return picture.convert("RGB")


def settle(page: Page) -> None:
    """Waits until the page has drawn the changes."""
    page.evaluate("async () => { for (let i = 0; i < 4; i++) await new Promise(requestAnimationFrame); }")


def first(page: Page, kind: str, number: int = 0) -> int:
    """The id of a node of this type: of several, number `number` in the order of their ids."""
    code = "(kind) => app.graph.nodes.filter(({ type }) => type === kind).map(({ id }) => Number(id))"
    return int(sorted(page.evaluate(code, kind))[number])


def run(page: Page, server: ComfyServer, node: int) -> None:
    """Runs the node and all that it needs from the page, and waits until it shows the result."""
    with page.expect_response("**/api/prompt") as response:
        made = page.evaluate(RUN, node)
    reply = response.value.json()
    if reply.get("node_errors") or "prompt_id" not in reply:
        raise RuntimeError(f"the server refused the prompt: {reply}")
    deadline = time.monotonic() + 300
    while not (entry := server.get(f"/history/{reply['prompt_id']}")):
        if time.monotonic() > deadline:
            raise RuntimeError(f"the run did not end:\n{server.log_tail()}")
        time.sleep(0.2)
    status = entry[reply["prompt_id"]]["status"]
    if status["status_str"] != "success":
        raise RuntimeError(f"the run failed: {status}")
    page.wait_for_timeout(1500)  # the node shows the result
    if made is not None:
        page.evaluate("(id) => app.graph.remove(app.graph.getNodeById(id))", made)


if __name__ == "__main__":
    main(sys.argv[1:])

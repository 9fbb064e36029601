"""What is seen in the graph: progress and canvas while a run goes on, what the inspecting nodes show, and errors."""

import io
import itertools
import re

import pytest
import torch
from pack.masks.formats.overlay import palette
from PIL import Image
from server_use import COLOURS, SEEDS, regional_sampler
from torchvision.transforms.functional import to_tensor

pytest_plugins = ["browser_use"]

STEPS = 8
# The children of the node's text must not reach over its edge.
FITS = """([start]) => {
    const all = [...document.querySelectorAll(".dom-widget, [data-node-id]")];
    const widget = all.find((element) => element.innerText.includes(start));
    const range = document.createRange();
    const walk = document.createTreeWalker(widget, NodeFilter.SHOW_TEXT);
    const lines = [];
    while (walk.nextNode()) {
        range.selectNodeContents(walk.currentNode);
        const text = range.getBoundingClientRect();
        if (!text.height) continue;
        for (let box = walk.currentNode.parentElement; box; box = box.parentElement) {
            const style = getComputedStyle(box);
            const cut = style.overflowY !== "visible" && text.bottom > box.getBoundingClientRect().bottom + 1;
            if (cut) return "cut: " + walk.currentNode.textContent;
            if (box === widget) break;
        }
        lines.push(walk.currentNode.textContent.trim());
    }
    return lines.filter(Boolean);
}"""


def place(frontend, node, x, y):
    frontend.js("([id, x, y]) => { app.graph.getNodeById(id).pos = [x, y]; }", [int(node), x, y])


# Keeps each text that comes into the page, however short.
RECORD = """() => {
    window.shown = [];
    const note = (text) => shown.push(...text.split("\\n").map((line) => line.trim()));
    new MutationObserver((changes) => {
        for (const { target, addedNodes } of changes) {
            if (target.data) note(target.data);
            for (const node of addedNodes) note(node.textContent);
        }
    }).observe(document.body, { subtree: true, childList: true, characterData: true });
}"""


def near(frontend, colour, tolerance=0.06):
    """How many pixels of the page have about this colour."""
    page = to_tensor(Image.open(io.BytesIO(frontend.page.screenshot())).convert("RGB"))
    return int(((page - torch.tensor(colour)[:, None, None]).abs().amax(0) < tolerance).sum())


def assert_said(frontend, expected):
    """Of these texts some were seen, and no other step. A busy page draws not each of them."""
    said = {text for text in frontend.js("() => shown") if re.match(r"steps? \d", text)}
    assert said <= expected and any("region" in text for text in said), said


def show(frontend, scene, *nodes):
    """Opens the scene and looks at these nodes of it, beside each other and away from all others."""
    frontend.load_prompt(scene.prompt)
    for i, node in enumerate(nodes):
        place(frontend, node, 5000 + 420 * i, 5000)
    frontend.center(5000 + 210 * len(nodes), 5330, 0.9)


def test_step_region_and_canvas(frontend):
    # Slow enough for a page on a busy machine to draw the last steps while they last.
    steps = 6
    scene = regional_sampler(seed=next(SEEDS), slow=1.2, steps=steps, engine="lockstep")
    node = scene.only("RegionalSampler")
    show(frontend, scene, node)
    before = {name: near(frontend, colour) for name, colour in COLOURS.items()}  # earlier results beside the graph
    frontend.js(RECORD)
    frontend.queue()
    text = frontend.page.get_by_text(re.compile(rf"^step [456] of {steps}: "))
    text.wait_for()
    # The regions are some 16 and 19 % of the picture.
    colours = {name: near(frontend, colour) - before[name] for name, colour in COLOURS.items()}
    assert colours["base"] > 10000 and min(colours["a"], colours["b"]) > 3000, colours
    frontend.screenshot("running")
    frontend.page.get_by_text(f"{steps} steps, 2 regions").wait_for()
    alone = {f"step {i} of {steps}: the base" for i in (1, 2)}
    assert_said(frontend, alone | {f"step {i} of {steps}: the base, region 1, region 2" for i in range(3, steps + 1)})
    # What the host shows is no value of the node.
    saved = next(one for one in frontend.save()["nodes"] if one["id"] == int(node))
    assert saved["widgets_values"][-4:] == ["lockstep", "full", 128, "mix"]


def test_step_and_region_of_stepwise(frontend):
    scene = regional_sampler(seed=next(SEEDS), slow=0.3, steps=4, base_only_steps=1, engine="stepwise")
    show(frontend, scene, scene.only("RegionalSampler"))
    frontend.js(RECORD)
    frontend.queue()
    frontend.page.get_by_text("4 steps, 2 regions").wait_for()
    painters = itertools.product((2, 3, 4), ("the base", "region 1", "region 2"))
    said = {f"step {i} of 4: {painter}" for i, painter in painters}
    assert_said(frontend, said | {"steps 1 to 1 of 4: the base alone"})


def test_preview_and_report(frontend):
    scene = regional_sampler(seed=next(SEEDS), steps=STEPS)
    inspected = {"regional_prompts": [scene.only("CombineRegionalPrompts"), 0], "samples": scene.canvas}
    common = {"overlap_factor": 10, "blend": "mix"}
    preview = scene.add("RegionalPreview", **inspected, **common)
    settings = {"steps": STEPS, "base_only_steps": 2, "denoise": 1.0, "engine": "lockstep"}
    base = scene.inputs("RegionalSampler")["base_sampler"]
    crop = {"region_compute": "full", "crop_context": 128}
    report = scene.add("RegionalReport", base_sampler=base, **inspected, **common, **settings, **crop)
    show(frontend, scene, preview[0], report[0])
    assert max(near(frontend, colour) for colour in palette(2)) < 300
    frontend.run()
    frontend.page.get_by_text("overlaps of regions: 0.0%").wait_for()
    for _ in range(100):  # the picture is fetched, and the nodes are measured
        frontend.settle()
        seen = min(near(frontend, colour) for colour in palette(2))
        if seen > 1500 and isinstance(frontend.js(FITS, ["overlaps of regions"]), list):
            break
        frontend.page.wait_for_timeout(100)
    frontend.screenshot("seen")
    assert seen > 1500
    lines = frontend.js(FITS, ["overlaps of regions"])
    assert {"region 1: 15.6% of the picture", "overlaps of regions: 0.0%"} <= set(lines), lines
    for line in (
        r"region 2: TextureModel, euler on normal, cfg 7, .* in 6 of 8 steps",
        r"The whole run: \d+ rows in 8 model calls",
    ):
        said = frontend.page.get_by_text(re.compile(line)).last
        said.wait_for()
        assert re.search(rf"^{line}", said.inner_text(), re.MULTILINE), said.inner_text()


@pytest.mark.parametrize("engine", ["lockstep", "stepwise"])
def test_error_marks_the_node_and_names_the_region(frontend, engine):
    scene = regional_sampler(seed=next(SEEDS), steps=STEPS, engine=engine)
    node = scene.only("RegionalSampler")
    providers = [one["inputs"] for one in scene.prompt.values() if one["class_type"] == "ToBasicPipe"]
    faulty = scene.add("RegionalTestingFaultyModel", model=scene.model, fault="NaN", call=3)
    providers[2]["model"] = faulty
    show(frontend, scene, node)
    frontend.queue()
    frontend.page.get_by_text("Regional Sampler failed").wait_for()
    assert frontend.js("() => app.lastExecutionError.node_id") == node
    frontend.page.get_by_text("View details").click()
    said = frontend.page.get_by_text(re.compile(r"region 2: the model answered NaN or infinity at step \d of 8"))
    said.first.wait_for()
    frontend.screenshot("error")
    frontend.page.keyboard.press("Escape")

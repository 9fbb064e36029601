"""RegionEditor in a real browser: on the classic canvas and in Nodes 2.0."""

import io
import json

import pytest
from host import ROOT
from PIL import Image
from server_use import Graph

pytest_plugins = ["browser_use"]

EDITOR = "RegionEditor"


class Editor:
    """A RegionEditor on the page, and what a person does in it. Places go from 0 to 1 across its canvas."""

    def __init__(self, frontend, node=None):
        self.frontend, self.page = frontend, frontend.page
        self.node = frontend.add(EDITOR, 0, 0) if node is None else node
        frontend.settle()
        width, height = frontend.size(self.node)
        left, top = frontend.js("(id) => [...app.canvas.graph.getNodeById(id).pos]", self.node)
        frontend.center(left + width / 2, top + height / 2 - 15, 0.9)
        self.root = self.page.locator(".regional-editor")
        self.canvas = self.root.locator("canvas")
        self.cards = self.root.locator(".card")
        frontend.still(".regional-editor canvas")

    @property
    def json(self):
        return self.frontend.widgets(self.node)["regions"]

    @property
    def regions(self):
        return json.loads(self.json)["regions"]

    def at(self, x, y):
        """A place of the picture on the page: it is as large as fits, in the middle, with a margin of 12."""
        box = self.canvas.bounding_box()
        zoom = self.frontend.js("() => app.canvas.ds.scale")
        size = self.frontend.widgets(self.node)
        w, h = box["width"] - 24 * zoom, box["height"] - 24 * zoom
        scale = min(w / size["width"], h / size["height"])
        left = box["x"] + (box["width"] - size["width"] * scale) / 2
        top = box["y"] + (box["height"] - size["height"] * scale) / 2
        return left + x * size["width"] * scale, top + y * size["height"] * scale

    def drag(self, start, end, *keys):
        for key in keys:
            self.page.keyboard.down(key)
        self.frontend.drag(self.at(*start), self.at(*end))
        for key in keys:
            self.page.keyboard.up(key)
        self.leave_prompt()

    def leave_prompt(self):
        """After a region is drawn its prompt waits for words; the keys of most tests are for the canvas."""
        if self.page.evaluate("document.activeElement.tagName") == "TEXTAREA":
            self.press("Escape")

    def click(self, x, y):
        self.page.mouse.click(*self.at(x, y))
        self.frontend.settle()

    def shows(self, x, y, color):
        """Waits until a place of the picture has this colour."""
        place = dict(zip(("x", "y"), self.at(x, y), strict=True), width=1, height=1)
        for _ in range(50):
            with Image.open(io.BytesIO(self.page.screenshot(clip=place))) as shot:
                got = shot.convert("RGB").getpixel((0, 0))
            if got == color:
                return
            self.page.wait_for_timeout(100)
        assert got == color

    def press(self, *keys):
        for key in keys:
            self.page.keyboard.press(key)
            self.frontend.settle()

    def tool(self, name):
        self.root.locator(f".tools [data-icon={name}]").click()
        self.frontend.settle()


@pytest.fixture
def editor(frontend):
    return Editor(frontend)


def box(region):
    """Left, top, width and height in pixels of a canvas of 1024 x 1024."""
    return [round(region["shape"][side] * 1024) for side in "xywh"]


def scribble(editor, *points):
    mouse = editor.page.mouse
    mouse.move(*editor.at(*points[0]))
    mouse.down()
    for point in points[1:]:
        mouse.move(*editor.at(*point), steps=8)
    mouse.up()
    editor.frontend.settle()
    editor.leave_prompt()


def test_draw_move_resize_undo(editor):
    assert json.loads(editor.json) == {"version": 1, "regions": []}
    editor.frontend.screenshot("empty")
    seen = [editor.regions]
    editor.drag((0.125, 0.125), (0.5, 0.375))
    seen.append(editor.regions)
    assert [box(region) for region in editor.regions] == [[128, 128, 384, 256]]
    assert editor.regions[0]["shape"]["type"] == "rect" and editor.regions[0]["name"] == "Region 1"
    editor.drag((0.3, 0.25), (0.55, 0.5))  # the middle of it
    seen.append(editor.regions)
    assert [box(region) for region in editor.regions] == [[384, 384, 384, 256]]
    editor.drag((0.75, 0.625), (0.875, 0.75))  # its lower right corner
    seen.append(editor.regions)
    assert [box(region) for region in editor.regions] == [[384, 384, 512, 384]]
    editor.drag((0.625, 0.375), (0.9, 0.25))  # its upper edge
    seen.append(editor.regions)
    assert [box(region) for region in editor.regions] == [[384, 256, 512, 512]]
    editor.drag((0.6, 0.6), (2, 0.6), "Shift")  # no further than the canvas goes
    seen.append(editor.regions)
    assert [box(region) for region in editor.regions] == [[512, 256, 512, 512]]
    for want in seen[-2::-1]:
        editor.press("Control+z")
        assert editor.regions == want
    for want in seen[1:]:
        editor.press("Control+y")
        assert editor.regions == want
    for tool, want in (("undo", seen[-2]), ("redo", seen[-1])):
        editor.tool(tool)
        assert editor.regions == want


def test_brush_and_eraser(editor):
    editor.tool("brush")
    assert editor.root.locator(".brush").is_visible()
    scribble(editor, (0.2, 0.3), (0.8, 0.3))
    (region,) = editor.regions
    (stroke,) = region["shape"]["strokes"]
    assert region["shape"]["type"] == "brush" and len(stroke["points"]) == 2 and not stroke["erase"]
    assert stroke["size"] == [round(102 / 1024, 6)] * 2
    editor.press("]", "]")  # a larger brush, in the same region
    scribble(editor, (0.2, 0.7), (0.5, 0.3), (0.8, 0.7))
    (region,) = editor.regions
    assert len(region["shape"]["strokes"]) == 2 and region["shape"]["strokes"][1]["size"][0] > stroke["size"][0] * 1.4
    editor.frontend.screenshot("brush")
    assert "Escape" in editor.root.locator(".status").inner_text()
    editor.press("x")
    scribble(editor, (0.5, 0.1), (0.5, 0.9))
    (region,) = editor.regions
    assert [one["erase"] for one in region["shape"]["strokes"]] == [False, False, True]
    editor.frontend.screenshot("eraser")
    editor.press("v")
    editor.click(0.5, 0.3)  # erased: nothing there
    assert editor.root.locator(".card.selected").count() == 0
    editor.click(0.3, 0.3)
    assert editor.root.locator(".card.selected").count() == 1
    editor.drag((0.3, 0.3), (0.3, 0.5))
    moved = editor.regions[0]["shape"]["strokes"]
    assert moved[0]["points"][0][1] == pytest.approx(0.5, abs=0.01) and moved[0]["size"] == stroke["size"]
    editor.press("Control+z", "Control+z")
    assert len(editor.regions[0]["shape"]["strokes"]) == 2
    editor.press("b", "Escape")  # nothing is selected: the next stroke is another region
    editor.click(0.1, 0.9)
    assert [len(region["shape"]["strokes"]) for region in editor.regions] == [2, 1]
    editor.tool("clear")
    assert editor.regions == []
    editor.press("Control+z")
    assert len(editor.regions) == 2


def test_words_after_drawing_are_the_prompt(editor):
    page, frontend = editor.page, editor.frontend
    frontend.drag(editor.at(0.25, 0.25), editor.at(0.5, 0.5))
    page.keyboard.press("Control+z")  # nothing is written yet: the drawing is undone
    frontend.settle()
    assert editor.regions == []
    assert page.evaluate("document.activeElement.className") == "keys"
    editor.press("r")
    frontend.drag(editor.at(0.25, 0.25), editor.at(0.5, 0.5))
    frontend.screenshot("no_prompt")
    page.keyboard.type("a hat on a bench")  # h would mirror it
    frontend.settle()
    (region,) = editor.regions
    assert region["prompt"] == "a hat on a bench" and box(region) == [256, 256, 256, 256]
    page.keyboard.press("Control+a")
    page.keyboard.press("Backspace")
    assert editor.regions[0]["prompt"] == ""
    page.keyboard.press("Control+z")  # what was emptied comes back
    frontend.settle()
    assert editor.regions[0]["prompt"] == "a hat on a bench"
    editor.press("Escape")
    editor.click(0.3, 0.3)
    editor.press("h")
    assert box(editor.regions[0]) == [512, 256, 256, 256]


def test_a_value_that_was_just_written_leaves_the_next_stroke_alone(editor):
    editor.tool("brush")
    scribble(editor, (0.2, 0.2), (0.5, 0.2))
    weight = editor.cards.first.locator(".fields input").nth(4)
    weight.fill("0.5")  # no Enter: the press on the canvas takes it
    scribble(editor, (0.2, 0.6), (0.5, 0.6))
    (region,) = editor.regions
    assert region["weight"] == 0.5 and len(region["shape"]["strokes"]) == 2


def test_what_is_not_taken_is_said(editor):
    editor.drag((0.25, 0.25), (0.5, 0.5))
    fields = editor.cards.first.locator(".fields input")
    start, end = fields.nth(5), fields.nth(6)
    end.fill("0.5")
    end.press("Enter")
    start.fill("0.7")
    start.press("Enter")
    editor.frontend.settle()
    assert (editor.regions[0]["start"], editor.regions[0]["end"]) == (0, 0.5)
    assert editor.cards.first.locator(".note").text_content() == "start must be below end"
    editor.frontend.screenshot("note")
    start.fill("0.2")
    start.press("Enter")
    editor.frontend.settle()
    assert editor.regions[0]["start"] == 0.2 and not editor.cards.first.locator(".note").is_visible()


def test_a_narrow_node_has_its_list_below(editor):
    def places():
        canvas, cards = editor.canvas.bounding_box(), editor.root.locator(".regional-editor-list").bounding_box()
        return canvas, cards

    canvas, cards = places()
    assert cards["x"] >= canvas["x"] + canvas["width"]
    editor.frontend.js("(id) => app.canvas.graph.getNodeById(id).setSize([430, 1000])", editor.node)
    editor.frontend.js("() => app.canvas.setDirty(true, true)")
    editor.frontend.settle()
    canvas, cards = places()
    assert cards["y"] >= canvas["y"] + canvas["height"] and canvas["height"] > 100 and cards["height"] > 100
    editor.drag((0.25, 0.25), (0.75, 0.75))
    assert len(editor.regions) == 1
    editor.frontend.screenshot("narrow")


def test_ellipses_and_freehand(editor):
    editor.press("e")  # the canvas has no focus yet: that is for the graph
    editor.click(0.9, 0.9)
    editor.press("e")
    editor.drag((0.25, 0.25), (0.4, 0.5), "Shift")  # a circle
    editor.tool("freehand")
    scribble(editor, (0.6, 0.6), (0.9, 0.6), (0.9, 0.9), (0.6, 0.9), (0.62, 0.65))
    circle, hand = editor.regions
    assert circle["shape"]["type"] == "ellipse" and box(circle) == [256, 256, 256, 256]
    points = hand["shape"]["points"]
    assert hand["shape"]["type"] == "freehand" and 5 <= len(points) < 12
    for corner in [(0.6, 0.6), (0.9, 0.6), (0.9, 0.9), (0.6, 0.9)]:
        assert min(abs(x - corner[0]) + abs(y - corner[1]) for x, y in points) < 0.01
    editor.frontend.screenshot("both")
    editor.drag((0.75, 0.75), (0.55, 0.55), "Alt")  # moved whole
    moved = editor.regions[1]["shape"]["points"]
    shifts = [(to[0] - of[0], to[1] - of[1]) for to, of in zip(moved, points, strict=True)]
    assert all(shift == pytest.approx((-0.2, -0.2), abs=0.005) for shift in shifts)
    editor.click(0.3, 0.4)
    assert "selected" in editor.cards.nth(0).get_attribute("class")
    editor.click(0.02, 0.02)
    assert editor.root.locator(".card.selected").count() == 0


def test_snapping(editor):
    editor.drag((0.101, 0.1), (0.306, 0.33))
    assert box(editor.regions[0]) == [104, 104, 208, 232]  # on the grid of 8
    editor.press("r")
    editor.drag((0.309, 0.6), (0.497, 0.9))  # the right edge of the first, and the middle
    assert box(editor.regions[1])[0] == 312 and box(editor.regions[1])[2] == 200
    editor.tool("snap")
    editor.drag((0.4, 0.75), (0.4101, 0.75))
    assert box(editor.regions[1])[0] == pytest.approx(322, abs=1) and box(editor.regions[1])[0] % 8
    editor.tool("snap")
    editor.drag((0.4, 0.75), (0.4, 0.78), "Alt")
    assert box(editor.regions[1])[1] % 8


def test_words_after_a_stroke_are_the_prompt(editor):
    page, frontend = editor.page, editor.frontend
    editor.tool("brush")
    for y in (0.2, 0.5, 0.8):
        scribble(editor, (0.2, y), (0.5, y))
        editor.press("Escape")
    editor.drag((0.6, 0.6), (0.6, 0.7))
    names = [region["name"] for region in editor.regions]
    assert len(names) == 4
    frontend.drag(editor.at(0.6, 0.2), editor.at(0.8, 0.2))  # a stroke of the last region
    assert len(editor.regions[3]["shape"]["strokes"]) == 2
    size = editor.root.locator(".brush output").inner_text()
    page.keyboard.press("]")  # nothing is written yet: it still is the brush's
    assert editor.root.locator(".brush output").inner_text() != size
    for _ in range(3):
        page.keyboard.press("Backspace")
    page.keyboard.type("a house [v]")
    page.keyboard.press("Backspace")
    assert [region["name"] for region in editor.regions] == names
    assert [region["prompt"] for region in editor.regions] == ["", "", "", "a house [v"]
    frontend.drag(editor.at(0.6, 0.3), editor.at(0.8, 0.3))
    page.keyboard.press("Control+z")  # the stroke, not the words
    frontend.settle()
    assert [len(region["shape"]["strokes"]) for region in editor.regions] == [1, 1, 1, 2]
    assert editor.regions[3]["prompt"] == "a house [v"
    editor.press("Backspace", "Backspace")  # with the brush in the hand it removes nothing
    assert len(editor.regions) == 4
    editor.press("v")
    editor.click(0.3, 0.5)
    editor.press("Backspace", "Backspace", "Delete")
    assert [region["name"] for region in editor.regions] == [names[0], names[2], names[3]]
    editor.cards.first.locator("[data-icon=eye]").click()
    editor.press("Delete")  # the button has the focus: the region goes, not the node
    assert [region["name"] for region in editor.regions] == [names[2], names[3]]
    assert frontend.nodes(EDITOR) == [editor.node]


def test_only_the_editors_keys_stay_with_it(editor):
    page = editor.page
    answer = {"prompt_id": "1", "number": 1, "node_errors": {}}
    page.route("**/api/prompt", lambda route: route.fulfill(json=answer))  # the graph is not a whole one
    editor.drag((0.25, 0.25), (0.5, 0.5))
    prompt = editor.cards.first.locator("textarea")
    prompt.click()
    page.keyboard.type("a red hat")
    page.keyboard.press("Control+ArrowUp")  # the frontend's key for the weight of a word
    page.wait_for_function("() => document.activeElement.value === 'a red (hat:1.05)'")
    assert editor.regions[0]["prompt"] == "a red (hat:1.05)"
    with page.expect_response("**/api/prompt") as response:
        page.keyboard.press("Control+Enter")
    sent = response.value.request.post_data_json["prompt"]
    assert json.loads(sent[str(editor.node)]["inputs"]["regions"])["regions"][0]["prompt"] == "a red (hat:1.05)"
    weight = editor.cards.first.locator(".fields input").nth(4)
    weight.fill("0.5")
    with page.expect_response("**/api/prompt") as response:
        page.keyboard.press("Control+Enter")
    sent = response.value.request.post_data_json["prompt"]
    assert json.loads(sent[str(editor.node)]["inputs"]["regions"])["regions"][0]["weight"] == 0.5
    editor.click(0.4, 0.4)
    with page.expect_response("**/api/prompt"):
        page.keyboard.press("Control+Enter")
    page.keyboard.press("Control+s")  # the frontend asks for a name
    page.get_by_role("dialog").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="hidden")
    page.unroute("**/api/prompt")


def test_steps_of_the_graph(editor):
    """One for each edit, not for each letter or each press of an arrow."""
    frontend, page = editor.frontend, editor.page
    length = "() => app.extensionManager.workflow.activeWorkflow.changeTracker.undoQueue.length"
    editor.drag((0.25, 0.25), (0.5, 0.5))
    before = frontend.steps()
    prompt = editor.cards.first.locator("textarea")
    prompt.focus()
    for _ in range(2):
        page.keyboard.type("a lighthouse on a cliff in the evening sun, seen from the sea")
        page.keyboard.press("Control+a")
        page.keyboard.press("Backspace")
    page.keyboard.type("a lighthouse")
    assert frontend.js(length) == before
    page.keyboard.press("Escape")
    assert frontend.js(length) == before + 1
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert frontend.js(length) == before + 1
    page.keyboard.press("h")  # before it, the arrows' step
    assert frontend.js(length) == before + 3
    weight = editor.cards.first.locator(".fields input").nth(4)
    weight.focus()
    for _ in range(5):
        page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    assert editor.regions[0]["weight"] == 0.75 and frontend.js(length) == before + 4
    want = editor.json
    assert frontend.steps() == before + 4
    for _ in range(4):
        frontend.command("Comfy.Undo")
    again = Editor(frontend, editor.node)
    assert again.regions[0]["prompt"] == "" and frontend.js(length) == before
    for _ in range(4):
        frontend.command("Comfy.Redo")
    assert again.json == want


def test_keys_are_the_editors(editor):
    frontend = editor.frontend
    frontend.select(editor.node)
    editor.drag((0.25, 0.25), (0.5, 0.5))
    editor.press("Control+d")
    assert len(editor.regions) == 2
    editor.press("ArrowRight", "ArrowRight", "Shift+ArrowDown")
    first, second = map(box, editor.regions)
    assert [b - a for a, b in zip(first, second, strict=True)] == [31 + 2, 31 + 10, 0, 0]
    editor.press("Control+z")
    assert box(editor.regions[1])[0] == first[0] + 31  # the arrows were one step
    editor.press("Control+[")
    assert [region["name"] for region in editor.regions] == ["Region 2", "Region 1"]
    editor.press("h")
    assert box(editor.regions[0])[0] == 1024 - first[0] - 31 - first[2]
    editor.press("Delete")
    assert [region["name"] for region in editor.regions] == ["Region 1"]
    editor.press("Escape", "Delete", "Backspace")  # nothing is selected
    assert len(editor.regions) == 1 and frontend.nodes(EDITOR) == [editor.node]
    editor.press("Control+c", "Control+v", "Control+a", "b")
    assert frontend.nodes(EDITOR) == [editor.node]
    # A drag is taken back.
    editor.press("r")
    mouse = editor.page.mouse
    mouse.move(*editor.at(0.6, 0.6))
    mouse.down()
    mouse.move(*editor.at(0.8, 0.8), steps=4)
    editor.press("Escape")
    mouse.up()
    assert len(editor.regions) == 1


def test_list(editor):
    for left in (0.1, 0.4, 0.7):
        editor.press("r")
        editor.tool("rect")
        editor.drag((left, 0.1), (left + 0.2, 0.4))
    card = editor.cards.nth(1)
    card.locator(".name").fill("Sea")
    card.locator("textarea").fill("waves, (foam:1.2), {calm|rough}")
    card.locator("input[type=color]").fill("#123456")
    for index, value in enumerate([96, 128, 300, 200]):
        card.locator("input[type=number]").nth(index).fill(str(value))
        editor.press("Enter")
    for index, value in enumerate(["0.5", "0.25", "0.8", "2"]):
        card.locator("input[type=number]").nth(4 + index).fill(value)
        editor.press("Tab")
    card.locator("[data-icon=eye]").click()
    editor.frontend.settle()
    sea = editor.regions[1]
    assert (sea["name"], sea["color"], sea["enabled"]) == ("Sea", "#123456", False)
    assert sea["prompt"] == "waves, (foam:1.2), {calm|rough}" and box(sea) == [96, 128, 300, 200]
    assert (sea["weight"], sea["start"], sea["end"], sea["denoise"]) == (0.5, 0.25, 0.8, 1)
    card.locator("input[type=number]").nth(5).fill("0.9")  # after its end
    editor.press("Tab")
    assert editor.regions[1]["start"] == 0.25 and card.locator("input[type=number]").nth(5).input_value() == "0.25"
    editor.frontend.screenshot("filled")

    grip, last = card.locator(".grip").bounding_box(), editor.cards.nth(2).bounding_box()
    start = (grip["x"] + 5, grip["y"] + 8)
    editor.frontend.drag(start, (start[0], last["y"] + last["height"]))
    assert [region["name"] for region in editor.regions] == ["Region 1", "Region 3", "Sea"]
    assert editor.cards.nth(2).locator(".name").input_value() == "Sea"
    editor.press("Control+z")
    assert [region["name"] for region in editor.regions] == ["Region 1", "Sea", "Region 3"]
    editor.page.mouse.dblclick(*editor.at(0.75, 0.3))
    editor.page.keyboard.type("sand")
    assert editor.regions[2]["prompt"] == "sand"
    editor.press("Escape", "Delete")
    assert [region["name"] for region in editor.regions] == ["Region 1", "Sea"]

    for left in (["Region 1"], []):
        editor.cards.last.locator("[data-icon=remove]").click()
        assert [region["name"] for region in editor.regions] == left
    editor.drag((0.2, 0.2), (0.5, 0.5))  # with nothing to select, a drag draws
    assert len(editor.regions) == 1
    editor.press("Control+z", "Control+z")
    assert [region["name"] for region in editor.regions] == ["Region 1"]


@pytest.mark.parametrize("scale", [0.5, 1.6])
def test_at_other_zooms(editor, scale):
    width, height = editor.frontend.size(editor.node)
    editor.frontend.center(width / 2 - 100, height * 0.7, scale)
    editor.drag((0.25, 0.25), (0.75, 0.5))
    assert box(editor.regions[0]) == [256, 256, 512, 256]


def test_the_canvas_has_the_pictures_proportions(editor):
    editor.drag((0.25, 0.25), (0.75, 0.5))
    before = editor.regions
    editor.frontend.set(editor.node, "width", 2048)
    editor.frontend.settle()
    assert editor.regions == before
    assert editor.cards.nth(0).locator("input[type=number]").nth(2).input_value() == "1024"
    left, top = editor.at(0.25, 0.25)
    right, bottom = editor.at(0.75, 0.5)
    editor.drag((0.5, 0.375), (0.6, 0.475))  # it is there on the page, too: of four times the width
    assert right - left == pytest.approx(4 * (bottom - top), rel=0.01) and editor.regions != before
    editor.frontend.screenshot("wide")
    # A width from elsewhere
    source = editor.frontend.add("PrimitiveInt", -300, 0)
    editor.frontend.set(source, "value", 512)
    editor.frontend.connect(source, editor.node, "width")
    editor.frontend.settle()
    assert editor.cards.nth(0).locator("input[type=number]").nth(2).input_value() == "256"


def test_a_latent_that_stretches_the_regions_is_told(editor):
    """Before a run, if the graph tells its size: of an empty latent, or of a loaded picture."""
    frontend = editor.frontend
    hint = editor.root.locator(".status span")
    guider, run, latent = (
        frontend.add(kind, 1000, 300 * k)
        for k, kind in enumerate(["RegionalGuider", "SamplerCustomAdvanced", "EmptyLatentImage"])
    )
    frontend.connect(editor.node, guider, "regional_prompts")
    frontend.connect(guider, run, "guider")
    frontend.connect(latent, run, "latent_image")

    def told(width, height):
        frontend.set(latent, "width", width)
        frontend.set(latent, "height", height)
        frontend.steps()
        editor.page.mouse.move(*editor.at(0.5, 0.5))
        frontend.settle()
        return "stretched" in hint.text_content()

    assert not told(512, 512) and not told(1024, 1016)
    assert told(1344, 768)
    assert hint.text_content().endswith("the latent is 1344 x 768 pixels")
    frontend.screenshot("told")
    frontend.set(editor.node, "width", 1344)
    frontend.set(editor.node, "height", 768)
    frontend.settle()
    assert "stretched" not in hint.text_content()
    # One source of both widths
    source = frontend.add("PrimitiveInt", -400, 0)
    frontend.set(source, "value", 512)
    frontend.connect(source, editor.node, "width")
    frontend.settle()
    assert "stretched" in hint.text_content()
    frontend.connect(source, latent, "width")
    assert not told(0, 768)


def test_save_load_copy_and_the_graphs_undo(editor):
    frontend = editor.frontend
    editor.drag((0.25, 0.25), (0.75, 0.5))
    editor.cards.nth(0).locator("textarea").fill("clouds")
    editor.press("Escape")
    frontend.set(editor.node, "cfg", 3.5)
    want, widgets = editor.json, frontend.widgets(editor.node)
    saved = frontend.save()
    (node,) = saved["nodes"]
    assert node["widgets_values"] == [1024, 1024, "", "", 3.5, want]
    frontend.empty()
    frontend.load(saved)
    frontend.settle()
    again = Editor(frontend, editor.node)
    assert frontend.widgets(again.node) == widgets and again.cards.count() == 1
    assert again.cards.nth(0).locator("textarea").input_value() == "clouds"
    assert not frontend.js("() => app.extensionManager.workflow.activeWorkflow.isModified")

    before = frontend.steps()
    again.drag((0.5, 0.375), (0.5, 0.7))
    assert frontend.steps() == before + 1  # the graph's undo has it, too
    frontend.page.keyboard.press("Control+z")
    frontend.settle()
    assert again.json == want
    frontend.select(again.node)
    frontend.page.keyboard.press("Control+c")
    frontend.page.keyboard.press("Control+v")
    frontend.settle()
    first, copy = frontend.nodes(EDITOR)
    assert frontend.widgets(copy) == frontend.widgets(first) == widgets
    frontend.set(copy, "regions", '{"version": 1, "regions": []}')
    assert frontend.widgets(first) == widgets
    frontend.js("(id) => app.graph.remove(app.graph.getNodeById(id))", copy)
    frontend.settle()
    assert frontend.page.locator(".regional-editor").count() == 1


def remake(frontend, node, how):
    """Lets the host make all nodes anew, in one of its ways, and waits until it has."""
    tab = "() => app.extensionManager.workflow.activeWorkflow.path"
    old = "(id) => (app.canvas.graph.getNodeById(id).isOld = true)"
    done = "(id) => [app.canvas.graph.getNodeById(id)].some((node) => node && !node.isOld)"
    frontend.js(old, node)
    if how in ("language", "en"):
        frontend.setting("Comfy.Locale", "fr" if how == "language" else "en")
    elif how == "tab":
        path = frontend.js(tab)
        frontend.command("Comfy.NewBlankWorkflow")
        assert frontend.js(tab) != path and frontend.nodes(EDITOR) == []
        frontend.command("Workspace.PreviousOpenedWorkflow")
    elif how == "command":
        frontend.command("Comfy.Undo")
    else:
        frontend.page.keyboard.press("Control+z")
    frontend.page.wait_for_function(done, arg=node)
    if how == "redo":
        frontend.js(old, node)
        frontend.settle()
        frontend.page.keyboard.press("Control+y")
        frontend.page.wait_for_function(done, arg=node)
    frontend.settle()


@pytest.fixture
def in_english(browser_server):
    yield
    browser_server.post("/settings", {"Comfy.Locale": "en"})


@pytest.mark.parametrize("how", ["key", "command", "redo", "tab", "language"])
def test_the_editor_on_the_page_is_the_living_nodes(editor, how, in_english):
    frontend = editor.frontend
    other = frontend.add("PrimitiveInt", -900, -600)
    editor.drag((0.1, 0.1), (0.3, 0.3))
    first = editor.json
    frontend.js("(id) => (app.canvas.graph.getNodeById(id).pos = [-900, -700])", other)
    frontend.steps()
    remake(frontend, editor.node, how)
    top = frontend.js("(id) => app.canvas.graph.getNodeById(id).pos[1]", other)
    assert top == (-600 if how in ("key", "command") else -700)

    again = Editor(frontend, editor.node)
    assert again.json == first and again.cards.count() == 1
    again.tool("rect")
    again.drag((0.5, 0.5), (0.8, 0.8))
    want = again.regions
    assert len(want) == 2
    sent = frontend.js("async () => (await app.graphToPrompt()).output")
    assert json.loads(sent[str(editor.node)]["inputs"]["regions"])["regions"] == want
    saved = frontend.save()
    assert (
        json.loads(next(node for node in saved["nodes"] if node["id"] == editor.node)["widgets_values"][-1])["regions"]
        == want
    )
    # The editor's own undo goes on from before.
    again.press("Control+z")
    assert again.json == first
    again.press("Control+z")
    assert again.regions == []
    again.press("Control+y", "Control+y")
    assert again.regions == want
    frontend.load(saved)
    reloaded = Editor(frontend, editor.node)
    assert reloaded.regions == want and reloaded.cards.count() == 2
    if how == "language":
        remake(frontend, editor.node, "en")


def test_the_graphs_undo_inside_a_subgraph(editor):
    frontend = editor.frontend
    frontend.select(editor.node)
    frontend.command("Comfy.Graph.ConvertToSubgraph")
    (subgraph,) = frontend.js("() => app.graph.nodes.filter((node) => node.subgraph).map(({ id }) => Number(id))")
    frontend.enter(subgraph)
    (node,) = frontend.nodes(EDITOR)
    other = frontend.add("PrimitiveInt", -900, -600)
    Editor(frontend, node).drag((0.1, 0.1), (0.3, 0.3))
    frontend.js("(id) => (app.canvas.graph.getNodeById(id).pos = [-900, -700])", other)
    frontend.steps()
    remake(frontend, node, "key")
    again = Editor(frontend, node)
    again.tool("rect")
    again.drag((0.5, 0.5), (0.8, 0.8))
    assert len(again.regions) == 2
    (definition,) = frontend.save()["definitions"]["subgraphs"]
    (kept,) = [one for one in definition["nodes"] if one["type"] == EDITOR]
    assert json.loads(kept["widgets_values"][-1])["regions"] == again.regions
    frontend.leave()


def test_in_a_subgraph(editor):
    frontend = editor.frontend
    editor.drag((0.25, 0.25), (0.75, 0.5))
    want = editor.json
    frontend.select(editor.node)
    frontend.command("Comfy.Graph.ConvertToSubgraph")
    (subgraph,) = frontend.js("() => app.graph.nodes.filter((node) => node.subgraph).map(({ id }) => Number(id))")
    frontend.enter(subgraph)
    (node,) = frontend.nodes(EDITOR)
    inside = Editor(frontend, node)
    assert inside.json == want
    inside.drag((0.5, 0.375), (0.5, 0.5))
    inside_json = inside.json
    assert inside_json != want
    frontend.leave()
    frontend.select(subgraph)
    frontend.command("Comfy.Graph.UnpackSubgraph")
    (node,) = frontend.nodes(EDITOR)
    assert frontend.widgets(node)["regions"] == inside_json


def test_what_cannot_be_read_is_kept(editor):
    for text in ("{", '{"version": 2, "regions": []}'):
        editor.frontend.set(editor.node, "regions", text)
        editor.frontend.settle()
        assert editor.root.locator(".message").is_visible()
        editor.drag((0.1, 0.1), (0.9, 0.3))
        assert editor.json == text
    editor.frontend.screenshot("kept")
    editor.root.locator(".message button").click()
    assert editor.regions == [] and not editor.root.locator(".message").is_visible()


def whole(regions, **inputs):
    """loader -> RegionEditor -> RegionalGuider -> SamplerCustomAdvanced -> decode, as an API prompt."""
    graph = Graph()
    loader = graph.add("RegionalTestingLoader", kind="eps")
    size = {"width": 256, "height": 192}
    texts = {"positive": "soft white clouds", "negative": "grey", "cfg": 4.0, "regions": regions}
    editor = graph.add(EDITOR, **{"model": loader, "clip": [loader[0], 1], **size, **texts, **inputs})
    base = {"model": loader, "positive": [editor[0], 1], "negative": [editor[0], 2], "cfg": 4.0}
    latent = graph.add(
        "SamplerCustomAdvanced",
        noise=graph.add("RandomNoise", noise_seed=3),
        guider=graph.add("RegionalGuider", regional_prompts=editor, **base),
        sampler=graph.add("KSamplerSelect", sampler_name="euler"),
        sigmas=graph.add("BasicScheduler", model=loader, scheduler="normal", steps=3, denoise=1.0),
        latent_image=graph.add("EmptyLatentImage", batch_size=1, **size),
    )
    picture = graph.add("VAEDecode", samples=latent, vae=[loader[0], 2])
    graph.add("SaveImage", images=picture, filename_prefix="editor")
    return graph


def test_a_prompt_is_run(frontend):
    """From an API prompt into the editor, drawn on, and queued."""
    sky = {"name": "Sky", "prompt": "blue waves", "shape": {"type": "rect", "x": 0, "y": 0, "w": 1, "h": 0.5}}
    graph = whole(json.dumps({"version": 1, "regions": [sky]}))
    blue = 0x99 + frontend.nodes2  # one that the server does not remember
    image = graph.add("EmptyImage", width=64, height=48, batch_size=1, color=0x336600 + blue)
    graph.inputs(EDITOR)["image"] = image
    frontend.load_prompt(graph.prompt)
    editor = Editor(frontend, int(graph.only(EDITOR)))
    assert [region["name"] for region in editor.regions] == ["Sky"]
    editor.press("Escape")
    editor.tool("ellipse")
    editor.drag((0.25, 0.6), (0.75, 0.95))
    editor.cards.nth(1).locator("textarea").fill("{red} spots // not this")
    editor.press("Escape")
    sent = frontend.queue()
    regions = json.loads(sent[graph.only(EDITOR)]["inputs"]["regions"])["regions"]
    assert [region["prompt"] for region in regions] == ["blue waves", "red spots "]
    assert [region["prompt"] for region in editor.regions] == ["blue waves", "{red} spots // not this"]
    done = frontend.run()
    assert done["outputs"][graph.only("SaveImage")]["images"]
    editor.shows(0.9, 0.9, (0x33, 0x66, blue))  # the linked picture lies under the regions now
    frontend.screenshot("run")


def test_a_picture_is_dropped(editor):
    """It goes to the host's input folder, and only its name into the workflow."""
    frontend = editor.frontend
    drop = """async (root) => {
        const canvas = new OffscreenCanvas(32, 32), context = canvas.getContext("2d");
        context.fillStyle = "#804020";
        context.fillRect(0, 0, 32, 32);
        const data = new DataTransfer();
        data.items.add(new File([await canvas.convertToBlob()], "ground.png", { type: "image/png" }));
        const place = root.querySelector("canvas");
        for (const type of ["dragover", "drop"]) {
            place.dispatchEvent(new DragEvent(type, { dataTransfer: data, bubbles: true, cancelable: true }));
        }
    }"""
    frontend.js(drop, editor.root.element_handle())
    editor.shows(0.5, 0.9, (0x80, 0x40, 0x20))
    frontend.screenshot("dropped")
    background = json.loads(editor.json)["background"]
    assert background["subfolder"] == "regional-sampling" and background["type"] == "input"
    assert background["filename"].startswith("ground") and len(editor.json) < 200
    assert frontend.nodes("LoadImage") == []  # the host did not take it
    saved = frontend.save()
    frontend.empty()
    frontend.load(saved)
    again = Editor(frontend, editor.node)
    again.shows(0.5, 0.9, (0x80, 0x40, 0x20))
    again.tool("pictureOff")
    assert "background" not in json.loads(again.json)


def test_the_linked_picture_of_a_loader_is_there_at_once(editor):
    frontend = editor.frontend
    upload = """async ([color, folder]) => {
        const canvas = new OffscreenCanvas(32, 32), context = canvas.getContext("2d"), body = new FormData();
        context.fillStyle = color;
        context.fillRect(0, 0, 32, 32);
        body.append("image", new File([await canvas.convertToBlob()], color.slice(1) + ".png"));
        body.append("subfolder", folder);
        await app.api.fetchApi("/upload/image", { method: "POST", body });
    }"""
    frontend.js(upload, ["#204080", ""])
    frontend.js(upload, ["#802040", "sub"])
    frontend.js("() => app.refreshComboInNodes()")
    loader = frontend.add("LoadImage", -400, 0)
    frontend.set(loader, "image", "204080.png")
    frontend.connect(loader, editor.node, "image")
    editor.shows(0.5, 0.9, (0x20, 0x40, 0x80))
    frontend.set(loader, "image", "sub/802040.png [input]")
    frontend.steps()
    editor.shows(0.5, 0.9, (0x80, 0x20, 0x40))
    frontend.disconnect(editor.node, "image")
    editor.shows(0.45, 0.9, (0x1B, 0x1C, 0x1F))


def test_room_goes_to_the_canvas(editor):
    frontend = editor.frontend
    before = editor.canvas.bounding_box()["height"] / 0.9
    width, height = frontend.size(editor.node)
    frontend.js("([id, w, h]) => app.graph.getNodeById(id).setSize([w, h])", [editor.node, width + 100, height + 300])
    frontend.settle()
    frontend.center(width / 2, height / 2, 0.6)
    after = editor.canvas.bounding_box()["height"] / 0.6
    frontend.screenshot("large")
    assert after > before + 200


def test_the_example(frontend):
    path = ROOT / "example_workflows" / "region_editor.json"
    frontend.load(json.loads(path.read_text("utf-8")))
    (node,) = frontend.nodes(EDITOR)
    editor = Editor(frontend, node)
    assert [region["name"] for region in editor.regions] == ["Sea", "Sun", "Hill"]
    assert editor.cards.count() == 3
    frontend.screenshot("open")


def test_the_graphs_mouse_over_the_editor(editor):
    """The wheel zooms the graph, the middle button moves it."""
    frontend, mouse = editor.frontend, editor.page.mouse
    mouse.move(*editor.at(0.5, 0.5))
    scale = frontend.js("() => app.canvas.ds.scale")
    mouse.wheel(0, 240)
    frontend.page.wait_for_function("(scale) => app.canvas.ds.scale < scale", arg=scale)
    before = frontend.js("() => [...app.canvas.ds.offset]")
    mouse.down(button="middle")
    mouse.move(*editor.at(0.8, 0.5), steps=4)
    mouse.up(button="middle")
    frontend.settle()
    assert frontend.js("() => app.canvas.ds.offset[0]") > before[0] + 50
    assert editor.regions == []


def test_regions_from_elsewhere(editor):
    """A link gives the drawing; the editor's own waits."""
    frontend = editor.frontend
    editor.drag((0.25, 0.25), (0.75, 0.5))
    want = editor.json
    source = frontend.add("PrimitiveString", -400, 0)
    frontend.connect(source, editor.node, "regions")
    frontend.settle()
    frontend.screenshot("linked")
    if frontend.nodes2:  # the classic canvas does not show it
        editor.drag((0.5, 0.375), (0.5, 0.5))
        assert editor.json == want
    sent = frontend.js("async () => (await app.graphToPrompt()).output")
    assert sent[str(editor.node)]["inputs"]["regions"] == [str(source), 0]
    frontend.disconnect(editor.node, "regions")
    frontend.settle()
    assert editor.json == want
    editor.drag((0.5, 0.375), (0.5, 0.5))
    assert editor.json != want

"""A first picture from the region editor as a film: three regions are drawn, described, and painted by a real server.

With REGIONAL_FILM=1 the film is made, as docs/editor.webp, which the README shows; else the same is done without one.
"""

import io
import json
import math
import os

import pytest
from comfy_server import images
from host import ROOT
from PIL import Image, ImageDraw
from torchvision.transforms.functional import to_tensor

pytest_plugins = ["browser_use"]

FILM = bool(os.environ.get("REGIONAL_FILM"))
WIDTH = 900  # of the film, in pixels
PAGE = {"width": 1280, "height": 820}
CLUTTER = ["Comfy.Graph.CanvasInfo", "Comfy.Minimap.Visible", "Comfy.Canvas.SelectionToolbox"]
POINTER = [(0, 0), (0, 17), (4, 13), (7, 20), (10, 19), (7, 12), (12, 12)]  # headless pages have none

# tool, points of the drag from 0 to 1 across the picture, prompt
SEA = ("rect", [(0.0, 0.6), (1.0, 1.0)], "bold teal waves on navy")
SUN = ("ellipse", [(0.62, 0.1), (0.87, 0.4636)], "orange spots on cream")
HILL = (
    "freehand",
    [(0.03, 0.97), (0.05, 0.7), (0.13, 0.5), (0.22, 0.42), (0.31, 0.47), (0.4, 0.62), (0.5, 0.8), (0.55, 0.97)],
    "green weave on sand",
)
# Well inside of each region, as left, top, right and bottom, and the colour halfway between the two of its prompt.
INSIDE = {"sea": (0.65, 0.7, 0.95, 0.95), "sun": (0.7, 0.2, 0.79, 0.36), "hill": (0.15, 0.62, 0.33, 0.92)}
MEANS = {"sea": (0.07, 0.315, 0.415), "sun": (0.95, 0.7, 0.465), "hill": (0.56, 0.655, 0.42)}


class Film:
    """What the page shows, frame by frame, with the mouse drawn in."""

    def __init__(self, page):
        self.page, self.mouse = page, (640, 700)
        self.frames, self.durations = [], []

    def shoot(self, ms):
        if not FILM:
            return
        with Image.open(io.BytesIO(self.page.screenshot())) as shot:
            frame = shot.convert("RGB")
        x, y = self.mouse
        ImageDraw.Draw(frame).polygon([(x + dx, y + dy) for dx, dy in POINTER], fill="white", outline="black")
        self.frames.append(frame.resize((WIDTH, round(WIDTH * frame.height / frame.width)), Image.Resampling.LANCZOS))
        self.durations.append(ms)

    def move(self, x, y, frames=4):
        """Moves the mouse there in so many frames."""
        x0, y0 = self.mouse
        for i in range(1, frames + 1):
            self.mouse = (x0 + (x - x0) * i / frames, y0 + (y - y0) * i / frames)
            self.page.mouse.move(*self.mouse)
            self.shoot(50)

    def click(self, locator):
        box = locator.bounding_box()
        self.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        self.page.mouse.click(*self.mouse)
        self.shoot(100)

    def type(self, text):
        """Three letters a frame."""
        for i in range(0, len(text), 3):
            self.page.keyboard.type(text[i : i + 3])
            self.shoot(60)

    def save(self, path):
        first, *others = self.frames
        first.save(path, save_all=True, append_images=others, duration=self.durations, loop=0, quality=75, method=4)


def arranged(workflow):
    """The example with the testing pack's model, and its result beside the editor. The rest lies out of the way."""
    at = {"RegionEditor": (0, 0), "SaveImage": (860, 0)}
    at |= {"SamplerCustomAdvanced": (860, 560), "VAEDecode": (1180, 560), "RegionalGuider": (1180, 670)}
    for node in workflow["nodes"]:
        if node["type"] == "CheckpointLoaderSimple":
            node.update(type="RegionalTestingLoader", widgets_values=["eps", "texture", False])
        if node["type"] in at:
            node["pos"] = list(at[node["type"]])
        else:
            node["pos"][0] += -400 if node["pos"][0] < 390 else 400
        if size := {"RegionEditor": [820, 880], "SaveImage": [600, 500]}.get(node["type"]):
            node["size"] = size
    return workflow


@pytest.fixture
def frontend(open_page, browser_server):
    frontend = open_page(browser_server, nodes2=False)
    frontend.name = "film"
    frontend.page.set_viewport_size(PAGE)
    for clutter in CLUTTER:
        frontend.setting(clutter, False)
    yield frontend
    frontend.screenshot("end")
    for clutter in CLUTTER:  # the server is that of all modules
        frontend.setting(clutter, True)
    frontend.check_console()


def test_three_regions_are_drawn_and_painted(frontend):
    page, film = frontend.page, Film(frontend.page)
    example = json.loads((ROOT / "example_workflows" / "region_editor.json").read_text("utf-8"))
    frontend.load(arranged(example))
    frontend.center(712, 385, 0.8)
    page.wait_for_timeout(500)
    (node,) = frontend.nodes("RegionEditor")
    root = page.locator(".regional-editor")
    canvas, cards = root.locator("canvas"), root.locator(".card")

    def regions():
        return json.loads(frontend.widgets(node)["regions"])["regions"]

    def at(x, y):
        """A place of the picture on the page: it is as large as fits, in the middle, with a margin of 12."""
        box, zoom, size = canvas.bounding_box(), frontend.js("() => app.canvas.ds.scale"), frontend.widgets(node)
        margin = 24 * zoom
        scale = min((box["width"] - margin) / size["width"], (box["height"] - margin) / size["height"])
        left = box["x"] + (box["width"] - size["width"] * scale) / 2
        top = box["y"] + (box["height"] - size["height"] * scale) / 2
        return left + x * size["width"] * scale, top + y * size["height"] * scale

    film.shoot(700)
    film.click(root.locator(".tools [data-icon=clear]"))
    assert not regions()
    film.shoot(300)

    for count, (tool, points, prompt) in enumerate((SEA, SUN, HILL), 1):
        film.click(root.locator(f".tools [data-icon={tool}]"))
        film.move(*at(*points[0]))
        page.mouse.down()
        for point in points[1:]:
            film.move(*at(*point), frames=2 if tool == "freehand" else 6)
        page.mouse.up()
        frontend.settle()
        film.shoot(150)
        assert len(regions()) == count and regions()[-1]["shape"]["type"] == tool
        film.click(cards.nth(count - 1).locator("textarea"))
        film.type(prompt)
        film.shoot(200)
        page.keyboard.press("Escape")
        assert regions()[-1]["prompt"] == prompt

    with page.expect_response("**/api/prompt") as response:
        film.click(page.get_by_role("button", name="Run", exact=True).first)
    number = response.value.json()["prompt_id"]
    for _ in range(600):
        if entry := frontend.server.get(f"/history/{number}"):
            break
        film.shoot(80)
        page.wait_for_timeout(100)
    done = entry[number]
    assert done["status"]["status_str"] == "success", done["status"]
    (saved,) = images(done)
    if FILM:
        page.wait_for_timeout(1500)  # until the node shows it
    film.shoot(2500)

    with Image.open(io.BytesIO(frontend.server.view(saved))) as picture:
        painted = to_tensor(picture.convert("RGB"))
    _, height, width = painted.shape
    for name, (left, top, right, bottom) in INSIDE.items():
        rows = slice(round(top * height), round(bottom * height))
        mean = painted[:, rows, round(left * width) : round(right * width)].mean((1, 2))
        far = {other: math.dist(mean, colour) for other, colour in MEANS.items()}
        assert min(far, key=far.get) == name and far[name] < 0.12, (name, mean, far)

    if FILM:
        target = ROOT / "docs" / "editor.webp"
        film.save(target)
        with Image.open(target) as saved:
            assert saved.n_frames > 40 and saved.width == WIDTH
        assert target.stat().st_size < 1_500_000

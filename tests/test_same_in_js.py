"""The editor in JavaScript and the server in Python: one file format, one palette, the same limits and defaults."""

import json
import re
import subprocess

import pytest
from dev import node_program
from host import ROOT
from pack.masks.formats import drawing
from pack.masks.formats.overlay import palette
from pack.nodes.editor import WIDGET

JS = ROOT / "web" / "js"
NAMED_COLORS = 12  # of the palette; further ones are computed, in each language its own way

# Prints what the editor reads and writes. Its arguments are the URLs of the files with Drawing and with parse, and a
# drawing.
REPORT = """
const [drawingUrl, jsonUrl, saved] = process.argv.slice(-3);
const { Drawing } = await import(drawingUrl);
const { MAX_REGIONS, VERSION, parse, stringify } = await import(jsonUrl);
const box = { type: "rect", x: 0, y: 0, w: 1, h: 1 };
const drawing = new Drawing();
let refused = 0;
drawing.onFull = () => refused++;
while (!refused) drawing.add(box);
const { regions } = JSON.parse(drawing.json);
console.log(JSON.stringify({
    version: VERSION,
    maxRegions: MAX_REGIONS,
    added: regions,
    full: drawing.json,
    empty: stringify({ regions: [], background: null }),
    read: JSON.parse(stringify(parse(saved))),
}));
"""

SHAPES = [
    {"type": "rect", "x": 0.25, "y": 0.125, "w": 0.5, "h": 0.25},
    {"type": "ellipse", "x": -0.5, "y": 0.5, "w": 1, "h": 1},
    {"type": "freehand", "points": [[0, 0], [1, 0], [0.5, 1]]},
    {"type": "brush", "strokes": [{"points": [[0.5, 0.5]], "size": [0.1, 0.2]}]},
]
FIELDS = {
    "name": "sky", "color": "#12ab9f", "prompt": "a {b|c}", "weight": 0.5, "start": 0.125, "end": 0.75, "denoise": 0.25,
    "enabled": False,
}  # fmt: skip
BACKGROUND = {"filename": "a.png", "subfolder": "", "type": "input"}


def text_of(*regions, **more):
    return json.dumps({"version": drawing.VERSION, "regions": list(regions), **more})


def exporter(name):
    """The file and the source text of the one declaration `export ... NAME` in web/js."""
    pattern = re.compile(rf"^export (?:const|class|function) {name}\b(.*)$", re.MULTILINE)
    files = sorted(JS.rglob("*.js"))
    found = [(path, match[1]) for path in files for match in pattern.finditer(path.read_text("utf-8"))]
    assert len(found) == 1, f"{name} is exported {len(found)} times in web/js"
    return found[0]


@pytest.fixture(scope="module")
def editor():
    """Version and limits of the editor, and what it reads in regions that give a shape only, or all fields."""
    saved = text_of(*({"shape": shape} for shape in SHAPES), {**FIELDS, "shape": SHAPES[0]}, background=BACKGROUND)
    urls = [exporter(name)[0].as_uri() for name in ("Drawing", "parse")]
    command = node_program("node", "--input-type=module", "--eval", REPORT, *urls, saved)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout)


def test_widget_type():
    _, declared = exporter("WIDGET")
    assert f'"{WIDGET}"' in declared


def test_version(editor):
    assert editor["version"] == drawing.VERSION
    assert drawing.parse(editor["empty"], "Node") == ()


def test_number_of_regions(editor):
    assert editor["maxRegions"] == len(editor["added"]) == drawing.MAX_REGIONS
    assert len(drawing.parse(editor["full"], "Node")) == drawing.MAX_REGIONS


def test_palette(editor):
    got = [region["color"] for region in editor["added"][:NAMED_COLORS]]
    want = ["#" + "".join(f"{round(level * 255):02x}" for level in color) for color in palette(NAMED_COLORS)]
    assert got == want and len(set(got)) == NAMED_COLORS
    assert editor["added"][NAMED_COLORS]["color"] in got  # the editor has no further colours


def test_defaults_and_fields(editor):
    """What JavaScript fills in and writes means the same in Python as what was left out."""
    saved = text_of(*({"shape": shape} for shape in SHAPES), {**FIELDS, "shape": SHAPES[0]})
    assert editor["read"]["background"] == BACKGROUND
    assert drawing.parse(json.dumps(editor["read"]), "Node") == drawing.parse(saved, "Node")
    assert editor["read"]["regions"][-1] == {**FIELDS, "shape": SHAPES[0]}


def test_every_field_and_shape_of_python_is_written(editor):
    """A field or a type of shape that only Python knows would never be used."""
    assert list(editor["added"][0]) == list(drawing.REGION_FIELDS)
    by_type = {region["shape"]["type"]: region["shape"] for region in editor["read"]["regions"][: len(SHAPES)]}
    assert {kind: tuple(shape)[1:] for kind, shape in by_type.items()} == drawing.SHAPE_FIELDS
    assert tuple(by_type["brush"]["strokes"][0]) == drawing.STROKE_FIELDS

"""Drawings: polygons and strokes compared with naive references, and errors for wrong JSON."""

import json
import math

import pytest
import torch
from pack.masks.formats import drawing, raster
from pack.masks.formats.overlay import palette

SUB = 16  # the reference has 16 x 16 sample points per pixel


def naive(outline, height, width):
    """The fraction of each pixel's sample points that the outline winds around."""
    corners = [(x * width, y * height) for x, y in outline]
    edges = list(zip(corners, corners[1:] + corners[:1], strict=True))
    inside = [[0] * width for _ in range(height)]
    for i in range(height * SUB):
        y = (i + 0.5) / SUB
        crossed = [
            (x0 + (y - y0) / (y1 - y0) * (x1 - x0), 1 if y1 > y0 else -1)
            for (x0, y0), (x1, y1) in edges
            if (y0 <= y) != (y1 <= y)
        ]
        for j in range(width * SUB):
            turns = sum(turn for x, turn in crossed if x < (j + 0.5) / SUB)
            inside[i // SUB][j // SUB] += turns != 0
    return torch.tensor(inside, dtype=torch.float32) / SUB**2


def drawn(*regions, **more):
    return json.dumps({"version": 1, "regions": list(regions), **more})


def region(**fields):
    return {"shape": {"type": "rect", "x": 0.25, "y": 0.25, "w": 0.5, "h": 0.5}, **fields}


def masks(*shapes, size=(64, 96)):
    return drawing.masks(drawing.parse(drawn(*({"shape": shape} for shape in shapes)), "Node"), *size)


def rect(x, y, w, h):
    return {"type": "rect", "x": x, "y": y, "w": w, "h": h}


def brush(points, size, erase=False):
    return {"type": "brush", "strokes": [{"points": points, "size": [size, size], "erase": erase}]}


OUTLINES = {
    "triangle": [(0.1, 0.15), (0.9, 0.3), (0.4, 0.85)],
    "the other way round": [(0.4, 0.85), (0.9, 0.3), (0.1, 0.15)],
    "not convex": [(0.1, 0.1), (0.9, 0.1), (0.5, 0.4), (0.9, 0.9), (0.1, 0.9)],
    "thin": [(0.05, 0.5), (0.95, 0.52), (0.95, 0.54)],
    "out on all sides": [(-0.3, 0.5), (0.5, -0.4), (1.4, 0.5), (0.5, 1.3)],
    "out to the left": [(-1, 0.2), (0.4, 0.3), (-0.5, 0.9)],
    "out to the right": [(1.8, 0.2), (0.4, 0.3), (1.5, 0.9)],
}


@pytest.mark.parametrize("outline", OUTLINES.values(), ids=OUTLINES)
@pytest.mark.parametrize("size", [(11, 17), (16, 9), (1, 7), (7, 1)], ids=str)
def test_polygons_against_the_reference(outline, size):
    got, want = raster.fill(tuple(outline), *size), naive(outline, *size)
    assert got.shape == size and got.dtype == torch.float32
    # The tolerance covers the reference's sampling, at 1/16 pixel, and the rounding of corners to 1/64.
    assert float((got - want).abs().max()) < 0.09


CROSSING = {
    "two lobes, in opposite directions": ((0.1, 0.1), (0.4, 0.9), (0.4, 0.1), (0.1, 0.9)),
    "star": tuple(
        (0.5 + 0.4 * math.sin(k * 4 * math.pi / 5), 0.5 - 0.4 * math.cos(k * 4 * math.pi / 5)) for k in range(5)
    ),
}


@pytest.mark.parametrize("outline", CROSSING.values(), ids=CROSSING)
def test_crossing_outlines_fill_by_the_nonzero_rule(outline):
    off = (raster.fill(outline, 40, 40) - naive(outline, 40, 40)).abs()
    assert float(off.max()) < 0.6 and int((off > 0.09).sum()) <= 12  # only in the few pixels of the crossings


def test_an_outline_drawn_twice_fills_as_once():
    square = ((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))
    assert torch.equal(raster.fill(square * 2, 40, 40), raster.fill(square, 40, 40))


def test_empty_and_full_polygons():
    assert not raster.fill(((0.2, 0.2), (0.8, 0.8), (0.2, 0.2)), 32, 32).any()  # an outline without area
    assert not raster.fill(((1.2, 0.2), (1.8, 0.8), (1.2, 0.9)), 32, 32).any()
    assert torch.equal(masks(rect(0, 0, 1, 1))[0], torch.ones(64, 96))
    assert torch.equal(masks(rect(-2, -2, 4, 4))[0], torch.ones(64, 96))
    assert not masks(rect(0.2, 0.2, 0, 0.5)).any()


@pytest.mark.parametrize("size", [(64, 96), (1024, 1000), (333, 77)], ids=str)
def test_rectangles_on_pixels_are_hard(size):
    """Also with coordinates rounded to six decimals, as the editor writes them."""
    height, width = size
    for top, left, bottom, right in [(0, 0, 1, 1), (3, 5, 40, 71), (height - 1, width - 1, height, width)]:
        numbers = (left / width, top / height, (right - left) / width, (bottom - top) / height)
        (got,) = masks(rect(*(round(number, 6) for number in numbers)), size=size)
        want = torch.zeros(size)
        want[top:bottom, left:right] = 1
        assert torch.equal(got, want)


def test_rectangles_between_pixels_cover_them_in_part():
    (got,) = masks(rect(0.125, 0.125, 0.5, 0.5), size=(4, 4))
    side = torch.tensor([0.5, 1.0, 0.5, 0.0])
    assert torch.equal(got, side[:, None] * side)


def test_ellipses():
    (got,) = masks({"type": "ellipse", "x": 0.1, "y": 0.2, "w": 0.6, "h": 0.5}, size=(80, 120))
    y, x = torch.meshgrid((torch.arange(80) + 0.5) / 80, (torch.arange(120) + 0.5) / 120, indexing="ij")
    distance = ((x - 0.4) / 0.3) ** 2 + ((y - 0.45) / 0.25) ** 2
    assert (got[distance < 0.93] == 1).all() and (got[distance > 1.08] == 0).all()
    assert float(got.mean()) == pytest.approx(math.pi * 0.3 * 0.25, rel=1e-3)


STROKES = {
    "a line": [(0.2, 0.3), (0.8, 0.6)],
    "a dot": [(0.5, 0.5)],
    "a corner": [(0.2, 0.7), (0.5, 0.2), (0.8, 0.8)],
    "a hairpin": [(0.2, 0.5), (0.8, 0.5), (0.2, 0.5), (0.2, 0.8)],
    "there and back": [(0.2, 0.2), (0.8, 0.8), (0.2, 0.2)],
    "a ring": [(0.5 + 0.3 * math.cos(k / 8), 0.5 + 0.3 * math.sin(k / 8)) for k in range(60)],
    "clockwise": [(0.5 + 0.3 * math.cos(k / 8), 0.5 - 0.3 * math.sin(k / 8)) for k in range(60)],
    "a curl narrower than the brush": [(0.5 + 0.02 * math.cos(k), 0.5 + 0.02 * math.sin(k)) for k in range(12)],
    "out of the canvas": [(-0.2, 0.5), (0.3, -0.2), (1.3, 1.2)],
    "the same point twice": [(0.3, 0.3), (0.3, 0.3), (0.6, 0.3), (0.6, 0.3)],
}


@pytest.mark.parametrize("points", STROKES.values(), ids=STROKES)
@pytest.mark.parametrize("pen", [(0.1, 0.1), (0.25, 0.1), (0.02, 0.3)], ids=str)
def test_strokes_against_the_distance_from_their_line(points, pen):
    height, width = 150, 200
    got = raster.stroke(tuple(points), pen, height, width)
    y, x = torch.meshgrid((torch.arange(height) + 0.5) / height, (torch.arange(width) + 0.5) / width, indexing="ij")
    place = torch.stack([x / pen[0], y / pen[1]], dim=-1).double() * 2
    path = torch.tensor(points, dtype=torch.float64) / torch.tensor(pen) * 2
    away = torch.full((height, width), torch.inf, dtype=torch.float64)
    for a, b in zip([path[0], *path], path, strict=False):
        along = ((place - a) @ (b - a) / (b - a).square().sum().clamp(min=1e-12)).clamp(0, 1)
        away = torch.minimum(away, (place - a - along[..., None] * (b - a)).norm(dim=-1))
    pixel = 1.5 / min(pen[0] * width, pen[1] * height) * 2  # upper bound of a pixel's diagonal, in radii
    assert (got[away < 1 - pixel] == 1).all() and (got[away > 1 + pixel] == 0).all()
    assert (got > 0.01).any() and got.max() <= 1


def test_a_stroke_covers_its_area():
    """A line with round ends; its border pixels are covered in part."""
    (got,) = masks(brush([(0.3, 0.37), (0.7, 0.61)], 0.1), size=(200, 200))
    assert float(got.mean()) == pytest.approx(math.hypot(0.4, 0.24) * 0.1 + math.pi * 0.05**2, rel=2e-3)


def test_strokes_add_and_erase_in_order():
    line, across = [(0.2, 0.5), (0.8, 0.5)], [(0.5, 0.2), (0.5, 0.8)]
    added, erased, again = masks(
        *(
            {"type": "brush", "strokes": [stroke for one in strokes for stroke in one["strokes"]]}
            for strokes in (
                [brush(line, 0.2), brush(across, 0.2)],
                [brush(line, 0.2), brush(across, 0.2, erase=True)],
                [brush(line, 0.2), brush(across, 0.2, erase=True), brush(across, 0.1)],
            )
        ),
        size=(100, 100),
    )
    middle, left, top = (50, 50), (50, 25), (25, 50)
    assert [float(added[at]) for at in (middle, left, top)] == [1, 1, 1]
    assert [float(erased[at]) for at in (middle, left, top)] == [0, 1, 0]
    assert [float(again[at]) for at in (middle, left, top)] == [1, 1, 1]
    assert not masks(brush(line, 0.2, erase=True)).any() and not masks(brush(line, 0)).any()


def test_strokes_that_reach_far_out():
    """Resizing a brush shape can scale its eraser strokes far beyond the canvas."""
    line = {"type": "brush", "strokes": brush([(0, 0.5), (1, 0.5)], 0.4)["strokes"]}
    far = {"points": [[0.5, 0.5], [900.0, 0.5]], "size": [2.0, 0.2], "erase": True}
    (got,) = masks({**line, "strokes": [*line["strokes"], far]}, size=(100, 100))
    assert float(got[50, 99]) == 0 and float(got[32, 99]) == 1
    assert not masks(brush([(0.5, 0.5)], 1e-320)).any()


def test_a_shape_covers_the_same_fraction_of_any_canvas():
    shapes = [rect(0.2, 0.3, 0.4, 0.25), {"type": "freehand", "points": [[0.1, 0.1], [0.9, 0.2], [0.3, 0.8]]}]
    for size in [(64, 64), (512, 768), (1024, 128)]:
        assert [float(mask.mean()) for mask in masks(*shapes, size=size)] == pytest.approx([0.1, 0.27], rel=0.01)


def test_large_canvases_have_smaller_masks():
    sizes = {(1024, 512): (1024, 512), (2048, 64): (2048, 64), (2056, 1000): (1028, 500), (16384, 8): (2048, 1)}
    assert {size: drawing.mask_size(*size) for size in sizes} == sizes


@pytest.mark.slow
def test_the_largest_drawing():
    points = [((k * 0.618034) % 1, (k * 0.381966 * 1.7) % 1) for k in range(drawing.MAX_POINTS)]
    line, strokes = {"type": "freehand", "points": points}, brush(points, 0.5)
    for shape in (line, strokes):
        assert 0 < float(masks(shape, size=(256, 256)).mean()) <= 1


# JSON


def test_fields_and_their_defaults():
    assert drawing.parse("", "Node") == drawing.parse(" \n", "Node") == drawing.parse(drawn(), "Node") == ()
    given = {"name": "Sky", "color": "#ff8000", "prompt": "blue", "weight": 0.5, "start": 0.1, "end": 0.9}
    first, second = drawing.parse(drawn(region(**given, denoise=0.25, enabled=False), region()), "Node")
    assert (first.name, first.prompt, first.weight, first.start, first.end) == ("Sky", "blue", 0.5, 0.1, 0.9)
    assert (first.denoise, first.enabled) == (0.25, False) and first.color == pytest.approx((1, 0x80 / 255, 0))
    assert (second.name, second.prompt, second.weight, second.start, second.end) == ("Region 2", "", 1, 0, 1)
    assert (second.denoise, second.enabled, second.color) == (1, True, palette(2)[1])
    assert first.parts == (drawing.Polygon(((0.25, 0.25), (0.75, 0.25), (0.75, 0.75), (0.25, 0.75))),)


def test_fields_that_only_the_editor_uses_are_accepted():
    picture = {"filename": "a.png", "subfolder": "", "type": "input"}
    assert len(drawing.parse(drawn(region(), background=picture), "Node")) == 1


FREEHAND = {"type": "freehand", "points": [[0, 0], [1, 0], [1, 1]]}
BROKEN = {
    "no JSON": ("{", "cannot be read"),
    "too deep": ("[" * 100_000, "cannot be read"),
    "too long": (" " * (drawing.MAX_TEXT + 1) + "x", "characters"),
    "a list": ("[]", "regions should be an object"),
    "no version": ('{"regions": []}', "version none"),
    "an unknown version": ('{"version": 2, "regions": []}', "version 2, this pack reads version 1"),
    "a version in words": ('{"version": "1", "regions": []}', 'version "1"'),
    "a true version": ('{"version": true, "regions": []}', "version true"),
    "no regions": ('{"version": 1}', "a list named regions, nothing came"),
    "too many": (drawn(*[region()] * (drawing.MAX_REGIONS + 1)), "65 regions, at most 64"),
    "too many points": (
        drawn(*[{"shape": {"type": "freehand", "points": [[0, 0]] * drawing.MAX_POINTS}}] * 2),
        "40000 points, at most 20000",
    ),
    "no region": (drawn(3), "region 1 should be an object"),
    "an unknown field": (drawn(region(promt="x")), "region 1 has 'promt'"),
    "a name": (drawn(region(name=3)), "region 1: name should be a text, a number came"),
    "a colour": (drawn(region(color="red")), r"region 1 \(Region 1\): color should be like #ff8800, 'red' came"),
    "a prompt": (drawn(region(), region(prompt=["x"])), r"region 2 \(Region 2\): prompt should be a text, a list"),
    "a weight": (drawn(region(name="Sky", weight=1.5)), r"region 1 \(Sky\): weight should be from 0 to 1, 1.5 came"),
    "a weight in words": (drawn(region(weight="1")), "weight should be a number from 0 to 1, a text came"),
    "a true weight": (drawn(region(weight=True)), "weight should be a number"),
    "no number": (drawn(region(weight=float("nan"))), "weight should be from 0 to 1, nan came"),
    "an end": (drawn(region(end=-1)), "end should be from 0 to 1"),
    "a start": (drawn(region(start=None)), "start should be a number from 0 to 1, nothing came"),
    "never": (drawn(region(start=0.5, end=0.5)), "start 0.5 is not before end 0.5"),
    "a denoise": (drawn(region(denoise=float("inf"))), "denoise should be from 0 to 1, inf came"),
    "enabled": (drawn(region(enabled=1)), "enabled should be true or false, a number came"),
    "no shape": (
        drawn({"name": "Sky"}),
        r"region 1 \(Sky\): shape should be of type rect, ellipse, freehand, brush, nothing",
    ),
    "an unknown shape": (drawn({"shape": {"type": "blob"}}), 'brush, "blob" came'),
    "a list as its type": (drawn({"shape": {"type": []}}), r"brush, \[\] came"),
    "a part too many": (drawn({"shape": {**rect(0, 0, 1, 1), "r": 1}}), "shape has 'r'"),
    "no side": (drawn({"shape": {"type": "rect", "x": 0, "y": 0, "w": 1}}), r"shape.h should be a number from 0 to 4"),
    "a side": (drawn({"shape": rect(0, 0, -0.1, 1)}), "shape.w should be from 0 to 4, -0.1 came"),
    "a place": (drawn({"shape": rect(1e300, 0, 1, 1)}), "shape.x should be from -2 to 2"),
    "no points": (drawn({"shape": {"type": "freehand"}}), "shape.points should be a list of 3 to 20000"),
    "two points": (drawn({"shape": {**FREEHAND, "points": [[0, 0], [1, 1]]}}), r"points \[x, y\], 2 came"),
    "half a point": (drawn({"shape": {**FREEHAND, "points": [[0, 0], [1], [1, 1]]}}), r"shape.points\[1\] should be"),
    "no strokes": (drawn({"shape": {"type": "brush", "strokes": []}}), "shape.strokes should be a list of 1 to 20000"),
    "a stroke": (drawn({"shape": {"type": "brush", "strokes": [3]}}), r"shape.strokes\[0\] should be an object"),
    "an empty stroke": (drawn({"shape": brush([], 0.1)}), r"shape.strokes\[0\].points should be a list of 1 to"),
    "a size": (
        drawn({"shape": {"type": "brush", "strokes": [{"points": [[0, 0]], "size": 0.1}]}}),
        r"shape.strokes\[0\].size should be \[across, down\], a number came",
    ),
    "a wide brush": (
        drawn({"shape": brush([[0, 0]], 5e4)}),
        r"strokes\[0\].size should be from 0 to 40000, 50000.0 came",
    ),
    "a far stroke": (
        drawn({"shape": brush([[0, -3e4]], 1)}),
        r"strokes\[0\].points\[0\] should be from -20000 to 20000",
    ),
    "an eraser": (drawn({"shape": brush([[0, 0]], 1, "no")}), "erase should be true or false, a text came"),
    "too many points in strokes": (
        drawn({"shape": {"type": "brush", "strokes": brush([[0, 0]] * 12000, 0.1)["strokes"] * 2}}),
        "24000 points, at most 20000",
    ),
    "a far point": (drawn({"shape": {**FREEHAND, "points": [[0, 0], [1, 9], [1, 1]]}}), r"shape.points\[1\] should be"),
}


@pytest.mark.parametrize("text, says", BROKEN.values(), ids=BROKEN)
def test_errors_name_the_region_and_the_field(text, says):
    with pytest.raises(ValueError, match=f"^Node[:,].*{says}") as raised:
        drawing.parse(text, "Node")
    assert len(str(raised.value)) < 400 and "\n" not in str(raised.value)

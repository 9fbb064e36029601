"""RegionEditor's drawing: its JSON, and the masks of its regions.

    {"version": 1, "regions": [{"name": "sky", "prompt": "clouds", "shape": {"type": "rect", "x": 0, "y": 0, "w": 1,
    "h": 0.5}}]}

Coordinates go from 0 (left, top) to 1 (right, bottom) of the canvas, so that they hold for any canvas size. The JSON's
`shape` is a rectangle, an ellipse, a freehand polygon or brush strokes; here it becomes a tuple of parts, each of them
a polygon or a stroke. web/js/editor/drawing.js writes the JSON; tests/test_same_in_js.py compares the two.
"""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

from . import raster
from .overlay import Rgb, palette
from .raster import Point

VERSION = 1
# Limits on what a workflow may contain, so that no text can keep the server busy for long.
MAX_TEXT = 2_000_000  # characters
MAX_REGIONS = 64
MAX_POINTS = 20_000  # of all lines of a drawing together
MAX_SIDE = 2048  # longer side of a mask, in pixels; larger canvases get masks of 1/2, 1/3, ... of their size

REGION_FIELDS = ("name", "color", "prompt", "weight", "start", "end", "denoise", "enabled", "shape")
SHAPE_FIELDS = {
    "rect": ("x", "y", "w", "h"),
    "ellipse": ("x", "y", "w", "h"),
    "freehand": ("points",),
    "brush": ("strokes",),
}
STROKE_FIELDS = ("points", "size", "erase")
_MAX_COORDINATE = 2.0  # absolute value; above 1, because shapes may extend beyond the canvas
# Resizing a brush shape scales its eraser strokes by the same factor, which is large if the painted part was tiny.
_MAX_STROKE_COORDINATE = 20_000.0
_ELLIPSE_CORNERS = 256  # an ellipse of radius 1000 pixels is at most 0.1 pixels off


@dataclass(frozen=True)
class Polygon:
    """A closed polygon, filled; the last point is joined to the first."""

    points: tuple[Point, ...]
    erase = False

    def coverage(self, height: int, width: int) -> torch.Tensor:
        """See raster.fill."""
        return raster.fill(self.points, height, width)


@dataclass(frozen=True)
class Stroke:
    """A round brush moved along the points; `size` is its diameter as (fraction of the width, of the height).

    It adds to the mask, or, if `erase`, removes from it.
    """

    points: tuple[Point, ...]
    size: Point
    erase: bool

    def coverage(self, height: int, width: int) -> torch.Tensor:
        """See raster.stroke."""
        return raster.stroke(self.points, self.size, height, width)


@dataclass(frozen=True)
class DrawnRegion:
    """One region of a drawing. Its parts are applied in order: painted ones add to the mask, erasing ones remove.

    `start` and `end` are fractions of the sampling progress; `weight` and `denoise` are as in RegionalPrompt.
    """

    name: str
    color: Rgb
    prompt: str
    weight: float
    start: float
    end: float
    denoise: float
    enabled: bool
    parts: tuple[Polygon | Stroke, ...]


def parse(text: str, owner: str) -> tuple[DrawnRegion, ...]:
    """Read the regions of a drawing; an empty text has none.

    Raises ValueError, naming `owner`, the region and the field, for anything that the editor does not write.
    """
    if not text.strip():
        return ()
    if len(text) > MAX_TEXT:
        raise ValueError(f"{owner}: regions holds {len(text)} characters, at most {MAX_TEXT} are read; draw less.")
    try:
        saved = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else str(error)
        raise ValueError(
            f"{owner}: regions should be JSON such as the editor writes, and cannot be read ({reason}); load the "
            "workflow again, or clear it."
        ) from None
    where = f"{owner}: regions"
    _check_keys(saved, ("version", "regions", "background"), where)
    if "version" not in saved or type(saved["version"]) is not int or saved["version"] != VERSION:
        came = json.dumps(saved["version"])[:40] if "version" in saved else "none"
        raise ValueError(
            f"{where} has version {came}, this pack reads version {VERSION}; update the pack, or draw them anew."
        )
    found = saved.get("regions")
    if not isinstance(found, list):
        raise ValueError(f"{where} should hold a list named regions, {_kind(found)} came.")
    if len(found) > MAX_REGIONS:
        raise ValueError(f"{where} holds {len(found)} regions, at most {MAX_REGIONS} are read; use fewer.")
    colors = enumerate(palette(len(found)), 1)
    regions = tuple(_region(item, number, color, owner) for item, (number, color) in zip(found, colors, strict=True))
    lines = [line for item in found for line in item["shape"].get("strokes", [item["shape"]])]
    points = sum(len(line.get("points", ())) for line in lines)
    if points > MAX_POINTS:
        raise ValueError(f"{where} holds {points} points, at most {MAX_POINTS} are read; draw fewer lines by hand.")
    return regions


def _region(saved: Any, number: int, color: Rgb, owner: str) -> DrawnRegion:
    """One region of the JSON; `number`, from 1, and `color` give the defaults of its name and colour."""
    where = f"{owner}, region {number}"
    _check_keys(saved, REGION_FIELDS, where)
    name = _text(saved, "name", f"Region {number}", where)
    where = f"{where} ({name[:60]})"
    code = _text(saved, "color", "", where)
    if code and not re.fullmatch(r"#[0-9a-fA-F]{6}", code):
        raise ValueError(f"{where}: color should be like #ff8800, {code[:40]!r} came.")
    if code:
        color = (int(code[1:3], 16) / 255, int(code[3:5], 16) / 255, int(code[5:7], 16) / 255)
    enabled = _flag(saved, "enabled", True, where)
    start, end = (
        _number(saved.get(field, default), field, where, 0, 1) for field, default in (("start", 0), ("end", 1))
    )
    if start >= end:
        raise ValueError(f"{where}: start {start:g} is not before end {end:g}, so the region would never paint.")
    weight, denoise = (_number(saved.get(field, 1), field, where, 0, 1) for field in ("weight", "denoise"))
    prompt = _text(saved, "prompt", "", where)
    return DrawnRegion(name, color, prompt, weight, start, end, denoise, enabled, _parts(saved.get("shape"), where))


def _parts(shape: Any, where: str) -> tuple[Polygon | Stroke, ...]:
    """The parts of the JSON's `shape`."""
    if not isinstance(shape, dict) or not isinstance(shape.get("type"), str) or shape["type"] not in SHAPE_FIELDS:
        came = json.dumps(shape.get("type"))[:40] if isinstance(shape, dict) else _kind(shape)
        raise ValueError(f"{where}: shape should be of type {', '.join(SHAPE_FIELDS)}, {came} came.")
    kind = shape["type"]
    _check_keys(shape, ("type", *SHAPE_FIELDS[kind]), f"{where}, shape")
    if kind == "freehand":
        return (Polygon(_points(shape, "shape", 3, where)),)
    if kind == "brush":
        strokes = shape.get("strokes")
        if not isinstance(strokes, list) or not 1 <= len(strokes) <= MAX_POINTS:
            came = f"{len(strokes)}" if isinstance(strokes, list) else _kind(strokes)
            raise ValueError(f"{where}: shape.strokes should be a list of 1 to {MAX_POINTS} strokes, {came} came.")
        return tuple(_stroke(item, f"shape.strokes[{index}]", where) for index, item in enumerate(strokes))
    x, y = (_number(shape.get(field), f"shape.{field}", where, -_MAX_COORDINATE, _MAX_COORDINATE) for field in "xy")
    w, h = (_number(shape.get(field), f"shape.{field}", where, 0, 2 * _MAX_COORDINATE) for field in "wh")
    if kind == "rect":
        return (Polygon(((x, y), (x + w, y), (x + w, y + h), (x, y + h))),)
    angles = (2 * math.pi * step / _ELLIPSE_CORNERS for step in range(_ELLIPSE_CORNERS))
    return (Polygon(tuple((x + w / 2 * (1 + math.cos(angle)), y + h / 2 * (1 + math.sin(angle))) for angle in angles)),)


def _stroke(stroke: Any, field: str, where: str) -> Stroke:
    _check_keys(stroke, STROKE_FIELDS, f"{where}, {field}")
    points = _points(stroke, field, 1, where, _MAX_STROKE_COORDINATE)
    size = stroke.get("size")
    if not isinstance(size, list) or len(size) != 2:
        raise ValueError(f"{where}: {field}.size should be [across, down], {_kind(size)} came.")
    across, down = (_number(value, f"{field}.size", where, 0, 2 * _MAX_STROKE_COORDINATE) for value in size)
    return Stroke(points, (across, down), _flag(stroke, "erase", False, f"{where}, {field}"))


def _points(
    holder: Mapping[str, Any], field: str, least: int, where: str, limit: float = _MAX_COORDINATE
) -> tuple[Point, ...]:
    points = holder.get("points")
    if not isinstance(points, list) or not least <= len(points) <= MAX_POINTS:
        came = f"{len(points)}" if isinstance(points, list) else _kind(points)
        raise ValueError(
            f"{where}: {field}.points should be a list of {least} to {MAX_POINTS} points [x, y], {came} came."
        )
    return tuple(_point(point, f"{field}.points[{index}]", where, limit) for index, point in enumerate(points))


def _point(point: Any, field: str, where: str, limit: float) -> Point:
    if not isinstance(point, list) or len(point) != 2:
        raise ValueError(f"{where}: {field} should be [x, y], {_kind(point)} came.")
    return _number(point[0], field, where, -limit, limit), _number(point[1], field, where, -limit, limit)


def _number(value: Any, field: str, where: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{where}: {field} should be a number from {low:g} to {high:g}, {_kind(value)} came.")
    if not low <= value <= high:  # also true for NaN
        raise ValueError(f"{where}: {field} should be from {low:g} to {high:g}, {str(value)[:40]} came.")
    return float(value)


def _text(saved: Mapping[str, Any], field: str, default: str, where: str) -> str:
    value = saved.get(field, default)
    if not isinstance(value, str):
        raise ValueError(f"{where}: {field} should be a text, {_kind(value)} came.")
    return value


def _flag(saved: Mapping[str, Any], field: str, default: bool, where: str) -> bool:
    value = saved.get(field, default)
    if not isinstance(value, bool):
        raise ValueError(f"{where}: {field} should be true or false, {_kind(value)} came.")
    return value


def _check_keys(value: Any, known: tuple[str, ...], where: str) -> None:
    if not isinstance(value, dict):
        raise ValueError(f"{where} should be an object with {', '.join(known)}, {_kind(value)} came.")
    if unknown := [key for key in value if key not in known]:
        raise ValueError(f"{where} has {unknown[0][:40]!r}, which is none of {', '.join(known)}.")


def _kind(value: Any) -> str:
    """The type of a JSON value, for error texts."""
    names = {type(None): "nothing", bool: "true or false", int: "a number", float: "a number", str: "a text"}
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")


def mask_size(height: int, width: int) -> tuple[int, int]:
    """Size (H, W) of the masks for a canvas of this size in pixels.

    The canvas's own size up to MAX_SIDE, else divided by the smallest integer that brings it down to MAX_SIDE, rounded.
    """
    divisor = max(1, math.ceil(max(height, width) / MAX_SIDE))
    return max(1, round(height / divisor)), max(1, round(width / divisor))


def masks(regions: tuple[DrawnRegion, ...], height: int, width: int) -> torch.Tensor:
    """The regions' masks: float32 (N, height, width) on the CPU, N = len(regions), which may be 0.

    A value is the fraction of the pixel that the region covers, 0 to 1.
    """
    out = torch.zeros(len(regions), height, width)
    for mask, region in zip(out, regions, strict=True):
        for part in region.parts:
            covered = part.coverage(height, width)
            torch.minimum(mask, 1 - covered, out=mask) if part.erase else torch.maximum(mask, covered, out=mask)
    return out

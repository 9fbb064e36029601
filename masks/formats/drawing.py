"""Regions drawn by hand: the JSON that RegionEditor keeps them in, and their masks.

    {"version": 1, "regions": [{"name": "sky", "prompt": "clouds", "shape": {"type": "rect", "x": 0, "y": 0, "w": 1,
    "h": 0.5}}]}

Coordinates go from 0 (left, top) to 1 (right, bottom), so that they hold for a canvas of any size.
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
# So that no text, however made, holds up a server.
MAX_TEXT, MAX_REGIONS, MAX_POINTS = 2_000_000, 64, 20_000
MAX_SIDE = 2048  # pixels of a mask; of a larger canvas it is a half, a third, ...

_FIELDS = ("name", "color", "prompt", "weight", "start", "end", "denoise", "enabled", "shape")
_SHAPES = {
    "rect": ("x", "y", "w", "h"),
    "ellipse": ("x", "y", "w", "h"),
    "freehand": ("points",),
    "brush": ("strokes",),
}
_STROKE = ("points", "size", "erase")
_FAR = 2.0  # how far from 0 a coordinate may lie: a shape may reach out of the canvas
_FAR_STROKE = 20_000.0  # an eraser's line is stretched with what is painted, however small that was
_ARC = 256  # corners of an ellipse: 0.1 pixels off at a radius of 1000


@dataclass(frozen=True)
class Polygon:
    """A closed line through these points."""

    points: tuple[Point, ...]
    erase = False

    def cover(self, height: int, width: int) -> torch.Tensor:
        return raster.fill(self.points, height, width)


@dataclass(frozen=True)
class Stroke:
    """A round brush drawn along these points; `size` is its diameter across and down. It paints, or it erases."""

    points: tuple[Point, ...]
    size: Point
    erase: bool

    def cover(self, height: int, width: int) -> torch.Tensor:
        return raster.stroke(self.points, self.size, height, width)


@dataclass(frozen=True)
class Drawn:
    """A region as it was drawn, its shape from 0 to 1 across the canvas, each part on the ones before it."""

    name: str
    color: Rgb
    prompt: str
    weight: float
    start: float
    end: float
    denoise: float
    enabled: bool
    shape: tuple[Polygon | Stroke, ...]


def parse(text: str, owner: str) -> tuple[Drawn, ...]:
    """The regions of the JSON, none for an empty text.

    Raises ValueError, naming `owner`, the region and the field, for what is not as the editor writes it.
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
    regions = tuple(_region(one, number, color, owner) for one, (number, color) in zip(found, colors, strict=True))
    lines = [line for one in found for line in one["shape"].get("strokes", [one["shape"]])]
    points = sum(len(line.get("points", ())) for line in lines)
    if points > MAX_POINTS:
        raise ValueError(f"{where} holds {points} points, at most {MAX_POINTS} are read; draw fewer lines by hand.")
    return regions


def _region(saved: Any, number: int, color: Rgb, owner: str) -> Drawn:
    where = f"{owner}, region {number}"
    _check_keys(saved, _FIELDS, where)
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
    return Drawn(name, color, prompt, weight, start, end, denoise, enabled, _shape(saved.get("shape"), where))


def _shape(shape: Any, where: str) -> tuple[Polygon | Stroke, ...]:
    """What a shape is painted with; ValueError if it is none."""
    if not isinstance(shape, dict) or not isinstance(shape.get("type"), str) or shape["type"] not in _SHAPES:
        came = json.dumps(shape.get("type"))[:40] if isinstance(shape, dict) else _kind(shape)
        raise ValueError(f"{where}: shape should be of type {', '.join(_SHAPES)}, {came} came.")
    kind = shape["type"]
    _check_keys(shape, ("type", *_SHAPES[kind]), f"{where}, shape")
    if kind == "freehand":
        return (Polygon(_points(shape, "shape", 3, where)),)
    if kind == "brush":
        strokes = shape.get("strokes")
        if not isinstance(strokes, list) or not 1 <= len(strokes) <= MAX_POINTS:
            came = f"{len(strokes)}" if isinstance(strokes, list) else _kind(strokes)
            raise ValueError(f"{where}: shape.strokes should be a list of 1 to {MAX_POINTS} strokes, {came} came.")
        return tuple(_stroke(one, f"shape.strokes[{index}]", where) for index, one in enumerate(strokes))
    x, y = (_number(shape.get(field), f"shape.{field}", where, -_FAR, _FAR) for field in "xy")
    w, h = (_number(shape.get(field), f"shape.{field}", where, 0, 2 * _FAR) for field in "wh")
    if kind == "rect":
        return (Polygon(((x, y), (x + w, y), (x + w, y + h), (x, y + h))),)
    angles = (2 * math.pi * step / _ARC for step in range(_ARC))
    return (Polygon(tuple((x + w / 2 * (1 + math.cos(angle)), y + h / 2 * (1 + math.sin(angle))) for angle in angles)),)


def _stroke(stroke: Any, field: str, where: str) -> Stroke:
    _check_keys(stroke, _STROKE, f"{where}, {field}")
    points = _points(stroke, field, 1, where, _FAR_STROKE)
    size = stroke.get("size")
    if not isinstance(size, list) or len(size) != 2:
        raise ValueError(f"{where}: {field}.size should be [across, down], {_kind(size)} came.")
    across, down = (_number(one, f"{field}.size", where, 0, 2 * _FAR_STROKE) for one in size)
    return Stroke(points, (across, down), _flag(stroke, "erase", False, f"{where}, {field}"))


def _points(holder: Mapping[str, Any], field: str, least: int, where: str, far: float = _FAR) -> tuple[Point, ...]:
    points = holder.get("points")
    if not isinstance(points, list) or not least <= len(points) <= MAX_POINTS:
        came = f"{len(points)}" if isinstance(points, list) else _kind(points)
        raise ValueError(
            f"{where}: {field}.points should be a list of {least} to {MAX_POINTS} points [x, y], {came} came."
        )
    return tuple(_point(point, f"{field}.points[{index}]", where, far) for index, point in enumerate(points))


def _point(point: Any, field: str, where: str, far: float) -> Point:
    if not isinstance(point, list) or len(point) != 2:
        raise ValueError(f"{where}: {field} should be [x, y], {_kind(point)} came.")
    return _number(point[0], field, where, -far, far), _number(point[1], field, where, -far, far)


def _number(value: Any, field: str, where: str, low: float, high: float) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{where}: {field} should be a number from {low:g} to {high:g}, {_kind(value)} came.")
    if not low <= value <= high:  # NaN is refused, too
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
    """What a JSON value is, in words."""
    names = {type(None): "nothing", bool: "true or false", int: "a number", float: "a number", str: "a text"}
    return names.get(type(value), "a list" if isinstance(value, list) else "an object")


def mask_size(height: int, width: int) -> tuple[int, int]:
    """(H, W) of the masks for a canvas in pixels: the same up to MAX_SIDE, else a whole fraction of it, rounded."""
    parts = max(1, math.ceil(max(height, width) / MAX_SIDE))
    return max(1, round(height / parts)), max(1, round(width / parts))


def masks(regions: tuple[Drawn, ...], height: int, width: int) -> torch.Tensor:
    """(N, height, width) float32 on the CPU, each region's share of each pixel, 0 to 1; N may be 0."""
    out = torch.zeros(len(regions), height, width)
    for mask, region in zip(out, regions, strict=True):
        for part in region.shape:
            cover = part.cover(height, width)
            torch.minimum(mask, 1 - cover, out=mask) if part.erase else torch.maximum(mask, cover, out=mask)
    return out

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

from .overlay import Rgb, palette

VERSION = 1
# So that no text, however made, holds up a server.
MAX_TEXT, MAX_REGIONS, MAX_POINTS = 2_000_000, 64, 10_000
MAX_SIDE = 2048  # pixels of a mask; of a larger canvas it is a half, a third, ...

_FIELDS = ("name", "color", "prompt", "weight", "start", "end", "denoise", "enabled", "shape")
_SHAPES = {"rect": ("x", "y", "w", "h"), "ellipse": ("x", "y", "w", "h"), "freehand": ("points",)}
_FAR = 2.0  # how far from 0 a coordinate may lie: a shape may reach out of the canvas
_ARC = 256  # corners of an ellipse: 0.1 pixels off at a radius of 1000
_GRID = 64  # corners are rounded to this fraction of a pixel, so that an edge meant to lie on a pixel's does
_LEVELS = 4096  # masks are rounded to this fraction: outside they are 0, inside they are 1
_PIECES = 1 << 20  # at once, of edges cut at pixels

Point = tuple[float, float]  # x, y


@dataclass(frozen=True)
class Drawn:
    """A region as it was drawn: `outline` is the closed polygon of its corners, from 0 to 1 across the canvas."""

    name: str
    color: Rgb
    prompt: str
    weight: float
    start: float
    end: float
    denoise: float
    enabled: bool
    outline: tuple[Point, ...]


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
    points = sum(len(one["shape"].get("points", ())) for one in found)
    if points > MAX_POINTS:
        raise ValueError(f"{where} holds {points} points, at most {MAX_POINTS} are read; use fewer freehand regions.")
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
    enabled = saved.get("enabled", True)
    if not isinstance(enabled, bool):
        raise ValueError(f"{where}: enabled should be true or false, {_kind(enabled)} came.")
    start, end = (
        _number(saved.get(field, default), field, where, 0, 1) for field, default in (("start", 0), ("end", 1))
    )
    if start >= end:
        raise ValueError(f"{where}: start {start:g} is not before end {end:g}, so the region would never paint.")
    weight, denoise = (_number(saved.get(field, 1), field, where, 0, 1) for field in ("weight", "denoise"))
    prompt = _text(saved, "prompt", "", where)
    return Drawn(name, color, prompt, weight, start, end, denoise, enabled, _outline(saved.get("shape"), where))


def _outline(shape: Any, where: str) -> tuple[Point, ...]:
    """The corners of a shape, in order; ValueError if it is none."""
    if not isinstance(shape, dict) or not isinstance(shape.get("type"), str) or shape["type"] not in _SHAPES:
        came = json.dumps(shape.get("type"))[:40] if isinstance(shape, dict) else _kind(shape)
        raise ValueError(f"{where}: shape should be of type {', '.join(_SHAPES)}, {came} came.")
    kind = shape["type"]
    _check_keys(shape, ("type", *_SHAPES[kind]), f"{where}, shape")
    if kind == "freehand":
        points = shape.get("points")
        if not isinstance(points, list) or not 3 <= len(points) <= MAX_POINTS:
            came = f"{len(points)}" if isinstance(points, list) else _kind(points)
            raise ValueError(f"{where}: shape.points should be a list of 3 to {MAX_POINTS} points [x, y], {came} came.")
        return tuple(_point(point, f"shape.points[{index}]", where) for index, point in enumerate(points))
    x, y = (_number(shape.get(field), f"shape.{field}", where, -_FAR, _FAR) for field in "xy")
    w, h = (_number(shape.get(field), f"shape.{field}", where, 0, 2 * _FAR) for field in "wh")
    if kind == "rect":
        return (x, y), (x + w, y), (x + w, y + h), (x, y + h)
    angles = (2 * math.pi * step / _ARC for step in range(_ARC))
    return tuple((x + w / 2 * (1 + math.cos(angle)), y + h / 2 * (1 + math.sin(angle))) for angle in angles)


def _point(point: Any, field: str, where: str) -> Point:
    if not isinstance(point, list) or len(point) != 2:
        raise ValueError(f"{where}: {field} should be [x, y], {_kind(point)} came.")
    return _number(point[0], field, where, -_FAR, _FAR), _number(point[1], field, where, -_FAR, _FAR)


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
        mask.copy_(fill(region.outline, height, width))
    return out


def fill(outline: tuple[Point, ...], height: int, width: int) -> torch.Tensor:
    """How much of each pixel a closed polygon covers, (height, width) float32 on the CPU, from 0 to 1.

    What it goes around at all is inside (nonzero winding), as a browser's canvas fills it. Each edge, cut at the
    borders of pixels, gives to all that lies right of it in its row as much as it is high, signed by its direction: the
    sum along a row is the area inside. This is how FreeType and font-rs draw letters. Only in pixels in which the
    outline crosses itself may it be off.
    """
    corners = torch.tensor(outline, dtype=torch.float64) * torch.tensor([width, height], dtype=torch.float64)
    corners = (corners * _GRID).round() / _GRID
    edges = torch.cat([corners, corners.roll(-1, 0)], dim=1)  # x0, y0, x1, y1
    edges = edges[edges[:, 1] != edges[:, 3]]  # a level edge bounds nothing
    area = torch.zeros(height * (width + 1), dtype=torch.float64)
    each = max(1, _PIECES // (2 * (height + width)))
    for some in torch.split(edges, each):
        _add(area, _cut(_cut(some, 1, height), 0, width), height, width)
    covered = area.reshape(height, width + 1).cumsum(1)[:, :width].abs()
    return ((covered * _LEVELS).round() / _LEVELS).clamp(0, 1).float()


def _cut(edges: torch.Tensor, axis: int, limit: int) -> torch.Tensor:
    """Lines (n, 4), cut at all whole coordinates from 0 to `limit` along x (axis 0) or y (axis 1)."""
    start, end = edges[:, axis], edges[:, axis + 2]
    low, high = torch.minimum(start, end), torch.maximum(start, end)
    first = (low.floor() + 1).clamp(min=0)
    cuts = ((high.ceil() - 1).clamp(max=limit) - first + 1).clamp(min=0).long()
    line = torch.repeat_interleave(torch.arange(len(edges)), cuts + 1)
    place = torch.arange(len(line)) - torch.repeat_interleave((cuts + 1).cumsum(0) - cuts - 1, cuts + 1)
    span = (high - low).clamp(min=1e-300)[line]

    def at(number: torch.Tensor) -> torch.Tensor:
        """Points (m, 2) where the lines meet their cuts; the 0th is the lower end, the last the upper one."""
        share = ((first[line] + number - 1 - low[line]) / span).clamp(0, 1)
        share = torch.where(number == 0, 0.0, torch.where(number > cuts[line], 1.0, share))[:, None]
        rises = (end >= start)[line, None]
        a, b = edges[line, :2], edges[line, 2:]
        lower, upper = torch.where(rises, a, b), torch.where(rises, b, a)
        return lower * (1 - share) + upper * share

    pieces = torch.cat([at(place), at(place + 1)], dim=1)
    backwards = (end < start)[line, None]
    return torch.where(backwards, pieces[:, [2, 3, 0, 1]], pieces)


def _add(area: torch.Tensor, pieces: torch.Tensor, height: int, width: int) -> None:
    """Add to `area` (height * (width + 1)), in place, what each piece (n, 4), none longer than a pixel, bounds."""
    x, y = (pieces[:, 0] + pieces[:, 2]) / 2, (pieces[:, 1] + pieces[:, 3]) / 2
    rise = pieces[:, 3] - pieces[:, 1]
    here = (y > 0) & (y < height) & (x < width)
    x, y, rise = x[here], y[here], rise[here]
    column = x.floor().clamp(min=0)
    # The piece's own pixel lies right of it in part, all further ones wholly. Left of the canvas there is no own one.
    right = (1 - (x - column)).clamp(max=1) * rise
    index = (y.floor() * (width + 1) + column).long()
    area.index_add_(0, index, right)
    area.index_add_(0, index + 1, rise - right)

"""Polygons and brush strokes as masks: how much of each pixel they cover. Coordinates go from 0 to 1 of the canvas."""

import math

import torch

_GRID = 64  # corners are rounded to this fraction of a pixel, so that an edge meant to lie on a pixel's does
_LEVELS = 4096  # masks are rounded to this fraction: outside they are 0, inside they are 1
_PIECES = 1 << 20  # at once, of edges cut at pixels
_TURN = 32  # edges of a brush's round end or corner: at a radius of 100 pixels 0.1 off

Point = tuple[float, float]  # x, y


def fill(outline: tuple[Point, ...], height: int, width: int) -> torch.Tensor:
    """How much of each pixel a closed polygon covers, (height, width) float32 on the CPU, from 0 to 1.

    What it goes around at all is inside (nonzero winding), as a browser's canvas fills it.
    """
    corners = torch.tensor(outline, dtype=torch.float64)
    return _cover(torch.cat([corners, corners.roll(-1, 0)], dim=1), height, width)


def stroke(points: tuple[Point, ...], pen: Point, height: int, width: int) -> torch.Tensor:
    """How much of each pixel a round brush drawn along `points` covers, (height, width) float32 on the CPU, 0 to 1.

    `pen` is the brush's diameter across and down. A single point is a dot. The outline goes along one side of the lines
    and back along the other, round the outer side of each corner, and through the point itself at the inner one: so
    whatever the brush passes twice is gone around twice, in the same direction.
    """
    radius = torch.tensor(pen, dtype=torch.float64) / 2
    if not (radius > 1e-9).all():
        return torch.zeros(height, width)
    path = torch.tensor(points, dtype=torch.float64) / radius  # here the brush is a circle of radius 1
    path = torch.cat([path[:1], path[1:][(path[1:] != path[:-1]).any(1)]])
    if len(path) == 1:
        path = path.repeat(2, 1)
    start, end, corner = path[:-1], path[1:], path[1:-1]
    angle = torch.atan2(end[:, 1] - start[:, 1], end[:, 0] - start[:, 0])
    side = torch.stack([-angle.sin(), angle.cos()], dim=1)
    turn = ((angle[1:] - angle[:-1] + math.pi) % (2 * math.pi) - math.pi)[:, None]
    one, other = torch.where(turn > 0, side[:-1], side[1:]), torch.where(turn > 0, side[1:], side[:-1])
    out = torch.where(turn > 0, -1.0, 1.0)
    edges = [
        torch.cat([start - side, end - side], dim=1),
        torch.cat([end + side, start + side], dim=1),
        torch.cat([corner - out * other, corner], dim=1),
        torch.cat([corner, corner - out * one], dim=1),
        _arcs(corner, out * one, out * other, turn.abs()),
        _arcs(path[[0, -1]], side[[0, -1]] * torch.tensor([[1], [-1]]), None, torch.full((2, 1), math.pi)),
    ]
    return _cover(torch.cat(edges) * radius.repeat(2), height, width)


def _arcs(center: torch.Tensor, first: torch.Tensor, last: torch.Tensor | None, turn: torch.Tensor) -> torch.Tensor:
    """Edges (n, 4) of arcs around `center` (m, 2), by `turn` (m, 1) from `first` to `last`, its opposite if None."""
    angle = torch.atan2(first[:, 1], first[:, 0])[:, None] + turn * torch.linspace(0, 1, _TURN + 1, dtype=torch.float64)
    arc = torch.stack([angle.cos(), angle.sin()], dim=2)
    # To the bit, where another edge goes on.
    arc[:, 0], arc[:, -1] = first, -first if last is None else last
    arc = center[:, None] + arc
    return torch.cat([arc[:, :-1], arc[:, 1:]], dim=2).reshape(-1, 4)


def _cover(edges: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """How much of each pixel closed polygons cover that have these edges (n, 4), x0, y0, x1, y1.

    Each edge, cut at the borders of pixels, gives to all that lies right of it in its row as much as it is high, signed
    by its direction: the sum along a row is the area inside. This is how FreeType and font-rs draw letters. Only in
    pixels in which outlines cross, or lie on each other, may it be off.
    """
    edges = edges * torch.tensor([width, height] * 2, dtype=torch.float64)
    edges = (edges * _GRID).round() / _GRID
    edges = edges[edges[:, 1] != edges[:, 3]]  # a level edge bounds nothing
    covered = torch.zeros(height, width)
    if not len(edges):
        return covered
    # A stroke is small, and there may be many: only the box around it is looked at.
    corners = edges.reshape(-1, 2)
    low, high = corners.amin(0).floor().clamp(min=0), corners.amax(0).ceil()
    left, top, right, bottom = int(low[0]), int(low[1]), min(int(high[0]), width), min(int(high[1]), height)
    if right <= left or bottom <= top:
        return covered
    edges, height, width = edges - low.repeat(2), bottom - top, right - left
    area = torch.zeros(height * (width + 1), dtype=torch.float64)
    each = max(1, _PIECES // (2 * (height + width)))
    for some in torch.split(edges, each):
        _add(area, _cut(_cut(some, 1, height), 0, width), height, width)
    inside = area.reshape(height, width + 1).cumsum(1)[:, :width].abs()
    covered[top:bottom, left:right] = ((inside * _LEVELS).round() / _LEVELS).clamp(0, 1).float()
    return covered


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

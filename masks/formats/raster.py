"""Rasterize polygons and brush strokes to masks: the fraction of each pixel that they cover.

Coordinates go from 0 (left, top) to 1 (right, bottom) of the canvas.
"""

import math

import torch

_SUBPIXELS = 64  # corners are rounded to 1/64 pixel, so that an edge meant to lie on a pixel's border does
_LEVELS = 4096  # coverage is rounded to 1/4096, so that pixels outside are exactly 0 and inside exactly 1
_MAX_PIECES = 1 << 20  # pieces of edges held in memory at once
_ARC_EDGES = 32  # edges of a brush's round end or corner; at a radius of 100 pixels they are 0.1 pixels off

Point = tuple[float, float]  # x, y


def fill(outline: tuple[Point, ...], height: int, width: int) -> torch.Tensor:
    """The fraction of each pixel that a closed polygon covers: float32 (height, width) on the CPU, 0 to 1.

    Points around which the outline winds at least once, in either direction, are inside (the nonzero rule, by which a
    browser's canvas fills).
    """
    corners = torch.tensor(outline, dtype=torch.float64)
    return _coverage(torch.cat([corners, corners.roll(-1, 0)], dim=1), height, width)


def stroke(points: tuple[Point, ...], diameter: Point, height: int, width: int) -> torch.Tensor:
    """The fraction of each pixel that a round brush moved along `points` covers: float32 (height, width), CPU, 0 to 1.

    `diameter` is the brush's, as (fraction of the width, fraction of the height). A single point gives a dot. The
    outline runs along one side of the line and back along the other, around the outer side of each corner and through
    the corner point on the inner side. Where the stroke overlaps itself, the outline thus winds twice in the same
    direction, which the nonzero rule counts as inside.
    """
    radius = torch.tensor(diameter, dtype=torch.float64) / 2
    if not (radius > 1e-9).all():
        return torch.zeros(height, width)
    path = torch.tensor(points, dtype=torch.float64) / radius  # in units of the radius: the brush is a unit circle
    path = torch.cat([path[:1], path[1:][(path[1:] != path[:-1]).any(1)]])
    if len(path) == 1:
        path = path.repeat(2, 1)
    start, end, corner = path[:-1], path[1:], path[1:-1]
    angle = torch.atan2(end[:, 1] - start[:, 1], end[:, 0] - start[:, 0])
    normal = torch.stack([-angle.sin(), angle.cos()], dim=1)
    turn = ((angle[1:] - angle[:-1] + math.pi) % (2 * math.pi) - math.pi)[:, None]
    # The arc around a corner begins and ends at these normals, on the outer side.
    first, last = torch.where(turn > 0, normal[:-1], normal[1:]), torch.where(turn > 0, normal[1:], normal[:-1])
    outward = torch.where(turn > 0, -1.0, 1.0)
    edges = [
        torch.cat([start - normal, end - normal], dim=1),
        torch.cat([end + normal, start + normal], dim=1),
        torch.cat([corner - outward * last, corner], dim=1),
        torch.cat([corner, corner - outward * first], dim=1),
        _arcs(corner, outward * first, outward * last, turn.abs()),
        _arcs(path[[0, -1]], normal[[0, -1]] * torch.tensor([[1], [-1]]), None, torch.full((2, 1), math.pi)),
    ]
    return _coverage(torch.cat(edges) * radius.repeat(2), height, width)


def _arcs(center: torch.Tensor, first: torch.Tensor, last: torch.Tensor | None, turn: torch.Tensor) -> torch.Tensor:
    """Edges (n, 4) of unit arcs around `center` (m, 2): `turn` (m, 1) radians from `first` (m, 2) to `last` (m, 2).

    `last` is None for the opposite of `first`.
    """
    angle = torch.atan2(first[:, 1], first[:, 0])[:, None] + turn * torch.linspace(
        0, 1, _ARC_EDGES + 1, dtype=torch.float64
    )
    arc = torch.stack([angle.cos(), angle.sin()], dim=2)
    # Bit for bit the ends that the neighbouring edges use, so that the outline is closed.
    arc[:, 0], arc[:, -1] = first, -first if last is None else last
    arc = center[:, None] + arc
    return torch.cat([arc[:, :-1], arc[:, 1:]], dim=2).reshape(-1, 4)


def _coverage(edges: torch.Tensor, height: int, width: int) -> torch.Tensor:
    """The fraction of each pixel that closed polygons with the edges (n, 4) = x0, y0, x1, y1 cover: (height, width).

    Signed area accumulation, as in FreeType's and font-rs's rasterizers: each edge is split at the borders of pixels,
    each piece adds its height, signed by its direction, to all pixels right of it in its row, and the cumulative sum
    along a row is the winding number times the covered area. Pixels in which outlines cross or coincide may be off.
    """
    edges = edges * torch.tensor([width, height] * 2, dtype=torch.float64)
    edges = (edges * _SUBPIXELS).round() / _SUBPIXELS
    edges = edges[edges[:, 1] != edges[:, 3]]  # a horizontal edge encloses no area
    out = torch.zeros(height, width)
    if not len(edges):
        return out
    # Strokes are many and small: compute only the bounding box.
    corners = edges.reshape(-1, 2)
    low, high = corners.amin(0).floor().clamp(min=0), corners.amax(0).ceil()
    left, top, right, bottom = int(low[0]), int(low[1]), min(int(high[0]), width), min(int(high[1]), height)
    if right <= left or bottom <= top:
        return out
    edges, height, width = edges - low.repeat(2), bottom - top, right - left
    area = torch.zeros(height * (width + 1), dtype=torch.float64)
    chunk_size = max(1, _MAX_PIECES // (2 * (height + width)))
    for chunk in torch.split(edges, chunk_size):
        _accumulate(area, _split(_split(chunk, 1, height), 0, width), height, width)
    inside = area.reshape(height, width + 1).cumsum(1)[:, :width].abs()
    out[top:bottom, left:right] = ((inside * _LEVELS).round() / _LEVELS).clamp(0, 1).float()
    return out


def _split(edges: torch.Tensor, axis: int, limit: int) -> torch.Tensor:
    """Edges (n, 4) in pixels, split at every integer from 0 to `limit` of x (axis 0) or y (axis 1): pieces (m, 4)."""
    start, end = edges[:, axis], edges[:, axis + 2]
    low, high = torch.minimum(start, end), torch.maximum(start, end)
    first = (low.floor() + 1).clamp(min=0)
    crossings = ((high.ceil() - 1).clamp(max=limit) - first + 1).clamp(min=0).long()
    # For each piece: the edge it belongs to, and its index along that edge.
    edge = torch.repeat_interleave(torch.arange(len(edges)), crossings + 1)
    index = torch.arange(len(edge)) - torch.repeat_interleave((crossings + 1).cumsum(0) - crossings - 1, crossings + 1)
    span = (high - low).clamp(min=1e-300)[edge]

    def point(number: torch.Tensor) -> torch.Tensor:
        """The split points (m, 2) of this number: 0 is the edge's end at the lower coordinate, the last the other."""
        fraction = ((first[edge] + number - 1 - low[edge]) / span).clamp(0, 1)
        fraction = torch.where(number == 0, 0.0, torch.where(number > crossings[edge], 1.0, fraction))[:, None]
        ascending = (end >= start)[edge, None]
        a, b = edges[edge, :2], edges[edge, 2:]
        lower, upper = torch.where(ascending, a, b), torch.where(ascending, b, a)
        return lower * (1 - fraction) + upper * fraction

    pieces = torch.cat([point(index), point(index + 1)], dim=1)
    descending = (end < start)[edge, None]
    return torch.where(descending, pieces[:, [2, 3, 0, 1]], pieces)


def _accumulate(area: torch.Tensor, pieces: torch.Tensor, height: int, width: int) -> None:
    """Add the signed area differences of the pieces (n, 4), each within one pixel, to `area` (height * (width + 1)).

    Changes `area`, of which each row holds width + 1 values, in place.
    """
    x, y = (pieces[:, 0] + pieces[:, 2]) / 2, (pieces[:, 1] + pieces[:, 3]) / 2
    rise = pieces[:, 3] - pieces[:, 1]
    visible = (y > 0) & (y < height) & (x < width)
    x, y, rise = x[visible], y[visible], rise[visible]
    column = x.floor().clamp(min=0)
    # Of the pixel that holds the piece, the part right of the piece counts; of further pixels, all. A piece left of the
    # canvas counts in full from the first column.
    right = (1 - (x - column)).clamp(max=1) * rise
    index = (y.floor() * (width + 1) + column).long()
    area.index_add_(0, index, right)
    area.index_add_(0, index + 1, rise - right)

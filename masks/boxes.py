"""The boxes on which members of a picture are computed alone: around their weight, few sizes, on the model's grid."""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

# Boxes of one size share a model call: a size is given up for a larger one while that adds no more than this share of
# all boxes' area, and in any case while there are more sizes than this.
_WORTH, _MOST_SIZES = 0.03, 4

Size = tuple[int, int]


@dataclass(frozen=True)
class Box:
    """Rows top..top + height and columns left..left + width of a latent, in latent pixels."""

    top: int
    left: int
    height: int
    width: int

    @property
    def area(self) -> int:
        return self.height * self.width

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """The box of (..., h, w), as a view; of an axis of length 1, all."""
        for axis, start, length in ((-2, self.top, self.height), (-1, self.left, self.width)):
            if tensor.shape[axis] > 1:
                tensor = tensor.narrow(axis, start, length)
        return tensor


def bounds(weight: torch.Tensor) -> Box:
    """The smallest box outside of which (..., h, w) is 0. It must be more than 0 somewhere."""
    solid = weight.reshape(-1, *weight.shape[-2:]).amax(0) > 0
    (top, bottom), (left, right) = (
        (int(places.min()), int(places.max()) + 1)
        for places in (solid.any(1).nonzero()[:, 0], solid.any(0).nonzero()[:, 0])
    )
    return Box(top, left, bottom - top, right - left)


def crops(extents: Mapping[int, Box], canvas: Size, context: int, grid: int, few: bool) -> dict[int, Box]:
    """Boxes around `extents` with about `context` latent pixels more on all sides, in a canvas of (h, w).

    Boxes begin and end on multiples of `grid` (or at the canvas's end), so the context is rounded to it. With `few`
    they have few sizes. Those that would be the whole canvas, or nearly, are left out.
    """
    sizes = {
        key: (
            _length(box.top, box.height, canvas[0], context, grid),
            _length(box.left, box.width, canvas[1], context, grid),
        )
        for key, box in extents.items()
    }
    if few:
        sizes = _merged(sizes)
    placed = {}
    for key, box in extents.items():
        top, height = _place(box.top, box.height, canvas[0], sizes[key][0], grid)
        left, width = _place(box.left, box.width, canvas[1], sizes[key][1], grid)
        placed[key] = Box(top, left, height, width)
    return {key: box for key, box in placed.items() if box.area < 0.9 * canvas[0] * canvas[1]}


def cheapest(found: Mapping[int, Box], cost: Callable[[Mapping[int, Box]], int]) -> dict[int, Box]:
    """Those boxes that are worth it: whole canvases may share what crops do not, so the largest may cost less there."""
    falling = sorted(found, key=lambda key: -found[key].area)
    choices = [{key: found[key] for key in falling[whole:]} for whole in range(len(found) + 1)]
    return min(choices, key=cost)


def _aligned(start: int, length: int, total: int, grid: int) -> tuple[int, int]:
    """The stretch from the grid line before to the one after, (start, end)."""
    return start // grid * grid, min(-(-(start + length) // grid) * grid, total)


def _length(start: int, length: int, total: int, context: int, grid: int) -> int:
    first, last = _aligned(start, length, total, grid)
    wanted = min(start + length + context, total) - max(start - context, 0)
    # Half a grid cell rounds down.
    rounded = -((grid - 2 * wanted) // (2 * grid)) * grid
    return max(rounded, -(-(last - first) // grid) * grid)


def _place(start: int, length: int, total: int, size: int, grid: int) -> tuple[int, int]:
    """Where `size` pixels lie, as (start, length): the stretch in the middle, as far as the canvas goes."""
    if size >= total:
        return 0, total
    first, last = _aligned(start, length, total, grid)
    middle = 2 * start + length
    near = (middle - size + grid) // (2 * grid) * grid
    begin = max(min(near, first, (total - size) // grid * grid), 0)
    if begin + size < last:
        begin = -(-(last - size) // grid) * grid if last % grid == 0 else (total - size) // grid * grid
    # On a canvas that ends between two lines, a box that must reach its end is that much longer.
    return begin, max(size, last - begin)


def _merged(sizes: Mapping[int, Size]) -> dict[int, Size]:
    """Fewer sizes, none of them smaller than it was."""
    counts = Counter(sizes.values())
    became = {size: size for size in counts}

    def added(pair: tuple[Size, Size]) -> int:
        both = _both(pair)
        return sum(counts[size] * (both[0] * both[1] - size[0] * size[1]) for size in pair)

    while len(counts) > 1:
        pair = min(itertools.combinations(sorted(counts), 2), key=added)
        if len(counts) <= _MOST_SIZES and added(pair) > _WORTH * sum(h * w * n for (h, w), n in counts.items()):
            break
        both = _both(pair)
        moved = sum(counts.pop(size) for size in pair)
        counts[both] += moved
        became = {size: both if now in pair else now for size, now in became.items()}
    return {key: became[size] for key, size in sizes.items()}


def _both(pair: tuple[Size, Size]) -> Size:
    (height, width), (other_height, other_width) = pair
    return max(height, other_height), max(width, other_width)

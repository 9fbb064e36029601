"""Crop boxes: the rectangles of a latent on which regions are computed, aligned to the model's patches."""

import itertools
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch

# Boxes of equal size share a model call. Two sizes are merged while that adds at most this share of the area of all
# boxes, and always while there are more than _MAX_SIZES.
_MAX_EXTRA_AREA = 0.03
_MAX_SIZES = 4
_MAX_SHARE = 0.9  # a crop of this share of the latent or more saves too little

Size = tuple[int, int]  # (height, width) in latent pixels


@dataclass(frozen=True)
class Box:
    """Rows top to top + height and columns left to left + width (ends excluded) of a picture or latent, in its pixels.

    Crop boxes are in latent pixels, cells of a layout in mask pixels.
    """

    top: int
    left: int
    height: int
    width: int

    @property
    def area(self) -> int:
        return self.height * self.width

    def of(self, tensor: torch.Tensor) -> torch.Tensor:
        """The box's part of `tensor` (..., h, w), any dtype, as a view. An axis of length 1 broadcasts: it stays."""
        for axis, start, length in ((-2, self.top, self.height), (-1, self.left, self.width)):
            if tensor.shape[axis] > 1:
                tensor = tensor.narrow(axis, start, length)
        return tensor


def bounds(weight: torch.Tensor) -> Box:
    """The smallest box that holds every value above 0 of `weight` (..., h, w), float, in its pixels.

    Needs at least one value above 0. Leading axes (pictures, channels, frames) count together.
    """
    positive = weight.reshape(-1, *weight.shape[-2:]).amax(0) > 0
    (top, bottom), (left, right) = (
        (int(indices.min()), int(indices.max()) + 1)
        for indices in (positive.any(1).nonzero()[:, 0], positive.any(0).nonzero()[:, 0])
    )
    return Box(top, left, bottom - top, right - left)


def crops(extents: Mapping[int, Box], canvas: Size, context: int, align: int, few: bool) -> dict[int, Box]:
    """Crop boxes around `extents`, by the same keys, in a latent of size `canvas` = (h, w). All in latent pixels.

    Each box adds about `context` pixels on every side: its edges are multiples of `align` (or the latent's end), so
    the context is rounded. With `few`, similar sizes are merged; at most 4 remain, or some more if the latent is no
    multiple of `align`. A box that would cover 90 % of the latent or more is left out.
    """
    sizes = {
        key: (
            _crop_length(box.top, box.height, canvas[0], context, align),
            _crop_length(box.left, box.width, canvas[1], context, align),
        )
        for key, box in extents.items()
    }
    if few:
        sizes = _merge_sizes(sizes)
    found = {}
    for key, box in extents.items():
        top, height = _crop_interval(box.top, box.height, canvas[0], sizes[key][0], align)
        left, width = _crop_interval(box.left, box.width, canvas[1], sizes[key][1], align)
        found[key] = Box(top, left, height, width)
    return {key: box for key, box in found.items() if box.area < _MAX_SHARE * canvas[0] * canvas[1]}


def cheapest(found: Mapping[int, Box], cost: Callable[[Mapping[int, Box]], int]) -> dict[int, Box]:
    """The subset of the crop boxes `found` with the lowest `cost`; the others are computed on the whole latent.

    Whole latents can share a model call where crops of different sizes cannot, so the largest boxes may be cheaper
    uncropped. Candidates are: all boxes, all but the largest, all but the two largest, and so on.
    """
    by_area = sorted(found, key=lambda key: -found[key].area)
    candidates = [{key: found[key] for key in by_area[dropped:]} for dropped in range(len(found) + 1)]
    return min(candidates, key=cost)


def _aligned(start: int, length: int, total: int, align: int) -> tuple[int, int]:
    """(start, end) of the interval rounded outward to multiples of `align`, the end at most `total`."""
    return start // align * align, min(-(-(start + length) // align) * align, total)


def _crop_length(start: int, length: int, total: int, context: int, align: int) -> int:
    """Length of a crop along one axis: the interval and its context, rounded to `align`, never below the interval."""
    first, last = _aligned(start, length, total, align)
    wanted = min(start + length + context, total) - max(start - context, 0)
    # To the nearest multiple; halves round down.
    rounded = -((align - 2 * wanted) // (2 * align)) * align
    return max(rounded, -(-(last - first) // align) * align)


def _crop_interval(start: int, length: int, total: int, size: int, align: int) -> tuple[int, int]:
    """(start, length) of a crop of `size` pixels along one axis, centred on the interval as far as `total` allows."""
    if size >= total:
        return 0, total
    first, last = _aligned(start, length, total, align)
    twice_centre = 2 * start + length
    centred = (twice_centre - size + align) // (2 * align) * align
    begin = max(min(centred, first, (total - size) // align * align), 0)
    if begin + size < last:
        begin = -(-(last - size) // align) * align if last % align == 0 else (total - size) // align * align
    # If `total` is no multiple of `align`, a crop that must reach the end is longer by the remainder.
    return begin, max(size, last - begin)


def _merge_sizes(sizes: Mapping[int, Size]) -> dict[int, Size]:
    """The sizes with similar ones merged into their common maximum, so that none becomes smaller."""
    counts = Counter(sizes.values())
    merged = {size: size for size in counts}

    def added_area(pair: tuple[Size, Size]) -> int:
        union = _maximum(pair)
        return sum(counts[size] * (union[0] * union[1] - size[0] * size[1]) for size in pair)

    while len(counts) > 1:
        pair = min(itertools.combinations(sorted(counts), 2), key=added_area)
        total_area = sum(height * width * count for (height, width), count in counts.items())
        if len(counts) <= _MAX_SIZES and added_area(pair) > _MAX_EXTRA_AREA * total_area:
            break
        union = _maximum(pair)
        moved = sum(counts.pop(size) for size in pair)
        counts[union] += moved
        merged = {size: union if now in pair else now for size, now in merged.items()}
    return {key: merged[size] for key, size in sizes.items()}


def _maximum(pair: tuple[Size, Size]) -> Size:
    (height, width), (other_height, other_width) = pair
    return max(height, other_height), max(width, other_width)

"""Crop boxes: bounds, alignment, context, number of sizes and area."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.masks.boxes import Box, bounds, crops


def columns(count, height, width):
    """Extents of `count` columns of equal width, side by side."""
    step = width // count
    return {n: Box(0, n * step, height, step) for n in range(count)}


def inside(inner, outer):
    return (
        outer.top <= inner.top
        and outer.left <= inner.left
        and inner.top + inner.height <= outer.top + outer.height
        and inner.left + inner.width <= outer.left + outer.width
    )


@pytest.mark.parametrize("box", [Box(0, 0, 5, 7), Box(2, 3, 1, 1), Box(4, 0, 1, 7), Box(0, 6, 5, 1), Box(1, 2, 3, 4)])
@pytest.mark.parametrize("lead", [(), (1, 1), (3, 1), (2, 1, 3)])
def test_bounds(box, lead):
    weight = torch.zeros(*lead, 5, 7)
    box.of(weight)[..., 0, 0] = 1e-6  # any weight above 0 counts, and two corners define the box
    box.of(weight)[..., -1, -1] = 1.0
    assert bounds(weight) == box


def test_bounds_cover_all_pictures_and_frames():
    weight = torch.zeros(2, 1, 3, 6, 8)
    weight[0, 0, 0, 1, 2] = weight[1, 0, 2, 4, 5] = 0.5
    assert bounds(weight) == Box(1, 2, 4, 4)


def test_of_is_a_view_and_keeps_axes_of_length_one():
    tensor = torch.zeros(2, 3, 6, 8)
    Box(1, 2, 3, 4).of(tensor).fill_(1)
    assert tensor.sum() == 2 * 3 * 12 and tensor[..., 1:4, 2:6].all()
    assert Box(1, 2, 3, 4).of(torch.zeros(1, 1, 1, 8)).shape == (1, 1, 1, 4)


@st.composite
def scenes(draw):
    """Random (extents, canvas, context, align); the canvas need not be a multiple of `align`."""
    canvas = draw(st.integers(1, 70)), draw(st.integers(1, 70))
    extents = {}
    for number in range(draw(st.integers(1, 12))):
        top, left = (draw(st.integers(0, size - 1)) for size in canvas)
        height, width = draw(st.integers(1, canvas[0] - top)), draw(st.integers(1, canvas[1] - left))
        extents[number] = Box(top, left, height, width)
    return extents, canvas, draw(st.sampled_from([0, 1, 3, 8, 16, 100])), draw(st.sampled_from([1, 2, 4, 8]))


@settings(max_examples=400, derandomize=True, deadline=None, database=None)
@given(scenes(), st.booleans())
def test_any_crops(scene, few):
    extents, canvas, context, align = scene
    before = dict(extents)
    found = crops(extents, canvas, context, align, few)
    assert extents == before
    for key, box in found.items():
        assert inside(extents[key], box) and inside(box, Box(0, 0, *canvas))
        assert box.area < 0.9 * canvas[0] * canvas[1]
        for start, length, total in ((box.top, box.height, canvas[0]), (box.left, box.width, canvas[1])):
            assert start % align == 0
            assert (start + length) % align == 0 or start + length == total
    if few:
        # If the canvas is no multiple of `align`, boxes that reach its end are longer by the remainder.
        odd = sum(total % align > 0 for total in canvas)
        assert len({(box.height, box.width) for box in found.values()}) <= 4 * 2**odd


@settings(max_examples=400, derandomize=True, deadline=None, database=None)
@given(scenes())
def test_the_context_is_as_wide_as_asked_up_to_alignment(scene):
    extents, canvas, context, align = scene
    for key, box in crops(extents, canvas, context, align, few=False).items():
        extent = extents[key]
        for axis, size, total in (("top", "height", canvas[0]), ("left", "width", canvas[1])):
            first, start = getattr(extent, axis), getattr(box, axis)
            last, end = first + getattr(extent, size), start + getattr(box, size)
            assert first - start > min(context, first) - align
            assert end - last > min(context, total - last) - align
            # A box that would extend beyond the canvas is moved inside.
            assert first - start <= context + 1.5 * align or end == total
            assert end - last <= context + 1.5 * align or start == 0


@settings(max_examples=200, derandomize=True, deadline=None, database=None)
@given(scenes())
def test_few_sizes_cost_little_more(scene):
    """Of at most four sizes up to three are merged, each time for at most 3 % more area."""
    extents, canvas, context, align = scene
    canvas = tuple(size * align for size in canvas)
    extents = {key: Box(*(value * align for value in vars(box).values())) for key, box in extents.items()}
    alone = crops(extents, canvas, context, align, few=False)
    if len(alone) == len(extents) and len({(box.height, box.width) for box in alone.values()}) <= 4:
        together = crops(extents, canvas, context, align, few=True)
        area = sum(box.area for box in alone.values())
        whole = canvas[0] * canvas[1]
        got = sum(together[key].area if key in together else whole for key in extents)
        assert area <= got <= area * 1.03**3 / 0.9


def test_sizes_are_merged_where_that_costs_little():
    """Outer columns need context on one side only; they become as wide as the inner ones if that adds at most 3 %."""
    for width, sizes in ((4, {(64, 16), (64, 12)}), (1, {(64, 10)})):
        extents = columns(8, 64, 64)
        assert {(box.height, box.width) for box in crops(extents, (64, 64), width, width, few=True).values()} == sizes
    apart = crops(columns(8, 64, 64), (64, 64), 1, 1, few=False)
    assert {(box.height, box.width) for box in apart.values()} == {(64, 10), (64, 9)}


def test_there_are_four_sizes_at_most():
    extents = {n: Box(0, 0, 4 * n, 4 * n) for n in range(1, 10)}
    assert len({(box.height, box.width) for box in crops(extents, (64, 64), 0, 4, few=False).values()}) == 9
    assert len({(box.height, box.width) for box in crops(extents, (64, 64), 0, 4, few=True).values()}) == 4


@pytest.mark.parametrize(
    "box, cropped",
    [(Box(0, 0, 32, 32), False), (Box(1, 1, 31, 30), False), (Box(0, 0, 32, 29), False), (Box(0, 0, 32, 28), True)],
)
def test_boxes_of_nearly_the_whole_canvas_are_left_out(box, cropped):
    assert (0 in crops({0: box}, (32, 32), 0, 1, few=True)) is cropped


def test_a_context_as_wide_as_the_canvas_leaves_no_box():
    assert crops(columns(4, 32, 32), (32, 32), 32, 1, few=True) == {}


@pytest.mark.parametrize("few", [True, False])
@pytest.mark.parametrize("count, target", [(4, 3.2), (16, 6.3)])
def test_computed_area_of_columns_of_a_large_picture(count, target, few):
    """Positive and negative at 1024 x 1024 pixels with 64 pixels of context; `target` in whole canvases per step."""
    found = crops(columns(count, 128, 128), (128, 128), 8, 4, few)
    assert len(found) == count
    assert sum(2 * box.area for box in found.values()) / 128**2 <= target

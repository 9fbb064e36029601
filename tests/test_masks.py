"""Mask maths, compared with naive loops over Python numbers."""

import math
import re

import numpy as np
import pytest
import torch
from pack.masks.convert import as_mask, check_batch
from pack.masks.shape import cells, check_count, grow, is_stretched, on_latent, outside_all, resize
from pack.masks.weights import mix, reach, stack

# References


def naive_values(value):
    """The values of the mask that `as_mask` should make of `value`, flattened."""
    if value.dtype == torch.uint8:
        return [v / 255 for v in value.flatten().tolist()]
    return [min(max(float(v), 0.0), 1.0) for v in value.flatten().tolist()]


def naive_source(i, size, out):
    """Position of the centre of pixel `i` of `out` pixels on an axis of `size` pixels; the first one's centre is 0."""
    return (i + 0.5) * size / out - 0.5


def naive_bilinear(mask, height, width):
    def two(i, size, out):
        at = max(naive_source(i, size, out), 0.0)
        low = min(int(at), size - 1)
        return low, min(low + 1, size - 1), at - low

    out = np.zeros((mask.shape[0], height, width))
    for y in range(height):
        y0, y1, v = two(y, mask.shape[1], height)
        for x in range(width):
            x0, x1, u = two(x, mask.shape[2], width)
            upper = (1 - u) * mask[:, y0, x0] + u * mask[:, y0, x1]
            lower = (1 - u) * mask[:, y1, x0] + u * mask[:, y1, x1]
            out[:, y, x] = (1 - v) * upper + v * lower
    return out


def naive_area(mask, height, width):
    def covered(i, size, out):
        return slice(math.floor(i * size / out), math.ceil((i + 1) * size / out))

    out = np.zeros((mask.shape[0], height, width))
    for y in range(height):
        for x in range(width):
            box = mask[:, covered(y, mask.shape[1], height), covered(x, mask.shape[2], width)]
            out[:, y, x] = box.mean(axis=(1, 2))
    return out


def naive_nearest(mask, height, width):
    out = np.zeros((mask.shape[0], height, width))
    for y in range(height):
        for x in range(width):
            from_y, from_x = (y + 0.5) * mask.shape[1] / height, (x + 0.5) * mask.shape[2] / width
            out[:, y, x] = mask[:, math.floor(from_y), math.floor(from_x)]
    return out


def naive_grow(mask, factor):
    """Round, pad by ceil((factor - 1) / 2), convolve with a box of ones, crop to size, clamp, round."""
    solid = np.round(mask)
    if factor == 0:
        return solid
    pad = math.ceil((factor - 1) / 2)
    out = np.zeros_like(solid)
    height, width = mask.shape[1:]
    for y in range(height):
        for x in range(width):
            rows = slice(max(y - pad, 0), max(y - pad + factor, 0))
            columns = slice(max(x - pad, 0), max(x - pad + factor, 0))
            out[:, y, x] = solid[:, rows, columns].sum(axis=(1, 2))
    return np.round(np.clip(out, 0, 1))


def random_mask(*shape, seed=0):
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


# as_mask

SHAPES = {
    (5, 7): (1, 5, 7),
    (1, 5, 7): (1, 5, 7),
    (3, 5, 7): (3, 5, 7),
    (3, 1, 5, 7): (3, 5, 7),
    (3, 1, 5, 4): (3, 5, 4),
    (1, 1): (1, 1, 1),
    (1, 1, 4, 5, 7): (4, 5, 7),
    (3, 1, 1, 5, 7): (3, 5, 7),
}
DTYPES = [torch.bool, torch.uint8, torch.int64, torch.float16, torch.bfloat16, torch.float32, torch.float64]


def any_mask(shape, dtype):
    """Random values over the dtype's whole range for masks; for floats and int64 also values outside of 0..1."""
    numbers = random_mask(*shape)
    if dtype == torch.bool:
        return numbers > 0.5
    if dtype == torch.uint8:
        return (numbers * 255).to(dtype)
    return (numbers * 4 - 1.5).to(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_as_mask_gives_one_shape_dtype_and_range(shape, dtype):
    value = any_mask(shape, dtype)
    before = value.clone()
    mask = as_mask(value, "region 1")
    assert mask.shape == SHAPES[shape] and mask.dtype == torch.float32 and mask.device.type == "cpu"
    assert mask.flatten().tolist() == pytest.approx(naive_values(value), abs=1e-6)
    mask.fill_(0.25)  # changing the result must not change the input
    assert torch.equal(value, before)


def test_as_mask_clamps_infinities():
    assert as_mask(torch.tensor([[math.inf, -math.inf]]), "region 1").tolist() == [[[1.0, 0.0]]]


def test_as_mask_reads_a_strided_view():
    picture = random_mask(2, 6, 4, 3)
    assert torch.equal(as_mask(picture[..., 1], "region 1"), picture[..., 1].contiguous())


def test_as_mask_drops_the_gradient():
    with torch.inference_mode(False), torch.enable_grad():  # the server and these tests run without gradients
        assert not as_mask(random_mask(2, 2).requires_grad_(), "region 1").requires_grad


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_as_mask_comes_to_the_cpu():
    value = random_mask(4, 6)
    assert torch.equal(as_mask(value.to(device="cuda"), "region 1"), value[None])


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
def test_as_mask_refuses_nan(dtype):
    value = torch.zeros(2, 4, 4, dtype=dtype)
    value[1, 3, 3] = math.nan
    with pytest.raises(ValueError, match=r"region 7: .*NaN"):
        as_mask(value, "region 7")


@pytest.mark.parametrize(
    ("low", "high"), [(-0.5, 1.0), (0.0, 255.0), (-1e9, math.inf), (-0.002, 1.0), (0.0, 1.002)], ids=str
)
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32], ids=str)
def test_as_mask_warns_once_of_what_it_clamps_and_names_the_region(low, high, dtype, caplog):
    as_mask(torch.tensor([[[low, 0.5], [high, high]]] * 3).to(dtype), "region 7")
    (record,) = caplog.records
    said = record.getMessage()
    assert record.levelname == "WARNING" and said.startswith("region 7: ") and "clamped" in said
    numbers = [float(word.strip(",;")) for word in re.findall(r"from (\S+) to (\S+),", said)[0]]
    assert numbers == pytest.approx(torch.tensor([low, high]).to(dtype).tolist(), rel=1e-3)


@pytest.mark.parametrize(
    "value",
    [
        torch.tensor([[0.0, 1.0]]),
        torch.tensor([[-0.0005, 1.0005]]),  # the rounding errors of resizing in half precision
        torch.tensor([[0, 255]], dtype=torch.uint8),
        torch.tensor([[False, True]]),
        torch.tensor([[0, 1]]),
    ],
    ids=["floats", "rounding", "uint8", "bool", "int64"],
)
def test_as_mask_does_not_warn_of_a_mask(value, caplog):
    assert as_mask(value, "region 7").flatten().tolist() == [0.0, 1.0] and not caplog.records


NO_MASKS = [(), (7,), (2, 3, 5, 7), (1, 5, 7, 3), (1, 2, 1, 5, 7), (0, 0, 7), (3, 0, 7), (1,) * 6]


@pytest.mark.parametrize("dtype", [torch.float32, torch.uint8, torch.bool])
@pytest.mark.parametrize("shape", [(0, 5, 7), (0, 1, 5, 7)], ids=str)
def test_as_mask_takes_no_mask_as_an_empty_one(shape, dtype):
    mask = as_mask(torch.zeros(shape, dtype=dtype), "region 7")
    assert mask.dtype == torch.float32 and torch.equal(mask, torch.zeros(1, 5, 7))


@pytest.mark.parametrize("shape", NO_MASKS, ids=str)
def test_as_mask_refuses_other_shapes_and_names_them(shape):
    with pytest.raises(ValueError, match="region 7: ") as error:
        as_mask(torch.zeros(shape), "region 7")
    assert str(shape) in str(error.value)


@pytest.mark.parametrize("shape", [(1, 64, 48, 3), (2, 64, 48, 4), (1, 64, 48, 1)], ids=str)
def test_as_mask_says_what_to_do_with_an_image(shape):
    with pytest.raises(ValueError, match=r"region 7: a MASK .* an IMAGE .* put ImageToMask") as error:
        as_mask(torch.zeros(shape), "region 7")
    assert str(shape) in str(error.value)


def test_as_mask_says_that_masks_have_pictures_or_frames_and_not_both():
    with pytest.raises(ValueError, match=r"region 7: 2 masks of 3 frames each came; give one mask for each picture"):
        as_mask(torch.zeros(2, 1, 3, 8, 8), "region 7")


@pytest.mark.parametrize("value", [None, "mask", [[0.0, 1.0]], np.zeros((4, 4)), {"samples": torch.zeros(1)}], ids=type)
def test_as_mask_refuses_other_types_and_names_them(value):
    with pytest.raises(TypeError, match=f"region 7: .*{type(value).__name__}"):
        as_mask(value, "region 7")


# check_batch


@pytest.mark.parametrize(("masks", "batch"), [(1, 1), (1, 4), (4, 4)])
def test_check_batch_accepts_one_or_all(masks, batch):
    check_batch(torch.zeros(masks, 2, 2), batch, "region 3")


@pytest.mark.parametrize(("masks", "batch"), [(2, 1), (2, 4), (4, 2), (3, 4)])
def test_check_batch_refuses_others_with_both_numbers(masks, batch):
    with pytest.raises(ValueError, match=rf"region 3: .*\b{batch}\b.*\b{masks}\b"):
        check_batch(torch.zeros(masks, 2, 2), batch, "region 3")


def test_check_batch_says_how_to_make_one_of_several():
    """Detectors give one mask for each thing that they find in a picture."""
    with pytest.raises(ValueError, match=r"^region 3: 1 mask expected, 6 came; ") as error:
        check_batch(torch.zeros(6, 2, 2), 1, "region 3")
    for way in ("MaskComposite (operation or)", "RegionalMaskFromBatch", "RegionalPromptsFromMasks"):
        assert way in str(error.value)


# resize

SIZES = [((8, 8), (4, 4)), ((5, 9), (10, 6)), ((7, 4), (3, 11)), ((1, 1), (3, 2)), ((12, 5), (5, 12)), ((6, 6), (1, 1))]


@pytest.mark.parametrize(
    ("mode", "naive"),
    [("bilinear", naive_bilinear), ("area", naive_area), ("nearest-exact", naive_nearest)],
    ids=["bilinear", "area", "nearest-exact"],
)
@pytest.mark.parametrize(("before", "after"), SIZES, ids=str)
def test_resize(before, after, mode, naive):
    mask = random_mask(2, *before)
    given = mask.clone()
    out = resize(mask, after, mode)
    assert out.shape == (2, *after)
    np.testing.assert_allclose(out.numpy(), naive(given.numpy(), *after), atol=1e-6)
    assert torch.equal(mask, given)


def test_resize_is_bilinear_unless_told():
    mask = random_mask(1, 5, 9)
    np.testing.assert_allclose(resize(mask, (10, 6)).numpy(), naive_bilinear(mask.numpy(), 10, 6), atol=1e-6)


@pytest.mark.parametrize("value", [0.0, 1.0])
def test_resize_keeps_empty_and_full(value):
    out = resize(torch.full((1, 7, 3), value), (16, 5))
    np.testing.assert_allclose(out.numpy(), np.full((1, 16, 5), value), atol=1e-6)


def test_resize_to_its_own_size_is_the_mask():
    mask = random_mask(2, 5, 9)
    assert resize(mask, (5, 9)) is mask


# grow


def rectangle(height, width, top, left, bottom, right):
    """A mask (1, height, width), 1 from row `top` and column `left` to `bottom` and `right` (excluded)."""
    mask = torch.zeros(1, height, width)
    mask[:, top:bottom, left:right] = 1.0
    return mask


def hole():
    return 1.0 - rectangle(11, 13, 3, 4, 8, 9)


MASKS = {
    "empty": torch.zeros(1, 6, 9),
    "full": torch.ones(1, 6, 9),
    "half": rectangle(7, 10, 0, 0, 7, 5),
    "hole": hole(),
    "two that overlap": torch.maximum(rectangle(12, 9, 1, 1, 6, 5), rectangle(12, 9, 4, 3, 10, 8)),
    "corner": rectangle(9, 5, 0, 0, 1, 1),
    "far corner": rectangle(5, 9, 4, 8, 5, 9),
    "one pixel": rectangle(13, 9, 6, 4, 7, 5),
    "one pixel of one": torch.ones(1, 1, 1),
    "sparse soft": random_mask(1, 10, 14) ** 5,
    "halves": torch.tensor([[[0.5, 0.0, 0.49999, 0.50001, 0.0, 1.0]]]),
    "batch": torch.cat([rectangle(8, 11, 2, 3, 4, 6), torch.zeros(1, 8, 11), random_mask(1, 8, 11, seed=1) ** 6]),
}


@pytest.mark.parametrize("factor", [0, 1, 2, 3, 4, 5, 8, 9, 10000])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_grow_is_a_box_convolution(mask, factor):
    given = mask.clone()
    out = grow(mask, factor)
    np.testing.assert_array_equal(out.numpy(), naive_grow(given.numpy(), factor))
    assert torch.equal(mask, given)


@pytest.mark.parametrize("factor", [2, 3, 6, 7])
def test_grow_reaches_as_far_in_x_as_in_y(factor):
    grown = grow(rectangle(31, 47, 15, 23, 16, 24), factor)[0]
    rows, columns = (side.nonzero().flatten() for side in (grown.any(1), grown.any(0)))
    # up, down, left, right; an even box reaches one pixel further down and right
    reach = [15 - rows.min(), rows.max() - 15, 23 - columns.min(), columns.max() - 23]
    near, far = (factor - 1) // 2, factor // 2
    assert [int(pixels) for pixels in reach] == [near, far, near, far]
    assert grown.sum() == factor**2


def test_grow_of_the_transposed_is_the_transposed():
    mask = MASKS["sparse soft"]
    assert torch.equal(grow(mask.transpose(1, 2), 4), grow(mask, 4).transpose(1, 2))


def test_grow_by_a_huge_factor_reaches_all_of_the_picture():
    mask = torch.cat([rectangle(9, 300, 8, 299, 9, 300), rectangle(9, 300, 0, 0, 1, 1), torch.zeros(1, 9, 300)])
    assert grow(mask, 10000).amin((1, 2)).tolist() == grow(mask, 10000).amax((1, 2)).tolist() == [1.0, 1.0, 0.0]


# outside_all


def naive_outside(masks):
    height, width = (max(mask.shape[axis] for mask in masks) for axis in (1, 2))
    batch = max(mask.shape[0] for mask in masks)
    large = [naive_nearest(mask.numpy(), height, width) for mask in masks]
    out = np.zeros((batch, height, width))
    for b in range(batch):
        for y in range(height):
            for x in range(width):
                out[b, y, x] = all(mask[b % len(mask), y, x] == 0 for mask in large)
    return out


OUTSIDE = {
    "one": [MASKS["half"]],
    "empty": [torch.zeros(1, 4, 6)],
    "full": [torch.ones(1, 4, 6)],
    "hole": [hole()],
    "overlap": [rectangle(8, 8, 0, 0, 5, 5), rectangle(8, 8, 3, 3, 8, 8)],
    "sizes": [rectangle(4, 9, 0, 0, 2, 3), rectangle(10, 5, 5, 2, 9, 4)],
    "sizes, odd": [rectangle(7, 13, 0, 0, 3, 5), rectangle(3, 4, 1, 2, 3, 4), rectangle(16, 16, 12, 0, 16, 3)],
    "batch": [MASKS["batch"].round(), rectangle(8, 11, 6, 0, 8, 2)],
    "batch, sizes": [rectangle(5, 6, 0, 0, 2, 2), MASKS["batch"].round()],
}


@pytest.mark.parametrize("masks", OUTSIDE.values(), ids=OUTSIDE)
def test_outside_all_is_where_every_mask_is_zero(masks):
    given = [mask.clone() for mask in masks]
    out = outside_all(masks)
    np.testing.assert_array_equal(out.numpy(), naive_outside(given))
    assert all(torch.equal(mask, copy) for mask, copy in zip(masks, given, strict=True))


def test_outside_all_takes_the_faintest_for_a_region():
    faint = torch.zeros(1, 4, 4)
    faint[0, 1, 2] = 1e-6
    assert outside_all([faint]).flatten().tolist() == [0.0 if i == 6 else 1.0 for i in range(16)]


# cells


@pytest.mark.parametrize(("grid", "size"), [((1, 1), (5, 7)), ((2, 3), (8, 9)), ((3, 1), (6, 4)), ((1, 4), (3, 16))])
def test_cells_cover_the_canvas_once_row_by_row(grid, size):
    (rows, columns), (height, width) = grid, size
    owner = np.full((height, width), -1)
    places = cells(rows, columns, height, width)
    for number, place in enumerate(places):
        assert (owner[place] == -1).all()
        owner[place] = number
    want = [[y * rows // height * columns + x * columns // width for x in range(width)] for y in range(height)]
    assert owner.tolist() == want and len(places) == rows * columns


# Weights


def naive_mix(claims):
    total = sum(claims)
    return [max(1 - total, 0), *(claim / max(total, 1) for claim in claims)]


def naive_stack(claims):
    """Add layers from the bottom up; each hides its share of the layers below."""
    shares = [1.0]
    for claim in claims:
        shares = [share * (1 - claim) for share in shares] + [claim]
    return shares


@pytest.mark.parametrize("blend, naive", [(mix, naive_mix), (stack, naive_stack)])
@pytest.mark.parametrize("count", [1, 2, 5])
def test_weights_of_each_pixel(blend, naive, count):
    claims = [random_mask(2, 3, 4, seed=number) for number in range(count)]
    claims[0][0, 0] = 0.0
    claims[-1][0, 1] = 1.0
    before = [claim.clone() for claim in claims]
    weights = blend(claims)
    assert len(weights) == count + 1
    assert torch.allclose(sum(weights), torch.ones(2, 3, 4))
    for place in np.ndindex(2, 3, 4):
        want = naive([float(claim[place]) for claim in claims])
        assert [float(weight[place]) for weight in weights] == pytest.approx(want, abs=1e-6)
    assert all(torch.equal(claim, was) for claim, was in zip(claims, before, strict=True))


def naive_reach(mask, size, ring):
    """A pixel of value m claims m * (1 - (d - 1/2) / ring) at a distance of d pixels: along y, then along x."""
    claim = naive_area(mask, *size)
    for axis, width in ((1, ring[0]), (2, ring[1])):
        out = claim.copy()
        for place in np.ndindex(claim.shape):
            for other in range(claim.shape[axis]):
                source = tuple(other if n == axis else i for n, i in enumerate(place))
                distance = abs(other - place[axis])
                if 0 < distance < width + 0.5:
                    out[place] = max(out[place], claim[source] * (1 - (distance - 0.5) / width))
        claim = out
    return claim


@pytest.mark.parametrize("ring", [(0, 0), (0.4, 0.4), (1.25, 1.25), (2, 5), (0, 3), (40, 40)])
@pytest.mark.parametrize("size", [(6, 7), (12, 14), (3, 5)])
def test_reach_falls_linearly_around_a_mask(size, ring):
    mask = random_mask(2, 12, 14) * (random_mask(2, 12, 14, seed=1) > 0.9)
    before = mask.clone()
    got = reach(mask, size, ring)
    np.testing.assert_allclose(got.numpy(), naive_reach(mask.numpy(), size, ring), atol=1e-5)
    assert torch.equal(mask, before)


def test_the_order_matters_to_a_stack_only():
    claims = [random_mask(1, 4, 5, seed=number) for number in range(3)]
    for blend, same in ((mix, True), (stack, False)):
        there, back = blend(claims), blend(claims[::-1])
        assert torch.allclose(there[0], back[0], atol=1e-6)  # the base gets what no region claims
        assert torch.allclose(there[1], back[3], atol=1e-6) is same


def test_the_top_of_a_stack_hides_what_is_under_it():
    base, under, top = stack([torch.tensor([1.0, 1.0, 0.5]), torch.tensor([1.0, 0.25, 0.5])])
    assert base.tolist() == [0, 0, 0.25] and under.tolist() == [0, 0.75, 0.25] and top.tolist() == [1, 0.25, 0.5]


# is_stretched


@pytest.mark.parametrize(
    ("mask", "latent", "stretched"),
    [
        ((64, 64), (32, 32), False),
        ((1000, 1000), (125, 125), False),
        ((1024, 1024), (127, 128), False),  # one latent pixel
        ((1024, 1024), (126, 128), True),
        ((1024, 1024), (96, 168), True),
        ((768, 1344), (168, 96), True),
        ((30, 40), (96, 128), False),
    ],
)
def test_is_stretched(mask, latent, stretched):
    assert is_stretched(random_mask(2, *mask), latent) is stretched
    assert not is_stretched(torch.ones(1, *mask), latent)


# on_latent and check_count


@pytest.mark.parametrize("shape", [(2, 4, 5, 6), (2, 4, 3, 5, 6)])
@pytest.mark.parametrize("count", [1, 2])
def test_on_latent_has_one_mask_for_each_picture_or_video(shape, count):
    mask = random_mask(count, 5, 6)
    out = on_latent(mask, shape)
    assert out.ndim == len(shape)
    for latent in np.ndindex(*shape[:-2]):
        assert torch.equal(out.expand(shape)[latent], mask[latent[0] if count > 1 else 0])


def naive_frame(mask, frame, frames):
    """Interpolate linearly between the two masks whose centres are next to the frame's centre."""
    at = max(naive_source(frame, len(mask), frames), 0.0)
    low = min(int(at), len(mask) - 1)
    high = min(low + 1, len(mask) - 1)
    return (1 - (at - low)) * mask[low] + (at - low) * mask[high]


@pytest.mark.parametrize("frames, count", [(3, 3), (3, 2), (3, 12), (2, 5), (1, 4), (5, 2)])
def test_on_latent_spreads_frames_over_a_video(frames, count):
    mask = random_mask(count, 5, 6)
    before = mask.clone()
    out = on_latent(mask, (1, 4, frames, 5, 6))
    assert out.shape == (1, 1, frames, 5, 6)
    for frame in range(frames):
        assert torch.allclose(out[0, 0, frame], naive_frame(mask, frame, frames), atol=1e-6)
    assert torch.equal(mask, before)


def test_as_many_masks_as_videos_are_no_frames():
    mask = random_mask(3, 5, 6)
    assert on_latent(mask, (3, 4, 3, 5, 6)).shape == (3, 1, 1, 5, 6)
    assert on_latent(mask, (1, 4, 3, 5, 6)).shape == (1, 1, 3, 5, 6)


@pytest.mark.parametrize(
    "count, shape",
    [
        (1, (2, 4, 5, 6)),
        (2, (2, 4, 5, 6)),
        (1, (2, 4, 3, 5, 6)),
        (2, (2, 4, 3, 5, 6)),
        (1, (1, 4, 3, 5, 6)),
        (3, (1, 4, 3, 5, 6)),
        (7, (1, 4, 3, 5, 6)),
        (7, (1, 4, 1, 5, 6)),
    ],
)
def test_check_count_accepts_what_on_latent_can_spread(count, shape):
    check_count(random_mask(count, 5, 6), shape, "region 1")
    on_latent(random_mask(count, 5, 6), shape).expand(shape)


@pytest.mark.parametrize(
    "count, shape", [(2, (1, 4, 5, 6)), (3, (2, 4, 5, 6)), (3, (2, 4, 3, 5, 6)), (6, (2, 4, 3, 5, 6))]
)
def test_check_count_refuses_others_with_both_numbers(count, shape):
    with pytest.raises(ValueError, match=rf"^region 2: 1 mask.* expected, {count} came"):
        check_count(random_mask(count, 5, 6), shape, "region 2")

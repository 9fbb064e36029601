"""Colours read from text, and masks of pictures painted here, for which the right colour of each pixel is known."""

import io

import numpy as np
import pytest
import torch
from pack.masks.formats import colors
from PIL import Image, ImageDraw

WHITE, RED, YELLOW, ORANGE = (255, 255, 255), (255, 0, 0), (255, 255, 0), (255, 165, 0)
BLUE, BLACK, GRAY = (0, 0, 255), (0, 0, 0), (128, 128, 128)


# parse


@pytest.mark.parametrize(
    ("text", "want"),
    [
        ("red", [RED]),
        ("#ff0000", [RED]),
        ("#F00", [RED]),
        ("255,0,0", [RED]),
        ("255 0 0", [RED]),
        ("rgb(255, 0, 0)", [RED]),
        (" Red , YELLOW\n#00f; ", [RED, YELLOW, BLUE]),
        ("255,0,0, 0,0,255", [RED, BLUE]),
        ("255,0,0; 0,0,255 white", [RED, BLUE, WHITE]),
        ("rgb(255,0,0), rgb(0,0,255) #ffa500", [RED, BLUE, ORANGE]),
        ("#123456", [(0x12, 0x34, 0x56)]),
        ("#abc", [(0xAA, 0xBB, 0xCC)]),
    ],
)
def test_parse(text, want):
    assert colors.parse(text, "node") == want


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("red, reddish", "'reddish'"),
        ("#ff00", "'#ff00'"),
        ("#ggg", "'#ggg'"),
        ("255,0", "'255,0'"),
        ("255,0,0,9", "'255,0,0,9'"),
        ("255,0;0", "'255,0'"),
        ("255,red,0", "'255,red,0'"),
        ("256,0,0", "'256'"),
        ("0,256,0", "'0,256,0'"),
        ("-1,0,0", "'-1'"),
        ("", "empty"),
        (" ;, ", "empty"),
        ("red #F00", "#ff0000 is named twice"),
    ],
)
def test_parse_names_what_is_no_colour(text, named):
    with pytest.raises(ValueError, match=r"^node: ") as error:
        colors.parse(text, "node")
    assert named in str(error.value)


def test_code_is_what_parse_reads():
    for color in (RED, (1, 2, 3), (250, 16, 0)):
        assert colors.parse(colors.code(color), "node") == [color]


# Pictures


def tensor(picture):
    return torch.from_numpy(np.array(picture.convert("RGB"))).float() / 255


def draw(size=256, smooth=8):
    """Overlapping red and yellow discs with a white hole, and an orange box, on white; `smooth` times too large."""
    big = Image.new("RGB", (size * smooth, size * smooth), WHITE)
    pen, unit = ImageDraw.Draw(big), size * smooth / 256
    pen.ellipse([v * unit for v in (25, 25, 150, 125)], RED)
    pen.ellipse([v * unit for v in (100, 75, 237, 225)], YELLOW)
    pen.ellipse([v * unit for v in (143.5, 118.5, 181.5, 162.5)], WHITE)
    pen.rectangle([v * unit for v in (6, 188, 87, 243)], ORANGE)
    return big


ALL = [WHITE, YELLOW, RED, ORANGE]  # largest area first


def truth():
    """The right masks (4, 256, 256) of ALL, from the picture drawn without smoothing."""
    sharp = torch.from_numpy(np.array(draw(smooth=1)))
    return torch.stack([(sharp == torch.tensor(color)).all(-1) for color in ALL]).float()


def smoothed():
    return draw().resize((256, 256), Image.Resampling.LANCZOS)


def compressed(quality):
    file = io.BytesIO()
    smoothed().save(file, "JPEG", quality=quality)
    return Image.open(file)


def enlarged():
    small = draw().resize((64, 64), Image.Resampling.LANCZOS)
    return small.resize((256, 256), Image.Resampling.BICUBIC)


PICTURES = {
    "sharp": (lambda: draw(smooth=1), 0, 0.0),
    "smoothed": (smoothed, 24, 0.01),
    "compressed": (lambda: compressed(75), 24, 0.01),
    "enlarged": (enlarged, 24, 0.025),
}
pictures = pytest.mark.parametrize(("picture", "tolerance", "off"), PICTURES.values(), ids=PICTURES)


def wrong(masks, want):
    """Fraction of the pixels whose colour is wrong."""
    return float((masks != want).any(0).float().mean())


@pictures
def test_auto_finds_the_painted_colours_and_no_other(picture, tolerance, off):
    given = tensor(picture())
    before = given.clone()
    found = colors.distinct(given, tolerance, "node")
    assert len(found) == len(ALL)
    assert np.abs(np.array(found) - np.array(ALL)).max() <= 3  # JPEG changes a colour slightly
    masks = colors.masks(given, found, tolerance, "node", fill=True)
    assert masks.dtype == torch.float32 and masks.shape == (4, 256, 256)
    assert bool((masks.sum(0) == 1).all())
    assert wrong(masks, truth()) <= off
    assert torch.equal(given, before)


@pictures
def test_named_colours_leave_all_others_to_the_base(picture, tolerance, off):
    masks = colors.masks(tensor(picture()), [ORANGE, RED], tolerance, "node", fill=False)
    assert wrong(masks, truth()[[3, 2]]) <= off


def test_the_edge_between_two_colours_is_not_a_third():
    """Blending red and yellow gives orange, which is a colour of the list."""
    masks = colors.masks(tensor(smoothed()), ALL, 24, "node", fill=True)
    stray = masks[3].clone()
    stray[186:246, 4:90] = 0  # the orange box
    assert float(stray.sum()) == 0.0


def test_a_gradient_beside_named_colours_is_left_to_the_base():
    picture = torch.linspace(0, 1, 256)[None, :, None].repeat(256, 1, 3)
    picture[64:128, 64:128] = torch.tensor([1.0, 0.0, 0.0])
    (mask,) = colors.masks(picture, [RED], 24, "node", fill=False)
    want = torch.zeros(256, 256)
    want[64:128, 64:128] = 1
    assert torch.equal(mask, want)


def test_a_wide_edge_is_divided_in_the_middle():
    row = torch.cat([torch.ones(50), torch.linspace(1, 0, 26)[1:-1], torch.zeros(50)])  # 24 pixels, 10 levels apart
    picture = torch.stack([torch.ones_like(row), row, row], -1).repeat(32, 1, 1)  # white to red
    (mask,) = colors.masks(picture, [RED], 8, "node", fill=False)
    assert abs(float(mask.sum()) / 32 - 62) <= 2


def test_a_speck_in_a_region_is_filled_or_left_to_the_base():
    picture = torch.ones(100, 100, 3)
    picture[:, :60] = torch.tensor([1.0, 0.0, 0.0])
    picture[10:16, 10:16] = torch.tensor([0.0, 0.0, 1.0])
    red, white = colors.masks(picture, [RED, WHITE], 24, "node", fill=True)
    assert float(red.sum()) == 6000 and float(white.sum()) == 4000
    (red,) = colors.masks(picture, [RED], 24, "node", fill=False)
    assert float(red.sum()) == 6000 - 36 and float(red[10:16, 10:16].sum()) == 0


def test_fill_assigns_every_pixel_however_far_from_a_colour():
    picture = torch.ones(256, 256, 3)
    picture[:, :200] = torch.rand(256, 200, 3, generator=torch.Generator().manual_seed(0))
    masks = colors.masks(picture, [WHITE, BLACK], 8, "node", fill=True)
    assert bool((masks.sum(0) == 1).all()) and float(masks[1].sum()) > 0


def test_a_speck_is_no_colour_of_its_own_but_may_be_named():
    picture = torch.ones(100, 100, 3)
    picture[10:16, 10:16] = torch.tensor([0.0, 0.0, 1.0])  # 0.36 %
    assert colors.distinct(picture, 24, "node") == [WHITE]
    assert float(colors.masks(picture, [WHITE], 24, "node", fill=True).sum()) == 10000
    blue, white = colors.masks(picture, [BLUE, WHITE], 24, "node", fill=False)
    assert float(blue.sum()) == 36 and float(white.sum()) == 10000 - 36


@pytest.mark.parametrize(("tolerance", "count"), [(0, 2), (9, 2), (10, 1), (255, 1)])
def test_tolerance_is_the_largest_difference_within_one_colour(tolerance, count):
    picture = torch.full((8, 8, 3), 100 / 255)
    picture[:3] = torch.tensor([110, 95, 100]) / 255
    found = colors.distinct(picture, tolerance, "node")
    assert found == [(100, 100, 100), (110, 95, 100)][:count]
    masks = colors.masks(picture, [(100, 100, 100)], tolerance, "node", fill=False)
    assert float(masks.sum()) == (64 if count == 1 else 40)


def test_named_colours_nearer_than_the_tolerance_are_told_apart():
    picture = torch.full((8, 8, 3), 100 / 255)
    picture[:3] = 110 / 255
    masks = colors.masks(picture, [(110,) * 3, (100,) * 3], 24, "node", fill=False)
    assert masks.sum((1, 2)).tolist() == [24, 40]


def test_a_colour_that_is_not_there_has_an_empty_mask():
    masks = colors.masks(tensor(smoothed()), [BLUE, RED], 24, "node", fill=False)
    assert float(masks[0].sum()) == 0.0 < float(masks[1].sum())


def test_a_picture_without_flat_pixels_counts_as_flat():
    picture = torch.tensor([[RED, WHITE], [BLACK, BLUE]]) / 255
    found = colors.distinct(picture, 24, "node")
    assert sorted(found) == sorted([RED, WHITE, BLACK, BLUE])
    assert torch.equal(colors.masks(picture, [BLUE], 24, "node", fill=False), torch.tensor([[[0.0, 0], [0, 1]]]))
    assert colors.distinct(torch.zeros(1, 1, 3), 24, "node") == [BLACK]


def test_alpha_does_not_count_and_values_are_clamped():
    picture = torch.zeros(8, 8, 4)
    picture[:4, :, 0], picture[:, :4, 3] = 1.2, 1.0
    assert sorted(colors.distinct(picture.half(), 0, "node")) == [BLACK, RED]


def test_a_picture_of_many_colours_is_refused():
    picture = torch.arange(100).reshape(10, 10) * 2.5 / 255
    blocks = picture.repeat_interleave(8, 0).repeat_interleave(8, 1)[..., None].repeat(1, 1, 3)
    with pytest.raises(ValueError, match=r"^node: the picture has more than 64 colours"):
        colors.distinct(blocks, 0, "node")
    assert 1 < len(colors.distinct(blocks, 24, "node")) < 12

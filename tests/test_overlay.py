"""The overlay: colours, blending, background and the numbers of masks."""

import itertools

import numpy as np
import pytest
import torch
from pack.masks.formats.overlay import _GROUND, _digit, overlay, palette

RED, BLUE = (1.0, 0.0, 0.0), (0.0, 0.0, 1.0)


def halves(height=64, width=96):
    masks = torch.zeros(2, height, width)
    masks[0, :, : width // 2], masks[1, :, width // 2 :] = 1, 1
    return masks


def test_palette_colours_are_apart():
    colors = palette(40)
    assert len(colors) == 40 and palette(5) == colors[:5]
    assert all(0 <= level <= 1 for color in colors for level in color)
    assert min(np.abs(np.subtract(a, b)).max() for a, b in itertools.combinations(palette(32), 2)) > 0.14


def test_each_mask_has_its_colour_and_gaps_are_grey():
    masks = halves()
    masks[:, 40:] = 0
    given = masks.clone()
    picture = overlay(masks, colors=[RED, BLUE])
    assert picture.shape == (1, 64, 96, 3) and picture.dtype == torch.float32
    assert picture[0, 0, 0].tolist() == [1, 0, 0] and picture[0, 0, 95].tolist() == [0, 0, 1]
    assert picture[0, 60, 40].tolist() == pytest.approx([_GROUND] * 3)
    assert torch.equal(masks, given)


def test_soft_masks_blend_by_their_values():
    masks = torch.zeros(2, 4, 4)
    masks[0], masks[1, :, 2:] = 0.5, 1.0
    picture = overlay(masks, colors=[RED, BLUE], size=(4, 4), numbers=[0, 0])
    clean = overlay(masks.repeat_interleave(32, 1).repeat_interleave(32, 2), colors=[RED, BLUE])
    assert picture.shape == (1, 4, 4, 3)
    half = [0.5 + _GROUND / 2, _GROUND / 2, _GROUND / 2]
    assert clean[0, 0, 0].tolist() == pytest.approx(half)
    assert clean[0, 0, 127].tolist() == pytest.approx([1 / 3, 0, 2 / 3])  # 0.5 and 1 are mixed by their values


def test_weights_of_the_latent_over_a_picture_of_another_size():
    image = torch.rand(2, 60, 90, 3, generator=torch.Generator().manual_seed(0))
    masks = halves(8, 12) * 0.5
    picture = overlay(masks, image, colors=[RED, BLUE], alpha=0.6)[0]
    assert picture.shape == (60, 90, 3)
    want = image[0, 0] * 0.7 + 0.3 * torch.tensor([RED] * 45 + [BLUE] * 45)
    assert torch.allclose(picture[0], want, atol=1e-6)
    assert overlay(masks, image, size=(30, 45)).shape == (1, 30, 45, 3)
    assert torch.equal(overlay(masks, image[0, ..., :1])[0, 0, 0], overlay(masks, image[..., :1])[0, 0, 0])


def find(picture, number):
    """The box (top, left, bottom, right) in which the number is written in white, at any scale; None without it."""
    white = (picture[0] == 1).all(-1)
    digits = [_digit(int(digit)) for digit in str(number)]
    ink = torch.cat([torch.cat([digit, torch.zeros(5, 1)], 1) for digit in digits], 1)[:, :-1].bool()
    for scale in range(1, 12):
        large = ink.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
        windows = white.unfold(0, large.shape[0], 1).unfold(1, large.shape[1], 1) if scale * 5 < 64 else []
        if len(windows) and (hits := (windows == large).all(-1).all(-1).nonzero()).numel():
            y, x = hits[0].tolist()
            return y, x, y + large.shape[0], x + large.shape[1]
    return None


def test_every_mask_has_its_number_inside():
    masks = torch.zeros(12, 96, 128)
    for number, mask in enumerate(masks):
        row, column = divmod(number, 4)
        mask[row * 32 : row * 32 + 32, column * 32 : column * 32 + 32] = 1
    picture = overlay(masks)
    for number, mask in enumerate(masks, 1):
        (top, left, bottom, right) = find(picture * mask[..., None], number)
        assert bool((mask[top:bottom, left:right] == 1).all())


def test_the_number_of_a_ring_is_on_the_ring():
    y, x = torch.meshgrid(torch.arange(128.0) - 63.5, torch.arange(128.0) - 63.5, indexing="ij")
    away = (y**2 + x**2).sqrt()
    ring = ((away > 30) & (away < 60)).float()
    top, left, bottom, right = find(overlay(ring[None], numbers=[7]), 7)
    assert bool((ring[top:bottom, left:right] == 1).all())


def test_numbers_may_be_given_and_an_empty_mask_has_none():
    masks = torch.cat([halves(), torch.zeros(1, 64, 96)])
    picture = overlay(masks, colors=[RED, BLUE, (0, 1, 0)], numbers=[0, 23, 5])
    assert find(picture, 23) and find(picture * halves()[0][..., None], 0)
    assert find(picture, 5) is None
    assert not bool((overlay(torch.zeros(1, 64, 64)) == 1).any())


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (3, 2), (5, 7)], ids=str)
def test_masks_too_small_for_a_number(size):
    picture = overlay(torch.ones(2, *size))
    assert picture.shape == (1, *size, 3) and bool(torch.isfinite(picture).all())


def test_the_number_of_a_thin_soft_mask_is_written():
    mask = torch.zeros(1, 512, 512)
    mask[0, 100:104, 50:400] = 0.1
    assert bool((overlay(mask) == 1).all(-1).any())

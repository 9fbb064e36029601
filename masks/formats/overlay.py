"""The overlay: a picture of masks, each in its own colour and with its number."""

import colorsys
import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..shape import resize

# Okabe and Ito's palette without black, then five colours of Paul Tol's: distinct also for colour-blind people.
# web/js/editor/drawing.js has the same colours; tests/test_same_in_js.py compares them.
_PALETTE = (
    "e69f00 56b4e9 009e73 f0e442 0072b2 d55e00 cc79a7",
    "882255 999933 332288 ddcc77 bbbbbb",
)
_GROUND = 0.2  # grey level where there is neither a mask nor an image
# The digits 0 to 9, each 5 rows of 3 pixels, row by row.
_DIGITS = (
    "111101101101111",
    "010110010010111",
    "111001111100111",
    "111001111001111",
    "101101111001001",
    "111100111001111",
    "111100111101111",
    "111001010010010",
    "111101111101111",
    "111101111001111",
)
_SEARCH_SIZE = 64  # pixels: longer side of the reduced mask in which the place of a number is searched

Rgb = tuple[float, float, float]  # red, green, blue in 0..1


def palette(count: int) -> list[Rgb]:
    """The first `count` colours of a fixed sequence of colours that are easy to tell apart."""
    named = [int(word, 16) for line in _PALETTE for word in line.split()]
    colors = [((c >> 16) / 255, (c >> 8 & 255) / 255, (c & 255) / 255) for c in named[:count]]
    for number in range(len(colors), count):
        # Hues advance by the golden angle, so that none repeats. Offset and lightness come from a search: any two of
        # the first 32 colours differ by at least 0.14 in red, green or blue.
        colors.append(colorsys.hls_to_rgb((number * 0.381966 + 0.06) % 1.0, (0.55, 0.4, 0.85)[number % 3], 0.9))
    return colors


def overlay(
    masks: torch.Tensor,
    image: torch.Tensor | None = None,
    size: tuple[int, int] | None = None,
    colors: Sequence[Rgb] | None = None,
    numbers: Sequence[int] | None = None,
    alpha: float = 0.6,
) -> torch.Tensor:
    """Draw the masks (N, h, w), values 0..1, as a picture (1, H, W, 3): float32 in 0..1 on the CPU. Copies.

    `image` (B, H, W, C) or (H, W, C), values 0..1, is the background; of a batch the first picture is used. `alpha` is
    the fraction of it that a mask of 1 hides. Without `image` the background is grey and `alpha` has no effect. `size`
    is (H, W) in pixels, by default the image's, else the masks'; image and masks are resized to it. Where masks overlap
    their colours are averaged by mask value; values that sum to more than 1 are scaled to sum to 1. `colors` are one
    per mask, by default those of `palette`. `numbers`, by default 1 to N, are written where each mask, thresholded at
    half of its maximum, is widest; an empty mask gets none.
    """
    picture = None if image is None else (image if image.ndim == 3 else image[0])[..., :3]
    if size is None:
        height, width = masks.shape[-2:] if picture is None else picture.shape[:2]
        size = int(height), int(width)
    # "area" averages masks that shrink and keeps the pixels of masks that grow visible.
    weights = resize(masks.detach().to("cpu").float().clamp(0, 1), size, "area")
    colors = palette(len(weights)) if colors is None else colors
    total = functools.reduce(torch.add, weights, torch.zeros(size))
    tint = torch.zeros((*size, 3))
    for weight, color in zip(weights, colors, strict=True):
        tint += (weight / total.clamp(min=1.0))[..., None] * torch.tensor(color)
    covered = total.clamp(max=1.0)[..., None]
    if picture is None:
        out = (1.0 - covered) * _GROUND + tint
    else:
        out = _background(picture, size) * (1.0 - alpha * covered) + alpha * tint
    for number, weight in zip(numbers or range(1, len(weights) + 1), weights, strict=True):
        _write_number(out, number, weight)
    return out.clamp(0, 1)[None]


def _background(picture: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """A picture (h, w, 1 or 3) resized to (*size, 3), float32 on the CPU; one channel is repeated."""
    resized = picture.detach().to("cpu").float().movedim(-1, 0)[None]
    if tuple(resized.shape[-2:]) != size:
        resized = F.interpolate(resized, size=size, mode="bilinear", antialias=True)
    return resized[0].expand(3, -1, -1).movedim(0, -1)


def _write_number(out: torch.Tensor, number: int, mask: torch.Tensor) -> None:
    """Write `number`, white with a black outline, into `out` (H, W, 3) where `mask` (H, W) is widest. In place."""
    widest = _widest(mask)
    if widest is None:
        return
    y, x, radius = widest
    height, width = mask.shape
    digits = torch.cat([F.pad(_digit(int(digit)), (0, 1)) for digit in str(number)], dim=1)[:, :-1]
    # A digit is as high as a third of the mask's width there, at most a twelfth of the picture's longer side.
    pixels = max(1, round(min(2 * radius / 3, max(height, width) / 12) / len(digits)))
    ink = F.pad(digits, (1, 1, 1, 1)).repeat_interleave(pixels, 0).repeat_interleave(pixels, 1)
    outline = F.max_pool2d(ink[None], 2 * pixels + 1, stride=1, padding=pixels)[0]
    top = min(max(y - len(ink) // 2, 0), max(height - len(ink), 0))
    left = min(max(x - ink.shape[1] // 2, 0), max(width - ink.shape[1], 0))
    target = out[top : top + len(ink), left : left + ink.shape[1]]
    ink, outline = (layer[: target.shape[0], : target.shape[1], None] for layer in (ink, outline))
    target.copy_(torch.where(ink > 0, torch.ones(()), torch.where(outline > 0, torch.zeros(()), target)))


def _digit(digit: int) -> torch.Tensor:
    """The digit's pixels, float32 (5, 3), 1 for ink."""
    return torch.tensor([float(pixel) for pixel in _DIGITS[digit]]).reshape(5, 3)


def _widest(mask: torch.Tensor) -> tuple[int, int, float] | None:
    """The point of `mask` (H, W) farthest from its edge: row, column and approximate distance to the edge, in pixels.

    The mask is thresholded at half of its maximum; the result is None for an empty one.
    """
    peak = float(mask.max())
    if peak <= 0.0:
        return None
    scale = max(1.0, max(mask.shape) / _SEARCH_SIZE)
    small = (max(1, round(mask.shape[0] / scale)), max(1, round(mask.shape[1] / scale)))
    # Reduced by maximum, not by mean, so that thin masks remain.
    inside = (F.adaptive_max_pool2d(mask[None], small) > peak / 2).float()
    # Erode pixel by pixel: what is left last is farthest from the edge.
    erosions = 0
    while True:
        eroded = -F.max_pool2d(F.pad(-inside, (1, 1, 1, 1)), 3, stride=1)
        if not bool(eroded.any()):
            break
        inside, erosions = eroded, erosions + 1
    points = inside[0].nonzero().float()
    y, x = points[(points - points.mean(0)).square().sum(1).argmin()].tolist()
    return round((y + 0.5) * scale), round((x + 0.5) * scale), (erosions + 0.5) * scale

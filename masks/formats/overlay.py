"""A picture of masks: each in its own colour, with its number in it."""

import colorsys
import functools
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..shape import resize

# The palette of Okabe and Ito (without black), then five of Paul Tol's: told apart by colour-blind eyes, too.
_PALETTE = (
    "e69f00 56b4e9 009e73 f0e442 0072b2 d55e00 cc79a7",
    "882255 999933 332288 ddcc77 bbbbbb",
)
_GROUND = 0.2  # grey, where there is neither a mask nor a picture
# 3 x 5 pixels for each digit, row by row.
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
_FINDING = 64  # the longer side, in pixels, on which the place of a number is sought

Rgb = tuple[float, float, float]  # 0..1


def palette(count: int) -> list[Rgb]:
    """`count` colours that are easy to tell apart."""
    named = [int(word, 16) for line in _PALETTE for word in line.split()]
    colors = [((c >> 16) / 255, (c >> 8 & 255) / 255, (c & 255) / 255) for c in named[:count]]
    for number in range(len(colors), count):
        # The golden angle: no later hue falls on an earlier one. Offset and lightness were sought: any two of the first
        # 32 colours differ by 0.14 in red, green or blue.
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
    """A picture (1, H, W, 3) of the masks (N, h, w) in 0..1, hard or soft, float32 on the CPU. Copies.

    `image` (B, H, W, C) or (H, W, C) in 0..1 shows through, the first of a batch; `alpha` is how much a mask of 1 hides
    of it. Without it the ground is grey and alpha does not count. `size` is (H, W), by default the image's or the
    masks'; image and masks are resized to it. Masks blend by their values, scaled to sum to 1 where they sum to more.
    `numbers` (1 to N) are written where a mask is widest, above half of its largest value; an empty one has none.
    `colors` are those of `palette` by default.
    """
    picture = None if image is None else (image if image.ndim == 3 else image[0])[..., :3]
    if size is None:
        height, width = masks.shape[-2:] if picture is None else picture.shape[:2]
        size = int(height), int(width)
    # By area: larger masks are averaged, smaller ones show their pixels.
    weights = resize(masks.detach().to("cpu").float().clamp(0, 1), size, "area")
    colors = palette(len(weights)) if colors is None else colors
    total = functools.reduce(torch.add, weights, torch.zeros(size))
    tint = torch.zeros((*size, 3))
    for weight, color in zip(weights, colors, strict=True):
        tint += (weight / total.clamp(min=1.0))[..., None] * torch.tensor(color)
    cover = total.clamp(max=1.0)[..., None]
    if picture is None:
        out = (1.0 - cover) * _GROUND + tint
    else:
        out = _ground(picture, size) * (1.0 - alpha * cover) + alpha * tint
    for number, weight in zip(numbers or range(1, len(weights) + 1), weights, strict=True):
        _write(out, number, weight)
    return out.clamp(0, 1)[None]


def _ground(picture: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """(H, W, C) of any size as (H, W, 3) of `size`; grey pictures of one channel get three."""
    ground = picture.detach().to("cpu").float().movedim(-1, 0)[None]
    if tuple(ground.shape[-2:]) != size:
        ground = F.interpolate(ground, size=size, mode="bilinear", antialias=True)
    return ground[0].expand(3, -1, -1).movedim(0, -1)


def _write(out: torch.Tensor, number: int, mask: torch.Tensor) -> None:
    """Write `number` into `out` (H, W, 3), in place: white with a black rim, where `mask` (H, W) is widest."""
    place = _widest(mask)
    if place is None:
        return
    y, x, radius = place
    height, width = mask.shape
    digits = torch.cat([F.pad(_digit(int(digit)), (0, 1)) for digit in str(number)], dim=1)[:, :-1]
    # As high as a third of the place, and no more than a twelfth of the picture.
    pixels = max(1, round(min(2 * radius / 3, max(height, width) / 12) / len(digits)))
    ink = F.pad(digits, (1, 1, 1, 1)).repeat_interleave(pixels, 0).repeat_interleave(pixels, 1)
    rim = F.max_pool2d(ink[None], 2 * pixels + 1, stride=1, padding=pixels)[0]
    top = min(max(y - len(ink) // 2, 0), max(height - len(ink), 0))
    left = min(max(x - ink.shape[1] // 2, 0), max(width - ink.shape[1], 0))
    here = out[top : top + len(ink), left : left + ink.shape[1]]
    ink, rim = (part[: here.shape[0], : here.shape[1], None] for part in (ink, rim))
    here.copy_(torch.where(ink > 0, torch.ones(()), torch.where(rim > 0, torch.zeros(()), here)))


def _digit(digit: int) -> torch.Tensor:
    return torch.tensor([float(pixel) for pixel in _DIGITS[digit]]).reshape(5, 3)


def _widest(mask: torch.Tensor) -> tuple[int, int, float] | None:
    """Row, column and about the distance to the nearest edge, in pixels, of the middle of the mask's widest place."""
    peak = float(mask.max())
    if peak <= 0.0:
        return None
    scale = max(1.0, max(mask.shape) / _FINDING)
    small = (max(1, round(mask.shape[0] / scale)), max(1, round(mask.shape[1] / scale)))
    # The largest value, not the mean: a thin mask is found as well.
    inside = (F.adaptive_max_pool2d(mask[None], small) > peak / 2).float()
    rings = 0
    while True:
        left = -F.max_pool2d(F.pad(-inside, (1, 1, 1, 1)), 3, stride=1)
        if not bool(left.any()):
            break
        inside, rings = left, rings + 1
    spots = inside[0].nonzero().float()
    y, x = spots[(spots - spots.mean(0)).square().sum(1).argmin()].tolist()
    return round((y + 0.5) * scale), round((x + 0.5) * scale), (rings + 0.5) * scale

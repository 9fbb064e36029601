"""Resize, grow and combine masks of shape (B, H, W)."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from .convert import check_batch


def resize(mask: torch.Tensor, size: tuple[int, int], mode: str = "bilinear") -> torch.Tensor:
    """Resize (B, H, W) to (B, height, width) for `size` = (height, width). Copies unless the size is right already.

    `mode` is one of torch's: "bilinear" is what the host does with a noise_mask, "area" averages all covered pixels.
    """
    if tuple(mask.shape[-2:]) == size:
        return mask
    return F.interpolate(mask.unsqueeze(1), size=size, mode=mode).squeeze(1)


def on_latent(mask: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """(N, h, w) as a view or copy that broadcasts over a latent of this shape (B, C, ..., h, w).

    Pictures: (N, 1, h, w). Video: (N, 1, 1, h, w) for one mask or one for each video, else N frames, which are
    spread evenly over the latent's T: (1, 1, T, h, w).
    """
    if len(shape) == 4:
        return mask[:, None]
    if len(mask) in (1, shape[0]):
        return mask[:, None, None]
    if len(mask) != shape[2]:
        size = (shape[2], *mask.shape[-2:])
        return F.interpolate(mask[None, None], size=size, mode="trilinear", align_corners=False)
    return mask[None, None]


def check_count(mask: torch.Tensor, shape: Sequence[int], owner: str) -> None:
    """Raise ValueError unless (N, H, W) is one mask, one for each picture of a latent (B, C, ..., h, w), or frames."""
    if len(shape) == 5 and shape[0] == 1:
        return
    check_batch(mask, shape[0], owner)


def grow(mask: torch.Tensor, factor: int) -> torch.Tensor:
    """Return the rounded (B, H, W) mask, dilated by a box of `factor` x `factor` pixels of its own; 0 and 1 only round.

    A pixel is 1 where any rounded pixel of the box around it is 1. An even factor grows the mask one pixel further to
    the right and down, as a convolution with padding ceil((factor - 1) / 2), cut back to size, gives it.
    Max pooling of a 0/1 mask equals that convolution clamped to 0..1, and does not slow down with the box's area.
    """
    solid = mask.round()
    if factor <= 1:
        return solid
    before = math.ceil((factor - 1) / 2)
    after = factor - 1 - before
    return box_max(solid, before, after)


def box_max(mask: torch.Tensor, before: int, after: int) -> torch.Tensor:
    """Maximum of (B, H, W) over the box from `before` pixels left and up to `after` pixels right and down."""
    out = mask.unsqueeze(1)
    # One axis at a time: the box is separable. Outside the picture there is nothing (0).
    for axis in (-1, -2):
        # A box wider than the picture covers all of it: cut it, so that a huge factor costs no more.
        size = out.shape[axis]
        low, high = min(before, size), min(after, size)
        pad = (low, high, 0, 0) if axis == -1 else (0, 0, low, high)
        kernel = (1, low + high + 1) if axis == -1 else (low + high + 1, 1)
        out = F.max_pool2d(F.pad(out, pad), kernel, stride=1)
    return out.squeeze(1)


def outside_all(masks: Sequence[torch.Tensor]) -> torch.Tensor:
    """Return (B, H, W): 1 where every mask is exactly 0, else 0; at the largest height and width among the masks.

    Masks of other sizes are enlarged to nearest pixels, so that a pixel which is exactly 0 stays so.
    """
    height = max(mask.shape[-2] for mask in masks)
    width = max(mask.shape[-1] for mask in masks)
    batch = max(mask.shape[0] for mask in masks)
    free = torch.ones((batch, height, width))
    for mask in masks:
        free = free * (resize(mask, (height, width), "nearest-exact") == 0)
    return free


def cells(rows: int, columns: int, height: int, width: int) -> list[tuple[slice, slice]]:
    """The cells of a grid over a canvas in row-major order, as (rows, columns) slices; sizes must divide evenly."""
    h, w = height // rows, width // columns
    return [
        (slice(row * h, (row + 1) * h), slice(column * w, (column + 1) * w))
        for row in range(rows)
        for column in range(columns)
    ]

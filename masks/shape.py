"""Resize, grow and combine masks (B, H, W), and broadcast them over latents."""

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from .convert import check_batch


def resize(mask: torch.Tensor, size: tuple[int, int], mode: str = "bilinear") -> torch.Tensor:
    """Resize a float mask (B, H, W) to (B, height, width) for `size` = (height, width); values keep their range.

    `mode` is an interpolation mode of torch: "bilinear" (ComfyUI resizes a noise_mask this way), "area" (the mean of
    the covered pixels) or "nearest-exact". Returns `mask` itself if it has that size, else a copy.
    """
    if tuple(mask.shape[-2:]) == size:
        return mask
    return F.interpolate(mask.unsqueeze(1), size=size, mode=mode).squeeze(1)


def on_latent(mask: torch.Tensor, shape: Sequence[int]) -> torch.Tensor:
    """Insert axes into a mask (N, h, w) so that it broadcasts over a latent of `shape` (B, C, h, w) or (B, C, T, h, w).

    `mask` is at latent resolution already. For pictures the result is (N, 1, h, w). For videos it is (N, 1, 1, h, w)
    if N is 1 or B; else the N masks are frames, interpolated linearly to the latent's T frames: (1, 1, T, h, w).
    A view, or a copy if frames were interpolated.
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
    """Raise ValueError unless `on_latent` can broadcast `mask` (N, H, W) over a latent of `shape`.

    N must be 1 or B; for a single video (1, C, T, h, w) any N is accepted, as frames. `owner` begins the error.
    """
    if len(shape) == 5 and shape[0] == 1:
        return
    check_batch(mask, shape[0], owner)


def is_stretched(mask: torch.Tensor, size: tuple[int, int]) -> bool:
    """Whether a mask (B, H, W), resized to a latent of `size` (h, w), changes its proportions by over a latent pixel.

    A mask that is the same everywhere has no shape that could be stretched.
    """
    (height, width), (h, w) = mask.shape[-2:], size
    if min(abs(w * height / width - h), abs(h * width / height - w)) <= 1.0:
        return False
    low, high = mask.aminmax()
    return bool(low < high)


def grow(mask: torch.Tensor, factor: int) -> torch.Tensor:
    """Round a mask (B, H, W) to 0 and 1 and dilate it by a box of `factor` x `factor` mask pixels. Copies.

    A factor of 0 or 1 only rounds. An even factor grows one pixel further to the right and down than to the left and
    up. The values are those of a convolution with a box of ones, padded by ceil((factor - 1) / 2), cropped to the
    mask's size and clamped to 0..1; max pooling gives the same, and its time grows with the box's side, not its area.
    """
    binary = mask.round()
    if factor <= 1:
        return binary
    before = math.ceil((factor - 1) / 2)
    after = factor - 1 - before
    return box_max(binary, before, after)


def box_max(mask: torch.Tensor, before: int, after: int) -> torch.Tensor:
    """Maximum of a mask (B, H, W) over a box around each pixel: `before` pixels left and up, `after` right and down.

    Pixels outside of the mask count as 0. Copies.
    """
    out = mask.unsqueeze(1)
    # The maximum over a box is separable: one axis at a time.
    for axis in (-1, -2):
        # A box wider than the mask covers all of it, so limit the box: a huge factor then costs no more.
        size = out.shape[axis]
        low, high = min(before, size), min(after, size)
        pad = (low, high, 0, 0) if axis == -1 else (0, 0, low, high)
        kernel = (1, low + high + 1) if axis == -1 else (low + high + 1, 1)
        out = F.max_pool2d(F.pad(out, pad), kernel, stride=1)
    return out.squeeze(1)


def outside_all(masks: Sequence[torch.Tensor]) -> torch.Tensor:
    """The area that no mask covers: float32 (B, H, W), 1 where every mask (1 or B, h, w) is exactly 0, else 0. Copies.

    H and W are the largest among the masks. Smaller masks are resized to the nearest pixel, so that exact zeros stay
    exact.
    """
    height = max(mask.shape[-2] for mask in masks)
    width = max(mask.shape[-1] for mask in masks)
    batch = max(mask.shape[0] for mask in masks)
    free = torch.ones((batch, height, width))
    for mask in masks:
        free = free * (resize(mask, (height, width), "nearest-exact") == 0)
    return free


def cells(rows: int, columns: int, height: int, width: int) -> list[tuple[slice, slice]]:
    """The cells of a grid of `rows` x `columns` equal cells, in row-major order, each as slices of rows and columns.

    `height` and `width` are the canvas's, in pixels of any kind; pixels left over at its right and bottom are in no
    cell. Cells of unequal size are in formats/layout.py.
    """
    h, w = height // rows, width // columns
    return [
        (slice(row * h, (row + 1) * h), slice(column * w, (column + 1) * w))
        for row in range(rows)
        for column in range(columns)
    ]

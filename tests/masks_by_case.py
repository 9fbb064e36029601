"""Masks of the reference cases: a rectangle, a horizontal ramp or a circle on a square canvas."""

from typing import Any

import torch


def case_mask(spec: dict[str, Any]) -> torch.Tensor:
    """The mask of a case's `spec`: float32 (1, size, size) in 0..1.

    `spec` is {"kind": "rect" | "ramp" | "circle", "size": pixels, "at": fractions of the size}. `at` is (left, top,
    right, bottom) for a rectangle or a ramp from 0 to 1, (x, y, radius) for a circle.
    """
    size = spec["size"]
    mask = torch.zeros(1, size, size)
    if spec["kind"] == "circle":
        cx, cy, radius = (value * size for value in spec["at"])
        centres = torch.arange(size) + 0.5
        inside = (centres[None, :] - cx) ** 2 + (centres[:, None] - cy) ** 2 <= radius**2
        mask[0] = inside.float()
        return mask
    x0, y0, x1, y1 = (round(value * size) for value in spec["at"])
    mask[0, y0:y1, x0:x1] = 1.0
    if spec["kind"] == "ramp":
        mask[0, y0:y1, x0:x1] *= torch.linspace(0, 1, x1 - x0)
    return mask

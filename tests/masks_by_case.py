"""The masks that tests describe in numbers: rectangles, ramps and circles, in fractions of a square."""

from typing import Any

import torch


def case_mask(spec: dict[str, Any]) -> torch.Tensor:
    """(1, size, size) for {"kind": "rect" | "ramp" | "circle", "size": pixels, "at": fractions}."""
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

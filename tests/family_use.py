"""Masks and samplers for the model families of testing_pack."""

from typing import Any

import torch
from testing_pack.families import Family
from use import step_sampler


def pixels(family: Family) -> int:
    """The width of a latent pixel in picture pixels, by the family's latent format."""
    return int(family.config.latent_format.spacial_downscale_ratio)


def mask(
    family: Family, top: int = 0, left: int = 0, bottom: int | None = None, right: int | None = None, value: float = 1.0
) -> torch.Tensor:
    """A (1, H, W) mask in picture pixels with `value` in a rectangle given in latent pixels."""
    scale, (height, width) = pixels(family), family.shape[-2:]
    out = torch.zeros(1, height * scale, width * scale)
    bottom, right = (height if bottom is None else bottom), (width if right is None else right)
    out[:, top * scale : bottom * scale, left * scale : right * scale] = value
    return out


def sampler(family: Family, model: Any, seed: int, tokens: int = 4) -> Any:
    """A sampler of the prompt `seed`; all share one negative."""
    return step_sampler(model, family.cond(seed, tokens), family.cond(9), cfg=4.0, scheduler="simple")

"""The objects on a REGIONAL_PROMPTS socket (a list of them). Those of ComfyUI-Impact-Pack have the same methods."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import comfy.sample
import torch

from ..masks.shape import grow, on_latent, resize
from .noise import mix


@runtime_checkable
class RegionalPromptLike(Protocol):
    """The members that a regional prompt must have."""

    @property
    def mask(self) -> torch.Tensor: ...

    @property
    def sampler(self) -> Any: ...

    def get_mask_erosion(self, factor: int) -> torch.Tensor: ...

    def touch_noise(self, noise: torch.Tensor) -> torch.Tensor: ...


@dataclass(frozen=True)
class Variation:
    """How a region's noise differs from the picture's: mixed with the noise of `seed` by `strength` 0..1."""

    seed: int = 0
    strength: float = 0.0
    method: str = "linear"


@dataclass(frozen=True)
class RegionSettings:
    """When and how strongly a region paints; all values are 0..1.

    `start_percent`..`end_percent`: the part of the sampling progress in which it paints. `weight`: the share of its
    prediction against that of the members below it. `denoise`: the share of the schedule, at the end of it, in which
    it paints; before, it keeps the input picture. Raises ValueError for a value outside 0..1 or an empty range.
    """

    start_percent: float = 0.0
    end_percent: float = 1.0
    weight: float = 1.0
    denoise: float = 1.0

    def __post_init__(self) -> None:
        for name, value in vars(self).items():
            if not 0.0 <= value <= 1.0:
                raise ValueError(f"{name} should be between 0 and 1, {value} came.")
        if self.start_percent >= self.end_percent:
            raise ValueError(
                f"start_percent {self.start_percent} is not before end_percent {self.end_percent}, so the region would "
                "never be sampled; lower start_percent or raise end_percent."
            )


@dataclass(frozen=True, eq=False)
class RegionalPromptObject:
    """One region: its `mask`, (H, W), or (B, H, W) with one for each picture, and its KSAMPLER_ADVANCED."""

    mask: torch.Tensor
    sampler: Any
    variation: Variation = Variation()
    settings: RegionSettings = RegionSettings()

    @property
    def masks(self) -> torch.Tensor:
        """The mask as (B or 1, H, W)."""
        return self.mask if self.mask.ndim == 3 else self.mask[None]

    def get_mask_erosion(self, factor: int) -> torch.Tensor:
        """The rounded mask, grown by a box of `factor` mask pixels, (B, 1, H, W). Other packs call it by this name."""
        return grow(self.masks, factor)[:, None]

    def touch_noise(self, noise: torch.Tensor, batch_index: Any = None) -> torch.Tensor:
        """The noise (B, C, ..., h, w), varied where the mask, resized to the latent, is exactly 1. Copies.

        `batch_index` is that of the LATENT, if it has one; each picture's variation noise then follows its index.
        """
        if self.variation.strength <= 0.0:
            return noise
        # Exactly 1, apart from rounding errors of the resize.
        own = on_latent(resize(self.masks, (noise.shape[-2], noise.shape[-1])), noise.shape)
        inside = (own > 1.0 - 1e-6).to(noise.device)
        other = comfy.sample.prepare_noise(noise, self.variation.seed, batch_index)
        mixed = mix(noise, other, self.variation.strength, self.variation.method)
        return torch.where(inside, mixed, noise)

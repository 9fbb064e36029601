"""The objects on a REGIONAL_PROMPTS socket (a list of them). Those of ComfyUI-Impact-Pack have the same methods."""

from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import comfy.sample
import torch

from ..masks.shape import grow, on_latent, resize
from .noise import mix


@runtime_checkable
class RegionalPromptLike(Protocol):
    """What a regional prompt must have."""

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
class Presence:
    """When and how much a region counts. `start_percent`..`end_percent`: its part of the sampling progress; `weight`:
    its prediction's share against what is under it; `denoise`: its share of the schedule, at whose end it paints.
    """

    start_percent: float = 0.0
    end_percent: float = 1.0
    weight: float = 1.0
    denoise: float = 1.0


@dataclass(frozen=True, eq=False)
class RegionalPromptObject:
    """One region: where (`mask`: (H, W), or (B, H, W) with one for each picture) and with which KSAMPLER_ADVANCED."""

    mask: torch.Tensor
    sampler: Any
    variation: Variation = Variation()
    presence: Presence = Presence()

    @property
    def masks(self) -> torch.Tensor:
        """The mask as (B or 1, H, W)."""
        return self.mask if self.mask.ndim == 3 else self.mask[None]

    def get_mask_erosion(self, factor: int) -> torch.Tensor:
        """The rounded mask, grown by a box of `factor` mask pixels, (B, 1, H, W). The name is other packs'."""
        return grow(self.masks, factor)[:, None]

    def touch_noise(self, noise: torch.Tensor, batch_index: Any = None) -> torch.Tensor:
        """The noise (B, C, ..., h, w), varied where the mask, resized to the latent, is exactly 1. Never in place.

        `batch_index` is the LATENT's, if it has one, so that the variation of a picture is its own, too.
        """
        if self.variation.strength <= 0.0:
            return noise
        # Exactly 1, but for the rounding of the resize.
        own = on_latent(resize(self.masks, (noise.shape[-2], noise.shape[-1])), noise.shape)
        inside = (own > 1.0 - 1e-6).to(noise.device)
        other = comfy.sample.prepare_noise(noise, self.variation.seed, batch_index)
        mixed = mix(noise, other, self.variation.strength, self.variation.method)
        return torch.where(inside, mixed, noise)

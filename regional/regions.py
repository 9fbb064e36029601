"""What stands on a REGIONAL_PROMPTS socket, checked and in one shape."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..masks.convert import as_mask
from ..masks.shape import grow, resize
from ..samplers.prompts import Presence, RegionalPromptLike, RegionalPromptObject
from ..samplers.providers import StepSampler, check_step_sampler, kind_of

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Region:
    """One region. `mask` (B or 1, H, W) float32 on the CPU is its own, at its own size.

    `overlap` is in pixels of the mask for a region with a `prompt`, else in latent pixels.
    """

    name: str
    sampler: StepSampler
    mask: torch.Tensor
    overlap: int
    prompt: RegionalPromptLike | None = None
    # Its place in the list that it came in, from 1.
    number: int = 1

    @property
    def presence(self) -> Presence:
        return self.prompt.presence if isinstance(self.prompt, RegionalPromptObject) else Presence()

    def grown(self, size: tuple[int, int]) -> torch.Tensor:
        """The mask for the stepwise engine: rounded, grown by the overlap, (B or 1, h, w) for a latent of (h, w)."""
        if self.prompt is None:
            return grow(resize(self.mask, size), self.overlap)
        return resize(as_mask(self.prompt.get_mask_erosion(self.overlap), self.name), size)

    def ring(self, size: tuple[int, int]) -> tuple[float, float]:
        """The overlap in latent pixels, along (y, x), for a latent of (h, w)."""
        if self.prompt is None:
            return float(self.overlap), float(self.overlap)
        return self.overlap * size[0] / self.mask.shape[-2], self.overlap * size[1] / self.mask.shape[-1]

    def vary(self, noise: torch.Tensor, batch_index: Any = None) -> torch.Tensor:
        """The noise (B, C, ..., h, w) with the region's variation of it. Never in place."""
        if self.prompt is None:
            return noise
        if isinstance(self.prompt, RegionalPromptObject):
            return self.prompt.touch_noise(noise, batch_index)
        return self.prompt.touch_noise(noise)


def counted(regions: Sequence[Region]) -> str:
    """How many there are, in words."""
    return "1 region" if len(regions) == 1 else f"{len(regions)} regions"


def read_regions(prompts: object, base_model: Any, overlap: int, owner: str) -> list[Region]:
    """The regions of REGIONAL_PROMPTS, in order; those whose mask is empty are left out. Nothing is changed.

    Raises TypeError or ValueError, naming the region, for what cannot be sampled on one canvas with `base_model`; None
    leaves that open.
    """
    if not isinstance(prompts, Sequence) or isinstance(prompts, str):
        raise TypeError(
            f"{owner}: regional_prompts expects REGIONAL_PROMPTS, {kind_of(prompts)} came; connect a RegionalPrompt or "
            "a CombineRegionalPrompts."
        )
    if not prompts:
        raise ValueError(f"{owner}: there are no regional prompts; connect at least one RegionalPrompt.")
    regions = []
    for number, prompt in enumerate(prompts, 1):
        name = f"region {number}"
        where = f"{owner}, {name}"
        if not isinstance(prompt, RegionalPromptLike):
            raise TypeError(
                f"{where}: a regional prompt was expected, {kind_of(prompt)} came; connect a RegionalPrompt."
            )
        sampler = check_step_sampler(prompt.sampler, where)
        if base_model is not None:
            check_formats(base_model, sampler.params[0], where)
        # Our own was checked when it was made.
        mask = prompt.masks if isinstance(prompt, RegionalPromptObject) else as_mask(prompt.mask, where)
        if not mask.any():
            log.warning("%s: its mask is empty, so the region is left out.", where)
            continue
        regions.append(Region(name, sampler, mask, overlap, prompt, number))
    return regions


def check_formats(base: Any, region: Any, where: str) -> None:
    """Raise ValueError if two models do not share a latent format: one canvas cannot serve both."""
    ours, theirs = (type(model.get_model_object("latent_format")) for model in (base, region))
    if ours is not theirs:
        raise ValueError(
            f"{where}: its model has latents of format {theirs.__name__}, the base's are {ours.__name__}; one canvas "
            "needs models of one latent format, so use a model of the base's family here."
        )

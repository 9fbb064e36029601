"""A region as the engines see it, and the reading of REGIONAL_PROMPTS into regions."""

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..masks.convert import as_mask
from ..masks.shape import grow, is_stretched, resize
from ..samplers.prompts import RegionalPromptLike, RegionalPromptObject, RegionSettings
from ..samplers.providers import AdvancedSamplerLike, check_advanced_sampler, kind_of, model_of

log = logging.getLogger(__name__)

Size = tuple[int, int]  # (h, w) in latent pixels


@dataclass(frozen=True, eq=False)
class Region(ABC):
    """A mask and its sampler. `mask` (B or 1, H, W) is float32 on the CPU, at its own size."""

    name: str
    sampler: AdvancedSamplerLike
    mask: torch.Tensor

    @property
    def settings(self) -> RegionSettings:
        return RegionSettings()

    @property
    @abstractmethod
    def claimed(self) -> torch.Tensor:
        """(B or 1, H, W): 0 where the stepwise engine lets the base sample, at the size of the mask."""

    @abstractmethod
    def grown(self, size: Size) -> torch.Tensor:
        """The mask of the stepwise engine: rounded and grown by the overlap, (B or 1, h, w) for a latent of (h, w)."""

    @abstractmethod
    def ring(self, size: Size) -> tuple[float, float]:
        """The width of the overlap in latent pixels, along (y, x), for a latent of (h, w)."""

    def vary(self, noise: torch.Tensor, batch_index: Any = None) -> torch.Tensor:
        """The noise (B, C, ..., h, w) with the region's variation. Never in place."""
        return noise


@dataclass(frozen=True, eq=False)
class MaskRegion(Region):
    """The region of TwoAdvancedSamplersForMask: `overlap` is in latent pixels."""

    overlap: int

    @property
    def claimed(self) -> torch.Tensor:
        return (self.mask == 1).float()

    def grown(self, size: Size) -> torch.Tensor:
        return grow(resize(self.mask, size), self.overlap)

    def ring(self, size: Size) -> tuple[float, float]:
        return float(self.overlap), float(self.overlap)


@dataclass(frozen=True, eq=False)
class PromptRegion(Region):
    """A region of REGIONAL_PROMPTS: `overlap` is in mask pixels, `number` its place in the list, from 1."""

    overlap: int
    prompt: RegionalPromptLike
    number: int

    @property
    def settings(self) -> RegionSettings:
        return self.prompt.settings if isinstance(self.prompt, RegionalPromptObject) else RegionSettings()

    @property
    def claimed(self) -> torch.Tensor:
        return self.mask

    def grown(self, size: Size) -> torch.Tensor:
        return resize(as_mask(self.prompt.get_mask_erosion(self.overlap), self.name), size)

    def ring(self, size: Size) -> tuple[float, float]:
        return self.overlap * size[0] / self.mask.shape[-2], self.overlap * size[1] / self.mask.shape[-1]

    def vary(self, noise: torch.Tensor, batch_index: Any = None) -> torch.Tensor:
        if isinstance(self.prompt, RegionalPromptObject):
            return self.prompt.touch_noise(noise, batch_index)
        return self.prompt.touch_noise(noise)


def vary(noise: torch.Tensor, regions: Iterable[Region], batch_index: Any = None) -> torch.Tensor:
    """The noise with the variation of every region, each applied to the result of the one before. Never in place."""
    for region in regions:
        noise = region.vary(noise, batch_index)
    return noise


def counted(regions: Sequence[Region]) -> str:
    """The number of regions in words: "1 region", "3 regions"."""
    return "1 region" if len(regions) == 1 else f"{len(regions)} regions"


def read_regions(prompts: object, base_model: Any, overlap: int, owner: str) -> list[PromptRegion]:
    """The regions of REGIONAL_PROMPTS, in order, without those whose mask is empty. Changes no input.

    Raises TypeError or ValueError, naming the region, if a region cannot share a latent with `base_model`; with None
    the latent formats are not compared.
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
        sampler = check_advanced_sampler(prompt.sampler, where)
        if base_model is not None:
            check_formats(base_model, model_of(sampler), where)
        # The mask of this pack's own prompts was checked when the prompt was made.
        mask = prompt.masks if isinstance(prompt, RegionalPromptObject) else as_mask(prompt.mask, where)
        if not mask.any():
            log.warning("%s: its mask is empty, so the region is left out.", where)
            continue
        regions.append(PromptRegion(name, sampler, mask, overlap, prompt, number))
    return regions


def stretched_note(regions: Sequence[Region], size: tuple[int, int]) -> str:
    """What to say of the regions whose masks have other proportions than a latent of `size` (h, w); "" if none has."""
    found = [region for region in regions if is_stretched(region.mask, size)]
    if not found:
        return ""
    names = ", ".join(region.name for region in found)
    height, width = found[0].mask.shape[-2:]
    return (
        f"{names}: the mask of {width} x {height} pixels is stretched to the latent's {size[1]} x {size[0]}; give "
        "masks, and the canvas of a RegionEditor, the picture's proportions."
    )


def check_formats(base: Any, region: Any, where: str) -> None:
    """Raise ValueError if two models have unlike latent formats: they cannot sample one latent."""
    ours, theirs = (type(model.get_model_object("latent_format")) for model in (base, region))
    if ours is not theirs:
        raise ValueError(
            f"{where}: its model has latents of format {theirs.__name__}, the base's are {ours.__name__}; one canvas "
            "needs models of one latent format, so use a model of the base's family here."
        )

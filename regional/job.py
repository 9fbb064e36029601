"""What an engine is asked to do: the canvas, the base, the regions and the steps. Both engines take the same."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..masks.convert import as_mask, check_batch
from ..masks.shape import grow, outside_all, resize
from ..samplers import latents
from ..samplers.latents import Latent
from ..samplers.prompts import RegionalPromptLike
from ..samplers.providers import FollowingSampler, StepSampler, as_own, check_step_sampler
from ..samplers.recovery import Recovery

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Region:
    """One region. `mask` (B or 1, H, W) is its own, at its own size; `grown` (B or 1, h, w) is rounded, grown by the
    overlap and at latent size; `ring` is the overlap in latent pixels, (y, x). All float32 on the CPU.
    """

    name: str
    sampler: StepSampler
    mask: torch.Tensor
    grown: torch.Tensor
    ring: tuple[float, float]
    prompt: RegionalPromptLike | None = None


@dataclass(frozen=True, eq=False)
class Canvas:
    """The picture to sample: the fitted LATENT, who samples it where no region is, the regions, and where none is."""

    latent: Latent
    base: StepSampler
    regions: tuple[Region, ...]
    outside: torch.Tensor

    def noise(self, noise: torch.Tensor) -> torch.Tensor:
        """The picture's noise with every region's variation of it, in order, each on the previous result."""
        for region in self.regions:
            if region.prompt is not None:
                noise = region.prompt.touch_noise(noise)
        return noise


@dataclass(frozen=True)
class Steps:
    """Which steps of the schedule for `total` steps are sampled, and how noise enters and leaves.

    The base alone runs `start`..`regional` in one call, base and regions run `regional`..`alone` step by step, the base
    alone, where no region is, runs `alone`..`end`. Each stretch may be empty.
    """

    total: int
    start: int
    regional: int
    alone: int
    end: int
    base_seed: int
    seed: int
    add_noise: bool
    # The base's own steps end in a finished picture, and the regional steps begin with new noise from `seed`.
    renoise: bool = False
    leave_noise: bool = True


@dataclass(frozen=True)
class Options:
    """`paste`: every region's result goes back through its own mask, instead of replacing the canvas.

    `finish_regions`: in the last step the regions leave no noise.
    """

    recovery: Recovery
    paste: bool = True
    finish_regions: bool = False


@dataclass(frozen=True, eq=False)
class Job:
    """One run of an engine."""

    owner: str
    canvas: Canvas
    steps: Steps
    options: Options
    node_id: str | None = None


def regional_canvas(latent: Latent, base: object, prompts: object, overlap: int, owner: str) -> Canvas:
    """The canvas of RegionalSampler: the base where every region's own mask is exactly 0, regions grown by `overlap`.

    `overlap` is in pixels of each region's own mask. A region whose mask is empty is left out. Nothing is changed.
    """
    base = check_step_sampler(base, f"{owner}, base_sampler")
    latent, size, batch = _fitted(latent, base, owner)
    if not isinstance(prompts, Sequence) or isinstance(prompts, str):
        raise TypeError(
            f"{owner}: regional_prompts expects REGIONAL_PROMPTS, {type(prompts).__name__} came; connect a "
            "RegionalPrompt or a CombineRegionalPrompts."
        )
    if not prompts:
        raise ValueError(f"{owner}: there are no regional prompts; connect at least one RegionalPrompt.")
    regions, own = [], []
    for number, prompt in enumerate(prompts, 1):
        name = f"region {number}"
        where = f"{owner}, {name}"
        if not isinstance(prompt, RegionalPromptLike):
            raise TypeError(
                f"{where}: a regional prompt was expected, {type(prompt).__name__} came; connect a RegionalPrompt."
            )
        sampler = check_step_sampler(prompt.sampler, where)
        if isinstance(sampler, FollowingSampler):
            sampler = sampler.after(as_own(base, f"{owner}, base_sampler"))
        check_models(base, sampler, where)
        mask = as_mask(prompt.mask, where)
        check_batch(mask, batch, where)
        if not mask.any():
            log.warning("%s: its mask is empty, so the region is left out.", where)
            continue
        own.append(mask)
        grown = as_mask(prompt.get_mask_erosion(overlap), where)
        ring = latent_pixels(overlap, mask, size)
        regions.append(Region(name, sampler, mask, resize(grown, size), ring, prompt))
    outside = resize(outside_all(own), size) if own else torch.ones((1, *size))
    return Canvas(latent, base, tuple(regions), outside)


def two_sampler_canvas(latent: Latent, base: object, inside: object, mask: object, overlap: int, owner: str) -> Canvas:
    """The canvas of TwoAdvancedSamplersForMask: the base where the mask is not exactly 1, one region for the mask.

    The region is grown by `overlap` latent pixels, after its mask was resized to the latent.
    """
    base = check_step_sampler(base, f"{owner}, base_sampler")
    inside = check_step_sampler(inside, f"{owner}, mask_sampler")
    check_models(base, inside, f"{owner}, mask_sampler")
    latent, size, batch = _fitted(latent, base, owner)
    own = as_mask(mask, owner)
    check_batch(own, batch, owner)
    outside = resize((own != 1).float(), size)
    region = Region("mask_sampler", inside, own, grow(resize(own, size), overlap), (float(overlap),) * 2)
    return Canvas(latent, base, (region,), outside)


def latent_pixels(pixels: float, mask: torch.Tensor, size: tuple[int, int]) -> tuple[float, float]:
    """A length in pixels of `mask` (B, H, W) in latent pixels, along (y, x), for a latent of `size` = (h, w)."""
    return pixels * size[0] / mask.shape[-2], pixels * size[1] / mask.shape[-1]


def check_models(base: Any, region: Any, where: str) -> None:
    """Raise ValueError if the two samplers' models do not share a latent format: one canvas cannot serve both."""
    ours, theirs = (sampler.params[0].get_model_object("latent_format") for sampler in (base, region))
    if type(ours) is not type(theirs):
        raise ValueError(
            f"{where}: its model has latents of format {type(theirs).__name__}, the base's are {type(ours).__name__}; "
            "one canvas needs models of one latent format, so use a model of the base's family here."
        )


def check_latent(latent: object, owner: str) -> Latent:
    """`latent` if it is a LATENT of pictures or video, else TypeError or ValueError."""
    if not isinstance(latent, dict) or "samples" not in latent:
        raise TypeError(f"{owner}: a LATENT was expected, {type(latent).__name__} came; connect a LATENT output.")
    samples = latent["samples"]
    if getattr(samples, "is_nested", False) or samples.ndim not in (4, 5):
        kind = "a nested one" if getattr(samples, "is_nested", False) else f"one of shape {tuple(samples.shape)}"
        raise ValueError(
            f"{owner}: a latent of pictures (batch, channels, height, width) or video (batch, channels, frames, "
            f"height, width) was expected, {kind} came; regions need a height and a width."
        )
    return latent


def _fitted(latent: Latent, base: StepSampler, owner: str) -> tuple[Latent, tuple[int, int], int]:
    fitted = latents.fit(check_latent(latent, owner), base.params[0])
    shape = fitted["samples"].shape
    return fitted, (shape[-2], shape[-1]), shape[0]

"""What an engine is asked to do: the canvas, the base, the regions and the steps. Both engines take the same."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch

from ..masks.convert import as_mask
from ..masks.shape import check_count
from ..masks.weights import MIX
from ..samplers import latents
from ..samplers.latents import Latent
from ..samplers.noise import initial_noise
from ..samplers.providers import FollowingSampler, StepSampler, as_own, check_step_sampler, kind_of
from ..samplers.recovery import Recovery
from .regions import Region, check_formats, read_regions


@dataclass(frozen=True, eq=False)
class Canvas:
    """The picture to sample: the LATENT as `given` and fitted to the model, who samples it outside, and the regions."""

    given: Latent
    latent: Latent
    base: StepSampler
    regions: tuple[Region, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the latent."""
        shape = self.latent["samples"].shape
        return shape[-2], shape[-1]

    def noise(self, latent: Latent, seed: int) -> torch.Tensor:
        """The noise of `seed` for the latent, with every region's variation of it, in order, each on the last."""
        return vary(initial_noise(latent, seed), self.regions, latent.get("batch_index"))


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
    """For stepwise: `paste` (every region's result goes back through its own mask, instead of replacing the canvas),
    `finish_regions` (in the last step the regions leave no noise) and the recovery.

    For lockstep: `blend`, a key of BLENDS, and `context` in pixels, to which regions are cropped; None computes them
    on the whole canvas.
    """

    recovery: Recovery
    paste: bool = True
    finish_regions: bool = False
    blend: str = MIX
    context: int | None = None


@dataclass(frozen=True, eq=False)
class Job:
    """One run of an engine."""

    owner: str
    canvas: Canvas
    steps: Steps
    options: Options
    node_id: str | None = None


def regional_canvas(latent: Latent, base: object, prompts: object, overlap: int, owner: str) -> Canvas:
    """The canvas of RegionalSampler; `overlap` is in pixels of each region's own mask. Nothing is changed."""
    base = check_step_sampler(base, f"{owner}, base_sampler")
    fitted, shape = _fitted(latent, base, owner)
    regions = []
    for region in read_regions(prompts, base.params[0], overlap, owner):
        where = f"{owner}, {region.name}"
        check_count(region.mask, shape, where)
        if isinstance(region.sampler, FollowingSampler):
            own = as_own(base, f"{owner}, base_sampler")
            region = replace(region, sampler=region.sampler.after(own))
        regions.append(region)
    return Canvas(latent, fitted, base, tuple(regions))


def two_sampler_canvas(latent: Latent, base: object, inside: object, mask: object, overlap: int, owner: str) -> Canvas:
    """The canvas of TwoAdvancedSamplersForMask: one region, without a prompt object; `overlap` is in latent pixels."""
    base = check_step_sampler(base, f"{owner}, base_sampler")
    inside = check_step_sampler(inside, f"{owner}, mask_sampler")
    check_formats(base.params[0], inside.params[0], f"{owner}, mask_sampler")
    fitted, shape = _fitted(latent, base, owner)
    own = as_mask(mask, owner)
    check_count(own, shape, owner)
    return Canvas(latent, fitted, base, (Region("mask_sampler", inside, own, overlap),))


def vary(noise: torch.Tensor, regions: Iterable[Region], batch_index: Any = None) -> torch.Tensor:
    """The noise with every region's variation of it, in order, each on the previous result. Never in place."""
    for region in regions:
        noise = region.vary(noise, batch_index)
    return noise


def check_latent(latent: object, owner: str) -> Latent:
    """`latent` if it is a LATENT of pictures or video, else TypeError or ValueError."""
    if not isinstance(latent, dict) or "samples" not in latent:
        raise TypeError(f"{owner}: a LATENT was expected, {kind_of(latent)} came; connect a LATENT output.")
    samples = latent["samples"]
    if getattr(samples, "is_nested", False) or samples.ndim not in (4, 5):
        kind = "a nested one" if getattr(samples, "is_nested", False) else f"one of shape {tuple(samples.shape)}"
        raise ValueError(
            f"{owner}: a latent of pictures (batch, channels, height, width) or video (batch, channels, frames, "
            f"height, width) was expected, {kind} came; regions need a height and a width."
        )
    return latent


def _fitted(latent: Latent, base: StepSampler, owner: str) -> tuple[Latent, torch.Size]:
    fitted = latents.fit(check_latent(latent, owner), base.params[0])
    return fitted, fitted["samples"].shape

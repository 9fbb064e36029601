"""What an engine is asked to do: the latent, the base, the regions and the steps. Both engines take the same Job."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import torch

from ..masks.convert import as_mask
from ..masks.shape import check_count
from ..masks.weights import MIX
from ..samplers import latents
from ..samplers.guided import Guidance
from ..samplers.latents import Latent
from ..samplers.noise import initial_noise
from ..samplers.providers import (
    AdvancedSampler,
    AdvancedSamplerLike,
    InheritedSampler,
    as_own,
    check_advanced_sampler,
    kind_of,
    model_of,
)
from ..samplers.recovery import NO_RECOVERY, Recovery
from .compute import Compute
from .compute.full import Full
from .regions import MaskRegion, Region, check_formats, read_regions, vary

BASE = "the base"


@dataclass(frozen=True, eq=False)
class Scene:
    """The picture to sample: the LATENT as `given` and as fitted to the model, the base's sampler, and the regions."""

    given: Latent
    latent: Latent
    base: AdvancedSamplerLike
    regions: tuple[Region, ...]

    @property
    def size(self) -> tuple[int, int]:
        """(h, w) of the latent."""
        shape = self.latent["samples"].shape
        return shape[-2], shape[-1]

    @property
    def names(self) -> list[str]:
        """The names of the base and the regions, for messages."""
        return [BASE, *(region.name for region in self.regions)]

    def noise(self, latent: Latent, seed: int) -> torch.Tensor:
        """The noise of `seed` for the latent, with every region's variation, each applied to the one before."""
        return vary(initial_noise(latent, seed), self.regions, latent.get("batch_index"))

    def samplers(self, owner: str) -> list[AdvancedSampler]:
        """The samplers of the base and the regions as this pack's own."""
        return [as_own(self.base, f"{owner}, base_sampler"), *own_samplers(self.regions, owner)]


@dataclass(frozen=True, kw_only=True)
class StepPlan:
    """Which steps of the schedule for `total` steps are sampled, and how noise enters and leaves.

    The base alone samples `start`..`regional` in one call; base and regions sample `regional`..`alone` step by step;
    the base alone, where no region is, samples `alone`..`end`. Each range may be empty.
    """

    total: int
    start: int
    regional: int
    alone: int
    end: int
    base_seed: int
    seed: int
    add_noise: bool
    # The base-only steps end in a finished picture, and the regional steps begin with new noise from `seed`.
    renoise: bool = False
    leave_noise: bool = True
    # The steps end where the schedule does, as those of KSampler with a denoise below 1. Some schedules have more or
    # fewer steps than the `total` they are made for. The stepwise engine counts from the schedule's beginning anyway.
    from_end: bool = False

    def shift(self, schedule: torch.Tensor) -> int:
        """What is added to a step to find its sigma in a `schedule` that is made for `total` steps."""
        return len(schedule) - 1 - self.total if self.from_end else 0


@dataclass(frozen=True)
class StepwiseOptions:
    """`paste`: every region's result is pasted back through its own mask, instead of replacing the whole latent.
    `finish_regions`: in the last step the regions leave no noise.
    """

    recovery: Recovery = NO_RECOVERY
    paste: bool = True
    finish_regions: bool = False


@dataclass(frozen=True)
class LockstepOptions:
    """`blend`: a key of BLENDS. `compute`: how the denoised of the members is computed."""

    blend: str = MIX
    compute: Compute = field(default_factory=Full)


@dataclass(frozen=True, eq=False)
class Job:
    """One run of an engine; `owner` is the node's name in messages."""

    owner: str
    scene: Scene
    steps: StepPlan
    stepwise: StepwiseOptions = StepwiseOptions()
    lockstep: LockstepOptions = LockstepOptions()
    node_id: str | None = None


def regional_scene(latent: Latent, base: object, prompts: object, overlap: int, owner: str) -> Scene:
    """The scene of RegionalSampler; `overlap` is in pixels of each region's own mask. Changes no input."""
    base = check_advanced_sampler(base, f"{owner}, base_sampler")
    fitted, shape = _fitted(latent, base, owner)
    regions: list[Region] = []
    for region in read_regions(prompts, model_of(base), overlap, owner):
        check_count(region.mask, shape, f"{owner}, {region.name}")
        if isinstance(region.sampler, InheritedSampler):
            own = as_own(base, f"{owner}, base_sampler")
            region = replace(region, sampler=region.sampler.with_base(own))
        regions.append(region)
    return Scene(latent, fitted, base, tuple(regions))


def two_sampler_scene(latent: Latent, base: object, inside: object, mask: object, overlap: int, owner: str) -> Scene:
    """The scene of TwoAdvancedSamplersForMask; `overlap` is in latent pixels. Changes no input."""
    base = check_advanced_sampler(base, f"{owner}, base_sampler")
    inside = check_advanced_sampler(inside, f"{owner}, mask_sampler")
    check_formats(model_of(base), model_of(inside), f"{owner}, mask_sampler")
    fitted, shape = _fitted(latent, base, owner)
    own = as_mask(mask, owner)
    check_count(own, shape, owner)
    return Scene(latent, fitted, base, (MaskRegion("mask_sampler", inside, own, overlap),))


def own_samplers(regions: Sequence[Region], owner: str, base: Guidance | None = None) -> list[AdvancedSampler]:
    """The samplers of the regions as this pack's own. `base` is given where a region may still be without a sampler."""
    samplers = []
    for region in regions:
        own = as_own(region.sampler, f"{owner}, {region.name}")
        if base is not None and isinstance(region.sampler, InheritedSampler):
            own = replace(own, guidance=own.guidance.with_embedded(base))
        samplers.append(own)
    return samplers


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


def _fitted(latent: Latent, base: AdvancedSamplerLike, owner: str) -> tuple[Latent, torch.Size]:
    fitted = latents.fit(check_latent(latent, owner), model_of(base))
    return fitted, fitted["samples"].shape

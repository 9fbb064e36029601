"""Weight maps of base and regions at each sigma."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from ..masks.shape import check_count, on_latent
from ..masks.weights import BLENDS, MIX, reach
from ..samplers.prompts import RegionSettings
from .regions import Region

# Samplers that compute in log sigma return to a step's sigma with a rounding error.
SIGMA_TOLERANCE = 1e-4


@dataclass(frozen=True)
class SigmaRange:
    """The sigmas at which a region paints: from `start` down to `end`. Above `free` it keeps the input picture."""

    start: float = math.inf
    end: float = 0.0
    free: float = math.inf

    def __contains__(self, sigma: float) -> bool:
        return not (_above(sigma, self.start) or _above(self.end, sigma))


def sigma_ranges(
    regions: Sequence[Region], model: Any, free: Callable[[int, float], float] | None = None
) -> list[SigmaRange]:
    """The sigma range of each region, from its settings by the model's percent_to_sigma.

    `free(index, denoise)` is the sigma at which region `index` begins with that denoise, if below 1; None ignores the
    denoise, as the stepwise engine does.
    """
    percent_to_sigma = model.get_model_object("model_sampling").percent_to_sigma

    def one(index: int, settings: RegionSettings) -> SigmaRange:
        return SigmaRange(
            float(percent_to_sigma(settings.start_percent)) if settings.start_percent > 0.0 else math.inf,
            float(percent_to_sigma(settings.end_percent)) if settings.end_percent < 1.0 else 0.0,
            free(index, settings.denoise) if free is not None and settings.denoise < 1.0 else math.inf,
        )

    return [one(index, region.settings) for index, region in enumerate(regions)]


@dataclass(frozen=True, eq=False)
class Weights:
    """`maps`: weight maps (B or 1, 1, [T or 1,] h, w) that sum to 1, of the members that have any weight.

    Members in `kept` show the input picture and need no model.
    """

    maps: Mapping[int, torch.Tensor]
    kept: frozenset[int] = frozenset()

    @property
    def painting(self) -> list[int]:
        """The members that have weight and need a model, in order."""
        return [member for member in self.maps if member not in self.kept]


@dataclass(frozen=True, eq=False)
class WeightTimeline:
    """Member 0 is the base, members 1.. are the regions. Above `base_only_sigma` the base alone paints.

    `blend`, a key of BLENDS, says how regions share where they overlap; ValueError for another one.
    """

    regions: Sequence[Region]
    owner: str
    ranges: Sequence[SigmaRange] = ()
    blend: str = MIX
    base_only_sigma: float | None = None

    def __post_init__(self) -> None:
        if self.blend not in BLENDS:
            raise ValueError(f"{self.owner}: blend {' or '.join(BLENDS)} was expected, {self.blend!r} came.")

    def maps(self, shape: Sequence[int], device: torch.device) -> "WeightMaps":
        """The maps for a latent of this shape (B, C, ..., h, w), on `device`."""
        return WeightMaps(self, shape, device)

    @cached_property
    def limited(self) -> dict[int, SigmaRange]:
        """The ranges of those regions that do not paint at every sigma."""
        return {member: one for member, one in enumerate(self.ranges, 1) if one != SigmaRange()}

    @property
    def constant(self) -> bool:
        """Whether the weights are the same at every sigma."""
        return not self.limited and self.base_only_sigma is None

    def regions_at(self, sigma: float) -> tuple[frozenset[int], frozenset[int]]:
        """The regions that count at a sigma, and those of them that keep the input picture."""
        kept = frozenset(member for member, one in self.limited.items() if _above(sigma, one.free))
        if self.base_only_sigma is not None and _above(sigma, self.base_only_sigma):
            return kept, kept
        out = {member for member, one in self.limited.items() if sigma not in one}
        return frozenset(range(1, len(self.regions) + 1)) - (out - kept), kept

    def painting_at(self, sigma: float) -> list[int]:
        """The members that may paint at a sigma, wherever their masks are, in order."""
        counting, kept = self.regions_at(sigma)
        return [0, *sorted(counting - kept)]

    def ended_at(self, sigma: float) -> set[int]:
        """The regions that paint neither at this sigma nor below."""
        return {member for member, one in self.limited.items() if _above(one.end, sigma)}


class WeightMaps:
    """The weight maps of a WeightTimeline on one latent. Maps of one combination of regions are made once."""

    def __init__(self, timeline: WeightTimeline, shape: Sequence[int], device: torch.device) -> None:
        self.shape, self.device = tuple(shape), device
        self._timeline = timeline
        claims = region_claims(timeline.regions, shape, timeline.owner)
        self._claims = {member: claim.to(device) for member, claim in enumerate(claims, 1)}
        self._made: dict[tuple[frozenset[int], frozenset[int]], Weights] = {}

    def at(self, sigma: torch.Tensor | float) -> Weights:
        """The weights at a sigma; at the largest one if there are several."""
        if self._timeline.constant:
            # Reading sigma waits for the device, so it is read only where it matters.
            return self._weights(frozenset(self._claims), frozenset())
        return self._weights(*self._timeline.regions_at(_largest(sigma)))

    def later(self, sigma: torch.Tensor | float) -> set[int]:
        """The members that paint at this sigma or below."""
        together = self._weights(frozenset(self._claims), frozenset()).maps
        # Where a region ends the base goes on.
        base = {0} if self._timeline.limited else set()
        return (together.keys() | base) - self._timeline.ended_at(_largest(sigma))

    def _weights(self, counting: frozenset[int], kept: frozenset[int]) -> Weights:
        key = (counting, kept)
        if key not in self._made:
            regions = sorted(counting)
            if regions:
                base, *rest = BLENDS[self._timeline.blend]([self._claims[member] for member in regions])
            else:
                base, rest = torch.ones([1] * (len(self.shape) - 2) + list(self.shape[-2:]), device=self.device), []
            maps = {0: base, **dict(zip(regions, rest, strict=True))}
            self._made[key] = Weights({member: one for member, one in maps.items() if bool(one.any())}, kept)
        return self._made[key]


def region_claims(regions: Sequence[Region], shape: Sequence[int], owner: str) -> list[torch.Tensor]:
    """The claim of each region on the pixels of a latent (B, C, ..., h, w): (B or 1, 1, [T or 1,] h, w) in 0..1.

    ValueError, naming the region, if its masks do not fit the batch or the frames.
    """
    size = (shape[-2], shape[-1])
    claims = []
    for region in regions:
        check_count(region.mask, shape, f"{owner}, {region.name}")
        claims.append(on_latent(reach(region.mask, size, region.ring(size)), shape) * region.settings.weight)
    return claims


def _largest(sigma: torch.Tensor | float) -> float:
    return float(sigma.max()) if isinstance(sigma, torch.Tensor) else sigma


def _above(sigma: float, other: float) -> bool:
    return sigma > other * (1.0 + SIGMA_TOLERANCE)

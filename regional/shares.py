"""Who paints where, and when: the weight maps of the base and the regions at every noise level."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..masks.shape import check_count, on_latent
from ..masks.weights import BLENDS, MIX, reach
from ..samplers.prompts import Presence
from .regions import Region

# Samplers that work in log sigma come back to a step's sigma with a rounding error.
SIGMA_TOLERANCE = 1e-4


@dataclass(frozen=True)
class Window:
    """When a region paints, in sigmas: from `start` down to `end`; above `free` it keeps the input picture."""

    start: float = math.inf
    end: float = 0.0
    free: float = math.inf

    def __contains__(self, level: float) -> bool:
        return not (_above(level, self.start) or _above(self.end, level))

    @classmethod
    def of(cls, presence: Presence, progress: Callable[[float], Any], free: float = math.inf) -> "Window":
        """`progress` is the host's percent_to_sigma; `free` the sigma at which the region's `denoise` begins."""
        return cls(
            float(progress(presence.start_percent)) if presence.start_percent > 0.0 else math.inf,
            float(progress(presence.end_percent)) if presence.end_percent < 1.0 else 0.0,
            free if presence.denoise < 1.0 else math.inf,
        )


@dataclass(frozen=True, eq=False)
class Phase:
    """Weight maps (B or 1, 1, [T or 1,] h, w), summing to 1, of those members that have any weight.

    Members that are `kept` show the input picture, and need no model.
    """

    weights: Mapping[int, torch.Tensor]
    kept: frozenset[int] = frozenset()


class Shares:
    """Member 0 is the base, members 1.. are the regions. Above `base_only_sigma` the base alone paints.

    `blend` is a key of BLENDS: how regions share where they overlap.
    """

    def __init__(
        self,
        regions: Sequence[Region],
        owner: str,
        windows: Sequence[Window] = (),
        blend: str = MIX,
        base_only_sigma: float | None = None,
    ) -> None:
        if blend not in BLENDS:
            raise ValueError(f"{owner}: blend {' or '.join(BLENDS)} was expected, {blend!r} came.")
        self._regions, self._owner, self._blend = regions, owner, blend
        self._windows = {number: window for number, window in enumerate(windows, 1) if window != Window()}
        self._base_only_sigma = base_only_sigma
        self._claims: dict[int, torch.Tensor] = {}
        self._phases: dict[tuple[frozenset[int], frozenset[int]], Phase] = {}
        self._shape: tuple[int, ...] = ()
        self._device = torch.device("cpu")

    def prepare(self, shape: Sequence[int], device: torch.device) -> None:
        """Make the maps for a latent of this shape (B, C, ..., h, w) on the model's device, unless they are made."""
        if (self._shape, self._device) == (tuple(shape), device):
            return
        size = (shape[-2], shape[-1])
        self._claims = {}
        for number, region in enumerate(self._regions, 1):
            check_count(region.mask, shape, f"{self._owner}, {region.name}")
            claim = on_latent(reach(region.mask, size, region.ring(size)), shape) * region.presence.weight
            self._claims[number] = claim.to(device)
        self._shape, self._device, self._phases = tuple(shape), device, {}

    def forget(self) -> None:
        """Let go of the maps."""
        self._claims, self._phases, self._shape = {}, {}, ()

    def at(self, sigma: torch.Tensor | float) -> Phase:
        """The phase at a sigma, the largest one if there are several."""
        if not self._windows and self._base_only_sigma is None:
            # Reading sigma waits for the device, so only look when it matters.
            return self._phase(frozenset(self._claims), frozenset())
        active, kept = self._at(float(sigma.max()) if isinstance(sigma, torch.Tensor) else sigma)
        return self._phase(active, kept)

    def active_at(self, sigma: float) -> frozenset[int]:
        """The members that may paint at a sigma, wherever their masks are."""
        active, kept = self._at(sigma)
        return frozenset({0}) | (active - kept)

    def _at(self, level: float) -> tuple[frozenset[int], frozenset[int]]:
        """Which regions count at a sigma, and which of them keep the picture."""
        everybody = frozenset(range(1, len(self._regions) + 1))
        kept = frozenset(n for n, window in self._windows.items() if _above(level, window.free))
        if self._base_only_sigma is not None and _above(level, self._base_only_sigma):
            return kept, kept
        out = {n for n, window in self._windows.items() if level not in window}
        return everybody - (out - kept), kept

    def later(self, sigma: torch.Tensor) -> set[int]:
        """The members that paint at this sigma or below."""
        level = float(sigma.max())
        over = {n for n, window in self._windows.items() if _above(window.end, level)}
        together = self._phase(frozenset(self._claims), frozenset()).weights
        # Where a region ends the base goes on.
        base = {0} if self._windows else set()
        return (together.keys() | base) - over

    def _phase(self, active: frozenset[int], kept: frozenset[int]) -> Phase:
        key = (active, kept)
        if key not in self._phases:
            numbers = sorted(active)
            if numbers:
                base, *rest = BLENDS[self._blend]([self._claims[number] for number in numbers])
            else:
                base, rest = torch.ones([1] * (len(self._shape) - 2) + list(self._shape[-2:]), device=self._device), []
            weights = {0: base, **dict(zip(numbers, rest, strict=True))}
            self._phases[key] = Phase({n: weight for n, weight in weights.items() if bool(weight.any())}, kept)
        return self._phases[key]


def _above(level: float, other: float) -> bool:
    return level > other * (1.0 + SIGMA_TOLERANCE)

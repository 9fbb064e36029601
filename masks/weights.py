"""Weight maps of the base and the regions: they sum to 1 at every latent pixel."""

import functools
from collections.abc import Callable, Sequence

import torch

from .shape import resize


def reach(mask: torch.Tensor, size: tuple[int, int], ring: tuple[float, float]) -> torch.Tensor:
    """A region's claim to each latent pixel: mask (B, H, W) -> float32 (B, h, w) in 0..1 for `size` = (h, w). Copies.

    Inside the mask the claim is the mask's mean over the latent pixel. Around it the claim falls linearly to 0 over
    `ring` = (y, x) latent pixels: d pixels away from a pixel of value m it is m * (1 - (d - 0.5) / ring), where 0.5
    is the distance from the last pixel's centre to the mask's edge. Soft masks stay soft.
    """
    claim = resize(mask, size, "area").clone()
    for axis, width in ((-2, ring[0]), (-1, ring[1])):
        near = claim
        for distance in range(1, min(int(width + 0.5), claim.shape[axis] - 1) + 1):
            faded = near * (1.0 - (distance - 0.5) / width)
            shifted = slice(distance, None), slice(None, -distance)
            for target, source in (shifted, shifted[::-1]):
                claim = _raise(claim, faded, axis, target, source)
    return claim


def _raise(claim: torch.Tensor, values: torch.Tensor, axis: int, target: slice, source: slice) -> torch.Tensor:
    """A copy of `claim` (B, h, w) whose slice `target` along `axis` is at least the slice `source` of `values`."""
    to = (..., target, slice(None)) if axis == -2 else (..., target)
    origin = (..., source, slice(None)) if axis == -2 else (..., source)
    out = claim.clone()
    out[to] = torch.maximum(claim[to], values[origin])
    return out


def mix(claims: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """Weights of the base and of each region, in this order, from the regions' claims; regions share overlaps.

    With S the sum of the claims: w_k = claim_k / max(S, 1), and w_0 = max(0, 1 - S) for the base. Claims are float
    tensors in 0..1 of one shape at latent resolution, weights have the same shape. Copies.
    """
    total = functools.reduce(torch.add, claims)
    return [(1.0 - total).clamp(min=0.0), *(claim / total.clamp(min=1.0) for claim in claims)]


def stack(claims: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """As `mix`, but a later region covers earlier ones: w_k = claim_k * prod_{j > k} (1 - claim_j). Copies."""
    weights: list[torch.Tensor] = []
    free = torch.ones_like(claims[0])
    for claim in reversed(claims):
        weights.insert(0, claim * free)
        free = free * (1.0 - claim)
    return [free, *weights]


MIX, STACK = "mix", "stack"
BLENDS: dict[str, Callable[[Sequence[torch.Tensor]], list[torch.Tensor]]] = {MIX: mix, STACK: stack}

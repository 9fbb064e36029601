"""How the base and the regions share the canvas: weight maps that sum to 1 at every latent pixel."""

import functools
from collections.abc import Callable, Sequence

import torch

from .shape import resize


def reach(mask: torch.Tensor, size: tuple[int, int], ring: tuple[float, float]) -> torch.Tensor:
    """How much a region claims of each latent pixel: (B, H, W) mask -> (B, h, w) in 0..1 for `size` = (h, w).

    Inside, that is the mask averaged over the latent pixel; around it, over a ring of `ring` = (y, x) latent pixels,
    it falls linearly to 0: the claim d pixels away from a pixel of value m is m * (1 - (d - 0.5) / ring), since the
    mask ends half a pixel beside its last pixel's centre. Soft masks stay soft. Copies.
    """
    claim = resize(mask, size, "area").clone()
    for axis, width in ((-2, ring[0]), (-1, ring[1])):
        near = claim
        for distance in range(1, min(int(width + 0.5), claim.shape[axis] - 1) + 1):
            falling = near * (1.0 - (distance - 0.5) / width)
            here = slice(distance, None), slice(None, -distance)
            for to, source in (here, here[::-1]):
                claim = _raise(claim, falling, axis, to, source)
    return claim


def _raise(claim: torch.Tensor, values: torch.Tensor, axis: int, to: slice, source: slice) -> torch.Tensor:
    """`claim` raised to at least the `values` at `source` in the places `to`, along one axis. Copies."""
    spot = (..., to, slice(None)) if axis == -2 else (..., to)
    origin = (..., source, slice(None)) if axis == -2 else (..., source)
    out = claim.clone()
    out[spot] = torch.maximum(claim[spot], values[origin])
    return out


def mix(claims: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """The weights of the base and of each region, in this order, shaped like the claims: S = sum of the claims,
    w_k = claim_k / max(S, 1), w_0 = max(0, 1 - S). Where regions overlap they share by their claims.
    """
    total = functools.reduce(torch.add, claims)
    return [(1.0 - total).clamp(min=0.0), *(claim / total.clamp(min=1.0) for claim in claims)]


def stack(claims: Sequence[torch.Tensor]) -> list[torch.Tensor]:
    """As `mix`, but each region lies on top of those before it: w_k = claim_k * prod_{j > k} (1 - claim_j)."""
    weights: list[torch.Tensor] = []
    free = torch.ones_like(claims[0])
    for claim in reversed(claims):
        weights.insert(0, claim * free)
        free = free * (1.0 - claim)
    return [free, *weights]


MIX, STACK = "mix", "stack"
BLENDS: dict[str, Callable[[Sequence[torch.Tensor]], list[torch.Tensor]]] = {MIX: mix, STACK: stack}

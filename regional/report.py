"""What a run over regions will do and cost, in words, without loading or asking any model."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..masks.boxes import Box, bounds, crops
from ..masks.weights import BLENDS, reach
from ..samplers.latents import pixels_per_latent
from ..samplers.prompts import Presence
from ..samplers.providers import KSamplerAdvancedObject
from . import crop
from .groups import equal_conds
from .regions import Region
from .serving import Served, serve

BASE = "the base"


@dataclass(frozen=True, eq=False)
class Coverage:
    """How regions lie on a canvas: weight maps (N or 1, h, w) of the base and each region, and shares of the canvas."""

    weights: list[torch.Tensor]
    overlap: float

    @property
    def shares(self) -> list[float]:
        """Of the base and each region, 0..1 of the canvas."""
        return [float(weight.mean()) for weight in self.weights]

    def lines(self, names: Sequence[str]) -> list[str]:
        base, *rest = self.shares
        lines = [f"{name}: {share:.1%} of the picture" for name, share in zip(names, rest, strict=True)]
        lines.append(f"gaps, which {BASE} paints: {base:.1%}")
        return [*lines, f"overlaps of regions: {self.overlap:.1%}"]


def coverage(regions: Sequence[Region], size: tuple[int, int], blend: str) -> Coverage:
    """The final weights on a canvas of `size` (h, w), each region with its own overlap and weight."""
    claims = [reach(region.mask, size, region.ring(size)) * region.presence.weight for region in regions]
    if not claims:
        return Coverage([torch.ones((1, *size))], 0.0)
    batch = max(len(claim) for claim in claims)
    claims = [claim.expand(batch, -1, -1) for claim in claims]
    crowd = torch.stack([claim > 0 for claim in claims]).sum(0)
    return Coverage(BLENDS[blend](claims), float((crowd > 1).float().mean()))


def describe(
    base: KSamplerAdvancedObject,
    regions: Sequence[Region],
    samplers: Sequence[KSamplerAdvancedObject],
    size: tuple[int, int],
    blend: str,
    engine: str,
    steps: tuple[int, int],
    context: int | None,
) -> str:
    """The report on a run of `engine` over a latent of `size` (h, w) with `steps` = (all, those of the base alone)."""
    names = [BASE, *(region.name for region in regions)]
    everybody = [base, *samplers]
    covered = coverage(regions, size, blend)
    pixels = pixels_per_latent(base.guidance.model.get_model_object("latent_format"))
    total, alone = steps
    lines = [f"{engine}, {total} steps, {alone} of {BASE} alone, {size[1] * pixels} x {size[0] * pixels} pixels", ""]
    presences = [Presence(), *(region.presence for region in regions)]
    served = serve([sampler.guidance for sampler in everybody], names)
    for index, (name, sampler, share) in enumerate(zip(names, everybody, covered.shares, strict=True)):
        parts = [_model(sampler.guidance.model), _sampler(sampler), f"cfg {sampler.guidance.scale:g}", f"{share:.1%}"]
        parts += _presence(presences[index])
        if engine == "lockstep" and any(index in one.deltas for one in served):
            parts.append("its LoRA is routed by row, nothing is patched")
        lines.append(f"{name}: {', '.join(parts)}")
    lines.append("")
    lines += _cost(engine, served, covered, size, None if context is None else round(context / pixels), len(regions))
    warnings = [note for one in served for note in one.notes] if engine == "lockstep" else []
    warnings += [
        f"{name} has no weight anywhere, so it costs nothing and paints nothing."
        for name, share in zip(names[1:], covered.shares[1:], strict=True)
        if share == 0.0
    ]
    if alone >= total:
        warnings.append(f"{BASE} paints all {total} steps, so no region is painted; lower base_only_steps.")
    return "\n".join(lines + [f"Note: {warning}" for warning in warnings])


def _cost(
    engine: str, served: Sequence[Served], covered: Coverage, size: tuple[int, int], context: int | None, count: int
) -> list[str]:
    """Calls, rows and area of one step in which all regions paint."""
    weights = {index: weight for index, weight in enumerate(covered.weights) if bool(weight.any())}
    guidances = {index: guidance for one in served for index, guidance in one.members.items()}
    rows_of = {index: 1 if guidance.scale == 1.0 else 2 for index, guidance in guidances.items()}
    if engine != "lockstep":
        rows = sum(rows_of.values())
        return [f"Each step: {rows} rows in {count + 1} model call(s), an area of {rows} pictures."]
    calls = rows = area = 0
    whole = size[0] * size[1]
    for one in served:
        here = [index for index in one.members if index in weights]
        if not here:
            continue
        model = next(iter(one.members.values())).model.model
        boxes: dict[int, Box] = {}
        if context is not None:
            extents = {index: bounds(weights[index]) for index in here}
            boxes = crops(extents, size, context, crop.grid(model), not crop.has_positions(model))
        conds = {index: guidance.conds() for index, guidance in one.members.items()}
        same = equal_conds(conds, {index: id(guidance.model) for index, guidance in one.members.items()})
        needed = {
            (same[index, kind], boxes.get(index))
            for index in here
            for kind in ("positive", "negative")[: rows_of[index]]
        }
        calls += len({box and (box.height, box.width) for _, box in needed})
        rows += len(needed)
        area += sum(whole if box is None else box.area for _, box in needed)
    plain = f"plain KSampler computes {rows_of[0]}"
    return [f"Each step: {rows} rows in {calls} model call(s), an area of {area / whole:.2f} pictures; {plain}."]


def _model(model: Any) -> str:
    name = type(model.model).__name__
    places: dict[int, set[float]] = {}
    for patches in model.patches.values():
        for place, patch in enumerate(patches):
            places.setdefault(place, set()).add(round(float(patch[0]), 4))
    if not places:
        return name
    strengths = " + ".join("/".join(f"{s:g}" for s in sorted(places[place])) for place in sorted(places))
    return f"{name} with patches on {len(model.patches)} weights (LoRA strength {strengths})"


def _sampler(sampler: KSamplerAdvancedObject) -> str:
    name = "a custom sampler" if sampler.sampler_opt is not None else sampler.sampler_name
    scheduler = "a custom schedule" if sampler.scheduler_func is not None else sampler.scheduler
    return f"{name} on {scheduler}"


def _presence(presence: Presence) -> list[str]:
    parts = []
    if (presence.start_percent, presence.end_percent) != (0.0, 1.0):
        parts.append(f"from {presence.start_percent:.0%} to {presence.end_percent:.0%} of the sampling")
    if presence.weight != 1.0:
        parts.append(f"weight {presence.weight:g}")
    if presence.denoise != 1.0:
        parts.append(f"denoise {presence.denoise:g}")
    return parts

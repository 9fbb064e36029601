"""What a run over regions will do and cost, in words, without loading or asking any model."""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ..masks.boxes import Box, bounds, cheapest, crops
from ..masks.shape import on_latent, outside_all, resize
from ..masks.weights import BLENDS, MIX, reach
from ..samplers.latents import pixels_per_latent
from ..samplers.prompts import Presence
from ..samplers.providers import KSamplerAdvancedObject, as_own
from ..samplers.recovery import BETWEEN, Recovery, passes
from ..samplers.session import Session
from . import crop
from .engines import ENGINES, LOCKSTEP
from .groups import equal_conds
from .job import Job
from .lockstep import check_samplings, shares_of
from .regions import Region
from .serving import Served, serve
from .shares import Window
from .stepwise import check_frames

BASE = "the base"
# Those that keep nothing from step to step and draw no noise, so that stepwise may start them anew at every step.
_WITHOUT_MEMORY = {"euler", "heun", "heunpp2", "dpm_2", "ddim", "exp_heun_2_x0"}

Size = tuple[int, int]  # (h, w) in latent pixels


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


def coverage(regions: Sequence[Region], shape: Sequence[int], blend: str) -> Coverage:
    """The final weights on a latent of `shape` (B, C, ..., h, w), each region with its own overlap and weight."""
    size = (shape[-2], shape[-1])
    if not regions:
        return Coverage([torch.ones((1, *size))], 0.0)
    claims = [
        on_latent(reach(region.mask, size, region.ring(size)), shape) * region.presence.weight for region in regions
    ]
    pictures = max(claim[..., 0, 0].numel() for claim in claims)
    claims = [claim.reshape(-1, *size).expand(pictures, -1, -1) for claim in claims]
    crowd = torch.stack([claim > 0 for claim in claims]).sum(0)
    return Coverage(BLENDS[blend](claims), float((crowd > 1).float().mean()))


@dataclass(frozen=True)
class Cost:
    """Model calls, rows (pictures in all calls) and their area, in latent pixels."""

    calls: int = 0
    rows: int = 0
    area: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.calls + other.calls, self.rows + other.rows, self.area + other.area)

    def words(self, canvas: int) -> str:
        """`canvas`: the area of one picture."""
        calls = "1 model call" if self.calls == 1 else f"{self.calls} model calls"
        return f"{self.rows} rows in {calls}, an area of {self.area / canvas:.4g} pictures"


class _Group:
    """What one loaded model is asked for, counted as ModelGroup and the host's calc_cond_batch will ask it."""

    def __init__(self, served: Served, size: Size, batch: int) -> None:
        self._size, self._batch = size, batch
        first = next(iter(served.members.values())).model
        self._model, self._options = first.model, first.model_options
        always = first.model_options.get("disable_cfg1_optimization", False)
        self.conds = {
            index: {
                kind: conds
                for kind, conds in guidance.conds().items()
                if kind == "positive" or always or not math.isclose(guidance.scale, 1.0)
            }
            for index, guidance in served.members.items()
        }
        self._same = equal_conds(self.conds, {index: id(one.model) for index, one in served.members.items()})

    def cost(self, members: Mapping[int, Box | None]) -> Cost:
        """Of one evaluation of the members, each on its box or on the whole canvas."""
        placed = crop.has_positions(self._model)
        calls, rows, area = set(), 0, 0
        for (owner, kind), box in {(self._same[n, kind], box) for n, box in members.items() for kind in self.conds[n]}:
            height, width = self._size if box is None else (box.height, box.width)
            for _, options in self.conds[owner][kind]:
                calls.add((box if placed else (height, width), id(options.get("hooks")), id(options.get("control"))))
                rows += self._batch
                area += self._batch * height * width
        return Cost(len(calls), rows, area)

    def boxes(self, weights: Mapping[int, torch.Tensor], context: int) -> dict[int, Box]:
        """As ModelGroup.boxes, of those members that have `weights`."""
        extents = {n: bounds(weights[n]) for n in self.conds if n in weights and self.obstacle(n) is None}
        found = crops(extents, self._size, context, crop.grid(self._model), not crop.has_positions(self._model))
        painting = dict.fromkeys(n for n in self.conds if n in weights)
        return cheapest(found, lambda boxes: self.cost({**painting, **boxes}).area)

    def obstacle(self, index: int) -> str | None:
        """Why the member cannot be cropped, as far as its conditioning tells before the model has seen it."""
        given = self.conds[index].items()
        conds = {kind: [{**options, "model_conds": {}} for _, options in own] for kind, own in given}
        return crop.obstacle(self._model, self._options, conds, ())


def describe(engine: str, job: Job) -> str:
    """The report on what `engine` will do with the job. ValueError or TypeError if the run would fail at once."""
    if engine not in ENGINES:
        raise ValueError(f"{job.owner}: engine {' or '.join(ENGINES)} was expected, {engine!r} came.")
    canvas, steps = job.canvas, job.steps
    names = [BASE, *(region.name for region in canvas.regions)]
    samplers = [as_own(canvas.base, f"{job.owner}, base_sampler")]
    samplers += [as_own(region.sampler, f"{job.owner}, {region.name}") for region in canvas.regions]
    model, height, width = samplers[0].guidance.model, *canvas.size
    batch = len(canvas.latent["samples"])
    pixels = pixels_per_latent(model.get_model_object("latent_format"))
    presences = [Presence(), *(region.presence for region in canvas.regions)]
    if engine == LOCKSTEP:
        for name, sampler in zip(names, samplers, strict=True):
            check_samplings(model, sampler.guidance.model, f"{job.owner}, {name}")
        covered = coverage(canvas.regions, canvas.latent["samples"].shape, job.options.blend).shares
        served = serve([sampler.guidance for sampler in samplers], names, device=torch.device("cpu"))
        took, costs, notes = _lockstep(job, samplers, names, served)
        routed = {index for one in served for index in one.deltas}
    else:
        check_frames(job)
        covered = [float(place.mean()) for place in _places(canvas.regions, canvas.size)]
        took, costs, notes, routed = *_stepwise(job, samplers, names), set()

    count = steps.total - steps.start
    alone = steps.regional - steps.start
    pictures = "" if batch == 1 else f", {batch} pictures"
    lines = [f"{engine}, {count} steps, the first {alone} of {BASE} alone, {width * pixels} x {height * pixels} pixels"]
    lines[0] += pictures
    for n, (name, sampler) in enumerate(zip(names, samplers, strict=True)):
        parts = [_model(sampler.guidance.model), _sampler(sampler), f"cfg {sampler.guidance.cfg:g}"]
        parts += [f"{covered[n]:.1%} of the picture", *_presence(presences[n], engine)]
        parts += ["its LoRA is added to its own rows"] if n in routed else []
        lines.append(f"{name}: {', '.join(parts)}, in {took[n]} of {count} steps")

    plain = _Group(Served(0, samplers[0].guidance), canvas.size, batch).cost({0: None})
    area = height * width
    lines += ["", f"The dearest step: {max(costs, key=lambda cost: cost.area, default=Cost()).words(area)}."]
    lines += [
        f"The whole run: {sum(costs, Cost()).words(area)}; KSampler with {BASE} alone: {count * plain.rows} rows."
    ]
    if alone >= count:
        notes = [f"{BASE} paints all {count} steps, so no region is painted; lower base_only_steps.", *notes]
    for name, share in zip(names[1:], covered[1:], strict=True):
        if share == 0.0:
            notes = [*notes, f"{name} has no weight anywhere, so it paints nothing."]
    return "\n".join(lines + [f"Note: {note}" for note in notes])


# Of each member, in how many steps it is asked; the cost of each step; what else is to be said.
Outlook = tuple[list[int], list[Cost], list[str]]


def _lockstep(
    job: Job, samplers: Sequence[KSamplerAdvancedObject], names: Sequence[str], served: Sequence[Served]
) -> Outlook:
    """Go through the sigmas of all samplers, as the engine does, with one question at each."""
    canvas, steps, session = job.canvas, job.steps, Session(1)
    whole = [sampler.schedule(session, steps.total) * sampler.sigma_factor for sampler in samplers]
    schedules = [schedule[steps.start :].tolist() for schedule in whole]
    # Who has nothing left follows the base.
    schedules = [schedule if len(schedule) > 1 else schedules[0] for schedule in schedules]
    shares = shares_of(job, samplers, session, schedules[0], steps.regional - steps.start)
    shares.prepare(canvas.latent["samples"].shape, torch.device("cpu"))

    groups = [_Group(one, canvas.size, len(canvas.latent["samples"])) for one in served]
    pixels = pixels_per_latent(samplers[0].guidance.model.get_model_object("latent_format"))
    notes = [note for one in served for note in one.notes]
    if len(groups) > 1:
        notes.append(f"{len(groups)} models are needed in each step; loading them in turns is slow if memory is short.")
    if job.options.context is not None:
        obstacles = {n: group.obstacle(n) for group in groups for n in group.conds if n > 0}
        notes += [f"{names[n]} is computed on the whole canvas, not cropped: {o}." for n, o in obstacles.items() if o]

    took, costs, answered = [0] * len(samplers), [], dict[int, Box | None]()
    waiting = [schedule[:-1] for schedule in schedules]
    while any(waiting):
        level = max(sigmas[0] for sigmas in waiting if sigmas)
        asked = {n for n, sigmas in enumerate(waiting) if sigmas and math.isclose(sigmas[0], level, rel_tol=1e-6)}
        waiting = [sigmas[n in asked :] for n, sigmas in enumerate(waiting)]
        phase = shares.at(level)
        painting = {n: weight for n, weight in phase.weights.items() if n not in phase.kept}
        boxes: dict[int, Box] = {}
        if job.options.context is not None:
            for group in groups:
                boxes.update(group.boxes(painting, round(job.options.context / pixels)))
        stale = {n for n in painting if n not in answered or answered[n] not in (None, boxes.get(n))}
        fresh = [n for n in painting if n in asked | stale]
        if not fresh and not shares.later(torch.tensor(level)).isdisjoint(asked):
            fresh = list(painting)
        answered.update({**dict.fromkeys(phase.kept), **{n: boxes.get(n) for n in fresh}})
        for n in painting:
            took[n] += n in asked
        costs.append(_sum(group.cost({n: boxes.get(n) for n in fresh if n in group.conds}) for group in groups))
    return took, costs, notes


def _stepwise(job: Job, samplers: Sequence[KSamplerAdvancedObject], names: Sequence[str]) -> Outlook:
    """Go through the steps, as the engine does, without second passes."""
    canvas, steps = job.canvas, job.steps
    progress = samplers[0].guidance.model.get_model_object("model_sampling").percent_to_sigma
    windows = [Window(), *(Window.of(region.presence, progress) for region in canvas.regions)]
    sigmas = (samplers[0].schedule(Session(1), steps.total) * samplers[0].sigma_factor).tolist()
    one = [
        _Group(Served(n, sampler.guidance), canvas.size, len(canvas.latent["samples"])).cost({n: None})
        for n, sampler in enumerate(samplers)
    ]
    took, costs = [0] * len(samplers), []
    for step in range(steps.start, steps.end):
        active = [n for n, window in enumerate(windows) if n == 0 or sigmas[min(step, len(sigmas) - 1)] in window]
        for n in (active := active if step >= steps.regional else [0]):
            took[n] += 1
        costs.append(_sum(one[n] for n in active))
    notes = []
    for name, sampler in zip(names, samplers, strict=True):
        sampler_name = "" if sampler.sampler_opt is not None else sampler.sampler_name
        if len(passes(sampler_name, Recovery(BETWEEN, ratio=0.5))) > 1:
            notes.append(f"{name}: {sampler_name} takes a second pass in each step unless additional_mode is DISABLE.")
        if sampler_name and sampler_name not in _WITHOUT_MEMORY:
            notes.append(
                f"{name}: {sampler_name} is started anew at every step, which it is not made for; choose euler, or "
                "the lockstep engine."
            )
    if len({id(sampler.guidance.model) for sampler in samplers}) > 1:
        notes.append("Not all have one model, so the weights are switched in every step, which is slow.")
    undone = [
        n for n, region in enumerate(canvas.regions, 1) if (region.presence.weight, region.presence.denoise) != (1, 1)
    ]
    if undone or job.options.context is not None or job.options.blend != MIX:
        notes.append("The stepwise engine does not do weight, denoise, crop and stack; choose the lockstep engine.")
    return took, costs, notes


def _places(regions: Sequence[Region], size: Size) -> list[torch.Tensor]:
    """Where stepwise samples the base and each region, (N, h, w)."""
    if not regions:
        return [torch.ones((1, *size))]
    return [resize(outside_all([region.mask for region in regions]), size), *(region.grown(size) for region in regions)]


def _sum(costs: Iterable[Cost]) -> Cost:
    return sum(costs, Cost())


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


def _presence(presence: Presence, engine: str) -> list[str]:
    parts = []
    if (presence.start_percent, presence.end_percent) != (0.0, 1.0):
        parts.append(f"from {presence.start_percent:.0%} to {presence.end_percent:.0%} of the sampling")
    if engine == LOCKSTEP and presence.weight != 1.0:
        parts.append(f"weight {presence.weight:g}")
    if engine == LOCKSTEP and presence.denoise != 1.0:
        parts.append(f"denoise {presence.denoise:g}")
    return parts

"""What a run over regions will do and cost, in words. No model is loaded or asked: the engines' own plans are read."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from ..masks.weights import BLENDS
from ..samplers.latents import pixels_per_latent
from ..samplers.prompts import RegionSettings
from ..samplers.providers import AdvancedSampler
from ..samplers.recovery import BETWEEN, Recovery, passes
from ..samplers.schedules import ScheduleCache
from . import lockstep, stepwise
from .compute import Ask
from .compute.cost import Cost, cost
from .compute.planner import Planner
from .engines import LOCKSTEP, check_engine, lockstep_only
from .host import patches_of
from .job import BASE, Job
from .models.group import ModelGroup
from .models.serving import serve
from .regions import Region, stretched_note
from .side_by_side import evaluations
from .timeline import region_claims

# Samplers that keep nothing from step to step and draw no noise, so that stepwise may restart them at every step.
_WITHOUT_MEMORY = {"euler", "heun", "heunpp2", "dpm_2", "ddim", "exp_heun_2_x0"}

Size = tuple[int, int]  # (h, w) in latent pixels


@dataclass(frozen=True, eq=False)
class Coverage:
    """`weights`: maps (N or 1, h, w) of the base and each region; `overlap`: the overlaps' share of the canvas."""

    weights: list[torch.Tensor]
    overlap: float

    @property
    def shares(self) -> list[float]:
        """The share of the canvas, 0..1, of the base and each region."""
        return [float(weight.mean()) for weight in self.weights]

    def lines(self, names: Sequence[str]) -> list[str]:
        base, *rest = self.shares
        lines = [f"{name}: {share:.1%} of the picture" for name, share in zip(names, rest, strict=True)]
        lines.append(f"gaps, which {BASE} paints: {base:.1%}")
        return [*lines, f"overlaps of regions: {self.overlap:.1%}"]


def coverage(regions: Sequence[Region], shape: Sequence[int], blend: str, owner: str) -> Coverage:
    """The final weights on a latent of `shape` (B, C, ..., h, w), each region with its own overlap and weight."""
    size = (shape[-2], shape[-1])
    if not regions:
        return Coverage([torch.ones((1, *size))], 0.0)
    claims = region_claims(regions, shape, owner)
    pictures = max(claim[..., 0, 0].numel() for claim in claims)
    claims = [claim.reshape(-1, *size).expand(pictures, -1, -1) for claim in claims]
    crowd = torch.stack([claim > 0 for claim in claims]).sum(0)
    return Coverage(BLENDS[blend](claims), float((crowd > 1).float().mean()))


@dataclass(frozen=True, eq=False)
class _Outlook:
    """What an engine will do with a job. `covered`: the share of the canvas of each member, 0..1; `sampled`: the number
    of steps of each member; `costs`: of each step; `by_rows`: the members whose LoRAs are added to their rows.
    """

    covered: list[float]
    sampled: list[int]
    costs: list[Cost]
    notes: list[str]
    by_rows: set[int] = field(default_factory=set)


def describe(engine: str, job: Job) -> str:
    """The report on what `engine` will do with the job. ValueError or TypeError if the run would fail at once."""
    check_engine(engine, job.owner)
    scene, steps = job.scene, job.steps
    samplers = lockstep.compatible_samplers(job) if engine == LOCKSTEP else scene.samplers(job.owner)
    outlook = (_lockstep if engine == LOCKSTEP else _stepwise)(job, samplers)
    height, width = scene.size
    area, batch = height * width, len(scene.latent["samples"])
    pixels = pixels_per_latent(samplers[0].guidance.model.get_model_object("latent_format"))
    count, alone = steps.total - steps.start, steps.regional - steps.start

    first = f"{engine}, {count} steps, the first {alone} of {BASE} alone, {width * pixels} x {height * pixels} pixels"
    lines = [first if batch == 1 else f"{first}, {batch} pictures"]
    settings = [RegionSettings(), *(region.settings for region in scene.regions)]
    for member, (name, sampler) in enumerate(zip(scene.names, samplers, strict=True)):
        parts = [_model(sampler.guidance.model), _sampler(sampler), f"cfg {sampler.guidance.cfg:g}"]
        parts += [f"{outlook.covered[member]:.1%} of the picture", *_settings(settings[member], engine)]
        parts += ["its LoRA is added to its own rows"] if member in outlook.by_rows else []
        lines.append(f"{name}: {', '.join(parts)}, in {outlook.sampled[member]} of {count} steps")

    dearest = max(outlook.costs, key=lambda one: one.area, default=Cost())
    plain = cost(ModelGroup(0, samplers[0].guidance), [Ask((0,))], scene.size, batch)
    lines += ["", f"The dearest step: {dearest.words(area)}."]
    lines += [
        f"The whole run: {sum(outlook.costs, Cost()).words(area)}; KSampler with {BASE} alone: {count * plain.rows} "
        "rows."
    ]
    notes = outlook.notes
    if alone >= count:
        notes = [f"{BASE} paints all {count} steps, so no region is painted; lower base_only_steps.", *notes]
    for name, share in zip(scene.names[1:], outlook.covered[1:], strict=True):
        if share == 0.0:
            notes = [*notes, f"{name} has no weight anywhere, so it paints nothing."]
    if stretched := stretched_note(scene.regions, scene.size):
        notes = [*notes, stretched]
    return "\n".join(lines + [f"Note: {note}" for note in notes])


def _lockstep(job: Job, samplers: Sequence[AdvancedSampler]) -> _Outlook:
    """The evaluations of the engine's own plan, at the sigmas of all its samplers."""
    scene, steps, compute = job.scene, job.steps, job.lockstep.compute
    shape = scene.latent["samples"].shape
    groups = serve([one.guidance for one in samplers], scene.names, device=torch.device("cpu"))
    covered = coverage(scene.regions, shape, job.lockstep.blend, job.owner).shares
    sampled, costs, said = [0] * len(samplers), list[Cost](), dict[str, None]()
    if (plan := lockstep.planned(job, samplers, ScheduleCache(), steps.start)) is not None:
        planner, maps = Planner(compute), plan.timeline.maps(shape, torch.device("cpu"))
        for sigma, asked in evaluations(plan.loops):
            evaluation = planner.evaluate(groups, maps, sigma, asked)
            for member in asked.intersection(evaluation.weights.painting):
                sampled[member] += 1
            costs.append(sum((cost(group, asks, scene.size, shape[0]) for group, asks in evaluation.asks), Cost()))
            for ask in evaluation.plan:
                said.update(dict.fromkeys(one for n in ask.members for one in compute.said(scene.names[n], ask)))
    notes = [note for group in groups for note in group.notes]
    if len(groups) > 1:
        notes.append(f"{len(groups)} models are needed in each step; loading them in turns is slow if memory is short.")
    by_rows = {member for group in groups for member in group.lora_terms}
    return _Outlook(covered, sampled, costs, [*notes, *said], by_rows)


def _stepwise(job: Job, samplers: Sequence[AdvancedSampler]) -> _Outlook:
    """The calls of the engine, step by step, without second passes."""
    scene, steps = job.scene, job.steps
    stepwise.check_frames(job)
    places = [stepwise.base_place(scene.regions, scene.size), *(region.grown(scene.size) for region in scene.regions)]
    batch = len(scene.latent["samples"])
    own = [
        cost(ModelGroup(member, sampler.guidance), [Ask((member,))], scene.size, batch)
        for member, sampler in enumerate(samplers)
    ]
    schedules = ScheduleCache()
    active = stepwise.active_regions(scene, steps, schedules)
    sampled, costs = [0] * len(samplers), []
    for step in range(steps.start, steps.end):
        members = [0, *(1 + region for region in active(step))] if step >= steps.regional else [0]
        for member in members:
            sampled[member] += 1
        costs.append(sum((own[member] for member in members), Cost()))
    notes = stepwise.schedule_notes(job, schedules)
    notes += [note for name, sampler in zip(scene.names, samplers, strict=True) for note in _restarts(name, sampler)]
    if len({id(sampler.guidance.model) for sampler in samplers}) > 1:
        notes.append("Not all have one model, so the weights are switched in every step, which is slow.")
    if lockstep_only(job):
        notes.append("The stepwise engine does not do weight, denoise, crop and stack; choose the lockstep engine.")
    return _Outlook([float(place.mean()) for place in places], sampled, costs, notes)


def _restarts(name: str, sampler: AdvancedSampler) -> list[str]:
    """What is to be said about a sampler that the stepwise engine restarts at every step."""
    sampler_name = sampler.pass_name
    notes = []
    if len(passes(sampler_name, Recovery(BETWEEN, ratio=0.5))) > 1:
        notes.append(f"{name}: {sampler_name} takes a second pass in each step unless additional_mode is DISABLE.")
    if sampler_name and sampler_name not in _WITHOUT_MEMORY:
        notes.append(
            f"{name}: {sampler_name} is started anew at every step, which it is not made for; choose euler, or "
            "the lockstep engine."
        )
    return notes


def _model(model: Any) -> str:
    name = type(model.model).__name__
    places: dict[int, set[float]] = {}
    for key in model.patches:
        for place, patch in enumerate(patches_of(model, key)):
            places.setdefault(place, set()).add(round(float(patch.strength), 4))
    if not places:
        return name
    strengths = " + ".join("/".join(f"{s:g}" for s in sorted(places[place])) for place in sorted(places))
    return f"{name} with patches on {len(model.patches)} weights (LoRA strength {strengths})"


def _sampler(sampler: AdvancedSampler) -> str:
    name = "a custom sampler" if sampler.sampler_opt is not None else sampler.sampler_name
    scheduler = "a custom schedule" if sampler.scheduler_func is not None else sampler.scheduler
    return f"{name} on {scheduler}"


def _settings(settings: RegionSettings, engine: str) -> list[str]:
    parts = []
    if (settings.start_percent, settings.end_percent) != (0.0, 1.0):
        parts.append(f"from {settings.start_percent:.0%} to {settings.end_percent:.0%} of the sampling")
    if engine == LOCKSTEP and settings.weight != 1.0:
        parts.append(f"weight {settings.weight:g}")
    if engine == LOCKSTEP and settings.denoise != 1.0:
        parts.append(f"denoise {settings.denoise:g}")
    return parts

"""The lockstep engine: one run without restarts, in which every sampler keeps its history, on one composed denoised."""

import logging
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.model_sampling
import comfy.samplers
import torch
from comfy_execution.utils import get_executing_context

from ..masks.weights import MIX
from ..samplers import latents
from ..samplers.guided import Guidance
from ..samplers.latents import Latent
from ..samplers.progress import show_text
from ..samplers.providers import AdvancedSampler, Session, call
from ..samplers.recovery import NO_RECOVERY
from ..samplers.schedules import ScheduleCache, cut
from .compute import Compute
from .guider import Guider_Regional
from .job import BASE, Job, StepPlan, own_samplers
from .regions import counted, read_regions, stretched_note, vary
from .side_by_side import Loop, SideBySide
from .timeline import WeightTimeline, sigma_ranges

log = logging.getLogger(__name__)


def run(job: Job) -> Latent:
    """Sample the job's scene; returns a LATENT without `noise_mask`.

    A `noise_mask` of the input is respected as KSampler does. The stepwise options are ignored: every step is sampled
    everywhere and nothing is discarded, so they have nothing to repair.
    """
    samplers = compatible_samplers(job)
    steps = job.steps
    session = Session(max(steps.end - steps.start, 1), job.node_id)
    begun = _base_only(job, samplers[0], session)
    plan = planned(job, samplers, session.schedules, begun.start)
    if plan is None:
        return latents.without_mask(begun.latent)
    _warn_of_noisy_inputs(job)
    guider = Guider_Regional(
        [sampler.guidance for sampler in samplers], job.scene.names, plan.timeline, job.lockstep.compute
    )
    samples = begun.latent["samples"]
    noise = job.scene.noise(begun.latent, begun.seed) if begun.add_noise else torch.zeros_like(samples)
    with session.progress.steps(steps.end - begun.start):
        out = guider.sample(
            noise,
            _with_kept(samples, job, plan) if begun.start > steps.start else samples,
            plan.loops[0].sampler if len(plan.loops) == 1 else SideBySide(plan.loops),
            plan.sigmas,
            begun.latent.get("noise_mask"),
            _report(job, plan, session, samplers[0], begun.start),
            True,
            begun.seed,
        )
    session.progress.say(f"{steps.total} steps, {counted(job.scene.regions)}")
    device, dtype = comfy.model_management.intermediate_device(), comfy.model_management.intermediate_dtype()
    return {**latents.without_mask(begun.latent), "samples": out.to(device=device, dtype=dtype)}


def compatible_samplers(job: Job) -> list[AdvancedSampler]:
    """The samplers of base and regions; ValueError, naming the region, if their models cannot share a sigma."""
    samplers = job.scene.samplers(job.owner)
    for name, sampler in zip(job.scene.names, samplers, strict=True):
        _check_sampling(samplers[0].guidance.model, sampler.guidance.model, f"{job.owner}, {name}")
    return samplers


@dataclass(frozen=True, eq=False)
class Plan:
    """`loops`: the samplers that run, with the members of each, the base's first; `timeline`: the weight maps."""

    loops: list[Loop]
    timeline: WeightTimeline

    @property
    def sigmas(self) -> torch.Tensor:
        """The base's sigmas (steps + 1,)."""
        return self.loops[0].sigmas


def planned(job: Job, samplers: Sequence[AdvancedSampler], schedules: ScheduleCache, start: int) -> Plan | None:
    """What is sampled from step `start` on; None if no step is left. The report reads the same plan."""
    steps, scene = job.steps, job.scene
    sigmas = [
        _sigmas(sampler, schedules, steps, start, f"{job.owner}, {name}")
        for name, sampler in zip(scene.names, samplers, strict=True)
    ]
    own = sigmas[0]
    if len(own) < 2:
        return None
    base_only = steps.regional - start
    timeline = WeightTimeline(
        scene.regions,
        job.owner,
        sigma_ranges(
            scene.regions,
            samplers[0].guidance.model,
            lambda index, denoise: _first_sigma(samplers[1 + index], schedules, steps.total, denoise),
        ),
        job.lockstep.blend,
        float(own[min(base_only, len(own) - 1)]) if base_only > 0 else None,
    )
    return Plan(_loops(scene.names, samplers, sigmas), timeline)


@dataclass(frozen=True, eq=False)
class _Begun:
    """What the regional run begins with: the LATENT, its first step, and its noise."""

    latent: Latent
    start: int
    seed: int
    add_noise: bool


def _base_only(job: Job, base: AdvancedSampler, session: Session) -> _Begun:
    """The base-only steps, if they end in a finished picture that gets new noise; else nothing is sampled yet."""
    steps, latent = job.steps, job.scene.latent
    if not (steps.renoise and steps.regional > steps.start):
        seed = steps.base_seed if steps.start < steps.regional else steps.seed
        return _Begun(latent, steps.start, seed, steps.add_noise)
    noise = job.scene.noise(latent, steps.base_seed) if steps.add_noise else None
    shift = steps.shift(base.schedule(session.schedules, steps.total, owner=f"{job.owner}, {BASE}"))
    span = (max(steps.start + shift, 0), max(steps.regional + shift, 0))
    latent = call(base, session, steps.add_noise, steps.base_seed, steps.total, latent, span, False, NO_RECOVERY, noise)
    return _Begun(latent, steps.regional, steps.seed, True)


def _with_kept(samples: torch.Tensor, job: Job, plan: Plan) -> torch.Tensor:
    """The base-only result, with the input latent in the regions that keep it at the first sigma."""
    weights = plan.timeline.maps(samples.shape, samples.device).at(plan.sigmas[0])
    for member in weights.kept & weights.maps.keys():
        samples = samples + weights.maps[member] * (job.scene.latent["samples"] - samples)
    return samples


def _report(job: Job, plan: Plan, session: Session, base: AdvancedSampler, start: int) -> Any:
    """The sampler callback: bar, preview, and on the node the members that paint in the next step."""
    steps, names = job.steps, job.scene.names
    report = session.progress.callback(base.guidance.model, steps.end - start)

    def say(step: int) -> None:
        painting = [names[member] for member in plan.timeline.painting_at(float(plan.sigmas[step]))]
        text = ", ".join(painting) if len(painting) < 5 else f"{painting[0]} and {len(painting) - 1} more"
        session.progress.say(f"step {start + step + 1} of {steps.total}: {text}")

    def callback(step: int, denoised: torch.Tensor, x: torch.Tensor, total_steps: int) -> None:
        report(step, denoised, x, total_steps)
        if step + 1 < len(plan.sigmas) - 1:
            say(step + 1)

    say(0)
    return callback


def _warn_of_noisy_inputs(job: Job) -> None:
    if job.steps.add_noise:
        return
    for region in job.scene.regions:
        if region.settings.denoise < 1.0:
            log.warning(
                "%s, %s: its denoise keeps the input picture, which comes with noise (add_noise is disabled); set the "
                "denoise to 1.",
                job.owner,
                region.name,
            )


class NodeGuider(Guider_Regional):
    """The guider of RegionalGuider: it meets its latent only when it samples, and then says whose mask is stretched."""

    def sample(self, noise: torch.Tensor, latent_image: torch.Tensor, *args: Any, **kwargs: Any) -> torch.Tensor:
        stretched = stretched_note(self.timeline.regions, (latent_image.shape[-2], latent_image.shape[-1]))
        if stretched:
            log.warning("%s, %s", self.timeline.owner, stretched)
            sampling = get_executing_context()
            show_text(stretched, sampling and sampling.node_id)
        return super().sample(noise, latent_image, *args, **kwargs)


def regional_guider(
    base: Guidance,
    prompts: object,
    overlap: int,
    base_only_percent: float,
    owner: str,
    compute: Compute,
    blend: str = MIX,
) -> Guider_Regional:
    """A GUIDER over the base and REGIONAL_PROMPTS, of which models, prompts and cfg are used, and no samplers.

    `overlap` is in mask pixels. The base alone paints the first `base_only_percent` (0..1) of the sampling progress, by
    the model's percent_to_sigma.
    """
    regions = read_regions(prompts, base.model, overlap, owner)
    guidances = [base, *(sampler.guidance for sampler in own_samplers(regions, owner, base))]
    for region, guidance in zip(regions, guidances[1:], strict=True):
        _check_sampling(base.model, guidance.model, f"{owner}, {region.name}")
    percent_to_sigma = base.model.get_model_object("model_sampling").percent_to_sigma
    timeline = WeightTimeline(
        regions,
        owner,
        # A guider does not know the schedule of which its sigmas are a part, so denoise counts in sampling progress.
        sigma_ranges(regions, base.model, lambda _, denoise: float(percent_to_sigma(1.0 - denoise))),
        blend,
        float(percent_to_sigma(base_only_percent)) if base_only_percent > 0.0 else None,
    )
    names = [BASE, *(region.name for region in regions)]
    return NodeGuider(guidances, names, timeline, compute, lambda noise: vary(noise, regions))


def _check_sampling(base: Any, region: Any, where: str) -> None:
    """Raise ValueError if the models do not mix picture and noise alike (EPS and v do, flow does not)."""
    ours, theirs = (_mixing(model.get_model_object("model_sampling")) for model in (base, region))
    if ours != theirs:
        raise ValueError(
            f"{where}: its model predicts by {theirs}, the base's by {ours}; their noise levels have no common "
            "measure, so use a model of the base's kind here."
        )


def _mixing(sampling: Any) -> str:
    scale = getattr(sampling, "noise_scale", 1.0)
    kind = "flow" if isinstance(sampling, comfy.model_sampling.CONST) else "EPS or v"
    return kind if scale == 1.0 else f"{kind} at noise scale {scale}"


def _first_sigma(sampler: AdvancedSampler, schedules: ScheduleCache, total: int, denoise: float) -> float:
    """The sigma at which this denoise (below 1) begins on the sampler's schedule of `total` steps, as in KSampler."""
    schedule = sampler.schedule(schedules, total) * sampler.sigma_factor
    if not len(schedule):
        return math.inf
    return float(schedule[max(len(schedule) - 1 - round(total * denoise), 0)])


def _sigmas(
    sampler: AdvancedSampler, schedules: ScheduleCache, steps: StepPlan, start: int, owner: str
) -> torch.Tensor:
    """The sampler's own sigmas of the steps from `start` on, (steps + 1,)."""
    schedule = sampler.schedule(schedules, steps.total, owner=owner)
    # Some schedules (ddim_uniform) have more steps than asked for; they are run to their own end, as in KSampler.
    end = steps.end if steps.end < steps.total else len(schedule) - 1
    return cut(schedule, max(start + steps.shift(schedule), 0), end, steps.leave_noise) * sampler.sigma_factor


def _loops(names: Sequence[str], samplers: Sequence[AdvancedSampler], sigmas: Sequence[torch.Tensor]) -> list[Loop]:
    """One loop for all members that share sampler and sigmas; the base's is the first.

    A region without sigmas of its own joins the base's loop.
    """
    loops: list[tuple[int, list[int]]] = []
    for member, sampler in enumerate(samplers):
        for first, members in loops:
            if len(sigmas[member]) < 2 or (
                _identity(sampler) == _identity(samplers[first]) and torch.equal(sigmas[member], sigmas[first])
            ):
                members.append(member)
                break
        else:
            loops.append((member, [member]))
    return [
        Loop(
            " and ".join(names[member] for member in members),
            frozenset(members),
            samplers[first].sampler_opt or comfy.samplers.sampler_object(samplers[first].sampler_name),
            sigmas[first],
        )
        for first, members in loops
    ]


def _identity(sampler: AdvancedSampler) -> Any:
    return sampler.sampler_name if sampler.sampler_opt is None else id(sampler.sampler_opt)

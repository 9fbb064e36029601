"""The engine without restarts: one run in which every sampler keeps its history, over one composed denoiser."""

import logging
import math
from collections.abc import Sequence
from typing import Any

import comfy.model_management
import comfy.model_sampling
import comfy.samplers
import torch

from ..masks.weights import MIX
from ..samplers import latents
from ..samplers.guided import Guidance
from ..samplers.latents import Latent
from ..samplers.providers import KSamplerAdvancedObject, as_own, call
from ..samplers.recovery import NO_RECOVERY
from ..samplers.schedules import cut
from ..samplers.session import Session
from .composed import ComposedGuider
from .job import Job, Steps, vary
from .loops import Loop, SideBySide
from .regions import counted, read_regions
from .shares import Shares, Window

log = logging.getLogger(__name__)


def run(job: Job) -> Latent:
    """Sample the job's canvas; returns a LATENT without `noise_mask`.

    A `noise_mask` of the input is respected as KSampler does. Every step is sampled everywhere, and nothing is
    discarded: `paste`, `recovery` and `finish_regions` repair what does not break here, and are not looked at.
    """
    canvas, steps = job.canvas, job.steps
    samplers = [as_own(canvas.base, f"{job.owner}, base_sampler")]
    samplers += [as_own(region.sampler, f"{job.owner}, {region.name}") for region in canvas.regions]
    names = ["the base", *(region.name for region in canvas.regions)]
    for name, sampler in zip(names, samplers, strict=True):
        check_samplings(samplers[0].guidance.model, sampler.guidance.model, f"{job.owner}, {name}")

    session = Session(max(steps.end - steps.start, 1), job.node_id)
    latent, start, add_noise = canvas.latent, steps.start, steps.add_noise
    if steps.renoise and steps.regional > start:
        noise = canvas.noise(latent, steps.base_seed) if add_noise else None
        span = (start, steps.regional)
        latent = call(
            samplers[0], session, add_noise, steps.base_seed, steps.total, latent, span, False, NO_RECOVERY, noise
        )
        start = steps.regional
        seed, add_noise = steps.seed, True
    else:
        seed = steps.base_seed if start < steps.regional else steps.seed

    schedules = [_sigmas(sampler, session, steps, start) for sampler in samplers]
    if len(schedules[0]) < 2:
        return latents.without_mask(latent)
    shares = shares_of(job, samplers, session, schedules[0].tolist(), steps.regional - start)
    samples = latent["samples"]
    if start > steps.start:
        # What the base made alone is the picture now; who keeps the picture keeps the one that was given.
        shares.prepare(samples.shape, samples.device)
        phase = shares.at(schedules[0][0])
        for index in phase.kept & phase.weights.keys():
            samples = samples + phase.weights[index] * (canvas.latent["samples"] - samples)
    _warn_of_noisy_pictures(job)
    guider = ComposedGuider([sampler.guidance for sampler in samplers], names, shares, job.options.context)
    loops = _loops(names, samplers, schedules)
    noise = canvas.noise(latent, seed) if add_noise else torch.zeros_like(samples)
    span_length = steps.end - start
    report = session.callback(samplers[0].guidance.model, span_length)

    def told(step: int, denoised: torch.Tensor, x: torch.Tensor, total_steps: int) -> None:
        report(step, denoised, x, total_steps)
        if step + 1 < len(schedules[0]) - 1:
            say(step + 1)

    def say(step: int) -> None:
        painting = guider.names_at(float(schedules[0][step]))
        session.say(f"step {start + step + 1} of {steps.total}: {painting}")

    with session.steps(span_length):
        say(0)
        out = guider.sample(
            noise,
            samples,
            loops[0].sampler if len(loops) == 1 else SideBySide(loops),
            schedules[0],
            latent.get("noise_mask"),
            told,
            True,
            seed,
        )
    session.say(f"{steps.total} steps, {counted(canvas.regions)}")
    device, dtype = comfy.model_management.intermediate_device(), comfy.model_management.intermediate_dtype()
    return {**latents.without_mask(latent), "samples": out.to(device=device, dtype=dtype)}


def shares_of(
    job: Job,
    samplers: Sequence[KSamplerAdvancedObject],
    session: Session,
    sigmas: Sequence[float],
    base_only: int,
) -> Shares:
    """Who paints where in the job; the base alone paints the first `base_only` steps of its `sigmas`."""
    progress = samplers[0].guidance.model.get_model_object("model_sampling").percent_to_sigma
    windows = [
        Window.of(region.presence, progress, _begin(sampler, session, job.steps.total, region.presence.denoise))
        for region, sampler in zip(job.canvas.regions, samplers[1:], strict=True)
    ]
    alone = sigmas[min(base_only, len(sigmas) - 1)] if base_only > 0 and sigmas else None
    return Shares(job.canvas.regions, job.owner, windows, job.options.blend, alone)


def _warn_of_noisy_pictures(job: Job) -> None:
    if job.steps.add_noise:
        return
    for region in job.canvas.regions:
        if region.presence.denoise < 1.0:
            log.warning(
                "%s, %s: its denoise keeps the input picture, which comes with noise (add_noise is disabled); set the "
                "denoise to 1.",
                job.owner,
                region.name,
            )


def regional_guider(
    base: Guidance,
    prompts: object,
    overlap: int,
    base_only_percent: float,
    owner: str,
    blend: str = MIX,
    context: int | None = None,
) -> ComposedGuider:
    """A GUIDER over the base and REGIONAL_PROMPTS, of which models, prompts and cfg are used, and no samplers.

    `overlap` is in mask pixels. The base alone paints the first `base_only_percent` (0..1) of the sampling progress, by
    the host's percent_to_sigma. `context` as in ComposedGuider.
    """
    regions = read_regions(prompts, base.model, overlap, owner)
    guidances = [base]
    for region in regions:
        where = f"{owner}, {region.name}"
        guidance = as_own(region.sampler, where).guidance
        check_samplings(base.model, guidance.model, where)
        guidances.append(guidance)
    progress = base.model.get_model_object("model_sampling").percent_to_sigma
    return ComposedGuider(
        guidances,
        ["the base", *(region.name for region in regions)],
        Shares(
            regions,
            owner,
            # Which schedule these sigmas are a part of, nobody says: by the host's measure of progress, then.
            [
                Window.of(region.presence, progress, float(progress(1.0 - region.presence.denoise)))
                for region in regions
            ],
            blend,
            float(progress(base_only_percent)) if base_only_percent > 0.0 else None,
        ),
        context,
        lambda noise: vary(noise, regions),
    )


def check_samplings(base: Any, region: Any, where: str) -> None:
    """Raise ValueError if the models do not mix picture and noise alike (EPS and v do, flow does otherwise)."""
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


def _begin(sampler: KSamplerAdvancedObject, session: Session, total: int, denoise: float) -> float:
    """The sigma at which this denoise begins on the sampler's schedule of `total` steps, as KSampler counts."""
    schedule = sampler.schedule(session, total) * sampler.sigma_factor
    if denoise >= 1.0 or not len(schedule):
        return math.inf
    steps = len(schedule) - 1
    return float(schedule[steps - round(steps * denoise)])


def _sigmas(sampler: KSamplerAdvancedObject, session: Session, steps: Steps, start: int) -> torch.Tensor:
    """The sampler's own sigmas of the steps that are left."""
    schedule = sampler.schedule(session, steps.total)
    # Some schedules (ddim_uniform) are longer than their steps; to the end means to theirs, as in KSampler.
    end = steps.end if steps.end < steps.total else len(schedule) - 1
    return cut(schedule, start, end, steps.leave_noise) * sampler.sigma_factor


def _loops(
    names: Sequence[str], samplers: Sequence[KSamplerAdvancedObject], schedules: Sequence[torch.Tensor]
) -> list[Loop]:
    """One loop for all members that share sampler and sigmas; the base's is the first.

    A region whose own schedule has nothing left where the base's goes on follows the base.
    """
    loops: list[tuple[int, list[int]]] = []
    for index, sampler in enumerate(samplers):
        for first, members in loops:
            if len(schedules[index]) < 2 or (
                _kind(sampler) == _kind(samplers[first]) and torch.equal(schedules[index], schedules[first])
            ):
                members.append(index)
                break
        else:
            loops.append((index, [index]))
    return [
        Loop(
            " and ".join(names[member] for member in members),
            frozenset(members),
            samplers[first].sampler_opt or comfy.samplers.sampler_object(samplers[first].sampler_name),
            schedules[first],
        )
        for first, members in loops
    ]


def _kind(sampler: KSamplerAdvancedObject) -> Any:
    return sampler.sampler_name if sampler.sampler_opt is None else id(sampler.sampler_opt)

"""The stepwise engine: one call of each sampler for every step, each restricted to its place by `noise_mask`.

Saved workflows depend on every detail of its numbers; docs/engines.md says what they are and where they are exact.
"""

import functools
import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import comfy.model_management
import comfy.samplers
import torch

from ..masks.shape import outside_all, resize
from ..samplers import latents
from ..samplers.guided import failed_on_its_own, not_finite
from ..samplers.latents import Latent
from ..samplers.prompts import RegionSettings
from ..samplers.providers import AdvancedSampler, AdvancedSamplerLike, Session, as_own, call
from ..samplers.recovery import NO_RECOVERY, passes
from ..samplers.schedules import ScheduleCache
from .job import BASE, Job, Scene, StepPlan
from .regions import Region, counted
from .timeline import sigma_ranges

log = logging.getLogger(__name__)

# What torch and Python say where a schedule is too short for what is done with it.
_LENGTH = re.compile(r"\b(size|shape|dimension|empty|unpack)")


def run(job: Job) -> Latent:
    """Sample the job's scene; returns a LATENT without `noise_mask`."""
    scene, steps, options = job.scene, job.steps, job.stepwise
    check_frames(job)
    places = [region.grown(scene.size) for region in scene.regions]
    outside = functools.cache(lambda active: base_place([scene.regions[n] for n in active], scene.size))
    everywhere = tuple(range(len(scene.regions)))
    _warn_of_holes(job, [outside(everywhere), *places])
    # With `paste` the result is the picture before the base's last steps, so these need not be sampled.
    tail = 0 if options.paste else max(steps.end - steps.alone, 0)
    session = Session(planned_steps(job, tail), job.node_id)
    for note in schedule_notes(job, session.schedules):
        log.warning("%s, %s", job.owner, note)
    active_at = active_regions(scene, steps, session.schedules)
    latent = latents.without_mask(scene.latent)
    add_noise = steps.add_noise

    if steps.regional > steps.start:
        session.progress.say(f"steps {steps.start + 1} to {steps.regional} of {steps.total}: the base alone")
        span = (steps.start, steps.regional)
        with _named(job, BASE, scene.base, span):
            latent = call(
                scene.base,
                session,
                add_noise,
                steps.base_seed,
                steps.total,
                latent,
                span,
                not steps.renoise,
                NO_RECOVERY,
                scene.noise(latent, steps.base_seed) if add_noise else None,
            )
        _check(latent, BASE, steps.regional - 1, steps)
        add_noise = steps.renoise

    for step in range(steps.regional, steps.alone):
        span = (step, step + 1)
        active = active_at(step)
        session.progress.say(f"step {step + 1} of {steps.total}: the base")
        with _named(job, BASE, scene.base, span):
            latent = call(
                scene.base,
                session,
                add_noise,
                steps.seed,
                steps.total,
                latents.with_mask(latent, outside(active)),
                span,
                True,
                options.recovery,
                scene.noise(latent, steps.seed) if add_noise else None,
            )
        _check(latent, BASE, step, steps)
        # Regions never add noise: the base's call adds it to the whole latent, inside their masks too.
        add_noise = False
        for number, (region, place) in enumerate(zip(scene.regions, places, strict=True)):
            if number not in active:
                session.progress.skip(1)
                continue
            session.progress.say(f"step {step + 1} of {steps.total}: {region.name}")
            leave_noise = not (options.finish_regions and step + 1 == steps.alone)
            before = latents.without_mask(latent)
            with _named(job, region.name, region.sampler, span):
                latent = call(
                    region.sampler,
                    session,
                    False,
                    steps.seed,
                    steps.total,
                    latents.with_mask(before, place),
                    span,
                    leave_noise,
                    options.recovery,
                )
            _check(latent, region.name, step, steps)
            if options.paste:
                latent = latents.paste(before, latents.without_mask(latent), place)

    if tail:
        session.progress.say(f"steps {steps.alone + 1} to {steps.end} of {steps.total}: the base alone")
        span = (steps.alone, steps.end)
        with _named(job, BASE, scene.base, span):
            latent = call(
                scene.base,
                session,
                False,
                steps.seed,
                steps.total,
                latents.with_mask(latents.without_mask(latent), outside(everywhere)),
                span,
                steps.leave_noise,
                options.recovery,
            )
    session.progress.say(f"{steps.total} steps, {counted(scene.regions)}")
    return latents.without_mask(latent)


@contextmanager
def _named(job: Job, name: str, sampler: AdvancedSamplerLike, span: tuple[int, int]) -> Iterator[None]:
    """A call of a sampler over a span of steps: says what to do if one that looks at several steps fails on one."""
    try:
        yield
    except (IndexError, ZeroDivisionError, RuntimeError, ValueError) as error:
        about_length = isinstance(error, IndexError | ZeroDivisionError) or _LENGTH.search(str(error))
        if not isinstance(sampler, AdvancedSampler) or span[1] - span[0] != 1 or not about_length:
            raise
        custom = sampler.sampler_opt
        if comfy.model_management.is_oom(error) or not failed_on_its_own(
            custom or comfy.samplers.sampler_object(sampler.sampler_name), error
        ):
            raise
        own = sampler.sampler_name if custom is None else getattr(custom, "sampler_function", type(custom)).__name__
        raise ValueError(
            f"{job.owner}, {name}: its sampler {own} failed ({type(error).__name__}: {error}). The stepwise engine "
            "runs each sampler for one step at a time, and this one may need more; choose the lockstep engine, which "
            "gives it the whole schedule, or another sampler."
        ) from error


def check_frames(job: Job) -> None:
    """ValueError if the masks have unlike numbers of frames."""
    frames = sorted({len(region.mask) for region in job.scene.regions} - {1})
    if len(frames) > 1:
        raise ValueError(
            f"{job.owner}: the stepwise engine expects one number of frames for all masks, {frames} came; give all as "
            "many, or choose the lockstep engine."
        )


def active_regions(scene: Scene, steps: StepPlan, schedules: ScheduleCache) -> Callable[[int], tuple[int, ...]]:
    """A function of the step: the indices of the regions whose sigma range holds the base's sigma of that step."""
    everywhere = tuple(range(len(scene.regions)))
    if all(region.settings == RegionSettings() for region in scene.regions):
        return lambda step: everywhere
    base = as_own(scene.base, "base_sampler")
    ranges = sigma_ranges(scene.regions, base.guidance.model)
    sigmas = (base.schedule(schedules, steps.total) * base.sigma_factor).tolist()
    return lambda step: tuple(n for n in everywhere if sigmas[min(step, len(sigmas) - 1)] in ranges[n])


def schedule_notes(job: Job, schedules: ScheduleCache) -> list[str]:
    """Sentences on schedules of which this engine and KSampler take unlike steps for one denoise.

    Makes all schedules of the run; ValueError for one that cannot be sampled.
    """
    steps, notes = job.steps, dict[str, str]()
    samplers = [job.scene.base, *(region.sampler for region in job.scene.regions)]
    for name, sampler in zip(job.scene.names, samplers, strict=True):
        # Other packs' samplers make their own schedules.
        if not isinstance(sampler, AdvancedSampler):
            continue
        for one in passes(sampler.pass_name, job.stepwise.recovery):
            sampler.schedule(schedules, steps.total, one.sampler_name, owner=f"{job.owner}, {name}")
        sigmas = sampler.schedule(schedules, steps.total)
        if len(sigmas) and (shift := steps.shift(sigmas)):
            last = len(sigmas) - 1
            ours, ksamplers = (float(sigmas[min(max(step, 0), last)]) for step in (steps.start, steps.start + shift))
            kind = "a custom schedule" if sampler.scheduler_func is not None else sampler.scheduler
            notes.setdefault(
                kind,
                f"{name}: {kind} has {last} steps where {steps.total} are asked for. With a denoise below 1 the "
                f"stepwise engine takes the steps {steps.start + 1} to {steps.total} of them, as saved workflows do, "
                f"from sigma {ours:.4g} on; KSampler takes the last {steps.total - steps.start}, from sigma "
                f"{ksamplers:.4g} on. Choose the lockstep engine for KSampler's.",
            )
    return list(notes.values())


def base_place(regions: Sequence[Region], size: tuple[int, int]) -> torch.Tensor:
    """The mask of the base, (N, h, w): 1 where no region claims the pixel. It is made at mask size, then resized."""
    if not regions:
        return torch.ones((1, *size))
    return resize(outside_all([region.claimed for region in regions]), size)


def planned_steps(job: Job, tail: int) -> int:
    """The number of sampler steps that all calls of the run take together: the length of its progress bar."""
    steps = job.steps
    regional = max(steps.alone - steps.regional, 0) * (1 + len(job.scene.regions))
    return max(steps.regional - steps.start, 0) + regional + tail


def _check(latent: Latent, name: str, step: int, steps: StepPlan) -> None:
    if not bool(latent["samples"].isfinite().all()):
        raise not_finite(name, f"at step {step - steps.start + 1} of {steps.end - steps.start}")


def _warn_of_holes(job: Job, places: Sequence[torch.Tensor]) -> None:
    """Warn of soft masks: above 0 they exclude the base, but their region rounds them, so some pixels get neither."""
    painted = functools.reduce(torch.maximum, places)
    holes = int((painted == 0).sum())
    if holes:
        log.warning(
            "%s: %d latent pixels are sampled by nobody and stay noisy: a mask is between 0 and 0.5 there; raise "
            "overlap_factor, or make the mask black and white.",
            job.owner,
            holes,
        )

"""The reference engine: one call of each provider for every step, each restricted to its place by `noise_mask`.

The numbers of saved workflows depend on every detail here; docs/engines.md says what they are and where it ends.
"""

import functools
import logging
from collections.abc import Callable, Sequence

import torch

from ..masks.shape import outside_all, resize
from ..samplers import latents
from ..samplers.guided import not_finite
from ..samplers.latents import Latent
from ..samplers.prompts import Presence
from ..samplers.providers import as_own, call
from ..samplers.recovery import NO_RECOVERY
from ..samplers.session import Session
from .job import Canvas, Job, Steps
from .regions import Region, counted
from .shares import Window

log = logging.getLogger(__name__)


def check_frames(job: Job) -> None:
    """ValueError if masks are for unlike numbers of frames."""
    frames = sorted({len(region.mask) for region in job.canvas.regions} - {1})
    if len(frames) > 1:
        raise ValueError(
            f"{job.owner}: the stepwise engine expects one number of frames for all masks, {frames} came; give all as "
            "many, or choose the lockstep engine."
        )


def run(job: Job) -> Latent:
    """Sample the job's canvas; returns a LATENT without `noise_mask`."""
    canvas, steps, options = job.canvas, job.steps, job.options
    check_frames(job)
    places = [region.grown(canvas.size) for region in canvas.regions]
    outside = functools.cache(lambda active: _outside([canvas.regions[n] for n in active], canvas.size))
    everybody = tuple(range(len(canvas.regions)))
    _warn_of_holes(job, [outside(everybody), *places])
    # With `paste` the base's last steps would be thrown away again: the picture returned is the one before them.
    tail = 0 if options.paste else max(steps.end - steps.alone, 0)
    session = Session(planned_steps(job, tail), job.node_id)
    active_at = _activity(canvas, session, steps.total)
    latent = latents.without_mask(canvas.latent)
    add_noise = steps.add_noise

    if steps.regional > steps.start:
        session.say(f"steps {steps.start + 1} to {steps.regional} of {steps.total}: the base alone")
        latent = call(
            canvas.base,
            session,
            add_noise,
            steps.base_seed,
            steps.total,
            latent,
            (steps.start, steps.regional),
            not steps.renoise,
            NO_RECOVERY,
            canvas.noise(latent, steps.base_seed) if add_noise else None,
        )
        _check(latent, "the base", steps.regional - 1, steps)
        add_noise = steps.renoise

    for step in range(steps.regional, steps.alone):
        span = (step, step + 1)
        active = active_at(step)
        session.say(f"step {step + 1} of {steps.total}: the base")
        latent = call(
            canvas.base,
            session,
            add_noise,
            steps.seed,
            steps.total,
            latents.with_mask(latent, outside(active)),
            span,
            True,
            options.recovery,
            canvas.noise(latent, steps.seed) if add_noise else None,
        )
        # Regions never add noise: the base's call left the canvas noisy inside their masks too.
        _check(latent, "the base", step, steps)
        add_noise = False
        for number, (region, place) in enumerate(zip(canvas.regions, places, strict=True)):
            if number not in active:
                session.skip(1)
                continue
            session.say(f"step {step + 1} of {steps.total}: {region.name}")
            leave_noise = not (options.finish_regions and step + 1 == steps.alone)
            before = latents.without_mask(latent)
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
        session.say(f"steps {steps.alone + 1} to {steps.end} of {steps.total}: the base alone")
        latent = call(
            canvas.base,
            session,
            False,
            steps.seed,
            steps.total,
            latents.with_mask(latents.without_mask(latent), outside(everybody)),
            (steps.alone, steps.end),
            steps.leave_noise,
            options.recovery,
        )
    session.say(f"{steps.total} steps, {counted(canvas.regions)}")
    return latents.without_mask(latent)


def _activity(canvas: Canvas, session: Session, total: int) -> Callable[[int], tuple[int, ...]]:
    """Which regions are sampled at a step: those in whose range of the sampling progress its sigma lies."""
    everybody = tuple(range(len(canvas.regions)))
    if all(region.presence == Presence() for region in canvas.regions):
        return lambda step: everybody
    base = as_own(canvas.base, "base_sampler")
    progress = base.guidance.model.get_model_object("model_sampling").percent_to_sigma
    windows = [Window.of(region.presence, progress) for region in canvas.regions]
    schedule = (base.schedule(session, total) * base.sigma_factor).tolist()
    return lambda step: tuple(n for n in everybody if schedule[min(step, len(schedule) - 1)] in windows[n])


def _check(latent: Latent, name: str, step: int, steps: Steps) -> None:
    if not bool(latent["samples"].isfinite().all()):
        raise not_finite(name, f"at step {step - steps.start + 1} of {steps.end - steps.start}")


def _outside(regions: Sequence[Region], size: tuple[int, int]) -> torch.Tensor:
    """Where the base samples, (N, h, w): where every region's own mask is exactly 0; of a region without prompt
    (TwoAdvancedSamplersForMask) where its mask is not exactly 1. Made at mask size, then resized.
    """
    if not regions:
        return torch.ones((1, *size))
    first = regions[0]
    if first.prompt is None:
        return resize((first.mask != 1).float(), size)
    return resize(outside_all([region.mask for region in regions]), size)


def _warn_of_holes(job: Job, places: Sequence[torch.Tensor]) -> None:
    """Soft masks shut the base out where they are not 0, but are rounded for their region: between, nobody paints."""
    painted = functools.reduce(torch.maximum, places)
    holes = int((painted == 0).sum())
    if holes:
        log.warning(
            "%s: %d latent pixels are sampled by nobody and stay noisy: a mask is between 0 and 0.5 there; raise "
            "overlap_factor, or make the mask black and white.",
            job.owner,
            holes,
        )


def planned_steps(job: Job, tail: int) -> int:
    """How many sampler steps all calls of the run take together: the length of its progress bar."""
    steps = job.steps
    regional = max(steps.alone - steps.regional, 0) * (1 + len(job.canvas.regions))
    return max(steps.regional - steps.start, 0) + regional + tail

"""The reference engine: one call of each provider for every step, each restricted to its place by `noise_mask`.

The numbers of saved workflows depend on every detail here; docs/engines.md says what they are and where it ends.
"""

from ..samplers import latents
from ..samplers.latents import Latent
from ..samplers.noise import initial_noise
from ..samplers.providers import call
from ..samplers.recovery import NO_RECOVERY
from ..samplers.session import Session
from .job import Job


def run(job: Job) -> Latent:
    """Sample the job's canvas; returns a LATENT with the input's other keys and without `noise_mask`."""
    canvas, steps, options = job.canvas, job.steps, job.options
    # With `paste` the base's last steps would be thrown away again: the picture returned is the one before them.
    tail = 0 if options.paste else max(steps.end - steps.alone, 0)
    session = Session(planned_steps(job, tail), job.node_id)
    latent = latents.without_mask(canvas.latent)
    add_noise = steps.add_noise

    if steps.regional > steps.start:
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
            canvas.noise(initial_noise(latent, steps.base_seed)) if add_noise else None,
        )
        add_noise = steps.renoise

    for step in range(steps.regional, steps.alone):
        span = (step, step + 1)
        latent = call(
            canvas.base,
            session,
            add_noise,
            steps.seed,
            steps.total,
            latents.with_mask(latent, canvas.outside),
            span,
            True,
            options.recovery,
            canvas.noise(initial_noise(latent, steps.seed)) if add_noise else None,
        )
        # Regions never add noise: the base's call left the canvas noisy inside their masks too.
        add_noise = False
        for region in canvas.regions:
            leave_noise = not (options.finish_regions and step + 1 == steps.alone)
            before = latents.without_mask(latent)
            latent = call(
                region.sampler,
                session,
                False,
                steps.seed,
                steps.total,
                latents.with_mask(before, region.grown),
                span,
                leave_noise,
                options.recovery,
            )
            if options.paste:
                latent = latents.paste(before, latents.without_mask(latent), region.grown)

    if tail:
        latent = call(
            canvas.base,
            session,
            False,
            steps.seed,
            steps.total,
            latents.with_mask(latents.without_mask(latent), canvas.outside),
            (steps.alone, steps.end),
            steps.leave_noise,
            options.recovery,
        )
    return latents.without_mask(latent)


def planned_steps(job: Job, tail: int) -> int:
    """How many sampler steps all calls of the run take together: the length of its progress bar."""
    steps = job.steps
    regional = max(steps.alone - steps.regional, 0) * (1 + len(job.canvas.regions))
    return max(steps.regional - steps.start, 0) + regional + tail

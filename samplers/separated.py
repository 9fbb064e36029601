"""`separated_sample`: a sampling run that other packs call by that name on the class RegionalSampler."""

from typing import Any

import torch

from . import latents
from . import noise as noises
from .guided import Guidance, sample
from .latents import Latent
from .progress import Callback, Progress
from .providers import AdvancedSampler
from .schedules import ScheduleCache, SchedulerFunc, cut


def separated_sample(
    guidance: Guidance,
    add_noise: bool,
    seed: int,
    steps: int,
    sampler_name: str,
    scheduler: str,
    latent_image: Latent,
    start_at_step: int | None,
    end_at_step: int | None,
    return_with_leftover_noise: bool,
    sigma_ratio: float = 1.0,
    sampler_opt: Any = None,
    noise: torch.Tensor | None = None,
    callback: Callback | None = None,
    scheduler_func: SchedulerFunc | None = None,
) -> Latent:
    """Sample the steps `start_at_step`..`end_at_step` (None: all) of the schedule for `steps`; returns a new LATENT.

    As the host's KSamplerAdvanced, inside the latent's `noise_mask` if it has one. `sigma_ratio` multiplies the sigmas
    of these steps. `sampler_opt` is a SAMPLER in the place of `sampler_name`, `scheduler_func` takes that of
    `scheduler`. `noise`, shaped like the samples, is added whatever `add_noise` says. With
    `return_with_leftover_noise` the samples are the sampler's result, else its last denoised prediction.
    """
    latent = latents.fit(latent_image, guidance.model)
    source = AdvancedSampler(guidance, sampler_name, scheduler, sigma_ratio, sampler_opt, scheduler_func)
    schedule = source.schedule(ScheduleCache(), steps)
    end = len(schedule) if end_at_step is None else end_at_step
    sigmas = cut(schedule, start_at_step or 0, end, return_with_leftover_noise) * sigma_ratio
    if len(sigmas) < 2:
        return latent
    if noise is None and add_noise:
        noise = noises.initial_noise(latent, seed)
    count = len(sigmas) - 1
    report = Progress(count).callback(guidance.model, count, latents.mask_of(latent))

    def both(step: int, denoised: torch.Tensor, x: torch.Tensor, total_steps: int) -> None:
        if callback is not None:
            callback(step, denoised, x, total_steps)
        report(step, denoised, x, total_steps)

    # A call of one step keeps its seed too: whoever calls chooses the seeds.
    sampler = noises.sampler_object(sampler_name, schedule, seed) if sampler_opt is None else sampler_opt
    result = sample(guidance, sampler, sigmas, latent, noise, seed, both)
    return {**latent, "samples": result.samples if return_with_leftover_noise else result.denoised}

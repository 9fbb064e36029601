"""Noise: of a whole run, of one step, and mixtures. All of it from explicit seeds."""

import functools
import math
from typing import Any

import comfy.sample
import comfy.samplers
import torch
from comfy.k_diffusion.sampling import BrownianTreeNoiseSampler

MAX_SEED = 0xFFFFFFFFFFFFFFFF
# Odd, so that the steps of one seed never meet; large, so that they do not meet the neighbouring seeds either.
_STEP_STRIDE = 0x9E3779B97F4A7C15

# Samplers whose noise follows a Brownian path over the whole schedule, however many calls the run is cut into.
NOISE_PATH_SAMPLERS = frozenset(
    f"{name}{suffix}" for name in ("dpmpp_sde", "dpmpp_2m_sde", "dpmpp_3m_sde") for suffix in ("", "_gpu")
)


def initial_noise(latent: dict[str, Any], seed: int) -> torch.Tensor:
    """Gaussian noise shaped like the latent's samples, from `seed`, as the host's KSampler makes it (CPU generator)."""
    noise: torch.Tensor = comfy.sample.prepare_noise(latent["samples"], seed, latent.get("batch_index"))
    return noise


def step_seed(seed: int, step: int) -> int:
    """The seed for the noise that a sampler itself draws in step `step` of a run which is cut into single steps.

    With one seed for all steps every step would add the same noise again. Step 0 keeps the seed.
    """
    return (seed + step * _STEP_STRIDE) % 2**63 if step else seed


def sampler_object(name: str, schedule: torch.Tensor, seed: int) -> Any:
    """The host's sampler `name`; NOISE_PATH_SAMPLERS draw noise from the one path of `seed` over all of `schedule`."""
    sampler = comfy.samplers.sampler_object(name)
    if name not in NOISE_PATH_SAMPLERS:
        return sampler
    low, high = schedule[schedule > 0].min(), schedule.max()
    function = sampler.sampler_function

    @functools.wraps(function)
    def sample(model: Any, x: torch.Tensor, sigmas: torch.Tensor, **options: Any) -> Any:
        cpu = not name.endswith("_gpu")
        path = BrownianTreeNoiseSampler(x, low.to(x.device), high.to(x.device), seed=seed, cpu=cpu)
        return function(model, x, sigmas, noise_sampler=path, **options)

    return comfy.samplers.KSAMPLER(sample, sampler.extra_options, sampler.inpaint_options)


def mix(noise: torch.Tensor, other: torch.Tensor, strength: float, method: str) -> torch.Tensor:
    """Mix two Gaussian noises of one shape (B, ...) into one of unit variance; `strength` 0 is `noise`, 1 is `other`.

    linear: ((1 - t) a + t b) / sqrt((1 - t)^2 + t^2). slerp: on the great circle, per batch item over all its values.
    """
    if method == "linear":
        spread = math.hypot(1.0 - strength, strength)
        return ((1.0 - strength) * noise + strength * other) / spread
    if method != "slerp":
        raise ValueError(f"variation_method: linear or slerp was expected, {method!r} came.")
    a, b = noise.flatten(1), other.flatten(1)
    cosine = (a / a.norm(dim=1, keepdim=True) * (b / b.norm(dim=1, keepdim=True))).sum(1, keepdim=True)
    angle = cosine.clamp(-1.0, 1.0).acos()
    # Parallel noises have no great circle of their own: the limit is the linear mixture.
    parallel = angle.sin() < 1e-6
    sine = torch.where(parallel, torch.ones_like(angle), angle.sin())
    weight_a = torch.where(parallel, torch.full_like(angle, 1.0 - strength), ((1.0 - strength) * angle).sin() / sine)
    weight_b = torch.where(parallel, torch.full_like(angle, strength), (strength * angle).sin() / sine)
    return (weight_a * a + weight_b * b).reshape(noise.shape)

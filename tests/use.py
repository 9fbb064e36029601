"""Shorthands for calling the pack's nodes and the host's KSampler in tests."""

from typing import Any

import host
import torch

pack = host.boot()

import comfy.sample  # noqa: E402  (host.boot() makes it importable)
from comfy_extras.nodes_custom_sampler import KSamplerSelect, RandomNoise, SamplerCustomAdvanced  # noqa: E402


def use(node: str, **inputs: Any) -> Any:
    """Run a node; returns its outputs, or its only one."""
    cls = pack.NODE_CLASS_MAPPINGS[node]
    out = getattr(cls(), cls.FUNCTION)(**inputs)
    return out if len(out) > 1 else out[0]


def pipe(model: Any, positive: Any, negative: Any) -> Any:
    return use("ToBasicPipe", model=model, positive=positive, negative=negative)


def step_sampler(model: Any, positive: Any, negative: Any, **inputs: Any) -> Any:
    """A KSAMPLER_ADVANCED: euler, normal, cfg 1.5 unless told otherwise."""
    defaults = {"cfg": 1.5, "sampler_name": "euler", "scheduler": "normal", "sigma_factor": 1.0}
    return use("KSamplerAdvancedProvider", basic_pipe=pipe(model, positive, negative), **{**defaults, **inputs})


def regions(*masks_and_samplers: tuple[torch.Tensor, Any], **inputs: Any) -> list[Any]:
    """REGIONAL_PROMPTS of (mask, sampler) pairs."""
    return [
        prompt
        for mask, sampler in masks_and_samplers
        for prompt in use("RegionalPrompt", mask=mask, advanced_sampler=sampler, **inputs)
    ]


def regional_sampler(latent: Any, base: Any, prompts: Any, **inputs: Any) -> Any:
    """RegionalSampler: 6 steps, 2 of the base alone, no overlap, no recovery unless told otherwise."""
    defaults = {
        "seed": 5,
        "seed_2nd": 6,
        "seed_2nd_mode": "ignore",
        "steps": 6,
        "base_only_steps": 2,
        "denoise": 1.0,
        "overlap_factor": 0,
        "restore_latent": True,
        "additional_mode": "DISABLE",
        "additional_sampler": "AUTO",
        "additional_sigma_ratio": 0.3,
    }
    return use("RegionalSampler", samples=latent, base_sampler=base, regional_prompts=prompts, **{**defaults, **inputs})


def lockstep(latent: Any, base: Any, prompts: Any, **inputs: Any) -> torch.Tensor:
    """The samples of RegionalSampler in lockstep: 8 steps, none of the base alone, unless told otherwise."""
    defaults = {"engine": "lockstep", "steps": 8, "base_only_steps": 0}
    samples: torch.Tensor = regional_sampler(latent, base, prompts, **{**defaults, **inputs})["samples"]
    return samples


def plain(sampler: Any, latent: Any, steps: int = 8, seed: int = 5, **inputs: Any) -> torch.Tensor:
    """The samples of the host's KSampler for the model, prompts and settings of a KSAMPLER_ADVANCED.

    The latent's noise_mask counts. `inputs` go to comfy.sample.sample (denoise, last_step, ...).
    """
    model, cfg, name, scheduler, positive, negative, _ = sampler.params
    samples = latent["samples"]
    noise = comfy.sample.prepare_noise(samples, seed)
    options = {"noise_mask": latent.get("noise_mask"), "seed": seed, "disable_pbar": True, **inputs}
    out: torch.Tensor = comfy.sample.sample(
        model, noise, steps, cfg, name, scheduler, positive, negative, samples, **options
    )
    return out


def custom(guider: Any, sigmas: torch.Tensor, latent: Any, name: str = "euler", seed: int = 5) -> torch.Tensor:
    """The samples of the host's SamplerCustomAdvanced."""
    noise, sampler = RandomNoise.execute(seed).result[0], KSamplerSelect.execute(name).result[0]
    samples: torch.Tensor = SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).result[0]["samples"]
    return samples


def regional_sampler_advanced(latent: Any, base: Any, prompts: Any, **inputs: Any) -> Any:
    """RegionalSamplerAdvanced: all of 6 steps, no overlap, no recovery unless told otherwise."""
    defaults = {
        "add_noise": True,
        "noise_seed": 5,
        "steps": 6,
        "start_at_step": 0,
        "end_at_step": 10000,
        "overlap_factor": 0,
        "restore_latent": False,
        "return_with_leftover_noise": False,
        "additional_mode": "DISABLE",
        "additional_sampler": "AUTO",
        "additional_sigma_ratio": 0.3,
    }
    return use(
        "RegionalSamplerAdvanced",
        latent_image=latent,
        base_sampler=base,
        regional_prompts=prompts,
        **{**defaults, **inputs},
    )


def box(height: int, width: int, top: int, left: int, bottom: int, right: int, value: float = 1.0) -> torch.Tensor:
    """A (1, height, width) mask with `value` in a rectangle."""
    mask = torch.zeros(1, height, width)
    mask[:, top:bottom, left:right] = value
    return mask


def relative(got: torch.Tensor, want: torch.Tensor) -> float:
    """norm(got - want) / norm(want)."""
    return float((got - want).norm() / want.norm())

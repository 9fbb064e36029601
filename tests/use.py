"""Short hands for using the pack's nodes in tests, as ComfyUI calls them."""

from typing import Any

import host
import torch

pack = host.boot()


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

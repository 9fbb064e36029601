"""The small scene of many tests: a 12 x 20 latent, a base and two regions, whose prompts treat each pixel alone."""

from collections.abc import Sequence
from typing import Any

import comfy.samplers
import torch
from testing_pack.models import pixel_cond, texture_model
from use import box, plain, regional_sampler, relative, step_sampler

SIZE = (12, 20)
# mean and standard deviation of a pixel
BASE, ONE, TWO, NEGATIVE = (pixel_cond(*p) for p in ((-0.5, 0.3), (0.1, 0.2), (0.6, 0.4), (0.0, 0.6)))
MASKS = [box(*SIZE, 1, 2, 6, 8), box(*SIZE, 6, 10, 11, 19)]
REST = 1 - MASKS[0] - MASKS[1]
EMPTY = {"samples": torch.zeros(1, 4, *SIZE)}
PICTURE = {"samples": torch.randn(1, 4, *SIZE, generator=torch.Generator().manual_seed(1)) * 0.3}
HERE, THERE = (mask[0] > 0 for mask in MASKS)
KINDS = ["eps", "v", "flow"]
ENGINES = ["lockstep", "stepwise"]


def pixels(prompt: Any, kind: str = "eps", model: Any = None, **inputs: Any) -> Any:
    """A KSAMPLER_ADVANCED of the prompt, on a texture model of this kind or on the given model."""
    return step_sampler(model or texture_model(kind), prompt, NEGATIVE, **inputs)


def assert_each_has_its_own(
    out: torch.Tensor,
    samplers: Sequence[Any],
    masks: Sequence[torch.Tensor],
    tolerance: float = 1e-5,
    latent: Any = EMPTY,
    **inputs: Any,
) -> None:
    """In each mask the samples are those of plain sampling by its own sampler; `inputs` go to `plain`."""
    for sampler, mask in zip(samplers, masks, strict=True):
        inside = mask[0] > 0
        error = relative(out[..., inside], plain(sampler, latent, **inputs)[..., inside])
        assert error < tolerance, f"relative error {error:.1e}"


def run(latent: Any, base: Any, prompts: Any, engine: str = "lockstep", **inputs: Any) -> torch.Tensor:
    """RegionalSampler of 10 steps, 2 of the base alone, unless told otherwise."""
    samples: torch.Tensor = regional_sampler(latent, base, prompts, **{"engine": engine, "steps": 10, **inputs})[
        "samples"
    ]
    return samples


def during(prompt: Any, start: float, end: float) -> list[Any]:
    """The prompt in a range of the sampling progress, as ConditioningSetTimestepRange makes it."""
    return [[tensor, {**options, "start_percent": start, "end_percent": end}] for tensor, options in prompt]


def schedule(kind: str, steps: int = 10, name: str = "euler", scheduler: str = "normal") -> torch.Tensor:
    """The sigmas of a run of a texture model."""
    return comfy.samplers.KSampler(texture_model(kind), steps, "cpu", name, scheduler).sigmas


def percent_at(kind: str, sigma: float) -> float:
    """The sampling progress of a sigma, by bisection of the host's percent_to_sigma."""
    to_sigma = texture_model(kind).get_model_object("model_sampling").percent_to_sigma
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if float(to_sigma(middle)) > sigma else (low, middle)
    return high


def between(kind: str, step: int, steps: int = 10) -> float:
    """The progress halfway between the sigmas of two steps, where no step stands."""
    sigmas = schedule(kind, steps)
    return percent_at(kind, float(sigmas[step - 1] + sigmas[step]) / 2)

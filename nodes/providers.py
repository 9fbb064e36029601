"""Provider nodes: samplers, schedules and the placeholder for a negative, as inputs of the sampler nodes."""

from typing import Any

import comfy.samplers
import torch

from ..samplers.guided import NO_NEGATIVE
from ..samplers.providers import AdvancedSampler, FullSampler, kind_of
from ..samplers.schedules import SchedulerFunc, gits, scheduler_names
from . import inputs
from .data import PIPE_INPUT, pipe_guidance


def _sampler_name() -> inputs.Declaration:
    return comfy.samplers.KSampler.SAMPLERS, {"tooltip": "The sampling algorithm."}


def _scheduler() -> inputs.Declaration:
    # COMBO and not the list itself: ComfyUI then accepts the link of a node whose output is another list of names,
    # such as ImpactSchedulerAdapter's.
    return "COMBO", {
        "options": scheduler_names(),
        "tooltip": "How sigma falls over the steps. AYS and GITS are tuned for SD1, SDXL and SVD, LTXV and OSS for the "
        "model in their name; the others fit any model.",
    }


_SCHEDULER_FUNC: inputs.Declaration = (
    "SCHEDULER_FUNC",
    {"tooltip": "Replaces scheduler. If nothing is connected, scheduler is used."},
)


def _check_scheduler_func(value: object, owner: str) -> None:
    if value is not None and not callable(value):
        raise TypeError(
            f"{owner}: scheduler_func_opt expects a SCHEDULER_FUNC, {kind_of(value)} came; connect a "
            "GITSSchedulerFuncProvider, or nothing."
        )


class KSamplerProvider(inputs.SharedNode):
    CATEGORY = f"{inputs.CATEGORY}/providers"
    DESCRIPTION = "The settings of a complete KSampler run, for one side of the mask in TwoSamplersForMask."
    SEARCH_ALIASES = ["ksampler", "sampler provider", "two samplers"]
    RETURN_TYPES = ("KSAMPLER",)
    OUTPUT_TOOLTIPS = ("A sampler with its own seed, steps and denoise.",)
    FUNCTION = "provide"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "seed": inputs.seed("Seed of this sampler's own noise.", control=True),
                "steps": inputs.steps(),
                "cfg": inputs.cfg(),
                "sampler_name": _sampler_name(),
                "scheduler": _scheduler(),
                "denoise": inputs.denoise(),
                "basic_pipe": PIPE_INPUT,
            },
            "optional": {"scheduler_func_opt": _SCHEDULER_FUNC},
        }

    def provide(
        self,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        denoise: float,
        basic_pipe: Any,
        scheduler_func_opt: SchedulerFunc | None = None,
    ) -> tuple[FullSampler]:
        owner = type(self).__name__
        guidance = pipe_guidance(basic_pipe, cfg, owner)
        _check_scheduler_func(scheduler_func_opt, owner)
        sampler = AdvancedSampler(guidance, sampler_name, scheduler, scheduler_func=scheduler_func_opt)
        return (FullSampler(sampler, seed, steps, denoise),)


class KSamplerAdvancedProvider(inputs.SharedNode):
    CATEGORY = f"{inputs.CATEGORY}/providers"
    DESCRIPTION = (
        "A sampler for the base or for a region. The sampler nodes choose which steps of its schedule it runs."
    )
    SEARCH_ALIASES = ["ksampler advanced", "sampler provider", "base sampler", "region sampler"]
    RETURN_TYPES = ("KSAMPLER_ADVANCED",)
    OUTPUT_TOOLTIPS = ("A sampler for a base_sampler, mask_sampler or advanced_sampler input.",)
    FUNCTION = "provide"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "cfg": inputs.cfg(),
                "sampler_name": _sampler_name(),
                "scheduler": _scheduler(),
                "sigma_factor": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": 0.0,
                        "max": 10.0,
                        "step": 0.01,
                        "tooltip": "Every sigma is multiplied by this. 1 leaves the schedule as it is; slightly more "
                        "removes more noise than there is (smoother), less leaves some (more detail).",
                    },
                ),
                "basic_pipe": PIPE_INPUT,
            },
            "optional": {
                "sampler_opt": (
                    "SAMPLER",
                    {"tooltip": "Replaces sampler_name. If nothing is connected, sampler_name is used."},
                ),
                "scheduler_func_opt": _SCHEDULER_FUNC,
            },
        }

    def provide(
        self,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        basic_pipe: Any,
        sigma_factor: float = 1.0,
        sampler_opt: Any = None,
        scheduler_func_opt: SchedulerFunc | None = None,
    ) -> tuple[AdvancedSampler]:
        owner = type(self).__name__
        if not sigma_factor > 0.0:
            raise ValueError(
                f"{owner}: sigma_factor must be above 0, {sigma_factor} came, which leaves no noise to remove; "
                "1 leaves the schedule as it is."
            )
        guidance = pipe_guidance(basic_pipe, cfg, owner)
        if sampler_opt is not None and not callable(getattr(sampler_opt, "sample", None)):
            raise TypeError(
                f"{owner}: sampler_opt expects a SAMPLER, {kind_of(sampler_opt)} came; connect a KSamplerSelect."
            )
        _check_scheduler_func(scheduler_func_opt, owner)
        return (AdvancedSampler(guidance, sampler_name, scheduler, sigma_factor, sampler_opt, scheduler_func_opt),)


class GITSSchedulerFuncProvider(inputs.SharedNode):
    CATEGORY = f"{inputs.CATEGORY}/providers"
    DESCRIPTION = "ComfyUI's GITS schedule as a SCHEDULER_FUNC. It replaces the scheduler of a provider node."
    SEARCH_ALIASES = ["gits", "scheduler", "schedule"]
    RETURN_TYPES = ("SCHEDULER_FUNC",)
    OUTPUT_TOOLTIPS = ("A schedule for a scheduler_func_opt input.",)
    FUNCTION = "provide"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "coeff": (
                    "FLOAT",
                    {
                        "default": 1.2,
                        "min": 0.8,
                        "max": 1.5,
                        "step": 0.05,
                        "tooltip": "The schedule's coefficient: lower spends more steps at high sigma.",
                    },
                ),
                "denoise": (
                    "FLOAT",
                    {
                        "default": 1.0,
                        "min": 0.0,
                        "max": 1.0,
                        "step": 0.01,
                        "tooltip": "Share of the schedule that is kept, counted from its end. Leave it at 1: the "
                        "sampler nodes cut the schedule themselves.",
                    },
                ),
            }
        }

    def provide(self, coeff: float, denoise: float) -> tuple[SchedulerFunc]:
        if denoise <= 0.0:
            raise ValueError(
                f"{type(self).__name__}: denoise must be above 0, {denoise} came, which leaves no step; 1 keeps all."
            )

        def schedule(model: Any, sampler_name: str, steps: int) -> torch.Tensor:
            return gits(coeff, steps, denoise)

        return (schedule,)


class ImpactNegativeConditioningPlaceholder(inputs.SharedNode):
    CATEGORY = f"{inputs.CATEGORY}/providers"
    DESCRIPTION = (
        "Takes the place of the negative conditioning for models without one, such as Flux. cfg then sets the guidance "
        "value of the positive conditioning, and only the positive is evaluated."
    )
    SEARCH_ALIASES = ["negative placeholder", "no negative", "flux guidance"]
    RETURN_TYPES = ("CONDITIONING",)
    OUTPUT_TOOLTIPS = ("Connect it only to a negative input of this pack's nodes.",)
    FUNCTION = "provide"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {}

    def provide(self) -> tuple[str]:
        return (NO_NEGATIVE,)


NODES = [
    ("KSamplerProvider", "KSampler Provider (for Two Samplers for Mask)", KSamplerProvider),
    ("KSamplerAdvancedProvider", "KSampler Advanced Provider (for bases and regions)", KSamplerAdvancedProvider),
    ("GITSSchedulerFuncProvider", "GITS Scheduler Func Provider", GITSSchedulerFuncProvider),
    (
        "ImpactNegativeConditioningPlaceholder",
        "Negative Conditioning Placeholder",
        ImpactNegativeConditioningPlaceholder,
    ),
]

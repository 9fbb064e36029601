"""Input declarations that several nodes share, so that an input has one meaning, range and tooltip."""

from typing import Any

from ..masks.weights import BLENDS, MIX
from ..regional.compute import Compute
from ..regional.compute.crop import CROP, Crop
from ..regional.compute.full import FULL, Full
from ..regional.engines import ENGINES, STEPWISE
from ..samplers import recovery
from ..samplers.noise import MAX_SEED

CATEGORY = "regional sampling"

Declaration = tuple[Any, dict[str, Any]]


class SharedNode:
    """A node whose id and function other packs use: they look the class up and call `doit` on it or on an instance.

    The arguments of a node's function are in the order of Impact Pack's `doit`, not in that of the inputs.
    """

    FUNCTION: str

    @classmethod
    def doit(cls, *args: Any, **kwargs: Any) -> Any:
        """The outputs of the node's function."""
        return getattr(cls(), cls.FUNCTION)(*args, **kwargs)


def seed(tooltip: str, control: bool = False) -> Declaration:
    """A seed; with `control`, ComfyUI adds its control_after_generate widget."""
    options: dict[str, Any] = {"default": 0, "min": 0, "max": MAX_SEED, "tooltip": tooltip}
    return "INT", {**options, "control_after_generate": True} if control else options


def steps() -> Declaration:
    return "INT", {
        "default": 20,
        "min": 1,
        "max": 10000,
        "tooltip": "Number of steps. With denoise below 1 these are the last steps of a longer schedule, "
        "int(steps / denoise) in all.",
    }


def denoise() -> Declaration:
    return "FLOAT", {
        "default": 1.0,
        "min": 0.0,
        "max": 1.0,
        "step": 0.01,
        "tooltip": "How much of the input picture is repainted: 1 starts from noise alone, lower values keep more of "
        "it. 0 is refused, since nothing would be sampled.",
    }


def cfg() -> Declaration:
    return "FLOAT", {
        "default": 8.0,
        "min": 0.0,
        "max": 100.0,
        "step": 0.1,
        "round": 0.01,
        "tooltip": "Guidance scale: how strongly the positive prompt is preferred to the negative. 1 turns it off.",
    }


def switch(default: bool, tooltip: str) -> Declaration:
    return "BOOLEAN", {"default": default, "label_on": "enabled", "label_off": "disabled", "tooltip": tooltip}


def overlap(unit: str) -> Declaration:
    return "INT", {
        "default": 10,
        "min": 0,
        "max": 10000,
        "tooltip": f"stepwise: each mask is rounded to black and white and grown by a box of this many {unit}; where "
        "neighbours then overlap, the later one is sampled last. lockstep: width of the linear blend around each mask, "
        f"in {unit}. 0 turns it off.",
    }


def restore_latent() -> Declaration:
    return switch(
        True,
        "After each step, paste every region back through its own mask, so that it changes nothing outside the mask. "
        "When disabled, the next region continues from this region's whole canvas. Not used in lockstep.",
    )


def recovery_inputs() -> dict[str, Declaration]:
    """The inputs additional_mode, additional_sampler and additional_sigma_ratio."""
    return {
        "additional_mode": (
            recovery.MODES,
            {
                "default": recovery.BETWEEN,
                "tooltip": "A second pass for samplers that lose detail when they are restarted at every step (uni_pc, "
                "dpmpp_sde, dpmpp_2m_sde, dpmpp_3m_sde and their variants). 'ratio between' shares the step's sigma "
                "between both passes, 'ratio additional' adds the second pass on top, DISABLE turns it off. Not used "
                "in lockstep.",
            },
        ),
        "additional_sampler": (
            recovery.SAMPLERS,
            {
                "default": recovery.AUTO,
                "tooltip": "Sampler of the second pass. AUTO takes dpm_fast after uni_pc and dpmpp_sde, dpmpp_2m after "
                "the other SDE samplers.",
            },
        ),
        "additional_sigma_ratio": (
            "FLOAT",
            {
                "default": 0.3,
                "min": 0.0,
                "max": 1.0,
                "step": 0.01,
                "tooltip": "The second pass's share of the step's sigma. 0 turns the second pass off.",
            },
        ),
    }


def engine_inputs(default: str = STEPWISE) -> dict[str, Declaration]:
    """The inputs engine, region_compute and crop_context: the last optional inputs of the sampler nodes."""
    return {"engine": _engine(default), **crop_inputs()}


def crop_inputs() -> dict[str, Declaration]:
    """The inputs region_compute and crop_context."""
    return {
        "region_compute": (
            [FULL, CROP],
            {
                "default": FULL,
                "tooltip": "full: every region is computed on the whole canvas. crop: only on the box around its mask "
                "plus crop_context, which costs less the smaller the regions are. Lockstep only.",
            },
        ),
        "crop_context": (
            "INT",
            {
                "default": 128,
                "min": 0,
                "max": 10000,
                "step": 8,
                "tooltip": "With region_compute crop, how many pixels around its mask a region is computed on, rounded "
                "to the model's patches. Larger values come closer to full. Lockstep only.",
            },
        ),
    }


def blend() -> Declaration:
    return list(BLENDS), {
        "default": MIX,
        "tooltip": "How regions are blended where they overlap. mix: in proportion to their weights. stack: the later "
        "region lies on top of the earlier ones. Lockstep only.",
    }


def compute(region_compute: str, crop_context: int, owner: str) -> Compute:
    """The way to compute that the inputs of `crop_inputs` ask for; ValueError for an unknown one."""
    if region_compute not in (FULL, CROP):
        raise ValueError(f"{owner}: region_compute {FULL} or {CROP} was expected, {region_compute!r} came.")
    return Crop(crop_context) if region_compute == CROP else Full()


def _engine(default: str) -> Declaration:
    return list(ENGINES), {
        "default": default,
        "tooltip": "stepwise: restarts the sampler at every step, so that saved workflows keep giving the same "
        "picture; works best with euler. lockstep: one run without seams, with any sampler and fewer model calls; it "
        "respects the latent's noise_mask, takes overlap_factor as the width of a linear blend, and ignores "
        "restore_latent and additional_*.",
    }


def latent(tooltip: str) -> Declaration:
    return "LATENT", {"tooltip": f"{tooltip} An empty latent takes the base model's channel count."}


def step_sampler(tooltip: str) -> Declaration:
    return "KSAMPLER_ADVANCED", {"tooltip": f"{tooltip} Connect a KSamplerAdvancedProvider."}


def full_sampler(tooltip: str) -> Declaration:
    return "KSAMPLER", {"tooltip": f"{tooltip} Connect a KSamplerProvider."}


def regional_prompts() -> Declaration:
    return "REGIONAL_PROMPTS", {
        "tooltip": "The regions, in the order in which they are sampled. Connect a RegionalPrompt, or several through "
        "CombineRegionalPrompts."
    }


def conditioning(tooltip: str) -> Declaration:
    return "CONDITIONING", {"tooltip": tooltip}

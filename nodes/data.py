"""Nodes for BASIC_PIPE tuples (model, clip, vae, positive, negative) and for REGIONAL_PROMPTS, lists of regions."""

import re
from typing import Any

import torch

from ..masks.convert import as_mask
from ..samplers.guided import NO_NEGATIVE, Guidance
from ..samplers.prompts import RegionalPromptObject, RegionSettings, Variation
from ..samplers.providers import InheritedSampler, check_advanced_sampler, kind_of
from . import inputs

Pipe = tuple[Any, Any, Any, Any, Any]

PIPE_INPUT: inputs.Declaration = (
    "BASIC_PIPE",
    {"tooltip": "Model and prompts in one wire: (model, clip, vae, positive, negative). Connect a ToBasicPipe."},
)
_FIELDS = ("model", "clip", "vae", "positive", "negative")
_TYPES = ("MODEL", "CLIP", "VAE", "CONDITIONING", "CONDITIONING")
_OUTPUT_TOOLTIPS = (
    "The model.",
    "The text encoder, if the pipe has one.",
    "The VAE, if the pipe has one.",
    "The positive prompt.",
    "The negative prompt.",
)
_PART_TOOLTIPS = {
    "model": "The model that samples.",
    "clip": "The text encoder. Not needed for sampling.",
    "vae": "The VAE. Not needed for sampling.",
    "positive": "Positive conditioning: what should appear.",
    "negative": "Negative conditioning: what should not appear. For models without a negative, connect a Negative "
    "Conditioning Placeholder.",
}
MAX_PROMPTS = 32


def check_pipe(pipe: object, owner: str) -> Pipe:
    """The parts of a BASIC_PIPE; raises TypeError, naming `owner`, if `pipe` is none."""
    if not isinstance(pipe, list | tuple) or len(pipe) < len(_FIELDS):
        came = f"{len(pipe)} values" if isinstance(pipe, list | tuple) else type(pipe).__name__
        raise TypeError(
            f"{owner}: a BASIC_PIPE (model, clip, vae, positive, negative) was expected, {came} came; "
            "connect a ToBasicPipe."
        )
    model, clip, vae, positive, negative = pipe[: len(_FIELDS)]
    return model, clip, vae, positive, negative


def pipe_guidance(pipe: object, cfg: float, owner: str) -> Guidance:
    """`guidance` with the model and prompts of a BASIC_PIPE; raises TypeError if `pipe` is none."""
    model, _, _, positive, negative = check_pipe(pipe, owner)
    return guidance(model, positive, negative, cfg, f"{owner}, basic_pipe")


def guidance(model: Any, positive: Any, negative: Any, cfg: float, owner: str) -> Guidance:
    """A Guidance of a MODEL and two CONDITIONINGs; raises TypeError, naming `owner`, if a value is of another type."""
    if not hasattr(model, "get_model_object"):
        raise TypeError(f"{owner}: model should be a MODEL, {kind_of(model)} came; connect a model loader.")
    for name, value in (("positive", positive), ("negative", negative)):
        if isinstance(value, list) or (name == "negative" and value == NO_NEGATIVE):
            continue
        raise TypeError(f"{owner}: {name} should be a CONDITIONING, {kind_of(value)} came; connect a CLIPTextEncode.")
    return Guidance(model, positive, negative, cfg)


def _part(name: str) -> inputs.Declaration:
    return _TYPES[_FIELDS.index(name)], {"tooltip": _PART_TOOLTIPS[name]}


class ToBasicPipe(inputs.SharedNode):
    CATEGORY = f"{inputs.CATEGORY}/pipe"
    DESCRIPTION = "Puts model and prompts into one wire."
    SEARCH_ALIASES = ["basic pipe", "pipe", "pack pipe", "model and prompts"]
    RETURN_TYPES = ("BASIC_PIPE",)
    RETURN_NAMES = ("basic_pipe",)
    OUTPUT_TOOLTIPS = ("(model, clip, vae, positive, negative) in one wire.",)
    FUNCTION = "pack"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        # In the order of the tuple, which is Impact Pack's: the frontend turns its group nodes into subgraphs by slot
        # number. ComfyUI puts required inputs first, so that positive and negative cannot be required.
        return {
            "required": {"model": _part("model")},
            "optional": {name: _part(name) for name in _FIELDS[1:]},
        }

    def pack(
        self, model: Any, clip: Any = None, vae: Any = None, positive: Any = None, negative: Any = None
    ) -> tuple[Pipe]:
        owner = type(self).__name__
        if positive is None:
            raise ValueError(f"{owner}: positive is not connected; connect a CLIPTextEncode.")
        if negative is None:
            raise ValueError(
                f"{owner}: negative is not connected; connect a CLIPTextEncode or, for models without a negative, an "
                "ImpactNegativeConditioningPlaceholder."
            )
        return ((model, clip, vae, positive, negative),)


class FromBasicPipe(inputs.SharedNode):
    CATEGORY = f"{inputs.CATEGORY}/pipe"
    DESCRIPTION = "Splits a BASIC_PIPE into its parts."
    SEARCH_ALIASES = ["basic pipe", "unpack pipe"]
    RETURN_TYPES = _TYPES
    RETURN_NAMES = _FIELDS
    OUTPUT_TOOLTIPS = _OUTPUT_TOOLTIPS
    FUNCTION = "unpack"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"basic_pipe": PIPE_INPUT}}

    def unpack(self, basic_pipe: Any) -> tuple[Any, ...]:
        return check_pipe(basic_pipe, type(self).__name__)


class FromBasicPipe_v2(FromBasicPipe):
    DESCRIPTION = "Splits a BASIC_PIPE into its parts; the first output is the pipe itself."
    RETURN_TYPES = ("BASIC_PIPE", *_TYPES)
    RETURN_NAMES = ("basic_pipe", *_FIELDS)
    OUTPUT_TOOLTIPS = ("The input pipe, unchanged.", *_OUTPUT_TOOLTIPS)

    def unpack(self, basic_pipe: Any) -> tuple[Any, ...]:
        return (basic_pipe, *super().unpack(basic_pipe))


class EditBasicPipe(inputs.SharedNode):
    CATEGORY = f"{inputs.CATEGORY}/pipe"
    DESCRIPTION = "A copy of a BASIC_PIPE in which the connected parts are replaced."
    SEARCH_ALIASES = ["basic pipe", "edit pipe"]
    RETURN_TYPES = ("BASIC_PIPE",)
    RETURN_NAMES = ("basic_pipe",)
    OUTPUT_TOOLTIPS = ("A new pipe; the input pipe is not changed.",)
    FUNCTION = "edit"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"basic_pipe": PIPE_INPUT}, "optional": {name: _part(name) for name in _FIELDS}}

    def edit(
        self,
        basic_pipe: Any,
        model: Any = None,
        clip: Any = None,
        vae: Any = None,
        positive: Any = None,
        negative: Any = None,
    ) -> tuple[tuple[Any, ...]]:
        pipe = check_pipe(basic_pipe, type(self).__name__)
        parts = (model, clip, vae, positive, negative)
        return (tuple(old if new is None else new for old, new in zip(pipe, parts, strict=True)),)


_MASK: inputs.Declaration = (
    "MASK",
    {
        "tooltip": "Mask of the region, of any size; white is inside. Connect one mask, or one for each picture of the "
        "batch; an empty mask leaves the region out."
    },
)


def _own_mask(mask: object, owner: str) -> torch.Tensor:
    """`mask` as float32 (H, W) if it holds one mask, as other packs' regions have it, else (B, H, W); see `as_mask`."""
    own = as_mask(mask, owner)
    return own[0] if len(own) == 1 else own


def _percent(default: float, tooltip: str) -> inputs.Declaration:
    return "FLOAT", {"default": default, "min": 0.0, "max": 1.0, "step": 0.01, "tooltip": tooltip}


def _settings_inputs() -> dict[str, inputs.Declaration]:
    """The inputs of RegionSettings; they are the last optional inputs of the region nodes."""
    return {
        "start_percent": _percent(
            0.0,
            "Point in the sampling progress (0..1 of the noise schedule, not of the steps) at which the region begins; "
            "before it, the base paints there. 0: from the start.",
        ),
        "end_percent": _percent(
            1.0,
            "Point in the sampling progress (0..1 of the noise schedule, not of the steps) at which the region ends; "
            "after it, the base paints there and may paint over the region. 1: at the end of the run.",
        ),
        "weight": _percent(
            1.0,
            "Share of the prediction that the region gets inside its mask; the base and overlapping regions get the "
            "rest. 1: all; 0: nothing. Lockstep only.",
        ),
        "denoise": _percent(
            1.0,
            "For image to image: the region is repainted in this last share (0..1) of the schedule; before that it "
            "keeps the input picture. 1: as much as the sampler's own denoise. Lockstep only.",
        ),
    }


def settings(owner: str, **values: float) -> RegionSettings:
    """The RegionSettings of these values; its ValueError names `owner`."""
    try:
        return RegionSettings(**values)
    except ValueError as error:
        raise ValueError(f"{owner}: {error}") from None


class RegionalPrompt(inputs.SharedNode):
    CATEGORY = inputs.CATEGORY
    DESCRIPTION = "One region: its mask, and the sampler that samples it with its own model, prompts and cfg."
    SEARCH_ALIASES = ["region", "regional prompt", "mask prompt"]
    RETURN_TYPES = ("REGIONAL_PROMPTS",)
    OUTPUT_TOOLTIPS = ("A list with this one region.",)
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "mask": _MASK,
                "advanced_sampler": inputs.step_sampler("Samples the region."),
            },
            "optional": {
                "variation_seed": inputs.seed("Seed of the noise that is mixed into the region's own noise."),
                "variation_strength": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        "min": 0.0,
                        "max": 1.0,
                        "step": 0.01,
                        "tooltip": "How much of variation_seed's noise is mixed into the region's initial noise. 0 "
                        "turns it off; 1 takes only that noise.",
                    },
                ),
                "variation_method": (
                    ["linear", "slerp"],
                    {
                        "tooltip": "How the two noises are mixed. linear: weighted sum, scaled back to unit variance. "
                        "slerp: spherical interpolation."
                    },
                ),
                **_settings_inputs(),
            },
        }

    def make(
        self,
        mask: Any,
        advanced_sampler: Any,
        variation_seed: int = 0,
        variation_strength: float = 0.0,
        variation_method: str = "linear",
        start_percent: float = 0.0,
        end_percent: float = 1.0,
        weight: float = 1.0,
        denoise: float = 1.0,
    ) -> tuple[list[RegionalPromptObject]]:
        owner = type(self).__name__
        sampler = check_advanced_sampler(advanced_sampler, f"{owner}, advanced_sampler")
        variation = Variation(variation_seed, variation_strength, variation_method)
        own = settings(owner, start_percent=start_percent, end_percent=end_percent, weight=weight, denoise=denoise)
        return ([RegionalPromptObject(_own_mask(mask, owner), sampler, variation, own)],)


class RegionalPromptFromConditioning:
    CATEGORY = inputs.CATEGORY
    DESCRIPTION = "One region from a mask, a model and its prompts; sampler and schedule are those of the base."
    SEARCH_ALIASES = [
        "region",
        "regional prompt",
        "mask prompt",
        "regional conditioning",
        "conditioning mask",
        "set mask",
    ]
    RETURN_TYPES = ("REGIONAL_PROMPTS",)
    OUTPUT_TOOLTIPS = ("A list with this one region, for this pack's sampler nodes and RegionalGuider.",)
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "mask": _MASK,
                **{name: _part(name) for name in ("model", "positive", "negative")},
                "cfg": inputs.cfg(),
            },
            "optional": _settings_inputs(),
        }

    def make(
        self,
        mask: Any,
        model: Any,
        positive: Any,
        negative: Any,
        cfg: float,
        start_percent: float = 0.0,
        end_percent: float = 1.0,
        weight: float = 1.0,
        denoise: float = 1.0,
    ) -> tuple[list[RegionalPromptObject]]:
        owner = type(self).__name__
        sampler = InheritedSampler(guidance(model, positive, negative, cfg, owner))
        own = settings(owner, start_percent=start_percent, end_percent=end_percent, weight=weight, denoise=denoise)
        return ([RegionalPromptObject(_own_mask(mask, owner), sampler, settings=own)],)


class CombineRegionalPrompts(inputs.SharedNode):
    CATEGORY = inputs.CATEGORY
    DESCRIPTION = "Puts several regions into one list; they are sampled in this order."
    SEARCH_ALIASES = ["regions", "regional prompts", "concat", "merge regions", "list of regions"]
    RETURN_TYPES = ("REGIONAL_PROMPTS",)
    OUTPUT_TOOLTIPS = ("All regions, in the order of the inputs.",)
    FUNCTION = "combine"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        names = [f"regional_prompts{number}" for number in range(1, MAX_PROMPTS + 1)]
        tooltip = "One region, or a list of them. Unused inputs may stay empty."
        # Any of them may be muted or bypassed, the first too.
        return {"required": {}, "optional": {name: ("REGIONAL_PROMPTS", {"tooltip": tooltip}) for name in names}}

    def combine(self, **regional_prompts: Any) -> tuple[list[Any]]:
        given = {name: prompts for name, prompts in regional_prompts.items() if prompts is not None}
        if not given:
            raise ValueError(
                f"{type(self).__name__}: no region is connected, or all are muted or bypassed; connect an active one."
            )
        combined: list[Any] = []
        for name in sorted(given, key=_number):
            prompts = given[name]
            if not isinstance(prompts, list | tuple):
                raise TypeError(
                    f"{type(self).__name__}: {name} expects REGIONAL_PROMPTS, {type(prompts).__name__} came; connect a "
                    "RegionalPrompt or another CombineRegionalPrompts."
                )
            combined.extend(prompts)
        return (combined,)


def _number(name: str) -> int:
    digits = re.search(r"\d+$", name)
    return int(digits.group()) if digits else 0


NODES = [
    ("RegionalPrompt", "Regional Prompt (own sampler)", RegionalPrompt),
    (
        "RegionalPromptFromConditioning",
        "Regional Prompt from Conditioning (base's sampler)",
        RegionalPromptFromConditioning,
    ),
    ("CombineRegionalPrompts", "Combine Regional Prompts", CombineRegionalPrompts),
    ("ToBasicPipe", "To Basic Pipe", ToBasicPipe),
    ("FromBasicPipe", "From Basic Pipe", FromBasicPipe),
    ("FromBasicPipe_v2", "From Basic Pipe (v2, passes the pipe on)", FromBasicPipe_v2),
    ("EditBasicPipe", "Edit Basic Pipe", EditBasicPipe),
]

"""RegionalGuider: a GUIDER with regions for ComfyUI's SamplerCustomAdvanced, with any SAMPLER and SIGMAS."""

from typing import Any

from ..masks.weights import MIX
from ..regional.guider import Guider_Regional
from ..regional.lockstep import regional_guider
from . import inputs
from .data import guidance


class RegionalGuider:
    CATEGORY = inputs.CATEGORY
    DESCRIPTION = (
        "A guider with regions for SamplerCustomAdvanced: it works with any sampler and any sigmas, in one run without "
        "seams. It uses the model, prompts and cfg of each regional prompt, but not its sampler."
    )
    SEARCH_ALIASES = ["regional prompt", "region", "guider", "area prompt", "attention couple", "latent couple"]
    RETURN_TYPES = ("GUIDER",)
    OUTPUT_TOOLTIPS = ("For the guider input of SamplerCustomAdvanced.",)
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "Model of the base, which paints outside the regions."}),
                "positive": inputs.conditioning(
                    "Positive conditioning of the base: what should appear outside the regions."
                ),
                "negative": inputs.conditioning(
                    "Negative conditioning of the base. Regions with the same negative share its evaluation."
                ),
                "cfg": inputs.cfg(),
                "regional_prompts": inputs.regional_prompts(),
            },
            "optional": {
                "overlap_factor": (
                    "INT",
                    {
                        "default": 10,
                        "min": 0,
                        "max": 10000,
                        "tooltip": "Width of the linear blend around each region, in pixels of its mask. 0 turns it "
                        "off.",
                    },
                ),
                "base_only_percent": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        "min": 0.0,
                        "max": 1.0,
                        "step": 0.01,
                        "tooltip": "First share (0..1 of the noise schedule, not of the steps) of the sampling, in "
                        "which the base paints alone to lay out the picture. 0 turns it off.",
                    },
                ),
                **inputs.crop_inputs(),
                "blend": inputs.blend(),
            },
        }

    def make(
        self,
        model: Any,
        positive: Any,
        negative: Any,
        cfg: float,
        regional_prompts: Any,
        overlap_factor: int = 10,
        base_only_percent: float = 0.0,
        region_compute: str = inputs.FULL,
        crop_context: int = 128,
        blend: str = MIX,
    ) -> tuple[Guider_Regional]:
        owner = type(self).__name__
        base = guidance(model, positive, negative, cfg, owner)
        compute = inputs.compute(region_compute, crop_context, owner)
        return (regional_guider(base, regional_prompts, overlap_factor, base_only_percent, owner, compute, blend),)


NODES = [("RegionalGuider", "Regional Guider (for SamplerCustomAdvanced)", RegionalGuider)]

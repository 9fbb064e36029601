"""A small pack of the tests that has some of this pack's class ids, as ComfyUI-Impact-Pack has.

Its sampler knows regions only by their mask and sampler; its pipe needs all its parts.
"""

from typing import Any

CATEGORY = "neighbour"


class RegionalSampler:
    """The base samples the first step everywhere, then each step outside of the masks; the regions do inside."""

    CATEGORY = CATEGORY
    RETURN_TYPES = ("LATENT",)
    FUNCTION = "doit"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "seed": ("INT", {"default": 0}),
                "steps": ("INT", {"default": 4}),
                "samples": ("LATENT",),
                "base_sampler": ("KSAMPLER_ADVANCED",),
                "regional_prompts": ("REGIONAL_PROMPTS",),
            }
        }

    def doit(
        self, seed: int, steps: int, samples: dict[str, Any], base_sampler: Any, regional_prompts: list[Any]
    ) -> tuple[dict[str, Any]]:
        recovery = {"recovery_mode": "DISABLE", "recovery_sampler": "AUTO", "recovery_sigma_ratio": 0.3}
        masks = [prompt.get_mask_erosion(0).squeeze(0).squeeze(0) for prompt in regional_prompts]
        latent = samples
        for step in range(steps):
            if step:
                latent = {**latent, "noise_mask": 1.0 - sum(masks).clamp(max=1.0)}
            span = (step, step + 1, True)
            latent = base_sampler.sample_advanced(step == 0, seed, steps, latent, *span, **recovery)
            for prompt, mask in zip(regional_prompts, masks, strict=True) if step else ():
                latent = {**latent, "noise_mask": mask}
                latent = prompt.sampler.sample_advanced(False, seed, steps, latent, *span, **recovery)
        return ({"samples": latent["samples"]},)


class ToBasicPipe:
    CATEGORY = CATEGORY
    RETURN_TYPES = ("BASIC_PIPE",)
    FUNCTION = "doit"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        parts = {"model": "MODEL", "clip": "CLIP", "vae": "VAE", "positive": "CONDITIONING", "negative": "CONDITIONING"}
        return {"required": {name: (kind,) for name, kind in parts.items()}}

    def doit(self, **parts: Any) -> tuple[tuple[Any, ...]]:
        return (tuple(parts[name] for name in ("model", "clip", "vae", "positive", "negative")),)


class CombineRegionalPrompts:
    CATEGORY = CATEGORY
    RETURN_TYPES = ("REGIONAL_PROMPTS",)
    FUNCTION = "doit"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {"required": {"regional_prompts1": ("REGIONAL_PROMPTS",)}}

    def doit(self, **prompts: list[Any]) -> tuple[list[Any]]:
        return ([prompt for several in prompts.values() for prompt in several],)


NODE_CLASS_MAPPINGS = {
    "RegionalSampler": RegionalSampler,
    "ToBasicPipe": ToBasicPipe,
    "CombineRegionalPrompts": CombineRegionalPrompts,
}
NODE_DISPLAY_NAME_MAPPINGS = {"RegionalSampler": "Neighbour's sampler"}

"""Nodes that show regions and report what a run will do and cost, without running it."""

from collections.abc import Sequence
from typing import Any

import nodes as host
import torch

from ..masks.formats.overlay import overlay
from ..masks.weights import MIX
from ..regional import engines
from ..regional.job import Job, LockstepOptions, StepPlan, check_latent, regional_scene
from ..regional.regions import PromptRegion, read_regions, stretched_note
from ..regional.report import coverage, describe
from ..samplers import latents
from ..samplers.latents import Latent
from ..samplers.progress import show_text
from ..samplers.providers import check_advanced_sampler, model_of
from ..samplers.schedules import is_whole, schedule_steps
from . import inputs

_LATENT = (
    "The latent that will be sampled; its size is the canvas size. If nothing is connected, the canvas has the size of "
    "the largest mask."
)


class RegionalPreview:
    CATEGORY = inputs.CATEGORY
    DESCRIPTION = (
        "Shows where each region will paint: its final weight as a coloured, numbered overlay. Also lists the share of "
        "the picture that each region covers, the gaps and the overlaps."
    )
    SEARCH_ALIASES = ["show regions", "mask overlay", "preview masks", "debug regions"]
    RETURN_TYPES = ("REGIONAL_PROMPTS", "IMAGE")
    RETURN_NAMES = ("regional_prompts", "preview")
    OUTPUT_TOOLTIPS = ("The input regions, unchanged.", "The overlay.")
    FUNCTION = "show"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"regional_prompts": inputs.regional_prompts()},
            "optional": {
                "image": (
                    "IMAGE",
                    {
                        "tooltip": "Background picture under the regions. If nothing is connected, the background is "
                        "grey."
                    },
                ),
                "samples": ("LATENT", {"tooltip": _LATENT}),
                "overlap_factor": inputs.overlap("mask pixels"),
                "blend": inputs.blend(),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def show(
        self,
        regional_prompts: Any,
        image: torch.Tensor | None = None,
        samples: Any = None,
        overlap_factor: int = 10,
        blend: str = MIX,
        unique_id: str | None = None,
    ) -> dict[str, Any]:
        owner = type(self).__name__
        regions = read_regions(regional_prompts, None, overlap_factor, owner)
        # Without a latent: one picture or frame per mask of the region with most masks.
        size, stretched = _largest(regions), ""
        shape = (1, 1, max((len(region.mask) for region in regions), default=1), *size)
        if samples is not None:
            latent = check_latent(samples, owner)
            pixels = 8
            if regions:
                model = model_of(regions[0].sampler)
                latent = latents.fit(latent, model)
                pixels = latents.pixels_per_latent(model.get_model_object("latent_format"))
            shape = tuple(latent["samples"].shape)
            stretched = stretched_note(regions, (shape[-2], shape[-1]))
            if stretched:
                size = (shape[-2] * pixels, shape[-1] * pixels)
        covered = coverage(regions, shape, blend, owner)
        # The preview shows the first picture of a batch, the first frame of a video.
        masks = torch.cat([weight[:1] for weight in covered.weights[1:]]) if regions else torch.zeros((0, *shape[-2:]))
        shown_size = size if image is None else (image.shape[1], image.shape[2])
        numbers = [region.number for region in regions]
        preview = overlay(masks, image, shown_size, numbers=numbers)
        lines = covered.lines([region.name for region in regions])
        lines += [f"region {n}: left out, its mask is empty" for n in _left_out(regional_prompts, regions)]
        lines += [stretched] if stretched else []
        text = "\n".join(lines)
        show_text(text, unique_id)
        shown = host.PreviewImage().save_images(preview, "regions")["ui"]
        return {"ui": {**shown, "text": (text,)}, "result": (regional_prompts, preview)}


class RegionalReport:
    CATEGORY = inputs.CATEGORY
    DESCRIPTION = (
        "Reports what a run with these regions will do and cost, before it starts: each region's model, LoRAs, sampler "
        "and share of the picture, the number of model calls and batch rows, and what will be slow or fail."
    )
    SEARCH_ALIASES = ["explain regions", "cost", "debug regions", "show regions"]
    RETURN_TYPES = ("REGIONAL_PROMPTS", "STRING")
    RETURN_NAMES = ("regional_prompts", "report")
    OUTPUT_TOOLTIPS = ("The input regions, unchanged.", "The report.")
    FUNCTION = "report"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "regional_prompts": inputs.regional_prompts(),
                "base_sampler": inputs.step_sampler("Samples what no region covers, and the base-only steps."),
            },
            "optional": {
                "samples": ("LATENT", {"tooltip": _LATENT}),
                "steps": inputs.steps(),
                "base_only_steps": (
                    "INT",
                    {
                        "default": 2,
                        "min": 0,
                        "max": 10000,
                        "tooltip": "Number of first steps that the base samples alone. 0 turns this off.",
                    },
                ),
                "denoise": inputs.denoise(),
                "overlap_factor": inputs.overlap("mask pixels"),
                **inputs.engine_inputs(engines.LOCKSTEP),
                "blend": inputs.blend(),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def report(
        self,
        regional_prompts: Any,
        base_sampler: Any,
        samples: Any = None,
        steps: int = 20,
        base_only_steps: int = 2,
        denoise: float = 1.0,
        overlap_factor: int = 10,
        engine: str = engines.LOCKSTEP,
        region_compute: str = inputs.FULL,
        crop_context: int = 128,
        blend: str = MIX,
        unique_id: str | None = None,
    ) -> dict[str, Any]:
        owner = type(self).__name__
        try:
            latent = _empty(regional_prompts, base_sampler, owner) if samples is None else samples
            scene = regional_scene(latent, base_sampler, regional_prompts, overlap_factor, owner)
            total = schedule_steps(steps, denoise, owner)
            start = total - steps
            plan = StepPlan(
                total=total,
                start=start,
                regional=min(start + base_only_steps, total),
                alone=total,
                end=total,
                base_seed=0,
                seed=0,
                add_noise=True,
                from_end=not is_whole(denoise),
            )
            options = LockstepOptions(blend, inputs.compute(region_compute, crop_context, owner))
            text = describe(engine, Job(owner, scene, plan, lockstep=options))
            text += "".join(
                f"\nNote: region {n} is left out, its mask is empty."
                for n in _left_out(regional_prompts, scene.regions)
            )
        except (TypeError, ValueError) as error:
            text = f"This run would fail. {error}"
        show_text(text, unique_id)
        return {"ui": {"text": (text,)}, "result": (regional_prompts, text)}


def _empty(prompts: Any, base: Any, owner: str) -> Latent:
    """An empty LATENT of the largest mask's size, with as many pictures as the region with most masks has masks."""
    model = model_of(check_advanced_sampler(base, f"{owner}, base_sampler"))
    regions = read_regions(prompts, model, 0, owner)
    pixels = latents.pixels_per_latent(model.get_model_object("latent_format"))
    batch = max((len(region.mask) for region in regions), default=1)
    size = [max(length // pixels, 1) for length in _largest(regions)]
    return {"samples": torch.zeros((batch, 4, *size))}


def _largest(regions: Sequence[PromptRegion]) -> tuple[int, int]:
    """(H, W) of the mask with the largest area, in mask pixels; 512 x 512 without regions."""
    sizes = [(region.mask.shape[-2], region.mask.shape[-1]) for region in regions]
    return max(sizes, key=lambda size: size[0] * size[1], default=(512, 512))


def _left_out(prompts: Sequence[Any], regions: Sequence[PromptRegion]) -> list[int]:
    """The numbers of the regions that were left out because their mask is empty."""
    read = {region.number for region in regions}
    return [number for number in range(1, len(prompts) + 1) if number not in read]


NODES = [
    ("RegionalPreview", "Regional Preview", RegionalPreview),
    ("RegionalReport", "Regional Report", RegionalReport),
]

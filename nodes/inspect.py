"""Nodes that show regions, and say what a run over them will do, before it is paid for."""

from collections.abc import Sequence
from typing import Any

import nodes as host
import torch
from server import PromptServer

from ..masks.overlay import overlay
from ..masks.weights import MIX
from ..regional import engines
from ..regional.job import Job, LockstepOptions, StepPlan, check_latent, regional_scene
from ..regional.regions import PromptRegion, read_regions
from ..regional.report import coverage, describe
from ..samplers import latents
from ..samplers.latents import Latent
from ..samplers.providers import check_advanced_sampler, model_of
from ..samplers.schedules import is_whole, schedule_steps
from . import inputs

_LATENT = "The latent that will be sampled: its size is the canvas. Without it, that is the largest mask's."


class RegionalPreview:
    CATEGORY = inputs.CATEGORY
    DESCRIPTION = (
        "Shows where each region will paint: its final weight as a coloured, numbered overlay, with how much of the "
        "picture each covers, and the gaps and overlaps."
    )
    SEARCH_ALIASES = ["show regions", "mask overlay", "preview masks", "debug regions"]
    RETURN_TYPES = ("REGIONAL_PROMPTS", "IMAGE")
    RETURN_NAMES = ("regional_prompts", "preview")
    OUTPUT_TOOLTIPS = ("The regions as they came.", "The overlay.")
    FUNCTION = "show"
    OUTPUT_NODE = True

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {"regional_prompts": inputs.regional_prompts()},
            "optional": {
                "image": ("IMAGE", {"tooltip": "Shown under the regions. Without it the ground is grey."}),
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
        # Without a latent, as many pictures or frames as there are masks.
        shape = (1, 1, max((len(region.mask) for region in regions), default=1), *_largest(regions))
        if samples is not None:
            latent = check_latent(samples, owner)
            if regions:
                latent = latents.fit(latent, model_of(regions[0].sampler))
            shape = tuple(latent["samples"].shape)
        covered = coverage(regions, shape, blend, owner)
        # The first picture of a batch, the first frame of a video.
        masks = torch.cat([weight[:1] for weight in covered.weights[1:]]) if regions else torch.zeros((0, *shape[-2:]))
        shown_size = tuple(image.shape[1:3]) if image is not None else _largest(regions)
        numbers = [region.number for region in regions]
        preview = overlay(masks, image, shown_size, numbers=numbers)
        lines = covered.lines([region.name for region in regions])
        lines += [f"region {n}: left out, its mask is empty" for n in _left_out(regional_prompts, regions)]
        text = "\n".join(lines)
        _show(text, unique_id)
        shown = host.PreviewImage().save_images(preview, "regions")["ui"]
        return {"ui": {**shown, "text": (text,)}, "result": (regional_prompts, preview)}


class RegionalReport:
    CATEGORY = inputs.CATEGORY
    DESCRIPTION = (
        "Says what a run over the regions will do and cost, before it is paid for: each region's model, LoRAs, sampler "
        "and share of the picture, model calls and rows, and what will be slow or fail."
    )
    SEARCH_ALIASES = ["explain regions", "cost", "debug regions", "show regions"]
    RETURN_TYPES = ("REGIONAL_PROMPTS", "STRING")
    RETURN_NAMES = ("regional_prompts", "report")
    OUTPUT_TOOLTIPS = ("The regions as they came.", "The report.")
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
                    {"default": 2, "min": 0, "max": 10000, "tooltip": "Steps of the base alone. 0 turns this off."},
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
        _show(text, unique_id)
        return {"ui": {"text": (text,)}, "result": (regional_prompts, text)}


def _empty(prompts: Any, base: Any, owner: str) -> Latent:
    """An empty LATENT of the largest mask's size, one picture for each mask of a region with several."""
    model = model_of(check_advanced_sampler(base, f"{owner}, base_sampler"))
    regions = read_regions(prompts, model, 0, owner)
    pixels = latents.pixels_per_latent(model.get_model_object("latent_format"))
    batch = max((len(region.mask) for region in regions), default=1)
    size = [max(length // pixels, 1) for length in _largest(regions)]
    return {"samples": torch.zeros((batch, 4, *size))}


def _largest(regions: Sequence[PromptRegion]) -> tuple[int, int]:
    """(H, W) of the largest mask, in its pixels."""
    sizes = [(region.mask.shape[-2], region.mask.shape[-1]) for region in regions]
    return max(sizes, key=lambda size: size[0] * size[1], default=(512, 512))


def _left_out(prompts: Sequence[Any], regions: Sequence[PromptRegion]) -> list[int]:
    """The numbers of those regions whose mask is empty."""
    read = {region.number for region in regions}
    return [number for number in range(1, len(prompts) + 1) if number not in read]


def _show(text: str, node_id: str | None) -> None:
    """The text on the node, as the host's own nodes show theirs."""
    if node_id is not None:
        PromptServer.instance.send_progress_text(text, node_id)


NODES = [
    ("RegionalPreview", "Regional Preview", RegionalPreview),
    ("RegionalReport", "Regional Report", RegionalReport),
]

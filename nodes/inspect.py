"""Nodes that show regions, and say what a run over them will do, before it is paid for."""

from collections.abc import Sequence
from typing import Any

import nodes as host
import torch
from server import PromptServer

from ..masks.overlay import overlay
from ..masks.weights import MIX
from ..regional import engines
from ..regional.job import check_latent
from ..regional.lockstep import check_samplings
from ..regional.regions import Region, read_regions
from ..regional.report import coverage, describe
from ..samplers import latents
from ..samplers.providers import FollowingSampler, as_own, check_step_sampler
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
                "blend": inputs.lockstep_inputs()["blend"],
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
        size = _canvas(samples, regions, owner)
        covered = coverage(regions, size, blend)
        # The first picture of a batch, the first frame of a video.
        masks = torch.cat([weight[:1] for weight in covered.weights[1:]]) if regions else torch.zeros((1, *size))
        shown_size = tuple(image.shape[1:3]) if image is not None else _largest(regions, size)
        preview = overlay(masks, image, shown_size, numbers=[region.number for region in regions] or None)
        _show("\n".join(covered.lines([region.name for region in regions])), unique_id)
        shown = host.PreviewImage().save_images(preview, "regions")["ui"]
        return {"ui": shown, "result": (regional_prompts, preview)}


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
                "overlap_factor": inputs.overlap("mask pixels"),
                **inputs.engine_inputs(engines.LOCKSTEP),
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
        overlap_factor: int = 10,
        engine: str = engines.LOCKSTEP,
        region_compute: str = inputs.FULL,
        crop_context: int = 128,
        blend: str = MIX,
        unique_id: str | None = None,
    ) -> dict[str, Any]:
        owner = type(self).__name__
        try:
            base = as_own(check_step_sampler(base_sampler, f"{owner}, base_sampler"), f"{owner}, base_sampler")
            regions = read_regions(regional_prompts, base.guidance.model, overlap_factor, owner)
            samplers = []
            for region in regions:
                sampler = region.sampler
                following = isinstance(sampler, FollowingSampler)
                own = sampler.after(base) if following else as_own(sampler, f"{owner}, {region.name}")
                if engine == engines.LOCKSTEP:
                    check_samplings(base.guidance.model, own.guidance.model, f"{owner}, {region.name}")
                samplers.append(own)
            size = _canvas(samples, regions, owner, base.guidance.model)
            context = inputs.crop_context(region_compute, crop_context, owner)
            text = describe(base, regions, samplers, size, blend, engine, (steps, base_only_steps), context)
        except (TypeError, ValueError) as error:
            text = f"This run would fail. {error}"
        _show(text, unique_id)
        return {"ui": {"text": (text,)}, "result": (regional_prompts, text)}


def _canvas(samples: Any, regions: Sequence[Region], owner: str, model: Any = None) -> tuple[int, int]:
    """(h, w): of the latent; without one the largest mask's, in the latent pixels of `model` if there is one."""
    if samples is not None:
        latent = check_latent(samples, owner)
        shape = (latent if model is None else latents.fit(latent, model))["samples"].shape
        return shape[-2], shape[-1]
    height, width = _largest(regions, (8, 8))
    pixels = 1 if model is None else latents.pixels_per_latent(model.get_model_object("latent_format"))
    return max(height // pixels, 1), max(width // pixels, 1)


def _largest(regions: Sequence[Region], otherwise: tuple[int, int]) -> tuple[int, int]:
    sizes = [(region.mask.shape[-2], region.mask.shape[-1]) for region in regions]
    return max(sizes, key=lambda size: size[0] * size[1], default=otherwise)


def _show(text: str, node_id: str | None) -> None:
    """The text on the node, as the host's own nodes show theirs."""
    if node_id is not None:
        PromptServer.instance.send_progress_text(text, node_id)


NODES = [
    ("RegionalPreview", "Regional Preview", RegionalPreview),
    ("RegionalReport", "Regional Report", RegionalReport),
]

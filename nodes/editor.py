"""RegionEditor: regions drawn on a canvas in the node. One widget holds the drawing as JSON."""

import logging
from collections.abc import Iterator, Sequence
from typing import Any

import nodes as host
import torch
from comfy_execution.graph_utils import ExecutionBlocker

from ..masks.formats import drawing
from ..masks.formats.overlay import overlay
from ..samplers.prompts import RegionSettings
from . import inputs
from .prompts import PromptedMask, check_clip, encode, encode_regions
from .shapes import first_picture

log = logging.getLogger(__name__)

WIDGET = "REGIONAL_SAMPLING_DRAWING"  # the frontend extension in web/js/editor creates this widget type


class RegionEditor:
    CATEGORY = inputs.CATEGORY
    DESCRIPTION = (
        "Draw regions on a canvas in the node (rectangles, ellipses, freehand shapes, brush strokes) and give each a "
        "prompt, a weight and its range of the sampling. Connect the outputs to RegionalGuider to sample the regions."
    )
    SEARCH_ALIASES = [
        "draw regions",
        "region editor",
        "brush",
        "paint mask",
        "draw mask",
        "mask editor",
        "canvas",
        "bounding box",
        "area prompt",
        "paint regions",
        "dense diffusion",
        "regional prompter",
    ]
    RETURN_TYPES = ("REGIONAL_PROMPTS", "CONDITIONING", "CONDITIONING", "MASK", "IMAGE")
    RETURN_NAMES = ("regional_prompts", "positive", "negative", "masks", "preview")
    OUTPUT_TOOLTIPS = (
        "The enabled regions that have a prompt, in the order of the list. They use the base's sampler.",
        "Positive conditioning of the base.",
        "Negative conditioning of the base and of all regions.",
        "The mask of each region of the list, in order, as a batch. RegionalMaskFromBatch selects one of them.",
        "The enabled regions in their colours, each with its number in the list.",
    )
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "The model that paints the regions."}),
                "clip": ("CLIP", {"tooltip": "Text encoder for all prompts."}),
                "width": _side("Width"),
                "height": _side("Height"),
                "positive": _prompt("Prompt of the base: what should appear outside the regions."),
                "negative": _prompt("Negative prompt of the base and of all regions: what should not appear."),
                "cfg": inputs.cfg(),
                "regions": (
                    "STRING",
                    {
                        "default": "",
                        "widgetType": WIDGET,
                        "tooltip": "The drawing, as JSON: version, and regions with name, color, prompt, weight, "
                        "start, end, denoise, enabled and shape. The node's help says more.",
                    },
                ),
            },
            "optional": {
                "image": (
                    "IMAGE",
                    {
                        "tooltip": "Background picture under the regions, in the preview and, after a run, on the "
                        "node. It does not change the result."
                    },
                ),
            },
            "hidden": {"unique_id": "UNIQUE_ID", "prompt": "PROMPT"},
        }

    def make(
        self,
        model: Any,
        clip: Any,
        width: int,
        height: int,
        positive: str,
        negative: str,
        cfg: float,
        regions: str,
        image: Any = None,
        unique_id: str | None = None,
        prompt: dict[str, Any] | None = None,
    ) -> dict[str, Any]:
        owner = type(self).__name__
        picture = None if image is None else first_picture(image, owner)
        check_clip(clip, owner)
        drawn = drawing.parse(regions, owner)
        masks = drawing.masks(drawn, *drawing.mask_size(height, width))
        positive_cond, negative_cond = encode(clip, positive), encode(clip, negative)
        found: Any = encode_regions(_prompted(drawn, masks, owner), model, clip, negative_cond, cfg, owner)
        if not found:
            nothing = f"{owner}: no region has a place and a prompt; draw one and write its prompt."
            # An error is shown on this node, a blocker on the next one, so an error is better. But masks and preview
            # need no prompts: if one of them is connected, only the regions are blocked.
            connected = _connected_outputs(prompt or {}, unique_id)
            if 0 in connected and not connected & {3, 4}:
                raise ValueError(nothing)
            found = ExecutionBlocker(nothing)
        if not drawn:
            masks = torch.zeros(1, *masks.shape[1:])
        enabled = [index for index, region in enumerate(drawn) if region.enabled]
        colors, numbers = [drawn[index].color for index in enabled], [index + 1 for index in enabled]
        preview = overlay(masks[enabled], picture, (height, width), colors, numbers or None)
        result = (found, positive_cond, negative_cond, masks, preview)
        if picture is None:
            return {"result": result}
        saved = host.PreviewImage().save_images(picture[None, ..., :3], "background")["ui"]["images"]
        return {"ui": {"background": saved}, "result": result}


def _prompted(drawn: Sequence[drawing.DrawnRegion], masks: torch.Tensor, owner: str) -> Iterator[PromptedMask]:
    """The enabled regions, with their masks (N, H, W), that have a mask and a prompt. The others are warned of."""
    for number, (region, mask) in enumerate(zip(drawn, masks, strict=True), 1):
        if not region.enabled:
            continue
        if not mask.any():
            log.warning("%s: region %d (%s) covers nothing, so it is left out.", owner, number, region.name)
        elif not region.prompt.strip():
            log.warning("%s: region %d (%s) has no prompt, so the base paints it.", owner, number, region.name)
        else:
            settings = RegionSettings(region.start, region.end, region.weight, region.denoise)
            yield PromptedMask(mask, region.prompt, settings)


def _connected_outputs(prompt: dict[str, Any], node_id: str | None) -> set[int]:
    """The indices of the node's outputs that other nodes of the API prompt are connected to."""
    values = [value for node in prompt.values() for value in node.get("inputs", {}).values()]
    return {value[1] for value in values if isinstance(value, list) and len(value) == 2 and value[0] == node_id}


def _side(name: str) -> inputs.Declaration:
    return "INT", {
        "default": 1024,
        "min": 16,
        "max": host.MAX_RESOLUTION,
        "step": 8,
        "tooltip": f"{name} of the picture in pixels, and of the canvas to draw on.",
    }


def _prompt(tooltip: str) -> inputs.Declaration:
    return "STRING", {"default": "", "multiline": True, "dynamicPrompts": True, "tooltip": tooltip}


NODES = [("RegionEditor", "Regional Editor", RegionEditor)]

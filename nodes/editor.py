"""RegionEditor: all regions drawn in the node, kept as JSON in one widget."""

import logging
from typing import Any

import nodes as host
import torch
from comfy_execution.graph_utils import ExecutionBlocker

from ..masks import drawing
from ..masks.overlay import overlay
from ..samplers.prompts import Presence, RegionalPromptObject
from ..samplers.providers import FollowingSampler, kind_of
from . import inputs
from .data import guidance
from .shapes import first_picture

log = logging.getLogger(__name__)

WIDGET = "REGIONAL_SAMPLING_DRAWING"  # web/js/editor makes it


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
        if not hasattr(clip, "tokenize"):
            raise TypeError(f"{owner}: clip should be a CLIP, {kind_of(clip)} came; connect a loader's CLIP.")
        drawn = drawing.parse(regions, owner)
        masks = drawing.masks(drawn, *drawing.mask_size(height, width))
        encode = host.CLIPTextEncode().encode
        (base,), (none_of_it,) = encode(clip, positive), encode(clip, negative)
        found, shown = [], []
        for number, (region, mask) in enumerate(zip(drawn, masks, strict=True), 1):
            if not region.enabled:
                continue
            shown.append(number)
            if not mask.any():
                log.warning("%s: region %d (%s) covers nothing, so it is left out.", owner, number, region.name)
            elif not region.prompt.strip():
                log.warning("%s: region %d (%s) has no prompt, so the base paints it.", owner, number, region.name)
            else:
                (own,) = encode(clip, region.prompt)
                sampler = FollowingSampler(guidance(model, own, none_of_it, cfg, owner))
                presence = Presence(region.start, region.end, region.weight, region.denoise)
                found.append(RegionalPromptObject(mask, sampler, presence=presence))
        if not found:
            nothing = f"{owner}: no region has a place and a prompt; draw one and write its prompt."
            # An error marks this node, the blocker the one that it comes to; but masks and preview need no prompts.
            taken = _taken(prompt or {}, unique_id)
            if 0 in taken and not taken & {3, 4}:
                raise ValueError(nothing)
            found = ExecutionBlocker(nothing)
        if not drawn:
            masks = torch.zeros(1, *masks.shape[1:])
        places = [number - 1 for number in shown]
        colors = [drawn[place].color for place in places]
        preview = overlay(masks[places], picture, (height, width), colors, shown or None)
        result = (found, base, none_of_it, masks, preview)
        if picture is None:
            return {"result": result}
        saved = host.PreviewImage().save_images(picture[None, ..., :3], "background")["ui"]["images"]
        return {"ui": {"background": saved}, "result": result}


def _taken(prompt: dict[str, Any], node_id: str | None) -> set[int]:
    """Which outputs of a node the nodes of an API prompt take."""
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

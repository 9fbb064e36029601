"""Nodes that make all regions at once, from a picture in flat colours, a layout of cells or a list of masks."""

import logging
import math
from collections.abc import Iterator, Sequence
from typing import Any

import nodes as host
import torch
from comfy_execution.graph_utils import ExecutionBlocker

from ..masks.convert import as_mask
from ..masks.formats import colors as painted
from ..masks.formats import layout as layouts
from ..masks.formats.overlay import Rgb, overlay
from ..masks.shape import resize
from ..samplers.providers import kind_of
from . import inputs
from .prompts import PromptedMask, check_clip, encode_regions

log = logging.getLogger(__name__)

Result = dict[str, Any]  # what ComfyUI shows on the node ("ui"), and the outputs ("result")

_RETURN_TYPES = ("REGIONAL_PROMPTS", "MASK", "IMAGE")
_RETURN_NAMES = ("regional_prompts", "masks", "preview")


def _output_tooltips(each: str) -> tuple[str, ...]:
    return (
        f"A region for each {each} that has a prompt; it uses the base's sampler. Needs model, clip and negative.",
        f"The mask of each {each}, in order, as a batch. RegionalMaskFromBatch selects one of them.",
        f"Every {each} with its number, which is the number of its line in prompts.",
    )


def _prompts(each: str) -> inputs.Declaration:
    return "STRING", {
        "default": "",
        "multiline": True,
        "dynamicPrompts": True,
        "tooltip": f"One line for each {each}, in order. An empty or missing line leaves its {each} to the base.",
    }


def _guidance_inputs() -> dict[str, inputs.Declaration]:
    return {
        "model": (
            "MODEL",
            {"tooltip": "The model that paints the regions. Only the output regional_prompts needs it."},
        ),
        "clip": ("CLIP", {"tooltip": "Text encoder for the prompts. Only the output regional_prompts needs it."}),
        "negative": inputs.conditioning(
            "Negative conditioning of the regions; the base's own costs nothing more. Only the output regional_prompts "
            "needs it."
        ),
        "cfg": inputs.cfg(),
    }


def first_picture(image: object, owner: str) -> torch.Tensor:
    """The first picture (H, W, C), a view, of an IMAGE (B, H, W, C).

    Raises TypeError or ValueError, naming `owner`, if `image` is no IMAGE; warns if it holds several pictures.
    """
    if not isinstance(image, torch.Tensor):
        raise TypeError(f"{owner}: image should be an IMAGE, {kind_of(image)} came; connect a LoadImage.")
    if image.ndim != 4 or image.shape[-1] not in (3, 4) or image.numel() == 0:
        raise ValueError(
            f"{owner}: an image of shape (batch, height, width, 3 or 4) was expected, {tuple(image.shape)} came; "
            "connect an IMAGE output."
        )
    if len(image) > 1:
        log.warning("%s: %d images came, only the first counts.", owner, len(image))
    return image[0]


def _regions(
    masks: Sequence[torch.Tensor] | torch.Tensor,
    prompts: str,
    model: Any,
    clip: Any,
    negative: Any,
    cfg: float,
    each: str,
    owner: str,
    keep_empty: bool = False,
) -> Any:
    """REGIONAL_PROMPTS of the masks (N masks of (H, W)) that have a line in `prompts`.

    An ExecutionBlocker if there is none, or if an input that regions need is not connected: masks and preview remain
    usable. `each` is the word for what a mask stands for, for texts. With `keep_empty` an empty mask is a region too,
    which the sampler leaves out.
    """
    lines = [line.strip() for line in prompts.rstrip().split("\n")]
    if len(lines) > len(masks):
        log.warning("%s: %d prompts for %d masks; the last ones are not used.", owner, len(lines), len(masks))
    given = {"model": model, "clip": clip, "negative": negative}
    if missing := [name for name, value in given.items() if value is None]:
        return ExecutionBlocker(f"{owner}: regional_prompts needs {', '.join(missing)}; connect them, or use masks.")
    check_clip(clip, owner)
    found = encode_regions(_prompted(masks, lines, owner, keep_empty), model, clip, negative, cfg, owner)
    return found or ExecutionBlocker(f"{owner}: no {each} has a prompt; write one line for each into prompts.")


def _prompted(
    masks: Sequence[torch.Tensor] | torch.Tensor, lines: Sequence[str], owner: str, keep_empty: bool
) -> Iterator[PromptedMask]:
    """The masks (H, W) with their lines, without those that are empty. A line for an empty mask is warned of."""
    for number, (mask, line) in enumerate(zip(masks, lines, strict=False), 1):
        if not line:
            continue
        if keep_empty or mask.any():
            yield PromptedMask(mask, line)
        else:
            log.warning("%s: the mask of line %d of the prompts is empty, so the region is left out.", owner, number)


def _result(regions: Any, masks: torch.Tensor, image: torch.Tensor | None, colors: Sequence[Rgb] | None) -> Result:
    """The outputs, with the preview also shown on the node. `colors` are the masks', None for the palette's."""
    preview = overlay(masks, image, (int(masks.shape[-2]), int(masks.shape[-1])), colors)
    shown = host.PreviewImage().save_images(preview, "regions")["ui"]
    return {"ui": shown, "result": (regions, masks, preview)}


class RegionalPromptsFromColorMask:
    CATEGORY = inputs.CATEGORY
    DESCRIPTION = (
        "Makes all regions from one picture painted in flat colours: each colour is a mask, each line of text is the "
        "prompt of one colour."
    )
    SEARCH_ALIASES = ["color mask", "colour mask", "paint regions", "segmentation map", "image color to mask", "region"]
    RETURN_TYPES = _RETURN_TYPES
    RETURN_NAMES = _RETURN_NAMES
    OUTPUT_TOOLTIPS = _output_tooltips("colour")
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "image": (
                    "IMAGE",
                    {"tooltip": "Picture painted in flat colours, of any size, in the proportions of the result."},
                ),
                "colors": (
                    "STRING",
                    {
                        "default": "auto",
                        "tooltip": "auto: every colour of the image, the largest area first. Or a list of the colours "
                        "to use: #ff0000, #f00, red or 255,0,0; all others are left to the base.",
                    },
                ),
                "prompts": _prompts("colour"),
                "tolerance": (
                    "INT",
                    {
                        "default": 24,
                        "min": 0,
                        "max": 255,
                        "tooltip": "How far a pixel may differ from its colour, in levels (of 255) of red, green and "
                        "blue each. 0 takes only the exact colour.",
                    },
                ),
            },
            "optional": _guidance_inputs(),
        }

    def make(
        self,
        image: Any,
        colors: str,
        prompts: str,
        tolerance: int,
        model: Any = None,
        clip: Any = None,
        negative: Any = None,
        cfg: float = 8.0,
    ) -> Result:
        owner = type(self).__name__
        picture = first_picture(image, owner)
        auto = colors.strip().lower() in ("", "auto")
        wanted = painted.distinct(picture, tolerance, owner) if auto else painted.parse(colors, owner)
        if not wanted:
            raise ValueError(
                f"{owner}: no colour covers {painted.MIN_SHARE:.1%} of the image; connect one painted in flat colours, "
                "list the colours in colors, or raise tolerance."
            )
        masks = painted.masks(picture, wanted, tolerance, owner, fill=auto)
        absent = [painted.code(color) for color, mask in zip(wanted, masks, strict=True) if not mask.any()]
        if len(absent) == len(wanted):
            there = ", ".join(map(painted.code, painted.distinct(picture, tolerance, owner))) or "no flat colour"
            raise ValueError(
                f"{owner}: the image has none of {', '.join(absent)}, it has {there}; list these in colors, or "
                "raise tolerance."
            )
        if absent:
            log.warning("%s: %s not in the image, so their masks are empty.", owner, ", ".join(absent))
        regions = _regions(masks, prompts, model, clip, negative, cfg, "colour", owner)
        return _result(regions, masks, None, [(r / 255, g / 255, b / 255) for r, g, b in wanted])


class RegionalGrid:
    CATEGORY = inputs.CATEGORY
    DESCRIPTION = (
        "Makes all regions from a grid: rows and columns are set by ratios, each line of text is the prompt of one "
        "cell."
    )
    SEARCH_ALIASES = ["grid", "rows and columns", "split", "matrix", "ratios", "regional prompter", "region"]
    RETURN_TYPES = _RETURN_TYPES
    RETURN_NAMES = _RETURN_NAMES
    OUTPUT_TOOLTIPS = _output_tooltips("cell")
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "width": _side("Width"),
                "height": _side("Height"),
                "layout": (
                    "STRING",
                    {
                        "default": "1,2,1;1,1",
                        "tooltip": "Widths of the cells as ratios; a semicolon ends a row. 1,2,1;1,1 is a row of three "
                        "cells, the middle one twice as wide, above a row of two; 2:1,2,1;1:1,1 also sets the heights "
                        "of the rows, in front of the colons.",
                    },
                ),
                "prompts": _prompts("cell"),
            },
            "optional": {
                **_guidance_inputs(),
                "image": ("IMAGE", {"tooltip": "Background picture of the preview. It changes nothing else."}),
            },
        }

    def make(
        self,
        width: int,
        height: int,
        layout: str,
        prompts: str,
        model: Any = None,
        clip: Any = None,
        negative: Any = None,
        cfg: float = 8.0,
        image: Any = None,
    ) -> Result:
        owner = type(self).__name__
        picture = None if image is None else first_picture(image, owner)
        masks = layouts.masks(layouts.cell_boxes(layouts.parse(layout, owner), height, width, owner), height, width)
        regions = _regions(masks, prompts, model, clip, negative, cfg, "cell", owner)
        return _result(regions, masks, picture, None)


def _side(name: str) -> inputs.Declaration:
    return "INT", {
        "default": 1024,
        "min": 1,
        "max": host.MAX_RESOLUTION,
        "tooltip": f"{name} of the picture in pixels. Masks are resized to the latent, so only the proportions matter.",
    }


class RegionalPromptsFromMasks:
    CATEGORY = inputs.CATEGORY
    DESCRIPTION = (
        "Makes all regions from a batch or a list of masks, such as a detector's: each mask is a region, each line of "
        "text is the prompt of one mask."
    )
    SEARCH_ALIASES = ["masks to regions", "mask list", "mask batch", "detector", "segmentation", "SEGS", "region"]
    # A list of masks would otherwise run the node, and all behind it, once for each mask.
    INPUT_IS_LIST = True
    RETURN_TYPES = _RETURN_TYPES
    RETURN_NAMES = _RETURN_NAMES
    OUTPUT_TOOLTIPS = (
        "A region for each mask that has a prompt; it uses the base's sampler. Needs model, clip and negative.",
        "All masks, in order, as a batch. RegionalMaskFromBatch selects one of them.",
        "Every mask with its number, which is the number of its line in prompts.",
    )
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "masks": (
                    "MASK",
                    {
                        "tooltip": "A batch or a list of masks, of any sizes: each is a region, in this order. A list "
                        "makes one picture with all regions, not a picture for each mask."
                    },
                ),
                "prompts": _prompts("mask"),
            },
            "optional": {
                **_guidance_inputs(),
                "image": ("IMAGE", {"tooltip": "Background picture of the preview. It changes nothing else."}),
            },
        }

    def make(
        self,
        masks: list[Any],
        prompts: list[str],
        model: Sequence[Any] = (None,),
        clip: Sequence[Any] = (None,),
        negative: Sequence[Any] = (None,),
        cfg: Sequence[float] = (8.0,),
        image: Sequence[Any] = (None,),
    ) -> Result:
        owner = type(self).__name__
        given = {"model": model, "clip": clip, "negative": negative, "cfg": cfg, "image": image}
        for name, values in given.items():
            if len(values) > 1:
                log.warning("%s: a list of %d values came for %s, only the first counts.", owner, len(values), name)
        picture = None if image[0] is None else first_picture(image[0], owner)
        batches = [as_mask(one, f"{owner}, masks") for one in masks]
        # A detector gives no mask, (0, H, W), for a picture in which it finds nothing; that is no region.
        found = [batch for batch, one in zip(batches, masks, strict=True) if len(one)]
        found = found or batches[:1] or [torch.zeros(1, 64, 64)]
        single = [mask for batch in found for mask in batch]
        regions = _regions(
            single, "\n".join(prompts), model[0], clip[0], negative[0], cfg[0], "mask", owner, keep_empty=True
        )
        # One size for the output: that of the largest mask.
        size = max((tuple(mask.shape) for mask in single), key=math.prod)
        return _result(regions, torch.cat([resize(mask[None], size) for mask in single]), picture, None)


class RegionalMaskFromBatch:
    CATEGORY = inputs.CATEGORY
    DESCRIPTION = "Selects one mask of a batch, for a region with its own sampler."
    SEARCH_ALIASES = ["mask from batch", "region mask", "select mask", "pick mask", "mask index", "split mask batch"]
    RETURN_TYPES = ("MASK",)
    OUTPUT_TOOLTIPS = ("The selected mask.",)
    FUNCTION = "take"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "masks": ("MASK", {"tooltip": "A batch of masks, such as the one that RegionalGrid makes."}),
                "number": (
                    "INT",
                    {
                        "default": 1,
                        "min": 1,
                        "max": 4096,
                        "tooltip": "Number of the mask; 1 is the first, as in the preview and in the lines of the "
                        "prompts.",
                    },
                ),
            }
        }

    def take(self, masks: Any, number: int) -> tuple[torch.Tensor]:
        owner = type(self).__name__
        batch = as_mask(masks, f"{owner}, masks")
        if number > len(batch):
            raise ValueError(f"{owner}: mask {number} of {len(batch)} was asked for; give a number up to {len(batch)}.")
        return (batch[number - 1 : number].clone(),)


NODES = [
    ("RegionalPromptsFromColorMask", "Regional Prompts from Color Mask", RegionalPromptsFromColorMask),
    ("RegionalGrid", "Regional Grid (rows and columns)", RegionalGrid),
    ("RegionalPromptsFromMasks", "Regional Prompts from Masks", RegionalPromptsFromMasks),
    ("RegionalMaskFromBatch", "Regional Mask from Batch", RegionalMaskFromBatch),
]

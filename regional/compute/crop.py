"""Members computed on a crop of the canvas: what the host is told so that it computes only a box, and the obstacles."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import comfy.conds
import comfy.model_management
import torch

from ...masks.boxes import Box, bounds, cheapest, crops
from ...samplers.latents import pixels_per_latent
from ..host import (
    Conds,
    has_patched_models,
    has_positions,
    patch_size,
    takes_crops,
    with_position,
)
from ..host_functions import has_transformer_hooks
from ..models.group import ModelGroup, call_through
from ..timeline import Weights
from . import Ask
from .cost import cost
from .full import Full

CROP = "crop"

# The key in a cond's model_conds for the (top, left) of the box. The host does not batch conds that differ in it.
_PLACE = "regional_place"
_OF_THE_CANVAS = {
    "control": "a ControlNet",
    "area": "an area",
    "mask": "a mask",
    "gligen": "GLIGEN boxes",
    "default": "a default prompt",
}


@dataclass(frozen=True)
class Crop(Full):
    """Each member is computed on the box around its weight and about `context` pixels of the picture around it."""

    context: int = 0

    @property
    def name(self) -> str:
        return CROP

    def plan(self, weights: Weights, group: ModelGroup, size: tuple[int, int]) -> list[Ask]:
        """Members that cost less on the full canvas, beside all others, are asked for there."""
        painting = [member for member in weights.painting if member in group.members]
        extents, fallbacks = {}, dict.fromkeys(painting, "")
        for member in painting:
            extent = bounds(weights.maps[member])
            reason = self.obstacle(group, member)
            if reason is None:
                extents[member] = extent
            elif extent != Box(0, 0, *size):
                fallbacks[member] = reason
        context = round(self.context / pixels_per_latent(group.model_patcher.get_model_object("latent_format")))
        # Crops that are given their positions share no model call with others, so their number of sizes is free.
        found = crops(extents, size, context, patch_size(group.model), few=not has_positions(group.model))

        alone = {member: group.alone(member) for member in painting}

        def asks(boxes: Mapping[int, Box]) -> list[Ask]:
            return [Ask((member,), boxes.get(member), fallbacks[member], alone[member]) for member in painting]

        return asks(cheapest(found, lambda boxes: cost(group, asks(boxes), size).area))

    def obstacle(self, group: ModelGroup, member: int) -> str | None:
        """Why the member needs the full canvas; None if it does not. Outside of a run, as far as its conds tell."""
        if not takes_crops(group.model):
            return f"{type(group.model).__name__} cannot be told which part of the canvas it sees"
        if has_patched_models(group.model_options.get("transformer_options", {})):
            return "a model is patched into its own (such as a ControlNet) for the whole canvas"
        if (reason := group.whole_canvas()) is not None:
            return reason
        if any(has_transformer_hooks(conds) for conds in group.conds_of(member).values()):
            return "its prompt has hooks on the model's transformer, which may hold something for the whole canvas"
        for cond in (cond for conds in group.conds_of(member).values() for cond in conds):
            for key, name in _OF_THE_CANVAS.items():
                if key in cond:
                    return f"its prompt has {name} for the whole canvas"
            for name, value in cond["model_conds"].items():
                tensor = getattr(value, "cond", None)
                whole = (
                    isinstance(tensor, torch.Tensor) and tensor.ndim >= 4 and tensor.shape[-2:] == group.processed_size
                )
                # The positions of reference pictures would move along with the crop's.
                whole = whole or isinstance(value, comfy.conds.CONDList)
                if whole and not isinstance(value, comfy.conds.CONDNoiseShape):
                    return f"its prompt has {name} for the whole canvas"
        return None

    def said(self, name: str, ask: Ask) -> list[str]:
        whole = [f"{name} is computed on the whole canvas, not cropped: {ask.fallback}."] if ask.fallback else []
        return whole + super().said(name, ask)

    def _wrapper(self, group: ModelGroup, asks: Sequence[Ask], inner: Any) -> Any:
        if not has_positions(group.model) or all(ask.box is None for ask in asks):
            return inner
        return _with_positions(group.model, call_through(inner))

    def _conds_of_canvas(self, group: ModelGroup, member: int, kind: str, box: Box | None) -> Conds:
        conds = group.conds_of(member)[kind]
        return conds if box is None else _narrowed(conds, box, has_positions(group.model))

    def _conds_of_part(self, group: ModelGroup, member: int, kind: str, box: Box | None, x: torch.Tensor) -> Conds:
        conds = group.conds_of(member)[kind]
        return conds if box is None else _cropped(conds, box, x.shape, has_positions(group.model))


# What messages of errors about sizes have in common.
_OF_SIZE = re.compile(r"\b(sizes?|shapes?|dimensions?)\b", re.IGNORECASE)


@contextmanager
def naming_misfits(names: Sequence[str]) -> Iterator[None]:
    """Inside of it, an error about sizes in a call for cropped members of these names says what to do."""
    try:
        yield
    except (RuntimeError, ValueError, AssertionError, IndexError) as error:
        if not names or comfy.model_management.is_oom(error) or not _OF_SIZE.search(str(error)):
            raise
        raise ValueError(
            f"{' and '.join(names)}: a patch of the model, or the prompt, does not fit a part of the canvas ({error}); "
            "set region_compute to full."
        ) from error


def _narrowed(conds: Conds, box: Box, placed: bool) -> Conds:
    """Copies of the conds that make the host's calc_cond_batch compute only the box of a full canvas."""
    area = (box.height, box.width, box.top, box.left)
    return [{**cond, "area": area, "model_conds": _place(cond["model_conds"], box, placed)} for cond in conds]


def _cropped(conds: Conds, box: Box, shape: Sequence[int], placed: bool) -> Conds:
    """Copies of the conds for a canvas of `shape` (B, C, ..., h, w) that is already cropped to the box.

    The host calls the model with them without an area, so what is shaped like the latent is cropped here.
    """
    frames = len(shape) - 4  # 1 for video, which is never cropped in time

    def own(value: Any) -> Any:
        if not isinstance(value, comfy.conds.CONDNoiseShape):
            return value
        sizes = [*value.cond.shape[2 : 2 + frames], box.height, box.width]
        return value.process_cond(batch_size=shape[0], area=[*sizes, *[0] * frames, box.top, box.left])

    return [
        {
            **cond,
            "model_conds": _place({name: own(value) for name, value in cond["model_conds"].items()}, box, placed),
        }
        for cond in conds
    ]


def _place(model_conds: Mapping[str, Any], box: Box, placed: bool) -> dict[str, Any]:
    if not placed:
        return dict(model_conds)
    return {**model_conds, _PLACE: comfy.conds.CONDConstant((box.top, box.left))}


def _with_positions(model: Any, call: Callable[..., Any]) -> Callable[..., Any]:
    """A model function wrapper that tells the network where a crop lies, and then calls `call`."""
    patch = patch_size(model)

    def wrapper(apply_model: Callable[..., Any], args: dict[str, Any]) -> Any:
        c = dict(args["c"])
        place = c.pop(_PLACE, None)
        if place is not None:
            top, left = (start / patch for start in place)
            c["transformer_options"] = with_position(c.get("transformer_options", {}), top, left)
        return call(apply_model, {**args, "c": c})

    return wrapper

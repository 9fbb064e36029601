"""A member on a part of the canvas: what the host must be told so that it computes only a box, and when it cannot."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import comfy.conds
import comfy.model_base
import torch

from ..masks.boxes import Box

Conds = list[dict[str, Any]]

# In a cond's model_conds: where the box lies. Conds that differ in it are not batched by the host.
_PLACE = "regional_place"
_OF_THE_CANVAS = {
    "control": "a ControlNet",
    "area": "an area",
    "mask": "a mask",
    "gligen": "GLIGEN boxes",
    "default": "a default prompt",
}
# The host's nets, by name as not every host has all, that can be told where a crop lies (by their rope_options) or need
# not be: a UNet has no positions, those of LTXV count only relative to each other.
_CROPPABLE = {"UNetModel", "Flux", "NextDiT", "WanModel", "ErnieImageModel", "LTXVModel"}
# Sets its own rope_options where there are none.
_OWN_POSITIONS = tuple(getattr(comfy.model_base, name) for name in ("LongCatImage",) if hasattr(comfy.model_base, name))


def grid(model: Any) -> int:
    """The latent pixels of a BaseModel that belong together: its patch, or what its deepest layer sees as one."""
    net = getattr(model, "diffusion_model", None)
    if (levels := getattr(net, "channel_mult", None)) is not None:
        return int(2 ** (len(levels) - 1))
    patch = getattr(net, "patch_size", 1)
    return int(patch[-1]) if isinstance(patch, Sequence) else int(patch)


def has_positions(model: Any) -> bool:
    """Whether the net knows the place of each patch, so that a crop must say where it lies."""
    return hasattr(getattr(model, "diffusion_model", None), "patch_size")


def obstacle(model: Any, options: Mapping[str, Any], conds: Mapping[str, Conds], shape: Sequence[int]) -> str | None:
    """Why a member with these model options and processed conds cannot be computed on a part of a latent of `shape`;
    None if it can.
    """
    net = getattr(model, "diffusion_model", None)
    # Not those derived from them: WanModel's take a camera or poses for all of the canvas.
    known = net is None or type(net).__name__ in _CROPPABLE
    if not known or isinstance(model, _OWN_POSITIONS):
        return f"{type(model).__name__} cannot be told which part of the canvas it sees"
    if _has_models(options.get("transformer_options", {})):
        return "a model is patched into its own (such as a ControlNet) for the whole canvas"
    for cond in (cond for kind in conds.values() for cond in kind):
        for key, name in _OF_THE_CANVAS.items():
            if key in cond:
                return f"its prompt has {name} for the whole canvas"
        for name, value in cond["model_conds"].items():
            tensor = getattr(value, "cond", None)
            whole = isinstance(tensor, torch.Tensor) and tensor.ndim >= 4 and tensor.shape[-2:] == shape[-2:]
            # The positions of reference pictures would move along with the crop's.
            whole = whole or isinstance(value, comfy.conds.CONDList)
            if whole and not isinstance(value, comfy.conds.CONDNoiseShape):
                return f"its prompt has {name} for the whole canvas"
    return None


def _has_models(transformer_options: Mapping[str, Any]) -> bool:
    """Whether a patch brings a model along, which will fit a picture of the whole canvas to whatever it is given."""
    patches = [patch for one in transformer_options.get("patches", {}).values() for patch in one]
    patches += [patch for one in transformer_options.get("patches_replace", {}).values() for patch in one.values()]
    return any(hasattr(patch, "models") for patch in patches)


def narrowed(conds: Conds, box: Box, placed: bool) -> Conds:
    """Copies of the conds that make the host's calc_cond_batch compute the box only, at the full canvas."""
    area = (box.height, box.width, box.top, box.left)
    return [{**cond, "area": area, "model_conds": _place(cond["model_conds"], box, placed)} for cond in conds]


def cut(conds: Conds, box: Box, batch: int, dims: int, placed: bool) -> Conds:
    """Copies of the conds that fit a canvas of which the box was already cut out, with `dims` dimensions of space."""
    lead = [2**31] * (dims - 2)
    area = [*lead, box.height, box.width, *[0] * (dims - 2), box.top, box.left]
    return [
        {
            **cond,
            "model_conds": _place(
                {
                    name: _cut(value, area, batch) if isinstance(value, comfy.conds.CONDNoiseShape) else value
                    for name, value in cond["model_conds"].items()
                },
                box,
                placed,
            ),
        }
        for cond in conds
    ]


def _cut(value: Any, area: Sequence[int], batch: int) -> Any:
    lead = len(area) // 2 - 2
    sizes = [*value.cond.shape[2 : 2 + lead], *area[lead : lead + 2]]
    return value.process_cond(batch_size=batch, area=[*sizes, *area[lead + 2 :]])


def _place(model_conds: Mapping[str, Any], box: Box, placed: bool) -> dict[str, Any]:
    if not placed:
        return dict(model_conds)
    return {**model_conds, _PLACE: comfy.conds.CONDConstant((box.top, box.left))}


def with_positions(model: Any, call: Callable[..., Any]) -> Callable[..., Any]:
    """A model function wrapper that tells the net where a crop lies, by the host's rope_options; calls `call` then."""
    patch = grid(model)

    def wrapper(apply_model: Callable[..., Any], args: dict[str, Any]) -> Any:
        c = dict(args["c"])
        place = c.pop(_PLACE, None)
        if place is not None:
            transformer_options = c.get("transformer_options", {})
            rope = dict(transformer_options.get("rope_options") or {})
            for axis, start in zip("yx", place, strict=True):
                shift, scale = rope.get(f"shift_{axis}", 0.0), rope.get(f"scale_{axis}", 1.0)
                rope[f"shift_{axis}"] = shift + scale * (start / patch)
            c["transformer_options"] = {**transformer_options, "rope_options": rope}
        return call(apply_model, {**args, "c": c})

    return wrapper

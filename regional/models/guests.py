"""What patches of other packs need of us: members that are asked alone, as KSampler asks, and memories of their own."""

from collections.abc import Mapping
from typing import Any

import torch

from ...masks.boxes import Box
from ..host import CALC_COND_BATCH, WRAPPER, Conds, ModelOptions
from ..host_functions import (
    FUNCTION_KEYS,
    INPUT_BLOCKS,
    PREDICT_NOISE,
    HostFunctions,
    Placed,
    foreign_in,
    functions_in,
    is_hosts,
    is_indifferent,
    name_of,
    replaced,
    sets_cfg_only,
    windowed_axis,
)
from .functions import WITH_FUNCTIONS, Copies, OwnOptions, pictures_in


def reason_to_ask_alone(
    functions: HostFunctions,
    options: ModelOptions,
    wrappers: Mapping[str, Any],
    conds: Mapping[str, Conds],
    wrapped_outside: bool,
) -> str | None:
    """Why a member's cond and uncond must be one model call, which no other member shares; None if they may share one.

    `wrapped_outside`: whether the model's wrappers around the denoised run around that of all members.
    """
    if names := replaced(functions):
        return f"another pack has put its own {names[0]} in the place of the host's"
    for placed in functions_in(options, wrappers):
        if placed.place == PREDICT_NOISE and wrapped_outside:
            continue
        if placed.place in (PREDICT_NOISE, CALC_COND_BATCH) or not is_indifferent(placed.function):
            return f"{_called(placed)} may count on one cond and one uncond in a call"
    found = (foreign_in(one) for one in conds.values())
    return next((f"its prompt has {what}, which may look at all rows of a call" for what in found if what), None)


def reason_for_whole_canvas(options: ModelOptions, wrappers: Mapping[str, Any], frames: int) -> str | None:
    """Why a model's patches need the whole canvas; None if a part of it is as right.

    `frames`: the number of axes of its latent before height and width, beside batch and channels.
    """
    placed = list(functions_in(options, wrappers))
    for one in placed:
        if one.place in (*INPUT_BLOCKS, WRAPPER) and not is_indifferent(one.function):
            return f"{_called(one)} may bring something for the whole canvas"
    if any(_is_picture(tensor) for tensor in pictures_in([one.function for one in placed])):
        return "a patch of its model holds a mask or a picture for the whole canvas"
    if (axis := windowed_axis(options)) is not None and axis >= 2 + frames:
        return "its context windows divide the picture's height or width"
    return None


def wrapper_of_all(wrappers: Mapping[str, Any]) -> str | None:
    """What to call the wrapper around the denoised of the base's model, which runs around that of all members; None if
    there is none, or if it sets nothing but the cfg, which counts for members with this model.
    """
    placed = functions_in({}, wrappers)
    return next((name_of(f) for place, f in placed if place == PREDICT_NOISE and not sets_cfg_only(f)), None)


# Axes of a mask or picture are at least so long; those of an embedding are told apart by their values.
_SHORTEST = 4


def _is_picture(tensor: torch.Tensor) -> bool:
    """Whether a tensor may be a mask or a picture, with values in 0..1, or a latent, with height and width at its end.

    Rows of tokens (n, tokens, width), as prompts and images are embedded, are no latent.
    """
    if min(tensor.shape[-2:]) < _SHORTEST and (tensor.ndim < 3 or min(tensor.shape[-3:-1]) < _SHORTEST):
        return False
    if tensor.ndim >= 4 or not tensor.is_floating_point():
        return True
    low, high = torch.aminmax(tensor.detach())
    return bool(low >= 0) and bool(high <= 1)


def _called(placed: Placed) -> str:
    return f"{name_of(placed.function)} on its model ({placed.place})"


def shared_memories(options: ModelOptions) -> list[str]:
    """Sentences on other packs' functions around the prediction whose memory, if they have any, cannot be copied."""
    sentences = []
    for placed in functions_in(options, {}):
        if placed.place not in WITH_FUNCTIONS or is_hosts(placed.function) or is_indifferent(placed.function):
            continue
        copies = Copies()
        copies.of(placed.function)
        if copies.shared:
            sentences.append(
                f"{_called(placed)} holds a {type(copies.shared[0]).__name__}, which cannot be copied: if it remembers "
                "earlier calls there, base and regions with this model share that memory; give each a clone of the "
                "model with a patch of its own."
            )
    return sentences


class Memories:
    """The options of each member for a run, in which its functions remember what they saw of it, and of no other.

    `options`: those of the model, as prepared for the run. What its functions remember from earlier is where each copy
    begins. The first member, on the full canvas, has the model's own functions, as in a plain run.
    """

    def __init__(self, options: ModelOptions, first: int) -> None:
        self._first = first
        transformer = options.get("transformer_options", {})
        self._keys = {key for key, value in transformer.items() if not isinstance(value, torch.Tensor)}
        self._begun = Copies()
        for source, keys in ((options, WITH_FUNCTIONS), (transformer, {*FUNCTION_KEYS, *self._keys})):
            for key in keys:
                self._begun.of(source.get(key))
        self._own: dict[tuple[int | None, Box | None], OwnOptions] = {}

    def of(self, member: int | None, box: Box | None) -> OwnOptions:
        """The options of a member where it is computed on `box`; those for calls that members share for None.

        A member that moves to another box begins anew there, since what was remembered has another size.
        """
        key = (member, box)
        if key not in self._own:
            own = Copies()
            original = member is None or (member == self._first and box is None)
            copies = None if original else lambda value: own.of(self._begun.of(value))
            self._own[key] = OwnOptions(copies, self._keys)
        return self._own[key]

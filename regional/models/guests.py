"""What patches of other packs need of us: members that are asked alone, as KSampler asks, and memories of their own."""

from collections.abc import Mapping
from typing import Any

from ...masks.boxes import Box
from ..host import CALC_COND_BATCH, Conds, ModelOptions
from ..host_functions import (
    FUNCTION_KEYS,
    PREDICT_NOISE,
    HostFunctions,
    Placed,
    foreign_in,
    functions_in,
    is_indifferent,
    name_of,
    replaced,
)
from .functions import WITH_FUNCTIONS, Copies, OwnOptions


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


def _called(placed: Placed) -> str:
    return f"{name_of(placed.function)} on its model ({placed.place})"


class Memories:
    """The options of each member for a run, in which its functions remember what they saw of it, and of no other.

    `options`: those of the model, as prepared for the run. What its functions remember from earlier is where each copy
    begins. The first member, on the full canvas, has the model's own functions, as in a plain run.
    """

    def __init__(self, options: ModelOptions, first: int) -> None:
        self._first = first
        transformer = options.get("transformer_options", {})
        self._keys = set(transformer)
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

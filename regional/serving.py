"""Which loaded model serves which members, and how: routed rows, weight hooks, or a model of its own."""

from collections.abc import Sequence
from enum import IntEnum
from typing import Any

import torch
from comfy.hooks import HookGroup

from ..samplers.guided import Guidance
from .adapters import Delta, NotRoutable, delta, hooks, is_weight_clone, with_hooks


class Way(IntEnum):
    """How a weight clone of a loaded model may be served, from the fastest."""

    ROUTED = 0
    HOOKED = 1
    SWITCHED = 2


class Served:
    """Members that one loaded model serves, as a ModelGroup is made of them; `notes` say what will be slow, and why."""

    def __init__(
        self,
        index: int,
        guidance: Guidance,
        notes: Sequence[str] = (),
        device: torch.device | None = None,
    ) -> None:
        self.members = {index: guidance}
        self.deltas: dict[int, Delta] = {}
        # Whether hooks patch weights that the model's own patches are on.
        self.on_top = False
        self.notes = list(notes)
        self._reference = guidance.model
        self._device = device or guidance.model.load_device
        # By the id of a clone: its delta, or the hooks that put its patches on.
        self._ways: dict[int, Delta | HookGroup] = {}

    def take(self, name: str, index: int, guidance: Guidance, best: Way, obstacle: NotRoutable | None) -> str | None:
        """Take a member in if its model is the one, or a weight clone of it that can be served here.

        None if it is in; else why not, empty for a model of its own.
        """
        clone = guidance.model
        if clone is self._reference:
            self.members[index] = guidance
            return None
        if not is_weight_clone(self._reference, clone):
            return ""
        if id(clone) not in self._ways:
            try:
                self._ways[id(clone)] = self._way(name, clone, best, obstacle)
            except NotRoutable as reason:
                return f"{name}: the model's weights are switched for it at every step, which is slow: {reason}."
        way = self._ways[id(clone)]
        if isinstance(way, HookGroup):
            guidance = with_hooks(guidance, self._reference, way)
        else:
            self.deltas[index] = way
        self.members[index] = guidance
        return None

    def _way(self, name: str, clone: Any, best: Way, obstacle: NotRoutable | None) -> Delta | HookGroup:
        if best == Way.ROUTED:
            try:
                return delta(self._reference, clone, self._device)
            except NotRoutable as reason:
                obstacle = reason
        if best == Way.SWITCHED:
            raise NotRoutable(str(obstacle))
        try:
            way, on_top = hooks(self._reference, clone)
        except NotRoutable as reason:
            raise NotRoutable(f"{obstacle}, and {reason}") from None
        self.on_top |= on_top
        self.notes.append(f"{name}: its weights are patched by hooks at every step, which is slower: {obstacle}.")
        return way


def serve(
    guidances: Sequence[Guidance],
    names: Sequence[str],
    best: Way = Way.ROUTED,
    obstacle: NotRoutable | None = None,
    device: torch.device | None = None,
) -> list[Served]:
    """Group members (0 is the base) by the loaded model that can serve them: their own, or one that theirs is a weight
    clone of, in the `best` way that there is. `obstacle` says why none better, for the notes. What is routed is put on
    `device`, by default the model's.
    """
    groups: list[Served] = []
    for index, guidance in enumerate(guidances):
        reasons = []
        for served in groups:
            reason = served.take(names[index], index, guidance, best, obstacle)
            if reason is None:
                break
            reasons.append(reason)
        else:
            groups.append(Served(index, guidance, [reason for reason in reasons if reason][:1], device))
    return groups

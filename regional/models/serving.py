"""Grouping of members by loaded model, and the way in which a clone with other LoRAs is served by one."""

from collections.abc import Sequence
from dataclasses import replace
from enum import IntEnum

import torch
from comfy.hooks import HookGroup

from ...samplers.guided import Guidance
from ..host import is_weight_clone
from ..host_functions import hooks_act_on_all
from .group import ModelGroup
from .guests import wrapper_of_all
from .lora import LayerTerms, NotRoutable, layer_terms, patch_hooks, with_hooks


class LoraMethod(IntEnum):
    """How a clone of a loaded model with other LoRAs may be served, from the fastest.

    ROWS: the LoRAs' terms are added to the rows of the member. HOOKS: the host's weight hooks patch the weights at
    every step. SWITCH: the clone is a model of its own, and the host patches its weights at every step.
    """

    ROWS = 0
    HOOKS = 1
    SWITCH = 2


def serve(
    guidances: Sequence[Guidance],
    names: Sequence[str],
    best: LoraMethod = LoraMethod.ROWS,
    obstacle: NotRoutable | None = None,
    device: torch.device | None = None,
    first: ModelGroup | None = None,
) -> list[ModelGroup]:
    """Group the members (0 is the base) by the loaded model that can serve them: their own, or one of which theirs is
    a clone with other LoRAs.

    `best` is the fastest method to try, and `obstacle` why no faster one works, for the notes. LoRA terms are put on
    `device`, by default the model's. `first`: a group of the base alone, to be used as it is.
    """
    methods = _Methods(best, obstacle, device)
    groups: list[ModelGroup] = [] if first is None else [first]
    apart = [hooks_act_on_all(guidance.conds()) for guidance in guidances]
    for member, guidance in enumerate(guidances):
        if any(member in group.members for group in groups):
            continue
        obstacles = []
        for group in groups:
            if apart[member] or any(apart[other] for other in group.members):
                reason: str | None = (
                    f"{names[member]}: its model is prepared on its own, as a prompt's hooks act on all."
                )
            else:
                reason = methods.join(group, names[member], member, guidance)
            if reason is None:
                break
            obstacles.append(reason)
        else:
            if any(group.reference is guidance.model for group in groups):
                # The host prepares one run at a time on a patcher.
                guidance = replace(guidance, model=guidance.model.clone())
            groups.append(ModelGroup(member, guidance, [reason for reason in obstacles if reason][:1]))
    if len(groups) > 1 and (name := wrapper_of_all(groups[0].model_patcher.wrappers)) is not None:
        groups[0].notes.append(f"{names[0]}: {name} on its model runs around the whole picture, all regions included.")
    return groups


class _Methods:
    """Chooses the method for each clone once, however many members have it."""

    def __init__(self, best: LoraMethod, obstacle: NotRoutable | None, device: torch.device | None) -> None:
        self._best, self._device = best, device
        self._obstacle = str(obstacle or "a faster method is not to be used")
        self._chosen: dict[tuple[int, int], LayerTerms | HookGroup] = {}

    def join(self, group: ModelGroup, name: str, member: int, guidance: Guidance) -> str | None:
        """Add the member to the group if the group's model can serve it.

        Returns None if it was added, else the reason, which is empty for an unrelated model.
        """
        reference, clone = group.reference, guidance.model
        if clone is reference:
            group.add(member, guidance)
            return None
        if not is_weight_clone(reference, clone):
            return ""
        key = (id(reference), id(clone))
        if key not in self._chosen:
            try:
                self._chosen[key] = self._choose(group, name, clone)
            except NotRoutable as reason:
                return f"{name}: the model's weights are switched for it at every step, which is slow: {reason}."
        chosen = self._chosen[key]
        if isinstance(chosen, HookGroup):
            group.add(member, with_hooks(guidance, reference, chosen))
        else:
            group.add(member, guidance, chosen)
        return None

    def _choose(self, group: ModelGroup, name: str, clone: object) -> LayerTerms | HookGroup:
        obstacle = self._obstacle
        if self._best == LoraMethod.ROWS:
            try:
                return layer_terms(group.reference, clone, self._device or group.reference.load_device)
            except NotRoutable as reason:
                obstacle = str(reason)
        if self._best == LoraMethod.SWITCH:
            raise NotRoutable(obstacle)
        try:
            hooks, on_patched = patch_hooks(group.reference, clone)
        except NotRoutable as reason:
            raise NotRoutable(f"{obstacle}, and {reason}") from None
        group.hooks_on_patched |= on_patched
        group.notes.append(f"{name}: its weights are patched by hooks at every step, which is slower: {obstacle}.")
        return hooks

"""Members computed on the full canvas: each has a pair of rows in its group's model call."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from ...masks.boxes import Box
from ..host import CFG, POST_CFG, PRE_CFG, Conds, ModelOptions, guided
from ..models.group import CondRows, ModelGroup
from ..timeline import Weights
from . import Answer, Ask

FULL = "full"
# cond and uncond
Pair = list[torch.Tensor]


@dataclass(frozen=True)
class Full:
    """Each Ask has one member. Equal conds, such as a negative that all members share, are evaluated once."""

    @property
    def name(self) -> str:
        return FULL

    def plan(self, weights: Weights, group: ModelGroup, size: tuple[int, int]) -> list[Ask]:
        painting = [member for member in weights.painting if member in group.members]
        return [Ask((member,), alone=group.alone(member)) for member in painting]

    def said(self, name: str, ask: Ask) -> list[str]:
        if not ask.alone:
            return []
        return [
            f"{name} is asked in a model call of its own, one more in each step, and shares no negative: {ask.alone}."
        ]

    def answer(
        self, group: ModelGroup, asks: Sequence[Ask], x: torch.Tensor, timestep: torch.Tensor, options: ModelOptions
    ) -> list[Answer]:
        shared = [ask for ask in asks if ask.alone is None]
        answers = self._together(group, shared, x, timestep, options) if shared else []
        return answers + [self._alone(group, ask, x, timestep, options) for ask in asks if ask.alone is not None]

    def _together(
        self, group: ModelGroup, asks: Sequence[Ask], x: torch.Tensor, timestep: torch.Tensor, options: ModelOptions
    ) -> list[Answer]:
        """The answers by one model call."""
        functions = any(options.get(name) for name in (PRE_CFG, POST_CFG, CFG))
        predictions = self._predictions(group, asks, x, timestep, options, copies=functions)
        answers = []
        for ask in asks:
            (member,) = ask.members
            # Functions see the conds of what they see of the latent.
            conds = [
                self._conds_of_part(group, member, kind, ask.box, x) if kind and functions else None
                for kind in group.kinds(member, options)
            ]
            part, own = _part(ask.box, x), self._own_options(group, ask, options)
            scale = group.scale(member)
            cond, uncond, denoised = guided(group.inner_model, conds, predictions[ask], scale, part, timestep, own)
            answers.append(Answer(ask, cond, uncond, {member: denoised}))
        return answers

    def _alone(
        self, group: ModelGroup, ask: Ask, x: torch.Tensor, timestep: torch.Tensor, options: ModelOptions
    ) -> Answer:
        (member,) = ask.members
        conds = {kind: self._conds_of_part(group, member, kind, ask.box, x) for kind in group.conds_of(member)}
        # Functions may work in place, so each member gets an input of its own.
        part, own = _part(ask.box, x).clone(), self._own_options(group, ask, options)
        cond, uncond, denoised = group.ask_alone(member, ask.box, conds, part, timestep, own)
        return Answer(ask, cond, uncond, {member: denoised})

    def _own_options(self, group: ModelGroup, ask: Ask, options: ModelOptions) -> ModelOptions:
        (member,) = ask.members
        return group.own_options(member, ask.box, options, lambda wrapper: self._wrapper(group, [ask], wrapper))

    def _predictions(
        self,
        group: ModelGroup,
        asks: Sequence[Ask],
        x: torch.Tensor,
        timestep: torch.Tensor,
        options: ModelOptions,
        copies: bool,
    ) -> dict[Ask, Pair]:
        """cond and uncond of each Ask on its box, by one model call; with `copies` no two share a tensor."""
        rows: list[CondRows] = []
        slots: dict[tuple[tuple[int, str], Box | None], int] = {}
        wanted: dict[Ask, list[int | None]] = {}
        for ask in asks:
            (member,) = ask.members
            wanted[ask] = []
            for kind in group.kinds(member, options):
                if kind is None:
                    wanted[ask].append(None)
                    continue
                slot = slots.setdefault((group.first_equal(member, kind), ask.box), len(rows))
                if slot == len(rows):
                    rows.append(CondRows(member, kind, self._conds_of_canvas(group, member, kind, ask.box)))
                wanted[ask].append(slot)
        shared = group.own_options(None, None, options, lambda wrapper: self._wrapper(group, asks, wrapper))
        out = group.evaluate(rows, x, timestep, shared)
        given: set[int] = set()

        def prediction(slot: int | None, box: Box | None) -> torch.Tensor:
            if slot is None:
                # As the host does where there is no negative.
                return torch.zeros_like(_part(box, x))
            tensor = _part(box, out[slot])
            # Cfg functions may work in place, so each member gets a tensor of its own.
            tensor = tensor.clone() if copies and slot in given else tensor
            given.add(slot)
            return tensor

        return {ask: [prediction(slot, ask.box) for slot in pair] for ask, pair in wanted.items()}

    def _wrapper(self, group: ModelGroup, asks: Sequence[Ask], inner: Any) -> Any:
        """The model function wrapper for a call of these asks, from the model's own, or from None."""
        return inner

    def _conds_of_canvas(self, group: ModelGroup, member: int, kind: str, box: Box | None) -> Conds:
        """The member's conds, with which the host computes the box of a full canvas."""
        return group.conds_of(member)[kind]

    def _conds_of_part(self, group: ModelGroup, member: int, kind: str, box: Box | None, x: torch.Tensor) -> Conds:
        """The member's conds for a canvas that is already the box of `x`."""
        return group.conds_of(member)[kind]


def _part(box: Box | None, tensor: torch.Tensor) -> torch.Tensor:
    return tensor if box is None else box.of(tensor)

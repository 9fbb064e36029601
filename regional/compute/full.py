"""Members computed on the full canvas: each has a pair of rows in its group's model call."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from ...masks.boxes import Box
from ..host import CALC_COND_BATCH, CFG, POST_CFG, PRE_CFG, Conds, ModelOptions, guided
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
        return [Ask((member,)) for member in weights.painting if member in group.members]

    def said(self, name: str, ask: Ask) -> str:
        raise ValueError(f"{name} is computed in full, which has no fallback")

    def answer(
        self, group: ModelGroup, asks: Sequence[Ask], x: torch.Tensor, timestep: torch.Tensor, options: ModelOptions
    ) -> list[Answer]:
        options = self._call_options(group, asks, options)
        replaced = CALC_COND_BATCH in options
        functions = replaced or any(options.get(name) for name in (PRE_CFG, POST_CFG, CFG))
        predictions = {} if replaced else self._predictions(group, asks, x, timestep, options, copies=functions)
        answers = []
        for ask in asks:
            (member,) = ask.members
            part = _part(ask.box, x)
            own = group.options_for(member, options)
            # Functions see the conds of what they see of the latent.
            conds = [
                self._conds_of_part(group, member, kind, ask.box, x) if kind and functions else None
                for kind in group.kinds(member, options)
            ]
            if replaced:
                args = {"conds": list(conds), "input": part, "sigma": timestep, "model": group.inner_model}
                predictions[ask] = options[CALC_COND_BATCH]({**args, "model_options": own})
            scale = group.scale(member)
            cond, uncond, denoised = guided(group.inner_model, conds, predictions[ask], scale, part, timestep, own)
            answers.append(Answer(ask, cond, uncond, {member: denoised}))
        return answers

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
        out = group.evaluate(rows, x, timestep, options)
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

    def _call_options(self, group: ModelGroup, asks: Sequence[Ask], options: ModelOptions) -> ModelOptions:
        """The options for the model call."""
        return options

    def _conds_of_canvas(self, group: ModelGroup, member: int, kind: str, box: Box | None) -> Conds:
        """The member's conds, with which the host computes the box of a full canvas."""
        return group.conds_of(member)[kind]

    def _conds_of_part(self, group: ModelGroup, member: int, kind: str, box: Box | None, x: torch.Tensor) -> Conds:
        """The member's conds for a canvas that is already the box of `x`."""
        return group.conds_of(member)[kind]


def _part(box: Box | None, tensor: torch.Tensor) -> torch.Tensor:
    return tensor if box is None else box.of(tensor)

"""What each evaluation of the composed denoised must ask. The guider and the report read the same plan."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import torch

from ..models.group import ModelGroup
from ..timeline import WeightMaps, Weights
from . import Ask, Compute


@dataclass(frozen=True, eq=False)
class Evaluation:
    """The weights at a sigma, all asks of a plan for them, and those of them that must be made now, by group."""

    weights: Weights
    plan: Sequence[Ask]
    asks: Sequence[tuple[ModelGroup, list[Ask]]]


class Planner:
    """Plans evaluations in the order in which they are made: it knows what each member answered last."""

    def __init__(self, compute: Compute) -> None:
        self._compute = compute
        # By group, in order; without the groups, which would keep each other alive after the run.
        self._plans: dict[Weights, list[list[Ask]]] = {}
        self._answered: dict[int, Ask] = {}

    def forget_answers(self) -> None:
        """All members must be asked again."""
        self._answered = {}

    def forget(self) -> None:
        """All members must be asked again, on another latent."""
        self._plans, self._answered = {}, {}

    def evaluate(
        self,
        groups: Sequence[ModelGroup],
        maps: WeightMaps,
        sigma: torch.Tensor | float,
        asked: Collection[int] | None,
    ) -> Evaluation:
        """Members in `asked` (None: all) are asked afresh, as are those without an answer for these weights; the others
        count with their last answer.
        """
        weights = maps.at(sigma)
        plan = self._plan(groups, weights, maps)
        current = {member: ask for asks in plan for ask in asks for member in ask.members}
        fresh = {
            member for member in current if asked is None or member in asked or not self._is_answered(member, current)
        }
        if not fresh and asked is not None and not (maps.later(sigma) - weights.kept).isdisjoint(asked):
            # A sampler whose members will paint later follows the members that paint now.
            fresh = set(current)
        for member in weights.kept:
            self._answered[member] = Ask((member,))
        asks = []
        for group, own in zip(groups, plan, strict=True):
            needed = [ask for ask in own if not fresh.isdisjoint(ask.members)]
            self._answered.update({member: ask for ask in needed for member in ask.members})
            if needed:
                asks.append((group, needed))
        return Evaluation(weights, [ask for own in plan for ask in own], asks)

    def _plan(self, groups: Sequence[ModelGroup], weights: Weights, maps: WeightMaps) -> list[list[Ask]]:
        if weights not in self._plans:
            size = (maps.shape[-2], maps.shape[-1])
            self._plans[weights] = [self._compute.plan(weights, group, size) for group in groups]
        return self._plans[weights]

    def _is_answered(self, member: int, current: dict[int, Ask]) -> bool:
        """Whether the member's last answer covers what is asked of it now."""
        last = self._answered.get(member)
        return last is not None and last.box in (None, current[member].box)

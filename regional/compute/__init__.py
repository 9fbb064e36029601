"""Ways to compute the denoised of members, behind one interface: on the full canvas, or on a crop of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch

from ...masks.boxes import Box
from ..host import ModelOptions
from ..models.group import ModelGroup
from ..timeline import Weights


@dataclass(frozen=True)
class Ask:
    """One pair of rows, cond and uncond, of a model call; its answer counts for all its `members`.

    `box` is the part of the canvas that is computed; None for all of it. `fallback` says why the members are not
    computed in the way that was asked for; empty if they are. `alone` says why the rows are a call of their own; None
    if they share one, empty if there is nobody to share it with.
    """

    members: tuple[int, ...]
    box: Box | None = None
    fallback: str = ""
    alone: str | None = None


@dataclass(frozen=True, eq=False)
class Answer:
    """The predictions for an Ask, each (B, C, ..., h, w) of its box, in the model's latent scale.

    `denoised` holds one for each member, after its cfg and cfg functions.
    """

    ask: Ask
    cond: torch.Tensor
    uncond: torch.Tensor
    denoised: Mapping[int, torch.Tensor]


class Compute(Protocol):
    """A way to compute. It has no state: a plan follows from its arguments alone, without asking a model."""

    @property
    def name(self) -> str:
        """The value of the nodes' input `region_compute`."""

    def plan(self, weights: Weights, group: ModelGroup, size: tuple[int, int]) -> list[Ask]:
        """What must be asked so that each painting member of the group is answered, on a latent of `size` (h, w).

        A member that cannot be computed in this way is asked for in full, and its Ask says why.
        """

    def said(self, name: str, ask: Ask) -> list[str]:
        """The sentences about an Ask for the member called `name` that is not computed as it was asked for."""

    def answer(
        self,
        group: ModelGroup,
        asks: Sequence[Ask],
        x: torch.Tensor,
        timestep: torch.Tensor,
        options: ModelOptions,
    ) -> list[Answer]:
        """The answers at `x` (B, C, ..., h, w) and sigma `timestep` (B,), by one model call as far as it goes.

        Asks with `alone` are made one by one, each by a call as KSampler makes it.
        """

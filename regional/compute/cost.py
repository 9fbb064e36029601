"""The cost of asks, counted as the host's calc_cond_batch will make its model calls, without asking a model."""

from collections.abc import Sequence
from dataclasses import dataclass

from ..host import has_positions
from ..models.group import ModelGroup
from . import Ask


@dataclass(frozen=True)
class Cost:
    """Model calls, rows (pictures in all calls) and their area in latent pixels."""

    calls: int = 0
    rows: int = 0
    area: int = 0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.calls + other.calls, self.rows + other.rows, self.area + other.area)

    def words(self, canvas: int) -> str:
        """`canvas`: the area of one picture."""
        calls = "1 model call" if self.calls == 1 else f"{self.calls} model calls"
        return f"{self.rows} rows in {calls}, an area of {self.area / canvas:.4g} pictures"


def cost(group: ModelGroup, asks: Sequence[Ask], size: tuple[int, int], batch: int = 1) -> Cost:
    """The cost of one evaluation of the asks on a latent of `size` (h, w) with `batch` pictures."""
    # A member that is asked alone shares neither a call nor a row.
    rows = {
        (group.first_equal(member, kind), ask.box, None) if ask.alone is None else ((member, kind), ask.box, member)
        for ask in asks
        for member in ask.members
        for kind in group.kinds(member, group.sampling_options)
        if kind is not None
    }
    calls, count, area = set(), 0, 0
    for (member, kind), box, alone in rows:
        height, width = size if box is None else (box.height, box.width)
        for cond in group.conds_of(member)[kind]:
            # Entries of one shape share a call, unless their hooks, ControlNets or positions differ.
            shape = box if has_positions(group.model) else (height, width)
            calls.add((alone, shape, id(cond.get("hooks")), id(cond.get("control"))))
            count += batch
            area += batch * height * width
    return Cost(len(calls), count, area)

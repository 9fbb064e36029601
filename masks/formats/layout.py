"""Layouts: grids of unequal cells, written as ratios. `1,2,1;1,1` is a row of three cells above a row of two."""

import re
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch

from ..boxes import Box


@dataclass(frozen=True)
class Row:
    """A row of a layout: its height and the widths of its cells, as ratios above 0."""

    height: float
    columns: tuple[float, ...]


def parse(text: str, owner: str) -> tuple[Row, ...]:
    """Read the rows of a layout such as `1,2,1;1,1`, or `2:1,2,1;1:1,1` with row heights.

    Rows are separated by `;`, line breaks or both, cells by `,`. Each number is a cell's width; a number and `:` at the
    beginning of a row is its height, by default 1. Raises ValueError, naming `owner`, the row and the wrong text.
    """
    lines = re.split(r"\s*;\s*|\s*\n\s*", text.strip())
    while lines and not lines[-1]:  # a `;` at the end does not begin a row
        lines.pop()
    if not lines:
        raise ValueError(f"{owner}: the layout is empty; write ratios such as 1,2,1;1,1.")
    return tuple(_row(line, f"{owner}: row {number} of the layout") for number, line in enumerate(lines, 1))


def _row(line: str, where: str) -> Row:
    height, colon, widths = line.rpartition(":")
    return Row(_ratio(height, where) if colon else 1.0, tuple(_ratio(width, where) for width in widths.split(",")))


def _ratio(text: str, where: str) -> float:
    try:
        ratio = float(text)
    except ValueError:
        ratio = 0.0
    if not 0.0 < ratio < float("inf"):
        raise ValueError(
            f"{where} has {text.strip()!r} where a number above 0 was expected; write ratios such as 1,2,1;1,1, or "
            "2:1,2,1;1:1,1 with the heights of the rows."
        )
    return ratio


def cell_boxes(rows: tuple[Row, ...], height: int, width: int, owner: str) -> list[Box]:
    """The cells on a canvas of `height` x `width` pixels, row by row, as boxes in pixels. They cover each pixel once.

    Edges are rounded to pixels. Raises ValueError, naming `owner` and the cell, for a cell without any pixel.
    """
    found: list[Box] = []
    for (top, bottom), row in zip(pairwise(_edges([row.height for row in rows], height)), rows, strict=True):
        for left, right in pairwise(_edges(row.columns, width)):
            if left == right or top == bottom:
                raise ValueError(
                    f"{owner}: cell {len(found) + 1} of the layout is {right - left} x {bottom - top} pixels; use "
                    f"fewer cells, or a larger picture than {width} x {height}."
                )
            found.append(Box(top, left, bottom - top, right - left))
    return found


def _edges(ratios: tuple[float, ...] | list[float], size: int) -> list[int]:
    """Borders between intervals of these ratios on `size` pixels, 0 and `size` included: len(ratios) + 1 numbers."""
    total = sum(ratios)
    return [0, *(round(size * part / total) for part in accumulate(ratios[:-1])), size]


def masks(cells: list[Box], height: int, width: int) -> torch.Tensor:
    """The masks of the cells: float32 (N, height, width) on the CPU, N = len(cells), 1 inside the cell, else 0."""
    out = torch.zeros((len(cells), height, width))
    for mask, cell in zip(out, cells, strict=True):
        cell.of(mask).fill_(1.0)
    return out

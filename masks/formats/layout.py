"""Grids of unlike rows and columns, written as ratios: `1,2,1;1,1` is a row of three cells above a row of two."""

import re
from dataclasses import dataclass
from itertools import accumulate, pairwise

import torch


@dataclass(frozen=True)
class Row:
    """A row's height and its cells' widths, as ratios above 0."""

    height: float
    columns: tuple[float, ...]


@dataclass(frozen=True)
class Cell:
    """A cell in pixels: from row `top` and column `left` up to, not including, `bottom` and `right`."""

    top: int
    left: int
    bottom: int
    right: int


def parse(text: str, owner: str) -> tuple[Row, ...]:
    """The rows of a layout such as `1,2,1;1,1`, or `2:1,2,1;1:1,1` with heights.

    Rows are parted by `;`, a new line or both, cells by `,`; each number is a width, one with `:` behind it, in front,
    the row's height (1 without). Raises ValueError, naming `owner`, the row and what stands there.
    """
    lines = re.split(r"\s*;\s*|\s*\n\s*", text.strip())
    while lines and not lines[-1]:  # a `;` at the end begins no row
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


def cells(rows: tuple[Row, ...], height: int, width: int, owner: str) -> list[Cell]:
    """The cells over a picture of `height` x `width` pixels, row by row; every pixel belongs to exactly one.

    Edges are rounded to pixels. Raises ValueError, naming `owner` and the cell, for a cell without a pixel.
    """
    found: list[Cell] = []
    for (top, bottom), row in zip(pairwise(_edges([row.height for row in rows], height)), rows, strict=True):
        for left, right in pairwise(_edges(row.columns, width)):
            if left == right or top == bottom:
                raise ValueError(
                    f"{owner}: cell {len(found) + 1} of the layout is {right - left} x {bottom - top} pixels; use "
                    f"fewer cells, or a larger picture than {width} x {height}."
                )
            found.append(Cell(top, left, bottom, right))
    return found


def _edges(ratios: tuple[float, ...] | list[float], size: int) -> list[int]:
    """Where pieces of these ratios begin and end on `size` pixels: one number more than ratios, 0 to `size`."""
    total = sum(ratios)
    return [0, *(round(size * part / total) for part in accumulate(ratios[:-1])), size]


def masks(places: list[Cell], height: int, width: int) -> torch.Tensor:
    """(N, height, width) float32: 1 inside of each cell."""
    out = torch.zeros((len(places), height, width))
    for mask, cell in zip(out, places, strict=True):
        mask[cell.top : cell.bottom, cell.left : cell.right] = 1.0
    return out

"""Layouts: their grammar, and cells that cover each pixel exactly once."""

import pytest
import torch
from pack.masks.boxes import Box
from pack.masks.formats.layout import Row, cell_boxes, masks, parse

LAYOUTS = {
    "1": [(1, [1])],
    "1,1": [(1, [1, 1])],
    "1;1": [(1, [1]), (1, [1])],
    "1,2,1;1,1": [(1, [1, 2, 1]), (1, [1, 1])],
    "2:1,2,1;1:1,1": [(2, [1, 2, 1]), (1, [1, 1])],
    "3:1;1,1": [(3, [1]), (1, [1, 1])],
    " .5 : 1.5 ,2 ; 0.25:1 ; ": [(0.5, [1.5, 2]), (0.25, [1])],
    "1,2;\n\n 3,4\n;1": [(1, [1, 2]), (1, [3, 4]), (1, [1])],
    "1,2\n3,4\n": [(1, [1, 2]), (1, [3, 4])],
}


@pytest.mark.parametrize(("text", "rows"), LAYOUTS.items())
def test_parse(text, rows):
    assert parse(text, "grid") == tuple(Row(height, tuple(columns)) for height, columns in rows)


@pytest.mark.parametrize(
    ("text", "row", "what"),
    [
        ("1,x;1", 1, "'x'"),
        ("1;1,,1", 2, "''"),
        ("1;;1", 2, "''"),
        (",1", 1, "''"),
        ("1,0", 1, "'0'"),
        ("1;-2", 2, "'-2'"),
        ("1,nan", 1, "'nan'"),
        ("inf", 1, "'inf'"),
        (":1", 1, "''"),
        ("1:", 1, "''"),
        ("1:2:1", 1, "'1:2'"),
        ("1 2", 1, "'1 2'"),
        ("0:1", 1, "'0'"),
    ],
)
def test_parse_names_the_row_and_what_is_wrong_there(text, row, what):
    with pytest.raises(ValueError, match=rf"^grid: row {row} of the layout has {what} where a number above 0"):
        parse(text, "grid")


@pytest.mark.parametrize("text", ["", "  ", ";", "\n;\n"])
def test_parse_refuses_nothing(text):
    with pytest.raises(ValueError, match="grid: the layout is empty; write ratios"):
        parse(text, "grid")


def test_cells_are_where_the_ratios_say():
    assert cell_boxes(parse("2:1,2,1;1:1,1", "grid"), 30, 80, "grid") == [
        Box(0, 0, 20, 20),
        Box(0, 20, 20, 40),
        Box(0, 60, 20, 20),
        Box(20, 0, 10, 40),
        Box(20, 40, 10, 40),
    ]


@pytest.mark.parametrize("size", [(64, 64), (37, 101), (7, 5), (1024, 3)], ids=str)
@pytest.mark.parametrize("text", ["1", "1,1,1", "1;1;1", "1,2,1;1,1", "7:3,.1,3;2:1;.9:1,1,1", "0.1,0.2;0.3,0.7,.4"])
def test_cells_cover_each_pixel_once_and_edges_are_within_half_a_pixel(text, size):
    height, width = size
    rows = parse(text, "grid")
    try:
        boxes = cell_boxes(rows, height, width, "grid")
    except ValueError:
        assert width < 8  # 3,.1,3 does not fit
        return
    made = masks(boxes, height, width)
    assert made.shape == (sum(len(row.columns) for row in rows), height, width) and made.dtype == torch.float32
    assert bool((made.sum(0) == 1).all()) and set(made.unique().tolist()) <= {0.0, 1.0}
    remaining = iter(boxes)
    total_height, above = sum(row.height for row in rows), 0.0
    for row in rows:
        left = 0.0
        for column in row.columns:
            box = next(remaining)
            exact = [height * above / total_height, width * left / sum(row.columns)]
            assert [box.top, box.left] == pytest.approx(exact, abs=0.5 + 1e-9)
            left += column
        above += row.height


@pytest.mark.parametrize(
    ("text", "size", "cell"),
    [("1,1,1", (8, 2), "cell 2"), ("1;1;1;1,1", (2, 8), "cell 1"), ("1,1000", (9, 9), "cell 1")],
)
def test_a_cell_without_a_pixel_is_named(text, size, cell):
    with pytest.raises(ValueError, match=rf"^grid: {cell} of the layout is .* pixels; .*\b{size[1]} x {size[0]}\b"):
        cell_boxes(parse(text, "grid"), *size, "grid")

"""The rooms of this pack import downwards only, so that each can be read without those above it."""

import ast

import pytest
from host import ROOT

# From the bottom; a module may import those before it. A folder stands for its __init__.py.
LAYERS = [
    *("masks/convert", "masks/shape", "masks/weights", "masks/boxes"),
    *("masks/formats/raster", "masks/formats/colors", "masks/formats/layout", "masks/formats/overlay"),
    "masks/formats/drawing",
    *("samplers/noise", "samplers/latents", "samplers/schedules", "samplers/progress", "samplers/recovery"),
    *("samplers/prompts", "samplers/guided", "samplers/providers", "samplers/separated"),
    *("regional/host", "regional/host_functions", "regional/regions", "regional/timeline"),
    *("regional/models/functions", "regional/models/equal", "regional/models/guests"),
    *("regional/models/lora", "regional/models/group", "regional/models/serving"),
    *("regional/compute", "regional/compute/cost", "regional/compute/full", "regional/compute/crop"),
    *("regional/compute/planner", "regional/guider", "regional/side_by_side"),
    *("regional/job", "regional/two_samplers", "regional/mask_grid", "regional/lockstep", "regional/stepwise"),
    *("regional/engines", "regional/report"),
]
ROOMS = ("masks", "samplers", "regional")
EMPTY = {"masks", "masks/formats", "samplers", "regional", "regional/models"}  # only a docstring


def modules():
    for room in ROOMS:
        for file in sorted((ROOT / room).rglob("*.py")):
            name = file.relative_to(ROOT).with_suffix("").as_posix()
            yield name.removesuffix("/__init__"), file


def imported(name, file):
    """The pack's own modules that a module imports by relative imports."""
    folder = (ROOT / name if file.name == "__init__.py" else file.parent).relative_to(ROOT)
    for node in ast.walk(ast.parse(file.read_text("utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.level:
            continue
        base = folder
        for _ in range(node.level - 1):
            base = base.parent
        target = base / (node.module or "").replace(".", "/")
        for alias in node.names:
            inner = target / alias.name
            is_module = (ROOT / inner).with_suffix(".py").is_file() or (ROOT / inner / "__init__.py").is_file()
            yield (inner if is_module else target).as_posix()


FOUND = dict(modules())


def test_all_modules_have_a_layer():
    assert sorted(FOUND) == sorted({*LAYERS, *EMPTY})


@pytest.mark.parametrize("name", LAYERS)
def test_imports_go_down(name):
    above = [other for other in imported(name, FOUND[name]) if LAYERS.index(other) >= LAYERS.index(name)]
    assert not above


def test_masks_import_torch_only():
    for name, file in FOUND.items():
        if name.startswith("masks"):
            for node in ast.walk(ast.parse(file.read_text("utf-8"))):
                names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
                assert not [one for one in names if one.split(".")[0] in ("comfy", "nodes", "server", "folder_paths")]


@pytest.mark.parametrize("room", ROOMS)
def test_rooms_do_not_import_nodes(room):
    assert not [
        n for n, file in FOUND.items() if n.startswith(room) for one in imported(n, file) if one.startswith("nodes")
    ]

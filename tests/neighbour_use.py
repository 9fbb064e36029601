"""Servers on which another pack has some of this pack's class ids, as fixtures. A test module takes them by

    pytest_plugins = ["neighbour_use"]

The other pack is in neighbour_pack/.
"""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from comfy_server import ComfyServer
from dev import PACKS
from folders import link_pack
from host import ROOT

NEIGHBOUR = "another-pack"
FOLDER = ROOT / "tests" / "neighbour_pack"
TAKEN = ["RegionalSampler", "ToBasicPipe", "CombineRegionalPrompts"]  # its ids
NAME = "Neighbour's sampler"  # of its RegionalSampler


@pytest.fixture(scope="module", params=["it loads first", "it loads last"])
def beside_neighbour(request, new_server, tmp_path_factory) -> Iterator[ComfyServer]:
    """A server with this pack and the neighbour, in either order. `log_at_start` is its log up to its first answer."""
    base = tmp_path_factory.mktemp("neighbour")
    neighbour = {NEIGHBOUR: FOLDER}
    first, last = (neighbour, PACKS) if request.param == "it loads first" else (PACKS, neighbour)
    # ComfyUI loads folder by folder; within one, in the order in which the file system lists the packs.
    more = base / "more" / "custom_nodes"
    more.mkdir(parents=True)
    for name, folder in last.items():
        link_pack(folder, more / name)
    paths = base / "paths.yaml"  # JSON is YAML
    paths.write_text(json.dumps({"more": {"base_path": str(more.parent), "custom_nodes": "custom_nodes"}}), "utf-8")
    with new_server(base, first, ["--extra-model-paths-config", str(paths)]) as server:
        server.log_at_start = server.log.read_text("utf-8", errors="replace")
        server.post("/settings", {"Comfy.TutorialCompleted": True})
        yield server

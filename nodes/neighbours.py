"""Class ids that several packs have, such as ComfyUI-Impact-Pack: whose nodes they are.

ComfyUI keeps one class for an id. Ids that another pack registered first stay its own, so that its users' workflows
keep their nodes. A pack that is loaded later replaces our classes without asking.
"""

import logging
from collections.abc import Collection, Mapping
from typing import Any

import nodes as host
from server import PromptServer

from . import inputs

log = logging.getLogger(__name__)


def without_taken(ours: Mapping[str, type]) -> dict[str, type]:
    """Our node classes by id, without those whose id another pack, or ComfyUI itself, has registered."""
    return {node_id: node for node_id, node in ours.items() if _is_ours(host.NODE_CLASS_MAPPINGS.get(node_id, node))}


def owners(ids: Collection[str]) -> dict[str, list[str]]:
    """The ids whose registered class is not ours, by the module that ComfyUI names as its origin."""
    found: dict[str, list[str]] = {}
    for node_id in ids:
        node = host.NODE_CLASS_MAPPINGS.get(node_id)
        if node is not None and not _is_ours(node):
            found.setdefault(getattr(node, "RELATIVE_PYTHON_MODULE", "nodes"), []).append(node_id)
    return found


def tell_at_start(ids: Collection[str]) -> None:
    """Writes to the log, when the server starts and so all packs are loaded, which of these ids are not our nodes."""
    app = getattr(getattr(PromptServer, "instance", None), "app", None)
    if app is None or app.frozen:  # no server, or one that runs already
        return

    async def tell(_: Any) -> None:
        for module, taken in owners(ids).items():
            log.warning(
                "Regional Sampling: the nodes %s are those of %s, which has the same ids. RegionalGuider, RegionEditor "
                "and the other nodes of Regional Sampling work with them.",
                ", ".join(taken),
                module.removeprefix("custom_nodes."),
            )

    app.on_startup.append(tell)


def _is_ours(node: Any) -> bool:
    # By category, not by module: this may be a second copy of the pack, or the same copy loaded again.
    return str(getattr(node, "CATEGORY", "")).split("/")[0] == inputs.CATEGORY

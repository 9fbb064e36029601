"""A node pack for tests and the demo only: models that need no weights and whose right answer is known."""

from . import faults, nodes

NODE_CLASS_MAPPINGS = {node.__name__: node for node in (*nodes.NODES, *faults.NODES)}
NODE_DISPLAY_NAME_MAPPINGS = {
    name: name.replace("RegionalTesting", "Regional Testing ") for name in NODE_CLASS_MAPPINGS
}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]

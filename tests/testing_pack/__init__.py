"""A node pack for tests and the demo only: models that need no weights and whose right answer is known."""

from .nodes import NODES

NODE_CLASS_MAPPINGS = {node.__name__: node for node in NODES}
NODE_DISPLAY_NAME_MAPPINGS = {
    name: name.replace("RegionalTesting", "Regional Testing ") for name in NODE_CLASS_MAPPINGS
}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]

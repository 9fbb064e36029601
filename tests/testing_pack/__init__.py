"""A node pack for tests, demo and benchmarks only: models without weight files, whose correct output is known."""

from . import faults, nodes

NODE_CLASS_MAPPINGS = {node.__name__: node for node in (*nodes.NODES, *faults.NODES)}
NODE_DISPLAY_NAME_MAPPINGS = {
    name: name.replace("RegionalTesting", "Regional Testing ") for name in NODE_CLASS_MAPPINGS
}

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS"]

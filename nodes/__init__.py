"""The two mappings that ComfyUI reads, from the NODES lists of the modules."""

from . import data, editor, guider, inspect, neighbours, providers, samplers, shapes

NODES = [*samplers.NODES, *guider.NODES, *editor.NODES, *shapes.NODES, *inspect.NODES, *providers.NODES, *data.NODES]

NODE_CLASS_MAPPINGS = neighbours.without_taken({node_id: node for node_id, _, node in NODES})
NODE_DISPLAY_NAME_MAPPINGS = {node_id: name for node_id, name, _ in NODES if node_id in NODE_CLASS_MAPPINGS}

neighbours.tell_at_start([node_id for node_id, _, _ in NODES])

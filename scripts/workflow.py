"""Saved ComfyUI workflows (what the browser saves) as API prompts (what the server runs). Standard library only."""

from __future__ import annotations

import copy
from typing import Any

MUTED, BYPASSED = 2, 4
VIRTUAL = {"Note", "MarkdownNote", "Reroute", "PrimitiveNode"}  # only in the browser, not in prompts
WIDGET_TYPES = {"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"}

Value = Any


def to_prompt(workflow: dict, object_info: dict) -> dict:
    """The API prompt of a saved workflow, as the browser would submit it.

    `object_info` is the server's reply to /object_info, which declares the widgets of each node. Muted nodes are left
    out; bypassed ones and reroutes are replaced by what feeds them. ValueError, which names the node, if its type is
    unknown or its saved values do not fit its widgets.
    """
    graph = _Graph(workflow)
    prompt = {}
    for node in sorted(graph.nodes.values(), key=lambda node: node.get("order", 0)):
        if node["type"] in VIRTUAL or node.get("mode", 0) in (MUTED, BYPASSED):
            continue
        if node["type"] not in object_info:
            raise ValueError(f"{_name(node)}: the server has no node of this type")
        inputs = _widget_values(node, object_info[node["type"]])
        for slot in node.get("inputs") or []:
            source = graph.source(slot.get("link"), slot["type"])
            if isinstance(source, _Literal):
                inputs[slot["name"]] = source.value
            elif source is not None:
                inputs[slot["name"]] = source
            elif slot.get("link") is not None:
                inputs.pop(slot["name"], None)  # its source is muted; the server reports it if it is required
        title = node.get("title") or object_info[node["type"]].get("display_name") or node["type"]
        prompt[str(node["id"])] = {"class_type": node["type"], "inputs": inputs, "_meta": {"title": title}}
    return prompt


def use_demo_model(prompt: dict) -> dict:
    """A copy of `prompt` that needs no model files: checkpoints and LoRAs are replaced by those of the test pack."""
    prompt = copy.deepcopy(prompt)
    loras = 0
    for node in prompt.values():
        inputs = node["inputs"]
        if node["class_type"] == "CheckpointLoaderSimple":
            node.update(class_type="RegionalTestingLoader", inputs={"kind": "eps"})
        elif node["class_type"] == "LoraLoader":
            kept = {name: inputs[name] for name in ("model", "clip")}
            turned = {"turns": 1 + loras % 2, "strength": inputs["strength_model"]}
            node.update(class_type="RegionalTestingLora", inputs={**kept, **turned})
            loras += 1
    return prompt


class _Literal:
    """The value of a primitive node, which becomes the input itself and not a link."""

    def __init__(self, value: Value):
        self.value = value


class _Graph:
    def __init__(self, workflow: dict):
        self.nodes: dict[Any, dict] = {node["id"]: node for node in workflow["nodes"]}
        self.origins: dict[Any, tuple[Any, int]] = {}  # link id -> node id, output slot
        for link in workflow["links"]:
            if isinstance(link, dict):
                self.origins[link["id"]] = link["origin_id"], link["origin_slot"]
            else:
                self.origins[link[0]] = link[1], link[2]

    def source(self, link: Any, wanted: str) -> list | _Literal | None:
        """The source of a link of type `wanted`: [node id, output slot], a literal, or None if there is none."""
        if link is None or link not in self.origins:
            return None
        node_id, slot = self.origins[link]
        node = self.nodes[node_id]
        mode = node.get("mode", 0)
        if mode == MUTED:
            return None
        inputs = node.get("inputs") or []
        if node["type"] == "Reroute":
            return self.source(inputs[0].get("link"), wanted) if inputs else None
        if mode == BYPASSED:
            # As in the browser: the input at the output's own position first, then the others in order.
            for candidate in inputs[slot : slot + 1] + inputs:
                if candidate["type"] == wanted:
                    return self.source(candidate.get("link"), wanted)
            return None
        if node["type"] == "PrimitiveNode":
            return _Literal(node["widgets_values"][0])
        return [str(node_id), slot]


def _name(node: dict) -> str:
    title = node.get("title")
    return f"node {node['id']} ({node['type']}{f', titled {title!r}' if title and title != node['type'] else ''})"


def _widgets(info: dict) -> list[tuple[str, dict, int]]:
    """(name, options, number of extra saved values) of each widget, in the order in which values are saved."""
    widgets = []
    for group in ("required", "optional"):
        declared = info["input"].get(group) or {}
        for name in info.get("input_order", {}).get(group) or declared:
            kind, options = declared[name][0], (declared[name][1:2] or [{}])[0] or {}
            if not (isinstance(kind, list) or kind in WIDGET_TYPES) or options.get("forceInput"):
                continue
            widgets.append((name, options, _extra_values(name, kind, options)))
    return widgets


def _extra_values(name: str, kind: str | list, options: dict) -> int:
    """How many values are saved after a widget's own: those of the helper widgets that the browser puts below it."""
    if any(options.get(upload) for upload in ("image_upload", "video_upload", "audio_upload", "animated_image_upload")):
        return 1
    if kind == "INT":
        control = options.get("control_after_generate")
        return int(name in ("seed", "noise_seed") if control is None else bool(control))
    if isinstance(kind, list) or kind == "COMBO":
        return 2 if options.get("control_after_generate") else 0  # the control and its filter
    return 0


def _widget_values(node: dict, info: dict) -> dict[str, Value]:
    widgets, saved = _widgets(info), node.get("widgets_values") or []
    if isinstance(saved, dict):
        missing = [name for name, options, _ in widgets if name not in saved and "default" not in options]
        if missing:
            raise ValueError(f"{_name(node)}: no saved value for {', '.join(missing)}")
        return {name: saved.get(name, options.get("default")) for name, options, _ in widgets}
    expected = sum(1 + extra for _, _, extra in widgets)
    if len(saved) < expected:
        # Saved before the node got its last widgets: as in the browser, these have their defaults.
        filled: list[Value] = []
        for _, options, extra in widgets:
            filled += [options.get("default"), *["fixed"] * extra]
        if all(value is not None for value in filled[len(saved) :]):
            saved = [*saved, *filled[len(saved) :]]
    if len(saved) != expected:
        names = ", ".join(name + " and its control" * bool(extra) for name, _, extra in widgets) or "none"
        raise ValueError(f"{_name(node)}: {len(saved)} saved values for {expected} widgets ({names})")
    values, at = {}, 0
    for name, _, extra in widgets:
        values[name] = saved[at]
        at += 1 + extra
    return values

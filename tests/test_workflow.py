"""Saved workflows become API prompts; the example workflows, edited in ComfyUI, are well-formed and fit their nodes."""

import copy
import itertools
import json
from pathlib import Path

import nodes as host_nodes
import pytest
from comfy_extras import nodes_custom_sampler, nodes_mask, nodes_primitive
from host import run_coroutine
from workflow import VIRTUAL, WIDGET_TYPES, to_prompt, use_demo_model

EXAMPLES = sorted((Path(__file__).parent.parent / "example_workflows").glob("*.json"))
each_example = pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
NOTE = "About this workflow"
# How many widgets a node has in Impact Pack, if that is fewer than here.
IMPACT_PACK_HAS = {"RegionalPrompt": 3, "RegionalSampler": 11}
TITLE_HEIGHT = 30  # of a node's title bar, which is above its position; canvas units
INFO = {
    "CheckpointLoaderSimple": {"input": {"required": {"ckpt_name": [["a.safetensors"], {}]}}, "display_name": "Load"},
    "Text": {"input": {"required": {"text": ["STRING", {"multiline": True}], "clip": ["CLIP"]}}},
    "Sampler": {
        "input": {
            "required": {
                "model": ["MODEL"],
                "seed": ["INT", {"control_after_generate": True}],
                "noise_seed": ["INT", {}],
                "steps": ["INT", {"default": 20}],
                "name": [["euler", "heun"], {}],
                "positive": ["CONDITIONING"],
            },
            "optional": {"amount": ["FLOAT", {"forceInput": True}], "plain_seed": ["INT", {}]},
        },
        # The browser goes by this order, not by that of the JSON object.
        "input_order": {
            "required": ["model", "seed", "steps", "noise_seed", "name", "positive"],
            "optional": ["amount", "plain_seed"],
        },
    },
    "Tweak": {"input": {"required": {"clip": ["CLIP"], "model": ["MODEL"], "by": ["FLOAT", {}]}}},
    "Load": {"input": {"required": {"image": [["a.png"], {"image_upload": True}]}}},
}


def node(id, type, values=(), inputs=(), **more):
    slots = [{"name": name, "type": kind, "link": link} for name, kind, link in inputs]
    return {"id": id, "type": type, "widgets_values": list(values), "inputs": slots, "order": id, "mode": 0, **more}


def sampler(*links, **more):
    inputs = (("model", "MODEL", links[0]), ("positive", "CONDITIONING", None))
    return node(9, "Sampler", [7, "fixed", 20, 8, "randomize", "heun", 5], inputs, **more)


@pytest.fixture
def workflow():
    """Checkpoint (1) -> Tweak (2), which passes the model on when bypassed -> Sampler (9)."""
    return {
        "nodes": [
            node(1, "CheckpointLoaderSimple", ["a.safetensors"]),
            node(2, "Tweak", [0.5], [("clip", "CLIP", 12), ("model", "MODEL", 10)]),
            sampler(11),
        ],
        "links": [[10, 1, 0, 2, 1, "MODEL"], [11, 2, 0, 9, 0, "MODEL"], [12, 1, 1, 2, 0, "CLIP"]],
    }


def test_reads_widgets_in_the_declared_order_and_skips_seed_controls(workflow):
    inputs = to_prompt(workflow, INFO)["9"]["inputs"]
    assert inputs == {"seed": 7, "steps": 20, "noise_seed": 8, "name": "heun", "plain_seed": 5, "model": ["2", 0]}


def test_names_nodes_by_id(workflow):
    workflow["nodes"][2]["title"] = "Mine"
    prompt = to_prompt(workflow, INFO)
    assert [prompt[i]["_meta"]["title"] for i in ("1", "2", "9")] == ["Load", "Tweak", "Mine"]


def test_bypassed_node_passes_on_the_input_of_the_wanted_type(workflow):
    workflow["nodes"][1]["mode"] = 4
    prompt = to_prompt(workflow, INFO)
    assert "2" not in prompt and prompt["9"]["inputs"]["model"] == ["1", 0]


def test_muted_node_and_its_links_are_left_out(workflow):
    workflow["nodes"][1]["mode"] = 2
    prompt = to_prompt(workflow, INFO)
    assert "2" not in prompt and "model" not in prompt["9"]["inputs"]


def test_reroutes_notes_and_links_as_objects(workflow):
    workflow["nodes"] += [
        node(3, "Reroute", inputs=[("", "*", 20)]),
        node(4, "Reroute", inputs=[("", "*", 21)]),
        node(5, "MarkdownNote", ["hello"]),
    ]
    workflow["links"] = [
        {"id": 20, "origin_id": 1, "origin_slot": 2},
        {"id": 21, "origin_id": 3, "origin_slot": 0},
        {"id": 11, "origin_id": 4, "origin_slot": 0},
    ]
    prompt = to_prompt(workflow, INFO)
    assert prompt["9"]["inputs"]["model"] == ["1", 2] and prompt.keys() == {"1", "2", "9"}


def test_primitive_gives_its_value_to_a_converted_widget(workflow):
    workflow["nodes"].append(node(3, "PrimitiveNode", [42, "increment"]))
    workflow["links"].append([30, 3, 0, 9, 2, "INT"])
    workflow["nodes"][2]["inputs"].append({"name": "steps", "type": "INT", "link": 30, "widget": {"name": "steps"}})
    assert to_prompt(workflow, INFO)["9"]["inputs"]["steps"] == 42


def test_values_by_name(workflow):
    workflow["nodes"][2]["widgets_values"] = {"seed": 1, "noise_seed": 2, "name": "euler", "plain_seed": 3}
    inputs = to_prompt(workflow, INFO)["9"]["inputs"]
    assert inputs["steps"] == 20 and inputs["seed"] == 1  # what was not saved has its default
    del workflow["nodes"][2]["widgets_values"]["seed"]
    with pytest.raises(ValueError, match=r"node 9 .*no saved value for seed"):
        to_prompt(workflow, INFO)


def test_upload_button_is_a_value_too():
    assert to_prompt({"nodes": [node(1, "Load", ["a.png", "image"])], "links": []}, INFO)["1"]["inputs"] == {
        "image": "a.png"
    }


def test_errors_name_the_node(workflow):
    workflow["nodes"][2]["widgets_values"].pop()
    with pytest.raises(ValueError, match=r"node 9 \(Sampler\): 6 saved values for 7 widgets"):
        to_prompt(workflow, INFO)
    workflow["nodes"][2].update(type="Gone", title="Old one")
    with pytest.raises(ValueError, match=r"node 9 \(Gone, titled 'Old one'\): the server has no node of this type"):
        to_prompt(workflow, INFO)


def test_demo_model_replaces_checkpoints_in_a_copy(workflow):
    prompt = to_prompt(workflow, INFO)
    before = copy.deepcopy(prompt)
    demo = use_demo_model(prompt)
    assert prompt == before
    assert demo["1"]["class_type"] == "RegionalTestingLoader" and demo["1"]["inputs"] == {"kind": "eps"}
    assert demo["2"] == prompt["2"]


def test_demo_model_takes_loras(workflow):
    loaded = {"lora_name": "a.safetensors", "strength_model": 0.5, "strength_clip": 1.0}
    prompt = to_prompt(workflow, INFO)
    for number in (20, 21):
        links = {"model": ["1", 0], "clip": ["1", 1]}
        prompt[str(number)] = {"class_type": "LoraLoader", "inputs": {**links, **loaded}}
    demo = use_demo_model(prompt)
    assert [demo[i]["class_type"] for i in ("20", "21")] == ["RegionalTestingLora"] * 2
    assert [demo[i]["inputs"] for i in ("20", "21")] == [{**links, "turns": i, "strength": 0.5} for i in (1, 2)]


# The example workflows

# Nodes whose regions have the base's sampler.
INHERITING = {
    "RegionalPromptFromConditioning",
    "RegionalPromptsFromMasks",
    "RegionalPromptsFromColorMask",
    "RegionalGrid",
    "RegionEditor",
}


def load(path):
    return json.loads(path.read_text("utf-8"))


@pytest.fixture(scope="module")
def classes(pack):
    """The node classes of this pack and of ComfyUI, by id."""
    found = dict(host_nodes.NODE_CLASS_MAPPINGS)
    for module in (nodes_custom_sampler, nodes_mask, nodes_primitive):
        found |= {cls.GET_SCHEMA().node_id: cls for cls in run_coroutine(_node_list(module))}
    return found | pack.NODE_CLASS_MAPPINGS


async def _node_list(module):
    return await (await module.comfy_entrypoint()).get_node_list()


def test_every_node_has_an_example(pack):
    used = {node["type"] for path in EXAMPLES for node in load(path)["nodes"]}
    deprecated = {kind for kind, node in pack.NODE_CLASS_MAPPINGS.items() if getattr(node, "DEPRECATED", False)}
    assert pack.NODE_CLASS_MAPPINGS.keys() - used == deprecated
    assert all(path.with_suffix(".jpg").is_file() for path in EXAMPLES)


def test_no_two_examples_have_one_id():
    """A workflow made from a copy keeps the id of the first, and ComfyUI takes both for one."""
    ids = [load(path)["id"] for path in EXAMPLES]
    assert len(set(ids)) == len(ids)


@each_example
def test_example_explains_itself(path):
    (about,) = [node for node in load(path)["nodes"] if node["type"] == "MarkdownNote" and node["title"] == NOTE]
    heading, _, text = about["widgets_values"][0].partition("\n\n")
    assert heading.startswith("## ") and text.strip()


@each_example
def test_example_is_well_formed(path, classes):
    saved = load(path)
    nodes = {node["id"]: node for node in saved["nodes"]}
    links = {link[0]: link for link in saved["links"]}
    assert len(nodes) == len(saved["nodes"]) and max(nodes) <= saved["last_node_id"]
    assert len(links) == len(saved["links"]) and max(links) <= saved["last_link_id"]
    for link, origin, origin_slot, target, target_slot, kind in saved["links"]:
        output, slot = nodes[origin]["outputs"][origin_slot], nodes[target]["inputs"][target_slot]
        assert link in output["links"] and link == slot["link"] and output["type"] == slot["type"] == kind
    outgoing = [link for entry in nodes.values() for output in entry["outputs"] for link in output["links"] or []]
    incoming = [slot["link"] for entry in nodes.values() for slot in entry["inputs"] if slot["link"] is not None]
    assert sorted(outgoing) == sorted(incoming) == sorted(links)
    for entry in nodes.values():
        if entry["type"] not in VIRTUAL:
            _check_declaration(entry, classes[entry["type"]])


@each_example
def test_runs_with_impact_packs_nodes(path):
    """Where the ids that it shares are Impact Pack's: its pipe needs all five parts, and its samplers cannot sample a
    region that has the base's sampler.
    """
    saved = load(path)
    by_id = {node["id"]: node for node in saved["nodes"]}
    for entry in saved["nodes"]:
        if entry["type"] == "ToBasicPipe":
            assert all(slot["link"] for slot in entry["inputs"]), entry["title"]
        if entry["type"] in ("RegionalSampler", "RegionalSamplerAdvanced"):
            feeding = {by_id[node]["type"] for node in _before(saved, entry["title"])}
            assert not feeding & INHERITING, entry["title"]


@each_example
def test_example_has_all_widgets(path, classes):
    """In the declared order, or the browser gives a widget another's value; and all, or it makes the node higher than
    its group.
    """
    saved = load(path)
    old = _before(saved, "As saved with Impact Pack")
    assert bool(old) == (path.stem == "from_impact_pack")
    for entry in saved["nodes"]:
        if entry["type"] not in VIRTUAL:
            widgets = _widgets(classes[entry["type"]])
            if entry["id"] in old:
                widgets = widgets[: IMPACT_PACK_HAS.get(entry["type"], len(widgets))]
            names = [slot["name"] for slot in entry["inputs"] if "widget" in slot]
            assert names == [name for name, _ in widgets], entry["title"]
            assert len(entry["widgets_values"]) == sum(count for _, count in widgets), entry["title"]


def test_linked_widgets_show_the_value_that_they_get(classes):
    found = 0
    for path in EXAMPLES:
        saved = load(path)
        nodes = {node["id"]: node for node in saved["nodes"]}
        origins = {link[0]: nodes[link[1]] for link in saved["links"]}
        for entry in saved["nodes"]:
            for slot in entry["inputs"]:
                if "widget" in slot and slot["link"] is not None:
                    at = 0
                    for name, count in _widgets(classes[entry["type"]]):
                        if name == slot["name"]:
                            break
                        at += count
                    assert entry["widgets_values"][at] == origins[slot["link"]]["widgets_values"][0], path.stem
                    found += 1
    assert found  # region_editor has one size for its canvas and its editor


def _before(saved, title):
    """The ids of the nodes with this title and of all that feed them."""
    found, todo = set(), {node["id"] for node in saved["nodes"] if node["title"] == title}
    while todo:
        found |= todo
        todo = {origin for _, origin, _, target, *_ in saved["links"] if target in found} - found
    return found


@each_example
def test_nothing_lies_on_another_in_an_example(path):
    """No two nodes overlap, nor two groups; each node is inside of a group or outside of all."""
    saved = load(path)
    groups = {f"{group['title']} ({group['id']})": _sides(*group["bounding"]) for group in saved["groups"]}
    nodes = {}
    for node in saved["nodes"]:
        (x, y), (width, height) = node["pos"], node["size"]
        title = f"{node['title']} ({node['id']})"
        nodes[title] = _sides(x, y - TITLE_HEIGHT, width, height + TITLE_HEIGHT)
    for boxes in (groups, nodes):
        for (one, a), (other, b) in itertools.combinations(boxes.items(), 2):
            assert not _meet(a, b), (one, other)
    for (one, a), (group, b) in itertools.product(nodes.items(), groups.items()):
        inside = b[0] <= a[0] and b[1] <= a[1] and a[2] <= b[2] and a[3] <= b[3]
        assert inside or not _meet(a, b), (one, group)


def _sides(x, y, width, height):
    return x, y, x + width, y + height


def _meet(a, b):
    """Whether two boxes (left, top, right, bottom) have more than an edge in common."""
    return max(a[0], b[0]) < min(a[2], b[2]) and max(a[1], b[1]) < min(a[3], b[3])


def _check_declaration(entry, cls):
    """The saved node has the names, types and outputs that the class declares, and a link for all that is required."""
    declared = {name: spec for group in ("required", "optional") for name, spec in _inputs(cls, group).items()}
    saved = {slot["name"]: slot for slot in entry["inputs"]}
    assert saved.keys() <= declared.keys()
    # The frontend turns group nodes into subgraphs by slot number.
    sockets = [slot["name"] for slot in entry["inputs"] if "widget" not in slot]
    assert sockets == [name for name in declared if name in sockets], entry["title"]
    for name, slot in saved.items():
        kind = "COMBO" if isinstance(declared[name][0], list) else declared[name][0]
        assert slot["type"] == kind, f"{entry['type']}.{name}"
    for name in _inputs(cls, "required"):
        assert "widget" in saved[name] or saved[name]["link"], f"{entry['title']}: {name} is not connected"
    types, count = list(cls.RETURN_TYPES), len(entry["outputs"])
    # A later ComfyUI may give its nodes more outputs; the browser adds them.
    assert count == len(types) or cls.__module__.split(".")[0] != "pack"
    assert [output["type"] for output in entry["outputs"]] == types[:count]
    assert [output["name"] for output in entry["outputs"]] == list(getattr(cls, "RETURN_NAMES", types))[:count]


def _widgets(cls):
    """(name, number of saved values) of each widget, in the declared order; a seed's control is saved as well."""
    return [
        (name, 1 + bool(options.get("control_after_generate")))
        for name, (kind, options) in {**_inputs(cls, "required"), **_inputs(cls, "optional")}.items()
        if (isinstance(kind, list) or kind in WIDGET_TYPES) and not options.get("forceInput")
    ]


def _inputs(cls, group):
    """{name: (type, options)}"""
    declared = cls.INPUT_TYPES().get(group, {})
    return {name: (kind, options[0] if options else {}) for name, (kind, *options) in declared.items()}

"""Files that other packs' versions of the nodes were saved in, opened in a real browser."""

import itertools
import json

import pytest
from host import ROOT
from server_use import regional_sampler

pytest_plugins = ["browser_use"]

# What those packs declare, in their order: values of widgets, and types of sockets in brackets. The names behind the
# bar came later. A seed's own control is no input: "control_after_generate" stands for it where its value is saved.
SAVED = {
    "RegionalSampler": """
        seed=11 control_after_generate="increment" seed_2nd=12 seed_2nd_mode="seed+seed_2nd" steps=13 base_only_steps=3
        denoise=0.4 samples[LATENT] base_sampler[KSAMPLER_ADVANCED] regional_prompts[REGIONAL_PROMPTS]
        overlap_factor=7 restore_latent=false
        | additional_mode="ratio additional" additional_sampler="dpm_fast" additional_sigma_ratio=0.6
    """,
    "RegionalSamplerAdvanced": """
        add_noise=false noise_seed=21 control_after_generate="decrement" steps=22 start_at_step=2 end_at_step=19
        overlap_factor=8 restore_latent=false return_with_leftover_noise=true latent_image[LATENT]
        base_sampler[KSAMPLER_ADVANCED] regional_prompts[REGIONAL_PROMPTS]
        | additional_mode="DISABLE" additional_sampler="euler" additional_sigma_ratio=0.7
    """,
    "TwoAdvancedSamplersForMask": """
        seed=31 control_after_generate="fixed" steps=32 denoise=0.3 samples[LATENT] base_sampler[KSAMPLER_ADVANCED]
        mask_sampler[KSAMPLER_ADVANCED] mask[MASK] overlap_factor=9
    """,
    "TwoSamplersForMask": "latent_image[LATENT] base_sampler[KSAMPLER] mask_sampler[KSAMPLER] mask[MASK]",
    "RegionalPrompt": """
        mask[MASK] advanced_sampler[KSAMPLER_ADVANCED]
        | variation_seed=41 variation_strength=0.2 variation_method="slerp"
    """,
    "KSamplerProvider": """
        seed=51 control_after_generate="randomize" steps=52 cfg=5.3 sampler_name="heun" scheduler="karras" denoise=0.5
        basic_pipe[BASIC_PIPE] | scheduler_func_opt[SCHEDULER_FUNC]
    """,
    "KSamplerAdvancedProvider": """
        cfg=6.1 sampler_name="dpm_2" scheduler="simple" basic_pipe[BASIC_PIPE]
        | sigma_factor=1.1 sampler_opt[SAMPLER] scheduler_func_opt[SCHEDULER_FUNC]
    """,
    "GITSSchedulerFuncProvider": "coeff=1.3 denoise=0.9",
    "ToBasicPipe": "model[MODEL] clip[CLIP] vae[VAE] positive[CONDITIONING] negative[CONDITIONING]",
    "EditBasicPipe": """
        basic_pipe[BASIC_PIPE] model[MODEL] clip[CLIP] vae[VAE] positive[CONDITIONING] negative[CONDITIONING]
    """,
    "FromBasicPipe": "basic_pipe[BASIC_PIPE]",
    "FromBasicPipe_v2": "basic_pipe[BASIC_PIPE]",
    "MaskGrid N KSamplers Advanced": """
        model[MODEL] add_noise="disable" noise_seed=61 control_after_generate="fixed" steps=62 cfg=6.3
        sampler_name="lms" scheduler="exponential" positive[CONDITIONING] negative[CONDITIONING] latent_image[LATENT]
        start_at_step=4 end_at_step=60 return_with_leftover_noise="enable" mask[IMAGE] rows=3 columns=5
        mode="Fork before sample"
    """,
}
SAVED["MaskGridNKSamplersAdvanced"] = SAVED["MaskGrid N KSamplers Advanced"]

# Which inputs a file lists, and how: only sockets until 2025, then widgets' too, behind the sockets or among them.
LAYOUTS = ("sockets", "sockets first", "as declared")


def declared(text, later):
    """Name and type of each socket, and name and value of each widget: two dicts, and the names in order."""
    sockets, widgets, order = {}, {}, []
    for word in _words(text if later else text.split("|")[0]):
        if "[" in word and "=" not in word:
            name, kind = word.rstrip("]").split("[")
            sockets[name] = kind
        else:
            name, value = word.split("=", 1)
            widgets[name] = json.loads(value)
        order.append(name)
    return sockets, widgets, order


def _words(text):
    """The words of a declaration; what is in quotes is one."""
    parts = text.replace("|", " ").split('"')
    joined = "".join(f'"{part}"'.replace(" ", "\0") if i % 2 else part for i, part in enumerate(parts))
    return [word.replace("\0", " ") for word in joined.split()]


def workflow(kinds, layout, later):
    """A file with one node of each kind, all sockets linked to one node of no importance."""
    nodes, links, ids = [], [], itertools.count(2)
    for kind in kinds:
        sockets, widgets, order = declared(SAVED[kind], later)
        listed = [name for name in order if name != "control_after_generate"]
        if layout != "as declared":
            listed = [*sockets, *([] if layout == "sockets" else [name for name in listed if name not in sockets])]
        number, inputs = next(ids), []
        for slot, name in enumerate(listed):
            if name in sockets:
                links.append([len(links) + 1, 1, 0, number, slot, sockets[name]])
                inputs.append({"name": name, "type": sockets[name], "link": len(links)})
            else:
                inputs.append({"name": name, "type": "*", "link": None, "widget": {"name": name}})
        place = {"pos": [400 * (number % 6), 500 * (number // 6)], "size": [300, 100]}
        nodes.append({"id": number, "type": kind, "inputs": inputs, "widgets_values": [*widgets.values()], **place})
    output = {"name": "*", "type": "*", "links": [link[0] for link in links]}
    nodes.append({"id": 1, "type": "RegionalTestingWrongObject", "outputs": [output], "pos": [-300, 0]})
    return {"last_node_id": len(nodes), "last_link_id": len(links), "nodes": nodes, "links": links, "version": 0.4}


@pytest.mark.parametrize("later", [True, False], ids=["all inputs", "without later ones"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_values_and_links_are_where_they_belong(layout, later, frontend):
    info = frontend.server.get("/object_info")
    frontend.load(workflow(SAVED, layout, later))
    for kind, text in SAVED.items():
        sockets, widgets, _ = declared(text, later)
        (node,) = frontend.nodes(kind)
        linked = {name: source for name, source in frontend.inputs(node).items() if source is not None}
        assert linked == dict.fromkeys(sockets, 1), kind
        # What a file does not have is at its default, so that the picture is the one it was.
        options = {**info[kind]["input"].get("required", {}), **info[kind]["input"].get("optional", {})}
        for name, value in frontend.widgets(node).items():
            spec, *extra = options.get(name, [None])
            default = (extra[0] if extra else {}).get("default", spec[0] if isinstance(spec, list) else 0)
            assert value == widgets.get(name, default), (kind, name)
    frontend.center(1000, 600, 0.5)


def older(workflow):
    """One of our example workflows as Impact Pack would have saved it, small, and with a model without weights."""
    text = json.dumps(workflow).replace('"CheckpointLoaderSimple"', '"RegionalTestingLoader"')
    workflow = json.loads(text)
    for node in workflow["nodes"]:
        node["properties"] = {"Node name for S&R": node["type"]}
        if node["type"] in SAVED:
            _, widgets, order = declared(SAVED[node["type"]], later=True)
            node["widgets_values"] = node["widgets_values"][: len(widgets)]
            node["inputs"] = [slot for slot in node["inputs"] if slot["name"] in order]
            if "RegionalSampler" in node["type"]:
                node["widgets_values"][4] = 4  # steps
        elif node["type"] == "RegionalTestingLoader":
            node["widgets_values"] = ["eps"]
            node["inputs"] = []
        elif node["type"] == "EmptyLatentImage":
            node["widgets_values"] = [128, 128, 1]
    return workflow


def test_they_run(frontend):
    saved = json.loads((ROOT / "example_workflows" / "regional_sampler.json").read_text("utf-8"))
    frontend.load(older(saved))
    (sampler,) = frontend.nodes("RegionalSampler")
    assert frontend.widgets(sampler)["steps"] == 4 and frontend.widgets(sampler)["engine"] == "stepwise"
    assert len(frontend.run().get("outputs", {})) == 1

    scene = regional_sampler(seed=1, steps=3)  # an API prompt, with none of this pack's own inputs
    frontend.load_prompt(scene.prompt)
    assert len(frontend.run().get("outputs", {})) == 1

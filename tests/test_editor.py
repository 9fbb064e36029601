"""RegionEditor: with the host's encoder, then on a server."""

import json
import logging

import nodes as host_nodes
import pytest
import torch
from comfy_execution.graph_utils import ExecutionBlocker
from comfy_server import ExecutionFailed
from pack import NODE_CLASS_MAPPINGS as NODES
from pack.masks.formats.overlay import overlay
from pack.samplers.prompts import RegionSettings
from server_use import Graph, to_tensor
from testing_pack import NODE_CLASS_MAPPINGS as TESTING
from use import box, relative

EDITOR = "RegionEditor"
MODEL, CLIP, _ = TESTING["RegionalTestingLoader"]().load("eps", obey_cfg=True)
RECT = {"type": "rect", "x": 0.125, "y": 0.25, "w": 0.5, "h": 0.5}
DISC = {"type": "ellipse", "x": 0.5, "y": 0.5, "w": 0.4, "h": 0.4}
KITE = {"type": "freehand", "points": [[0.8, 0.1], [0.9, 0.2], [0.8, 0.4], [0.7, 0.2]]}
SKY = {"name": "Sky", "prompt": "blue waves", "color": "#3366ff", "shape": RECT}
SUN = {"name": "Sun", "prompt": "red spots", "shape": DISC, "weight": 0.5, "start": 0.1, "end": 0.75, "denoise": 0.25}
SPECK = {"name": "Speck", "prompt": "gold", "shape": {**RECT, "w": 0}}
MUTE = {"name": "Mute", "prompt": " ", "shape": KITE}
OFF = {"name": "Off", "prompt": "sand", "shape": KITE, "enabled": False}


def drawing(*regions):
    return json.dumps({"version": 1, "regions": list(regions)})


def encode(text):
    return host_nodes.CLIPTextEncode().encode(CLIP, text)[0]


def edit(*regions, **inputs):
    """All outputs, and what ComfyUI shows."""
    defaults = {
        "model": MODEL,
        "clip": CLIP,
        "width": 192,
        "height": 128,
        "positive": "clouds",
        "negative": "grey",
        "cfg": 2.0,
        "regions": drawing(*regions),
    }
    out = NODES[EDITOR]().make(**{**defaults, **inputs})
    return (*out["result"], out.get("ui"))


def same(one, other):
    return torch.equal(one[0][0], other[0][0])


def test_regions_prompts_and_settings():
    regions, positive, negative, masks, _, ui = edit(SKY, SUN)
    assert same(positive, encode("clouds")) and same(negative, encode("grey")) and ui is None
    assert [torch.equal(region.mask, mask) for region, mask in zip(regions, masks, strict=True)] == [True] * 2
    assert torch.equal(masks[:1], box(128, 192, 32, 24, 96, 120))
    assert [region.settings for region in regions] == [RegionSettings(), RegionSettings(0.1, 0.75, 0.5, 0.25)]
    for region, text in zip(regions, ("blue waves", "red spots"), strict=True):
        guidance = region.sampler.guidance
        assert guidance.model is MODEL and guidance.cfg == 2.0
        assert same(guidance.positive, encode(text)) and guidance.negative is negative


def test_who_is_left_out_and_what_is_said(caplog):
    regions, _, _, masks, preview, _ = edit(SPECK, SKY, MUTE, OFF, SUN)
    assert masks.shape == (5, 128, 192) and not masks[0].any() and masks[2].any() and masks[3].any()
    assert [torch.equal(region.mask, masks[place]) for region, place in zip(regions, [1, 4], strict=True)] == [True] * 2
    assert [record.getMessage() for record in caplog.records if record.levelno == logging.WARNING] == [
        f"{EDITOR}: region 1 (Speck) covers nothing, so it is left out.",
        f"{EDITOR}: region 3 (Mute) has no prompt, so the base paints it.",
    ]
    assert preview.shape == (1, 128, 192, 3)
    without = edit(SPECK, SKY, MUTE, {**OFF, "shape": DISC}, SUN)[4]
    assert torch.equal(preview, without)  # what is not enabled is not in it


def test_preview_has_the_colours_and_numbers_of_the_list():
    masks, preview = edit(OFF, SKY)[3:5]
    assert torch.equal(preview, overlay(masks[1:], None, (128, 192), [(0x33 / 255, 0x66 / 255, 1.0)], [2]))


@pytest.mark.parametrize("regions", [(), (OFF,), (MUTE, SPECK)], ids=["none", "disabled", "nothing to paint"])
def test_nothing_to_paint_stops_the_sampler_alone(regions):
    blocked, positive, _, masks, preview, _ = edit(*regions)
    assert isinstance(blocked, ExecutionBlocker) and "draw one and write its prompt" in blocked.message
    assert positive and preview.shape == (1, 128, 192, 3) and masks.shape == (max(1, len(regions)), 128, 192)


def test_an_empty_text_is_an_empty_drawing():
    assert isinstance(edit(regions="")[0], ExecutionBlocker)


def test_image_is_under_the_preview_and_shown_on_the_node():
    image = torch.rand(1, 30, 40, 3)
    _, _, _, masks, preview, ui = edit(SKY, image=image)
    assert torch.equal(preview, overlay(masks, image, (128, 192), [(0x33 / 255, 0x66 / 255, 1.0)], [1]))
    assert [shown["type"] for shown in ui["background"]] == ["temp"]


def test_large_canvases_have_smaller_masks():
    _, _, _, masks, preview, _ = edit(SKY, width=4096, height=2048)
    assert masks.shape == (1, 1024, 2048) and preview.shape == (1, 2048, 4096, 3)
    assert float(masks.mean()) == pytest.approx(0.25)


def test_inputs_are_checked_and_named():
    with pytest.raises(ValueError, match=rf"{EDITOR}, region 2 \(Sun\): weight should be from 0 to 1, 2 came"):
        edit(SKY, {**SUN, "weight": 2})
    with pytest.raises(TypeError, match=f"{EDITOR}: clip should be a CLIP"):
        edit(SKY, clip=MODEL)
    with pytest.raises(TypeError, match=f"{EDITOR}: model should be a MODEL"):
        edit(SKY, model=CLIP)
    with pytest.raises(TypeError, match=f"{EDITOR}: image should be an IMAGE"):
        edit(SKY, image="x")


# On a server

WIDTH, HEIGHT = 512, 320


def sample(graph, loader, positive, negative, regions):
    """RegionalGuider and what follows it."""
    guided = {"model": loader, "positive": positive, "negative": negative, "cfg": 4.0}
    latent = graph.add(
        "SamplerCustomAdvanced",
        noise=graph.add("RandomNoise", noise_seed=3),
        guider=graph.add("RegionalGuider", regional_prompts=regions, **guided),
        sampler=graph.add("KSamplerSelect", sampler_name="euler"),
        sigmas=graph.add("BasicScheduler", model=loader, scheduler="normal", steps=6, denoise=1.0),
        latent_image=graph.add("EmptyLatentImage", width=WIDTH, height=HEIGHT, batch_size=1),
    )
    graph.add("SaveImage", images=graph.add("VAEDecode", samples=latent, vae=[loader[0], 2]), filename_prefix="test")


def edited(*regions, **inputs):
    """loader -> RegionEditor -> RegionalGuider -> SamplerCustomAdvanced -> decode."""
    graph = Graph()
    loader = graph.add("RegionalTestingLoader", kind="eps")
    texts = {"positive": "soft white clouds", "negative": "grey", "cfg": 4.0, "regions": drawing(*regions)}
    size = {"width": WIDTH, "height": HEIGHT}
    editor = graph.add(EDITOR, **{"model": loader, "clip": [loader[0], 1], **size, **texts, **inputs})
    sample(graph, loader, [editor[0], 1], [editor[0], 2], editor)
    return graph


def wired():
    """The same picture with SKY alone, from the host's masks and encoders."""
    graph = Graph()
    loader = graph.add("RegionalTestingLoader", kind="eps")
    base, sky, negative = (
        graph.add("CLIPTextEncode", text=text, clip=[loader[0], 1])
        for text in ("soft white clouds", SKY["prompt"], "grey")
    )
    empty = graph.add("SolidMask", value=0.0, width=WIDTH, height=HEIGHT)
    shape = graph.add("SolidMask", value=1.0, width=WIDTH // 2, height=HEIGHT // 2)
    place = {"x": WIDTH // 8, "y": HEIGHT // 4, "operation": "add"}
    mask = graph.add("MaskComposite", destination=empty, source=shape, **place)
    inputs = {"mask": mask, "model": loader, "positive": sky, "negative": negative, "cfg": 4.0}
    sample(graph, loader, base, negative, graph.add("RegionalPromptFromConditioning", **inputs))
    return graph


def test_a_whole_picture_is_that_of_the_wired_nodes(client):
    (picture,), (want,) = client.run(edited(SKY)).pictures, client.run(wired()).pictures
    assert picture.shape == (HEIGHT, WIDTH, 3) and relative(picture, want) == 0.0
    (other,) = client.run(edited(SKY, SUN)).pictures
    assert relative(other[192:, 320:], want[192:, 320:]) > 0.05  # the disc


def test_the_server_says_which_region_is_wrong(client):
    with pytest.raises(ExecutionFailed, match=rf"{EDITOR}, region 1 \(Sky\): weight should be from 0 to 1, 3 came"):
        client.run(edited({**SKY, "weight": 3}))
    with pytest.raises(ExecutionFailed, match="no region has a place and a prompt") as failed:
        client.run(edited(MUTE))
    assert failed.value.details["node_type"] == EDITOR  # not the guider, which has done nothing wrong


def test_masks_alone_need_no_prompt(client):
    graph = Graph()
    loader = graph.add("RegionalTestingLoader", kind="eps")
    texts = {"positive": "", "negative": "", "cfg": 4.0, "regions": drawing(MUTE)}
    editor = graph.add(EDITOR, model=loader, clip=[loader[0], 1], width=WIDTH, height=HEIGHT, **texts)
    graph.add("PreviewImage", images=graph.add("MaskToImage", mask=[editor[0], 3]))
    (mask,) = client.run(graph).pictures
    assert mask.shape == (HEIGHT, WIDTH, 3) and 0 < float(mask.mean()) < 1
    graph.add("RegionalPreview", regional_prompts=editor)
    with pytest.raises(ExecutionFailed, match="no region has a place and a prompt") as failed:
        client.run(graph)
    assert failed.value.details["node_type"] == "RegionalPreview"  # it alone, as the masks are wanted


def test_a_linked_picture_comes_back_for_the_canvas(client):
    graph = edited(SKY)
    image = graph.add("EmptyImage", width=64, height=48, batch_size=2, color=0x336699)
    graph.inputs(EDITOR)["image"] = image
    shown = {data["node"]: data["output"] for data in client.run(graph).of("executed")}
    (background,) = shown[graph.only(EDITOR)]["background"]
    picture = to_tensor(client.server.view(background))
    assert picture.shape == (48, 64, 3) and (picture[0, 0] * 255).round().tolist() == [0x33, 0x66, 0x99]

"""RegionalPromptsFromColorMask, -FromMasks, RegionalGrid and RegionalMaskFromBatch, called directly and on a server."""

import logging
from pathlib import Path

import folder_paths
import nodes as host_nodes
import numpy as np
import pytest
import torch
from comfy_execution.graph_utils import ExecutionBlocker
from comfy_server import ExecutionFailed
from PIL import Image
from server_use import Graph, to_tensor
from testing_pack import NODE_CLASS_MAPPINGS as TESTING
from use import box, plain, regional_sampler, relative, step_sampler, use

MODEL, CLIP, _ = TESTING["RegionalTestingLoader"]().load("eps", obey_cfg=True)
RED, WHITE, BLUE = (1.0, 0.0, 0.0), (1.0, 1.0, 1.0), (0.0, 0.0, 1.0)
LATENT = {"samples": torch.zeros(1, 4, 16, 24)}
COLOR, GRID, MASKS = "RegionalPromptsFromColorMask", "RegionalGrid", "RegionalPromptsFromMasks"
BOXES = {RED: (8, 16, 72, 80), BLUE: (40, 104, 120, 184)}


def encode(text):
    return host_nodes.CLIPTextEncode().encode(CLIP, text)[0]


NEGATIVE = encode("grey")
GUIDANCE = {"model": MODEL, "clip": CLIP, "negative": NEGATIVE, "cfg": 2.0}


def painted():
    """White with the red and the blue box of BOXES, 128 x 192 pixels."""
    picture = torch.ones(1, 128, 192, 3)
    for color, (top, left, bottom, right) in BOXES.items():
        picture[:, top:bottom, left:right] = torch.tensor(color)
    return picture


def mask_of(color):
    if color == WHITE:
        return 1 - mask_of(RED) - mask_of(BLUE)
    return box(128, 192, *BOXES[color])


def color_mask(**inputs):
    """The outputs of RegionalPromptsFromColorMask: regional_prompts, masks, preview."""
    defaults = {"image": painted(), "colors": "auto", "prompts": "\nblue waves\nred spots", "tolerance": 24}
    return use(COLOR, **{**defaults, **GUIDANCE, **inputs})["result"]


def grid(**inputs):
    """The outputs of RegionalGrid: regional_prompts, masks, preview."""
    defaults = {"width": 192, "height": 128, "layout": "1,2;1", "prompts": "red spots\n\nblue waves"}
    return use(GRID, **{**defaults, **GUIDANCE, **inputs})["result"]


def from_masks(**inputs):
    """The outputs of RegionalPromptsFromMasks. Each input is put into a list, as ComfyUI does, if it is none."""
    defaults = {"masks": torch.cat([mask_of(BLUE), mask_of(WHITE), mask_of(RED)]), "prompts": "blue waves\n\nred spots"}
    given = {**defaults, **GUIDANCE, **inputs}
    is_list = {name: isinstance(one, list) and name != "negative" for name, one in given.items()}
    return use(MASKS, **{name: one if is_list[name] else [one] for name, one in given.items()})["result"]


each = pytest.mark.parametrize("make", [color_mask, grid, from_masks])


# Masks


def test_color_mask_auto_goes_by_size():
    _, masks, _ = color_mask()
    want = [mask_of(WHITE), mask_of(BLUE), mask_of(RED)]
    assert torch.equal(masks, torch.cat(want))


@pytest.mark.parametrize("colors", ["red, blue", "#f00 #0000ff", "255,0,0;0,0,255"])
def test_color_mask_takes_the_colours_in_their_order(colors):
    _, masks, _ = color_mask(colors=colors)
    assert torch.equal(masks, torch.cat([mask_of(RED), mask_of(BLUE)]))


def test_color_mask_fills_specks_with_auto_and_leaves_them_to_the_base_else():
    image = painted()
    image[:, 20:24, 30:34] = 0
    assert torch.equal(color_mask(image=image)[1], color_mask()[1])
    listed = color_mask(image=image, colors="red")[1]
    assert float((mask_of(RED) - listed).sum()) == 16 == float((mask_of(RED) - listed)[0, 20:24, 30:34].sum())


def test_color_mask_uses_its_tolerance():
    image = painted()
    image[:, 0:64] *= 0.92  # 20 of 255 levels
    exact = color_mask(image=image, colors="blue", tolerance=0)[1]
    assert torch.equal(exact[0, 64:], mask_of(BLUE)[0, 64:]) and float(exact[0, :64].sum()) == 0
    assert torch.equal(color_mask(image=image, colors="blue", tolerance=24)[1], mask_of(BLUE))


def test_color_mask_takes_the_first_of_a_batch_and_says_so(caplog):
    masks = color_mask(image=torch.cat([painted(), torch.zeros(1, 128, 192, 3)]))[1]
    assert torch.equal(masks, color_mask()[1])
    assert f"{COLOR}: 2 images came, only the first counts." in caplog.messages


def test_grid_cells_are_row_by_row():
    _, masks, _ = grid()
    want = [box(128, 192, 0, 0, 64, 64), box(128, 192, 0, 64, 64, 192), box(128, 192, 64, 0, 128, 192)]
    assert torch.equal(masks, torch.cat(want))


# Regions


def test_regions_are_those_with_a_line():
    regions, masks, _ = color_mask()
    assert [torch.equal(region.mask, masks[number]) for region, number in zip(regions, [1, 2], strict=True)] == [
        True
    ] * 2
    regions, masks, _ = grid()
    assert [torch.equal(region.mask, masks[number]) for region, number in zip(regions, [0, 2], strict=True)] == [
        True
    ] * 2


@each
def test_lines_are_encoded_by_the_host_and_the_negative_is_shared(make):
    regions, *_ = make(prompts="  red spots \nblue waves\n")
    for region, text in zip(regions, ["red spots", "blue waves"], strict=True):
        model, cfg, sampler_name, scheduler, positive, negative, _ = region.sampler.params
        assert model is MODEL and cfg == 2.0 and negative is NEGATIVE
        assert sampler_name is None and scheduler is None  # the base's
        (got,), (want,) = positive, encode(text)
        assert torch.equal(got[0], want[0]) and got[1].keys() == want[1].keys()


@each
def test_the_picture_is_that_of_single_nodes(make):
    regions, *_ = make()
    single = [
        region
        for made, text in zip(regions, ["blue waves", "red spots"][:: -1 if make is grid else 1], strict=True)
        for region in use(
            "RegionalPromptFromConditioning",
            mask=made.mask,
            model=MODEL,
            positive=encode(text),
            negative=NEGATIVE,
            cfg=2.0,
        )
    ]
    base = step_sampler(MODEL, encode("soft clouds"), NEGATIVE)
    got, want, plain = (
        regional_sampler(LATENT, base, prompts, engine="lockstep")["samples"]
        for prompts in (regions, single, single[:1])
    )
    assert torch.equal(got, want) and relative(got, plain) > 0.05


@each
@pytest.mark.parametrize("missing", [["model"], ["clip"], ["negative"], ["model", "clip", "negative"]], ids=str)
def test_without_model_only_the_regions_are_blocked(make, missing):
    whole = make()
    blocker, masks, preview = make(**dict.fromkeys(missing))
    assert isinstance(blocker, ExecutionBlocker)
    assert f"regional_prompts needs {', '.join(missing)}; connect them" in blocker.message
    assert torch.equal(masks, whole[1]) and torch.equal(preview, whole[2])


@each
@pytest.mark.parametrize("prompts", ["", "\n \n"])
def test_without_a_line_the_regions_are_blocked(make, prompts):
    blocker, *_ = make(prompts=prompts)
    assert isinstance(blocker, ExecutionBlocker) and "write one line for each into prompts" in blocker.message


@each
def test_too_many_lines_are_said(make, caplog):
    regions, *_ = make(prompts="a\nb\nc\nd")
    assert len(regions) == 3
    assert any("4 prompts for 3 masks" in message for message in caplog.messages)


@each
def test_the_usual_case_warns_of_nothing(make, caplog):
    with caplog.at_level(logging.INFO):
        make()
    assert not caplog.records


def test_a_colour_that_is_not_there_is_said_and_its_region_left_out(caplog):
    regions, masks, _ = color_mask(colors="red, #123456, blue", prompts="one\ntwo\nthree")
    assert [float(mask.sum()) for mask in masks] == [float(mask_of(RED).sum()), 0.0, float(mask_of(BLUE).sum())]
    assert [torch.equal(region.mask, masks[i]) for region, i in zip(regions, [0, 2], strict=True)] == [True] * 2
    assert any("#123456 not in the image" in message for message in caplog.messages)
    assert any("line 2 of the prompts is empty" in message for message in caplog.messages)


# Errors


def test_colours_of_which_none_is_there_are_refused_with_those_that_are():
    with pytest.raises(ValueError, match=f"^{COLOR}: the image has none of #00ff00, it has #ffffff, #0000ff, #ff0000;"):
        color_mask(colors="green")


def test_a_gradient_has_no_colour():
    image = torch.linspace(0, 1, 512)[None, None, :, None].repeat(1, 300, 1, 3)
    image[..., 0] = image[..., 0].transpose(1, 2).reshape(1, 300, 512)
    with pytest.raises(ValueError, match=f"^{COLOR}: (no colour covers 0.5%|the picture has more than 64)"):
        color_mask(image=image, tolerance=0)


@pytest.mark.parametrize(
    ("inputs", "error", "says"),
    [
        ({"image": None}, TypeError, "image should be an IMAGE, nothing came"),
        ({"image": "text"}, TypeError, "image should be an IMAGE, str came"),
        ({"image": torch.zeros(1, 8, 8)}, ValueError, r"\(1, 8, 8\) came"),
        ({"image": torch.zeros(1, 8, 8, 7)}, ValueError, r"\(1, 8, 8, 7\) came"),
        ({"colors": "redd"}, ValueError, "'redd' is no colour"),
        ({"model": "text"}, TypeError, "model should be a MODEL, str came"),
        ({"clip": "text"}, TypeError, "clip should be a CLIP, str came"),
        ({"negative": 3}, TypeError, "negative should be a CONDITIONING, int came"),
    ],
    ids=str,
)
def test_color_mask_names_what_is_wrong(inputs, error, says):
    with pytest.raises(error, match=f"^{COLOR}: .*{says}"):
        color_mask(**inputs)


@pytest.mark.parametrize(
    ("inputs", "error", "says"),
    [
        ({"layout": "1,two"}, ValueError, "row 1 of the layout has 'two'"),
        ({"width": 2, "layout": "1,1,1"}, ValueError, "cell 2 of the layout"),
        ({"image": "text"}, TypeError, "image should be an IMAGE, str came"),
        ({"clip": "text"}, TypeError, "clip should be a CLIP, str came"),
    ],
    ids=str,
)
def test_grid_names_what_is_wrong(inputs, error, says):
    with pytest.raises(error, match=f"^{GRID}: .*{says}"):
        grid(**inputs)


# Masks of other nodes


def test_a_batch_and_a_list_of_masks_are_the_same_regions():
    batch = from_masks()
    one, two, three = batch[1]
    for masks in ([one, two, three], [one[None], torch.stack([two, three])], [one[None, None], two, three.bool()]):
        regions, out, preview = from_masks(masks=masks)
        assert torch.equal(out, batch[1]) and torch.equal(preview, batch[2])
        assert [torch.equal(a.mask, b.mask) for a, b in zip(regions, batch[0], strict=True)] == [True, True]
    assert torch.equal(batch[0][0].mask, mask_of(BLUE)[0]) and torch.equal(batch[0][1].mask, mask_of(RED)[0])


def test_texts_may_be_a_list_too():
    regions, *_ = from_masks(prompts=["blue waves\n", "red spots"])
    want, *_ = from_masks()
    for got, one in zip(regions, want, strict=True):
        assert torch.equal(got.mask, one.mask)
        assert torch.equal(got.sampler.guidance.positive[0][0], one.sampler.guidance.positive[0][0])


def test_masks_of_other_sizes_keep_them_and_the_batch_has_that_of_the_largest():
    small = torch.zeros(1, 4, 6)
    small[:, :2] = 1
    regions, masks, _ = from_masks(masks=[small, mask_of(BLUE)], prompts="a\nb")
    assert [tuple(region.mask.shape) for region in regions] == [(4, 6), (128, 192)]
    assert masks.shape == (2, 128, 192) and torch.equal(masks[1:], mask_of(BLUE))
    assert float(masks[0, :40].min()) == 1.0 and float(masks[0, 88:].max()) == 0.0


NOTHING = [torch.zeros(0, 128, 192), [], [torch.zeros(0, 128, 192), torch.zeros(0, 64, 64)], torch.zeros(1, 128, 192)]


@pytest.mark.parametrize("masks", NOTHING, ids=["none", "empty list", "twice none", "empty"])
def test_where_nothing_is_found_the_base_paints_all(masks, caplog):
    regions, batch, _ = from_masks(masks=masks, prompts="red spots")
    assert len(batch) == 1 and not batch.any()
    base = step_sampler(MODEL, encode("soft clouds"), NEGATIVE)
    for engine in ("lockstep", "stepwise"):
        caplog.clear()
        got = regional_sampler(LATENT, base, regions, engine=engine)["samples"]
        assert "RegionalSampler, region 1: its mask is empty, so the region is left out." in caplog.messages
        if engine == "lockstep":
            assert relative(got, plain(base, LATENT, steps=6)) < 1e-5


def test_nothing_in_one_of_several_pictures_is_no_region():
    regions, masks, _ = from_masks(masks=[torch.zeros(0, 128, 192), mask_of(BLUE)], prompts="blue waves")
    assert len(masks) == 1 and torch.equal(masks, mask_of(BLUE)) and torch.equal(regions[0].mask, masks[0])


def test_lists_of_what_is_needed_once_are_said(caplog):
    want, got = from_masks(), from_masks(model=[MODEL, MODEL], cfg=[2.0, 3.0])
    assert [one.sampler.guidance.cfg for one in got[0]] == [2.0, 2.0] and torch.equal(got[1], want[1])
    assert f"{MASKS}: a list of 2 values came for cfg, only the first counts." in caplog.messages


@pytest.mark.parametrize(
    ("inputs", "error", "says"),
    [
        ({"masks": "text"}, TypeError, "a MASK was expected, str came"),
        ({"masks": torch.zeros(1, 8, 8, 3)}, ValueError, "an IMAGE of shape"),
        ({"image": "text"}, TypeError, "image should be an IMAGE, str came"),
        ({"clip": "text"}, TypeError, "clip should be a CLIP, str came"),
        ({"model": "text"}, TypeError, "model should be a MODEL, str came"),
    ],
    ids=str,
)
def test_masks_names_what_is_wrong(inputs, error, says):
    with pytest.raises(error, match=f"^{MASKS}.*: .*{says}"):
        from_masks(**inputs)


@pytest.mark.parametrize("node", ["RegionalPrompt", "RegionalPromptFromConditioning"])
def test_a_region_without_any_mask_is_left_out(node, caplog):
    base = step_sampler(MODEL, encode("soft clouds"), NEGATIVE)
    inputs = {"model": MODEL, "positive": encode("red spots"), "negative": NEGATIVE, "cfg": 2.0}
    inputs = {"advanced_sampler": base} if node == "RegionalPrompt" else inputs
    region = use(node, mask=torch.zeros(0, 128, 192), **inputs)
    got = regional_sampler(LATENT, base, region, engine="lockstep")["samples"]
    assert "RegionalSampler, region 1: its mask is empty, so the region is left out." in caplog.messages
    assert relative(got, plain(base, LATENT, steps=6)) < 1e-5


# Pictures


def test_color_mask_preview_shows_the_painted_colours():
    *_, preview = color_mask(colors="red, blue")
    assert preview.shape == (1, 128, 192, 3)
    assert preview[0, 9, 17].tolist() == list(RED) and preview[0, 41, 105].tolist() == list(BLUE)
    assert preview[0, 0, 0].tolist() != list(WHITE)  # the base's


def test_grid_preview_lies_over_the_image():
    image = torch.rand(1, 64, 96, 3, generator=torch.Generator().manual_seed(0))
    plain, over = grid()[2], grid(image=image)[2]
    assert plain.shape == over.shape == (1, 128, 192, 3)
    assert float(plain[0, :8, :8].std(dim=(0, 1)).max()) == 0.0 < float(over[0, :8, :8].std(dim=(0, 1)).min())


def test_the_preview_is_saved_for_the_node():
    out = use(GRID, width=96, height=64, layout="1,1", prompts="")
    ((shown,), (_, _, preview)) = out["ui"]["images"], out["result"]
    assert shown["type"] == "temp"
    with Image.open(Path(folder_paths.get_temp_directory()) / shown["subfolder"] / shown["filename"]) as saved:
        pixels = torch.from_numpy(np.array(saved)).float() / 255
    assert (pixels - preview[0]).abs().max() < 1 / 255


# RegionalMaskFromBatch


@pytest.mark.parametrize("number", [1, 2, 3])
def test_mask_from_batch(number):
    masks = torch.rand(3, 8, 12, generator=torch.Generator().manual_seed(0))
    given = masks.clone()
    one = use("RegionalMaskFromBatch", masks=masks, number=number)
    assert torch.equal(one, given[number - 1 : number])
    one.fill_(0)
    assert torch.equal(masks, given)


def test_mask_from_batch_says_how_many_there_are():
    with pytest.raises(ValueError, match=r"^RegionalMaskFromBatch: mask 4 of 3 was asked for; give a number up to 3"):
        use("RegionalMaskFromBatch", masks=torch.zeros(3, 8, 8), number=4)
    with pytest.raises(TypeError, match=r"^RegionalMaskFromBatch, masks: a MASK was expected, str came"):
        use("RegionalMaskFromBatch", masks="text", number=1)


# On a server


@pytest.mark.parametrize("how", ["batch", "list"])
def test_a_list_of_masks_makes_one_picture_with_all_regions(how, client):
    graph = Graph()
    loader = graph.add("RegionalTestingLoader", kind="eps")
    base, negative = (graph.add("CLIPTextEncode", text=text, clip=[loader[0], 1]) for text in ("clouds", "grey"))
    masks = [graph.add(GRID, width=96, height=64, layout="1,1", prompts="", cfg=8.0)[0], 1]
    if how == "list":
        # ComfyUI's own node that makes a list of a batch.
        single = graph.add("RebatchImages", images=graph.add("MaskToImage", mask=masks), batch_size=1)
        masks = graph.add("ImageToMask", image=single, channel="red")
    shared = {"model": loader, "negative": negative, "cfg": 2.0}
    node = graph.add(MASKS, masks=masks, prompts="red spots\nblue waves", clip=[loader[0], 1], **shared)
    latent = graph.add(
        "SamplerCustomAdvanced",
        noise=graph.add("RandomNoise", noise_seed=0),
        guider=graph.add("RegionalGuider", positive=base, regional_prompts=node, **shared),
        sampler=graph.add("KSamplerSelect", sampler_name="euler"),
        sigmas=graph.add("BasicScheduler", model=loader, scheduler="normal", steps=2, denoise=1.0),
        latent_image=graph.add("EmptyLatentImage", width=96, height=64, batch_size=1),
    )
    picture = graph.add("VAEDecode", samples=latent, vae=[loader[0], 2])
    save = graph.add("SaveImage", images=picture, filename_prefix="test")
    shown = {data["node"]: data["output"]["images"] for data in client.run(graph).of("executed")}
    assert len(shown[node[0]]) == len(shown[save[0]]) == 1  # one preview, and one picture
    (preview,) = shown[node[0]]
    colors = to_tensor(client.server.view(preview))
    assert colors.shape == (64, 96, 3) and (colors[0, 0] - colors[0, 95]).abs().max() > 0.2  # of both regions


def grid_graph(**inputs):
    graph = Graph()
    defaults = {"width": 96, "height": 64, "layout": "1,1", "prompts": "red\nblue", "cfg": 8.0}
    return graph, graph.add(GRID, **{**defaults, **inputs})


def test_the_node_shows_its_preview_without_being_an_output(client):
    graph, node = grid_graph()
    mask = graph.add("RegionalMaskFromBatch", masks=[node[0], 1], number=2)
    graph.add("PreviewImage", images=graph.add("MaskToImage", mask=mask))
    run = client.run(graph)
    shown = {data["node"]: data["output"] for data in run.of("executed")}
    (image,) = shown[node[0]]["images"]
    preview = to_tensor(client.server.view(image))
    assert preview.shape == (64, 96, 3)
    assert (preview[0, 0] - preview[0, 95]).abs().max() > 0.2
    assert bool((run.pictures[-1][:, 48:] > 0.9).all()) and bool((run.pictures[-1][:, :48] < 0.1).all())


def test_what_needs_regions_says_what_is_not_connected(client):
    graph, node = grid_graph()
    loader = graph.add("RegionalTestingLoader", kind="eps")
    prompt = graph.add("CLIPTextEncode", text="clouds", clip=[loader[0], 1])
    inputs = {"model": loader, "positive": prompt, "negative": prompt, "cfg": 8.0, "regional_prompts": node}
    latent = graph.add(
        "SamplerCustomAdvanced",
        noise=graph.add("RandomNoise", noise_seed=0),
        guider=graph.add("RegionalGuider", **inputs),
        sampler=graph.add("KSamplerSelect", sampler_name="euler"),
        sigmas=graph.add("BasicScheduler", model=loader, scheduler="normal", steps=2, denoise=1.0),
        latent_image=graph.add("EmptyLatentImage", width=96, height=64, batch_size=1),
    )
    graph.add("SaveImage", images=graph.add("VAEDecode", samples=latent, vae=[loader[0], 2]), filename_prefix="test")
    with pytest.raises(ExecutionFailed, match=r"RegionalGrid: regional_prompts needs model, clip, negative"):
        client.run(graph)
    graph.inputs(GRID).update(model=loader, clip=[loader[0], 1], negative=prompt)
    assert [tuple(picture.shape) for picture in client.run(graph).pictures] == [(64, 96, 3)] * 2

"""The pack on a real ComfyUI server, over HTTP and its websocket: what a browser gets, and what a person reads."""

import importlib.util
import io
import json
import logging
import re
import sys
import time
import urllib.parse
import warnings

import pytest
import torch
from comfy_extras.nodes_gits import GITSScheduler
from comfy_server import ExecutionFailed, Interrupted, PromptRejected
from dev import PACKS
from host import ROOT
from pack import NODE_CLASS_MAPPINGS
from PIL import Image
from server_use import (
    BASE_ONLY,
    COLOURS,
    COLUMNS,
    CONTRAST,
    HEIGHT,
    INNER,
    KEPT,
    MASK_GRID,
    MASKS,
    PIXELS,
    ROWS,
    SEEDS,
    STEPS,
    TILE,
    TILE_MASK,
    WIDTH,
    Scene,
    assert_painted,
    assert_regions_painted,
    cells,
    mask_grid,
    regional_guider,
    regional_sampler,
    regional_sampler_advanced,
    steps,
    to_tensor,
    two_advanced_samplers,
    two_samplers,
)
from workflow import to_prompt, use_demo_model

PACK = next(name for name, folder in PACKS.items() if folder == ROOT)
ALIAS = "MaskGridNKSamplersAdvanced"
EXAMPLES = sorted((ROOT / "example_workflows").glob("*.json"))


def log_of(server):
    return server.log.read_text("utf-8", errors="replace")


@pytest.fixture(scope="module")
def info(server):
    return server.get("/object_info")


# What the server says about the pack


def test_log_at_start_is_clean(server):
    lines = server.log_at_start.splitlines()
    assert "Traceback" not in server.log_at_start and "IMPORT FAILED" not in server.log_at_start
    # All that it says about the pack (and the one for tests) is how long its import took.
    loaded = rf" \d+\.\d seconds: .*custom_nodes.{PACK}(-testing)?$"
    assert [bool(re.search(loaded, line)) for line in lines if PACK in line or str(ROOT / "nodes") in line] == [
        True
    ] * 2


def test_loading_warns_of_nothing(caplog):
    """As the server loads it, but with every warning an error, and the levels of log messages at hand."""
    spec = importlib.util.spec_from_file_location(
        "pack_again", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    module = importlib.util.module_from_spec(spec)
    sys.modules["pack_again"] = module
    try:
        with warnings.catch_warnings(), caplog.at_level(logging.WARNING):
            warnings.simplefilter("error")
            spec.loader.exec_module(module)
    finally:
        for name in [name for name in sys.modules if name.split(".")[0] == "pack_again"]:
            del sys.modules[name]
    assert module.NODE_CLASS_MAPPINGS.keys() == NODE_CLASS_MAPPINGS.keys() and not caplog.records


@pytest.mark.parametrize("node", NODE_CLASS_MAPPINGS)
def test_node_explains_itself(node, server, info):
    said = info[node]
    assert said["python_module"] == f"custom_nodes.{PACK}"
    assert said["description"].strip() and said["display_name"].strip()
    assert said["category"].split("/")[0] == "regional sampling"
    assert said["search_aliases"] and all(alias.strip() for alias in said["search_aliases"])
    assert said.get("deprecated", False) is (node == ALIAS)
    inputs = {**said["input"].get("required", {}), **said["input"].get("optional", {})}
    assert [
        name for name, (_, *options) in inputs.items() if not (options and options[0].get("tooltip", "").strip())
    ] == []
    assert len(said["output"]) == len(said["output_name"]) == len(said["output_tooltips"]) > 0
    assert all(tooltip.strip() for tooltip in said["output_tooltips"])


@pytest.mark.parametrize("node", NODE_CLASS_MAPPINGS)
def test_help_page(node, server, info):
    """The browser asks for this address, made from the node's `python_module` and `name`."""
    folder = info[node]["python_module"].removeprefix("custom_nodes.")
    page = server.get(f"/extensions/{folder}/docs/{urllib.parse.quote(info[node]['name'])}.md").decode()
    assert page.startswith("# ")
    inputs = [*info[node]["input"].get("required", {}), *info[node]["input"].get("optional", {})]
    if node != ALIAS:  # its page leads to the other's
        numbered = "regional_prompts"  # one row for all of CombineRegionalPrompts
        assert [name for name in inputs if name not in page and not name.startswith(numbered)] == []


def test_no_help_page_without_a_node():
    assert {path.stem for path in (ROOT / "web" / "docs").glob("*.md")} <= NODE_CLASS_MAPPINGS.keys()


# One prompt for each sampler node: the picture, one bar, the previews

FROM_BASE = steps("base", 0, BASE_ONLY)
REGIONS = {name: FROM_BASE + steps(name, BASE_ONLY) for name in COLOURS}
WHOLE = {name: steps(name) for name in COLOURS}
MASKED = {"base": steps("base"), "a": steps("a"), "b": steps("base")}  # one mask, that of region a

# A prompt, the node under test, and who paints the latent pixels of each of INNER's places at which step.
SAMPLERS = {
    "RegionalSampler": (regional_sampler, {}, REGIONS),
    # The last step is the base's alone: it leaves the regions as they are, with what noise there is before it.
    "RegionalSamplerAdvanced": (
        regional_sampler_advanced,
        {},
        {"base": steps("base")} | {name: KEPT + steps(name, 0, STEPS - 1) for name in "ab"},
    ),
    "TwoAdvancedSamplersForMask": (two_advanced_samplers, {}, MASKED | {"a": KEPT + steps("a")}),
    "TwoSamplersForMask": (two_samplers, {}, MASKED),
    "RegionalSampler, lockstep": (regional_sampler, {"engine": "lockstep"}, REGIONS),
    "RegionalSamplerAdvanced, lockstep": (regional_sampler_advanced, {"engine": "lockstep"}, WHOLE),
    "TwoAdvancedSamplersForMask, lockstep": (two_advanced_samplers, {"engine": "lockstep"}, MASKED),
}


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_place_is_its_own_prompts(name, client):
    build, inputs, painters = SAMPLERS[name]
    scene = build(seed=next(SEEDS), **inputs)
    node = scene.only(name.split(",")[0])
    run = client.run(scene)
    assert node in run.executed
    assert [picture.shape for picture in run.pictures] == [(HEIGHT, WIDTH, 3)]
    for place, boxes in INNER.items():
        assert_painted(run.pictures[0], boxes, painters[place])
    assert_one_bar(run, node)
    previews = assert_previews(run, node)
    for place, boxes in INNER.items():
        seen = torch.stack([cells(preview, boxes) for preview in previews])
        # All of the canvas is shown, and denoised: never with more contrast than the prompts have.
        assert (seen - seen.mean(1, keepdim=True)).square().mean((1, 2)).sqrt().max() < CONTRAST
        colour = seen[-1].mean(0)
        distances = {name: float((colour - torch.tensor(COLOURS[name])).norm()) for name in COLOURS}
        assert min(distances, key=distances.get) == painters[place][-1][1]


@pytest.mark.parametrize("mode", ["Sample then Fork", "Fork then Sample"])
def test_mask_grid_is_a_batch_of_cells(mode, client):
    scene = mask_grid(seed=(seed := next(SEEDS)), mode=mode)
    run = client.run(scene)
    assert scene.only(MASK_GRID) in run.executed
    assert len(run.pictures) == ROWS * COLUMNS
    width, height = (size // PIXELS for size in TILE)
    left, top, right, bottom = (edge // PIXELS for edge in TILE_MASK)
    for number, picture in enumerate(run.pictures):
        row, column = divmod(number, COLUMNS)
        x, y = column * width, row * height
        assert picture.shape == (HEIGHT, WIDTH, 3)
        assert_painted(picture, [(x + left + 3, y + top + 3, x + right - 3, y + bottom - 3)], steps("a"))
        # Everything else is the empty latent: level 127 of 256, middle grey. Decoding reaches two latent pixels far.
        rest = torch.ones(HEIGHT // PIXELS, WIDTH // PIXELS, dtype=torch.bool)
        rest[max(y + top - 2, 0) : y + bottom + 2, max(x + left - 2, 0) : x + right + 2] = False
        rest = rest.repeat_interleave(PIXELS, 0).repeat_interleave(PIXELS, 1)
        assert picture[rest].unique().tolist() == [127.5 / 256]
    assert_one_bar(run, scene.only(MASK_GRID))
    assert_previews(run, scene.only(MASK_GRID))

    old = client.run(mask_grid(seed=seed, mode=mode, kind=ALIAS))
    assert old.executed  # it has a result of its own
    assert torch.equal(torch.stack(old.pictures), torch.stack(run.pictures))


def test_regional_guider_in_the_hosts_own_sampler(client):
    run = client.run(regional_guider(seed=next(SEEDS)))
    for place, boxes in INNER.items():
        assert_painted(run.pictures[0], boxes, steps(place))


def assert_one_bar(run, node):
    """One bar over the whole run, in both kinds of messages that the server sends about it."""
    reports = run.of("progress")
    values = [report["value"] for report in reports]
    assert {report["node"] for report in reports} == {node}
    (total,) = {report["max"] for report in reports}
    assert values == sorted(values) and values[-1] == total and len(set(values)) >= STEPS
    states = [state["nodes"][node] for state in run.of("progress_state") if node in state["nodes"]]
    assert states.pop(0)["max"] == 1.0  # the server's own, when the node starts
    assert {state["max"] for state in states} == {total}
    assert [state["value"] for state in states] == sorted(state["value"] for state in states)
    others = [n for state in run.of("progress_state") for name, n in state["nodes"].items() if name != node]
    assert {other["max"] for other in others} == {1.0}


def assert_previews(run, node):
    """At least one preview for each step of the node, each a picture of the whole canvas; returns them."""
    previews = [event for event in run.events if event.kind == "preview"]
    assert len(previews) >= STEPS
    assert {event.data["node_id"] for event in previews} == {node}
    # They come while it runs.
    order = [event.kind for event in run.events if event.kind in ("preview", "progress")]
    assert order.index("preview") <= 1
    pictures = [to_tensor(event.image) for event in previews]
    assert {picture.shape for picture in pictures} == {(HEIGHT, WIDTH, 3)}
    return pictures


# What goes through the other nodes


def test_pipes_placeholder_and_schedule_arrive(client):
    """The base's model and prompts go through all the pipe nodes; region a's come from conditioning alone."""
    scene = Scene()
    nothing = scene.add("ImpactNegativeConditioningPlaceholder")
    pipe = scene.add("ToBasicPipe", model=scene.model, positive=scene.prompt_of("b"), negative=nothing, vae=scene.vae)
    pipe = scene.add("EditBasicPipe", basic_pipe=pipe, positive=scene.prompt_of("base"))
    parts = scene.add("FromBasicPipe_v2", basic_pipe=pipe)[0]
    again = scene.add("FromBasicPipe", basic_pipe=[parts, 0])[0]
    pipe = scene.add("ToBasicPipe", model=[parts, 1], positive=[again, 3], negative=[parts, 5])
    schedule = scene.add("GITSSchedulerFuncProvider", coeff=1.0, denoise=1.0)
    base = scene.step_sampler("base", basic_pipe=pipe, scheduler_func_opt=schedule)
    region = scene.add(
        "RegionalPromptFromConditioning",
        mask=scene.mask(MASKS["a"]),
        model=scene.model,
        positive=scene.prompt_of("a"),
        negative=nothing,
        cfg=3.0,
    )
    run = client.run(regional_sampler(seed=next(SEEDS), scene=scene, base_sampler=base, regional_prompts=region))
    sigmas = GITSScheduler.execute(1.0, STEPS, 1.0).result[0].tolist()
    for place, painters in {"base": WHOLE["base"], "a": REGIONS["a"], "b": WHOLE["base"]}.items():
        assert_painted(run.pictures[0], INNER[place], painters, sigmas)


def test_batch_of_latents(client):
    scene = regional_sampler(seed=next(SEEDS))
    scene.inputs("EmptyLatentImage")["batch_size"] = 2
    first, second = client.run(scene).pictures
    assert_regions_painted(first)
    assert_regions_painted(second)
    assert not torch.equal(first, second)


def test_empty_region_is_left_out_and_the_log_says_so(client):
    scene = regional_sampler(seed=next(SEEDS))
    region = next(node for node in scene.prompt.values() if node["class_type"] == "RegionalPrompt")
    region["inputs"]["mask"] = scene.add("SolidMask", value=0.0, width=64, height=64)
    before = len(log_of(client.server))
    (picture,) = client.run(scene).pictures
    for place, painters in {"base": WHOLE["base"], "a": WHOLE["base"], "b": REGIONS["b"]}.items():
        assert_painted(picture, INNER[place], painters)
    assert re.search(r"WARNING.*RegionalSampler, region 1: its mask is empty", log_of(client.server)[before:])


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_workflow(path, client, info):
    prompt = use_demo_model(to_prompt(json.loads(path.read_text("utf-8")), info))
    run = client.run(prompt)
    (grid,) = [node["inputs"] for node in prompt.values() if node["class_type"] == MASK_GRID] or [{}]
    saves = sum(node["class_type"] == "SaveImage" for node in prompt.values())
    count = grid.get("rows", 1) * grid.get("columns", 1) * saves
    made = run.pictures[:count]  # the saved ones; what nodes show of their masks comes after them
    showing = ("RegionalPromptsFromColorMask", "RegionalGrid", "RegionalPromptsFromMasks", "RegionalPreview")
    assert len(run.pictures) == count + sum(node["class_type"] in showing for node in prompt.values())

    # The browser shows the picture beside it. It is 512 wide; a batch is laid out in rows of three, four pixels apart.
    shown = to_tensor(client.server.get(f"/api/workflow_templates/{PACK}/{path.stem}.jpg"))
    columns = min(len(made), 3)
    width = (512 - 4 * (columns - 1)) // columns
    height = round(width * made[0].shape[0] / made[0].shape[1])
    for number, picture in enumerate(made):
        row, column = divmod(number, columns)
        y, x = row * (height + 4), column * (width + 4)
        small = Image.fromarray((picture * 255).byte().numpy()).resize((width, height))
        same, there = to_tensor(encoded(small)), shown[y : y + height, x : x + width]
        # JPEG leaves 0.4 % of the variance unexplained at most, another picture of that prompt all of it.
        assert (there - same).square().mean() < 0.02 * (same - same.mean((0, 1))).square().mean()


def encoded(picture):
    with io.BytesIO() as file:
        picture.save(file, "PNG")
        return file.getvalue()


def test_templates_are_offered(server):
    assert set(server.get("/api/workflow_templates")[PACK]) == {path.stem for path in EXAMPLES}


# Refused before anything runs


def canvas(scene):
    return scene.canvas


def whole_run(scene):
    return scene.full_sampler("base", 1)


@pytest.mark.parametrize(
    ("build", "node", "name", "value", "error"),
    [
        (regional_sampler, "RegionalSampler", "base_sampler", canvas, "return_type_mismatch"),
        (regional_sampler, "RegionalSampler", "base_sampler", whole_run, "return_type_mismatch"),
        (regional_sampler, "CombineRegionalPrompts", "regional_prompts32", canvas, "return_type_mismatch"),
        (two_advanced_samplers, "TwoAdvancedSamplersForMask", "mask", canvas, "return_type_mismatch"),
        (mask_grid, MASK_GRID, "mask", canvas, "return_type_mismatch"),
        (regional_sampler, "RegionalSampler", "regional_prompts", None, "required_input_missing"),
        (regional_sampler_advanced, "RegionalSamplerAdvanced", "latent_image", None, "required_input_missing"),
        (two_samplers, "TwoSamplersForMask", "mask_sampler", None, "required_input_missing"),
        (regional_sampler, "RegionalSampler", "denoise", 1.5, "value_bigger_than_max"),
        (regional_sampler, "RegionalSampler", "seed", -1, "value_smaller_than_min"),
        (regional_sampler_advanced, "RegionalSamplerAdvanced", "steps", 0, "value_smaller_than_min"),
        (two_advanced_samplers, "TwoAdvancedSamplersForMask", "overlap_factor", 10001, "value_bigger_than_max"),
        (mask_grid, MASK_GRID, "rows", 17, "value_bigger_than_max"),
        (regional_sampler, "RegionalSampler", "seed_2nd_mode", "both", "value_not_in_list"),
        (mask_grid, MASK_GRID, "mode", "neither", "value_not_in_list"),
        (regional_sampler, "RegionalSampler", "steps", "many", "invalid_input_type"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_bad_prompt_is_refused_by_name(build, node, name, value, error, client, server_goes_on):
    scene = build(seed=next(SEEDS))
    if value is None:
        del scene.inputs(node)[name]
    else:
        scene.inputs(node)[name] = value(scene) if callable(value) else value
    with pytest.raises(PromptRejected, match=name) as refused:  # the server's answer was HTTP 400
        client.run(scene)
    report = refused.value.reply["node_errors"]
    assert report.keys() == {scene.only(node)} and not client.events
    (found,) = report[scene.only(node)]["errors"]
    assert (found["type"], found["extra_info"]["input_name"]) == (error, name)


# Refused while it runs


def assert_refused(client, scene, node, sentence):
    """The run ends in `node` with this one sentence."""
    with pytest.raises(ExecutionFailed) as failure:
        client.run(scene)
    details = failure.value.details
    message = details["exception_message"].strip()
    assert details["node_id"] == node, message
    assert details["exception_type"] in ("TypeError", "ValueError"), message
    assert re.search(sentence, message), message
    assert "\n" not in message and message.endswith(".") and not re.search(r"Traceback|File \"|\.py", message)


BUILDERS = {
    "RegionalSampler": regional_sampler,
    "RegionalSamplerAdvanced": regional_sampler_advanced,
    "TwoAdvancedSamplersForMask": two_advanced_samplers,
    "TwoSamplersForMask": two_samplers,
    MASK_GRID: mask_grid,
    "RegionalGuider": regional_guider,
    "RegionalPrompt": regional_sampler,
    "CombineRegionalPrompts": regional_sampler,
    "KSamplerAdvancedProvider": regional_sampler,
    "KSamplerProvider": two_samplers,
}
LEFT_OUT = {f"regional_prompts{i}" for i in range(3, 32)}  # the others of CombineRegionalPrompts are as good

SOCKETS = [
    (node, name)
    for node in BUILDERS
    for group in NODE_CLASS_MAPPINGS[node].INPUT_TYPES().items()
    if group[0] != "hidden"
    for name, (kind, *_) in group[1].items()
    if isinstance(kind, str) and kind not in ("INT", "FLOAT", "BOOLEAN", "STRING", "COMBO") and name not in LEFT_OUT
]


@pytest.mark.parametrize(("node", "name"), SOCKETS)
def test_wrong_object_is_named_where_it_comes_in(node, name, client, server_goes_on):
    scene = BUILDERS[node](seed=next(SEEDS))
    where = next(key for key, value in scene.prompt.items() if value["class_type"] == node)
    scene.prompt[where]["inputs"][name] = scene.add("RegionalTestingWrongObject")
    assert_refused(client, scene, where, rf"^{node}\b.* (str|text)\b")


@pytest.mark.parametrize("name", ["model", "positive", "negative"])
def test_wrong_object_in_a_pipe_is_named_where_it_is_used(name, client, server_goes_on):
    scene = two_samplers(seed=next(SEEDS))
    pipe = next(value for value in scene.prompt.values() if value["class_type"] == "ToBasicPipe")
    pipe["inputs"][name] = scene.add("RegionalTestingWrongObject")
    provider = next(key for key, value in scene.prompt.items() if value["class_type"] == "KSamplerProvider")
    assert_refused(client, scene, provider, rf"^KSamplerProvider\b.*\b{name}\b.* str\b")


def two_masks(scene):
    picture = scene.add("MaskToImage", mask=scene.mask(MASKS["a"]))
    return scene.add("ImageToMask", image=scene.add("RepeatImageBatch", image=picture, amount=2), channel="red")


def other_family(scene):
    """A sampler whose model has SD1.5's latents."""
    loader = scene.add("RegionalTestingLoader", kind="eps", model="unet")
    prompt = scene.add("CLIPTextEncode", text="any", clip=[loader[0], 1])
    pipe = scene.add("ToBasicPipe", model=loader, positive=prompt, negative=prompt)
    return scene.step_sampler("a", basic_pipe=pipe)


REFUSED = {
    "RegionalSampler: denoise 0": (regional_sampler, {"denoise": 0.0}, "denoise must be above 0"),
    "TwoAdvancedSamplersForMask: denoise 0": (two_advanced_samplers, {"denoise": 0.0}, "denoise must be above 0"),
    "RegionalSamplerAdvanced: start at end": (
        regional_sampler_advanced,
        {"start_at_step": 5, "end_at_step": 5},
        r"start_at_step \(5\) must be below end_at_step \(5\)",
    ),
    "TwoAdvancedSamplersForMask: two masks for one picture": (
        two_advanced_samplers,
        {"mask": two_masks},
        "1 mask .*expected, 2 came|2 masks",
    ),
    "TwoAdvancedSamplersForMask: unlike latent formats": (
        two_advanced_samplers,
        {"mask_sampler": other_family},
        "mask_sampler: .*SD15.*PictureLatents",
    ),
    f"{MASK_GRID}: grid too narrow": (mask_grid, {"columns": COLUMNS - 1}, rf"384 x {HEIGHT}.*{WIDTH} x {HEIGHT}"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nonsense_is_refused_in_one_sentence(name, client, server_goes_on):
    build, inputs, sentence = REFUSED[name]
    node = name.split(":")[0]
    scene = build(seed=next(SEEDS))
    for key, value in inputs.items():
        scene.inputs(node)[key] = value(scene) if callable(value) else value
    assert_refused(client, scene, scene.only(node), sentence)


def test_denoise_0_of_a_whole_run(client, server_goes_on):
    scene = two_samplers(seed=next(SEEDS))
    for node in scene.prompt.values():
        if node["class_type"] == "KSamplerProvider":
            node["inputs"]["denoise"] = 0.0
    assert_refused(client, scene, scene.only("TwoSamplersForMask"), "KSamplerProvider: denoise must be above 0")


# Interrupt, queue, cache


@pytest.mark.parametrize(
    ("engine", "samplers"),
    [("stepwise", ("euler", "euler")), ("lockstep", ("euler", "euler")), ("lockstep", ("dpmpp_2m", "ddim"))],
    ids=["stepwise", "lockstep", "lockstep, all samplers different"],
)
@pytest.mark.parametrize("after", [1, BASE_ONLY + 2], ids=["base alone", "regions"])
def test_interrupt_ends_within_a_model_call(engine, samplers, after, client):
    """`after`: the step of the bar behind which the interrupt comes. Each model call takes half a second."""
    seed = next(SEEDS)

    def build(slow):
        scene = Scene(slow)
        both = {"base_sampler": scene.step_sampler("base"), "regional_prompts": scene.regions(samplers)}
        return regional_sampler(seed, scene=scene, engine=engine, **both)

    def interrupt(event):
        if event.kind == "progress" and event.data["value"] == after:
            client.server.interrupt()

    scene = build(slow=0.5)
    node = scene.only("RegionalSampler")
    want = client.run(build(slow=0.0))
    assert_one_bar(want, node)
    with pytest.raises(Interrupted):
        client.run(scene, interrupt)
    reports = [event.data for event in client.events if event.kind == "progress"]
    # With these samplers a step of the bar is one model call, or one for each of the three: the running one may end.
    assert after <= reports[-1]["value"] <= after + 1 < reports[-1]["max"] == want.of("progress")[-1]["max"]
    (end,) = (event.data for event in client.events if event.kind == "execution_interrupted")
    assert end["node_id"] == node
    assert client.server.get("/queue") == {"queue_running": [], "queue_pending": []}

    again = client.run(build(slow=0.001))
    assert node in again.executed
    assert torch.equal(again.pictures[0], want.pictures[0])


def test_two_prompts_in_a_row(client):
    server = client.server
    scenes = [regional_sampler(next(SEEDS), slow=0.1), regional_sampler(next(SEEDS))]
    first, second = (server.post("/prompt", {"prompt": scene.prompt})["prompt_id"] for scene in scenes)
    deadline = time.monotonic() + 240
    while [item[1] for item in server.get("/queue")["queue_running"]] != [first]:
        assert time.monotonic() < deadline, server.log_tail()
    assert [item[1] for item in server.get("/queue")["queue_pending"]] == [second]
    while not (entry := server.get(f"/history/{second}")):
        assert time.monotonic() < deadline, server.log_tail()
        time.sleep(0.2)
    entries = server.get(f"/history/{first}") | entry
    assert all(entry["status"]["status_str"] == "success" for entry in entries.values())
    pictures = [client.pictures(entries[name])[0] for name in (first, second)]
    for picture in pictures:
        assert_regions_painted(picture)
    assert not torch.equal(*pictures)


@pytest.mark.parametrize("build", [regional_sampler, two_samplers, mask_grid], ids=lambda build: build.__name__)
def test_same_prompt_is_cached_and_another_seed_is_not(build, client):
    seed = next(SEEDS)
    first, again, other = (client.run(build(seed=s)) for s in (seed, seed, next(SEEDS)))
    assert first.executed and not again.executed
    (cached,) = again.of("execution_cached")
    assert set(cached["nodes"]) == build(seed=seed).prompt.keys()
    assert torch.equal(first.pictures[0], again.pictures[0])
    assert other.executed and not torch.equal(first.pictures[0], other.pictures[0])


# After all of it


def test_no_python_warning_came_from_the_pack(server):
    places = "|".join(re.escape(str(place)) for place in (server.base / "custom_nodes" / PACK, ROOT))
    # Python's own form: file, line, category. Hidden folders of the root (.venv, .host) are not the pack's.
    assert not re.search(rf"^({places})[/\\](?!\.).*\.py:\d+: \w*Warning: .*", log_of(server), re.M)

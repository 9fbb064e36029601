"""What goes wrong, on a real server: docs/reliability.md has a row for each. After each fault the server samples on."""

import math
import os
import re
import shutil
import subprocess
import sys
import time

import psutil
import pytest
import torch
from comfy_server import ExecutionFailed, Interrupted, PromptRejected
from host import ROOT, comfyui
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pack import NODE_CLASS_MAPPINGS
from server_use import (
    BASE_ONLY,
    COLOURS,
    SEEDS,
    STEPS,
    Client,
    Graph,
    Scene,
    assert_regions_painted,
    mask_grid,
    regional_guider,
    regional_sampler,
    regional_sampler_advanced,
    thread_names,
    two_advanced_samplers,
    two_samplers,
)
from testing_pack.faults import BROKEN


def lockstep(seed, scene=None, **inputs):
    return regional_sampler(seed, scene=scene, engine="lockstep", **inputs)


def side_by_side(seed, scene=None, **inputs):
    scene = scene or Scene()
    both = {"base_sampler": scene.step_sampler("base"), "regional_prompts": scene.regions(("dpmpp_2m", "ddim"))}
    return lockstep(seed, scene, **both, **inputs)


def later(build, **inputs):
    def make(seed):
        return build(seed, **inputs)

    return make


GUIDED = "SamplerCustomAdvanced"
# Who samples, and in which node.
ENGINES = {
    "stepwise": (regional_sampler, "RegionalSampler"),
    "lockstep": (lockstep, "RegionalSampler"),
    "lockstep, unlike samplers": (side_by_side, "RegionalSampler"),
    "lockstep, crop": (later(lockstep, region_compute="crop", crop_context=32), "RegionalSampler"),
    "RegionalGuider": (regional_guider, GUIDED),
}


def users(scene, place):
    """The inputs of the nodes that use the scene's model with the prompt of `place`, or of all that use it."""
    for node in list(scene.prompt.values()):
        inputs = node["inputs"]
        if inputs.get("model") != scene.model or node["class_type"].startswith("RegionalTesting"):
            continue
        prompt = scene.prompt[inputs["positive"][0]]["inputs"] if "positive" in inputs else {}
        if place is None or prompt.get("red") == COLOURS[place][0]:
            yield inputs


def put_in(scene, place, kind, **inputs):
    """The model of `place` (None: every use of it) goes through a new node."""
    link = scene.add(kind, model=scene.model, **inputs)
    found = list(users(scene, place))
    assert found
    for inputs in found:
        inputs["model"] = link
    return scene


# Interrupts. That of RegionalSampler in its phases is in test_server.py.


def renoised(seed):
    return lockstep(seed, seed_2nd_mode="fixed", seed_2nd=7)


def recovered(seed):
    scene = Scene()
    both = {"base_sampler": scene.step_sampler("base"), "regional_prompts": scene.regions(("uni_pc", "uni_pc"))}
    return regional_sampler(seed, scene=scene, **both, additional_mode="ratio additional", base_only_steps=0)


def last_steps(seed):
    return regional_sampler_advanced(seed, start_at_step=STEPS - 2)


# A prompt, its sampling node, whose model is slow (None: all), after which step of the bar the interrupt comes.
PHASES = {
    "stepwise, before the first call": (regional_sampler, "RegionalSampler", None, 0),
    "lockstep, before the first call": (lockstep, "RegionalSampler", None, 0),
    "unlike samplers, before the first call": (side_by_side, "RegionalSampler", None, 0),
    "stepwise, a second pass": (recovered, "RegionalSampler", "a", 2),
    "lockstep, the base's own run": (renoised, "RegionalSampler", None, 1),
    "lockstep, the regions' own run": (renoised, "RegionalSampler", None, BASE_ONLY + 1),
    "lockstep, a region's model": (lockstep, "RegionalSampler", "b", BASE_ONLY + 1),
    "Advanced, stepwise, regions": (regional_sampler_advanced, "RegionalSamplerAdvanced", None, 1),
    "Advanced, stepwise, the last step": (last_steps, "RegionalSamplerAdvanced", None, 3),
    "Advanced, lockstep": (later(regional_sampler_advanced, engine="lockstep"), "RegionalSamplerAdvanced", None, 2),
    "TwoAdvanced, stepwise": (two_advanced_samplers, "TwoAdvancedSamplersForMask", None, 2),
    "TwoAdvanced, lockstep": (
        later(two_advanced_samplers, engine="lockstep"),
        "TwoAdvancedSamplersForMask",
        None,
        2,
    ),
    "TwoSamplers, outside": (two_samplers, "TwoSamplersForMask", "base", 2),
    "TwoSamplers, inside": (two_samplers, "TwoSamplersForMask", "a", STEPS + 2),
    "MaskGrid, one run": (mask_grid, "MaskGrid N KSamplers Advanced", None, 2),
    "MaskGrid, the second run": (
        later(mask_grid, mode="Fork then Sample"),
        "MaskGrid N KSamplers Advanced",
        None,
        STEPS + 1,
    ),
    "RegionalGuider, base alone": (regional_guider, GUIDED, None, 1),
    "RegionalGuider, regions": (regional_guider, GUIDED, "b", STEPS // 2 + 1),
}


@pytest.mark.parametrize("phase", PHASES)
def test_interrupt(phase, client, server_goes_on):
    """Each call of a slow model takes 0.4 s; the one that runs may end."""
    build, kind, place, after = PHASES[phase]
    scene = put_in(build(next(SEEDS)), place, "RegionalTestingSlow", seconds=0.4)
    if kind == GUIDED:
        scene.inputs("RegionalGuider")["base_only_percent"] = 0.5
    node = scene.only(kind)
    sent = []

    def interrupt(event):
        begins = event.kind == "executing" and event.data["node"] == node and after == 0
        if not sent and (begins or (event.kind == "progress" and event.data["value"] >= after)):
            client.server.interrupt()
            sent.append((event.data.get("value", 0), time.monotonic()))

    with pytest.raises(Interrupted):
        client.run(scene, interrupt)
    ((step, since),) = sent
    assert time.monotonic() - since < 5
    assert max((event.data["value"] for event in client.events if event.kind == "progress"), default=0) <= step + 1
    (end,) = (event.data for event in client.events if event.kind == "execution_interrupted")
    assert end["node_id"] == node


def test_two_prompts_wait_while_one_runs_and_is_interrupted(client):
    server = client.server
    scenes = [regional_sampler(next(SEEDS), slow=0.4), lockstep(next(SEEDS)), regional_sampler(next(SEEDS))]
    first, *others = (server.post("/prompt", {"prompt": scene.prompt})["prompt_id"] for scene in scenes)
    deadline = time.monotonic() + 60
    while [item[1] for item in server.get("/queue")["queue_running"]] != [first]:
        assert time.monotonic() < deadline, server.log_tail()
        time.sleep(0.1)
    assert sorted(item[1] for item in server.get("/queue")["queue_pending"]) == sorted(others)
    time.sleep(1)  # the server forgets an interrupt that comes before it begins; the prompt takes more than 10 s
    server.interrupt()
    while not all(server.get(f"/history/{name}") for name in others):
        assert time.monotonic() < deadline, server.log_tail()
        time.sleep(0.2)
    assert server.get(f"/history/{first}")[first]["status"]["status_str"] == "error"
    for name in others:
        (picture,) = client.pictures(server.get(f"/history/{name}")[name])
        assert_regions_painted(picture)


# Exceptions


def faulty_sampler(scene):
    sampler = scene.add("RegionalTestingFaultySampler", calls=2)
    if any(node["class_type"] == GUIDED for node in scene.prompt.values()):
        scene.inputs(GUIDED)["sampler"] = sampler
        return
    (pipe,) = (key for key, node in scene.prompt.items() if node["inputs"] in list(users(scene, "b")))
    (provider,) = (node for node in scene.prompt.values() if node["inputs"].get("basic_pipe") == [pipe, 0])
    provider["inputs"]["sampler_opt"] = sampler


def faulty_hook(call):
    def make(scene):
        (inputs,) = users(scene, "b")
        inputs["positive"] = scene.add("RegionalTestingFaultyHook", conditioning=inputs["positive"], call=call)

    return make


def faulty_model(place, fault, call=3):
    def make(scene):
        put_in(scene, place, "RegionalTestingFaultyModel", fault=fault, call=call)

    return make


EXCEPTIONS = {
    "a custom sampler": faulty_sampler,
    "a model": faulty_model("b", "error"),
    "a model patch": faulty_model("b", "cfg patch"),
    "a hook that is applied": faulty_hook(2),
    "a hook that is registered": faulty_hook(0),
}


def failure_of(scene, client):
    with pytest.raises(ExecutionFailed) as failed:
        client.run(scene)
    return failed.value.details


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("fault", EXCEPTIONS)
def test_exception(fault, engine, client, server_goes_on):
    build, kind = ENGINES[engine]
    scene = build(next(SEEDS))
    EXCEPTIONS[fault](scene)
    details = failure_of(scene, client)
    assert details["node_id"] == scene.only(kind)
    assert details["exception_type"] == "RuntimeError"
    message = details["exception_message"].strip()
    named = "the sampler of region 2 failed: " if "sampler" in fault and engine.startswith("lockstep") else ""
    assert message == named + BROKEN


def unet_scene(engine, patched):
    """A UNet whose first attention of the region's clone fails in its third call."""
    graph = Graph()
    model = graph.add("RegionalTestingLoader", kind="eps", model="unet")
    prompts = [graph.add("CLIPTextEncode", text=text, clip=[model[0], 1]) for text in ("one", "two", "none")]
    inside = graph.add("RegionalTestingFaultyModel", model=model, fault="attention patch", call=3) if patched else model
    region = graph.add(
        "RegionalPromptFromConditioning",
        mask=graph.add("SolidMask", value=1.0, width=8, height=8),
        model=inside,
        positive=prompts[1],
        negative=prompts[2],
        cfg=3.0,
    )
    pipe = graph.add("ToBasicPipe", model=model, positive=prompts[0], negative=prompts[2])
    settings = {"cfg": 3.0, "sampler_name": "euler", "scheduler": "normal", "sigma_factor": 1.0}
    latent = graph.add(
        "RegionalSampler",
        seed=next(SEEDS),
        seed_2nd=0,
        seed_2nd_mode="ignore",
        steps=4,
        base_only_steps=1,
        denoise=1.0,
        overlap_factor=0,
        restore_latent=True,
        additional_mode="DISABLE",
        additional_sampler="AUTO",
        additional_sigma_ratio=0.3,
        engine=engine,
        samples=graph.add("EmptyLatentImage", width=64, height=64, batch_size=1),
        base_sampler=graph.add("KSamplerAdvancedProvider", basic_pipe=pipe, **settings),
        regional_prompts=region,
    )
    graph.add("PreviewImage", images=graph.add("RegionalTestingDecode", samples=latent))
    return graph


@pytest.mark.parametrize("engine", ["stepwise", "lockstep"])
def test_exception_in_an_attention_patch(engine, client, server_goes_on):
    details = failure_of(unet_scene(engine, patched=True), client)
    assert (details["exception_type"], details["exception_message"].strip()) == ("RuntimeError", BROKEN)
    assert client.run(unet_scene(engine, patched=False)).pictures[0].shape == (64, 64, 3)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("place", "call"), [("base", 1), ("base", 4), ("b", 1), ("b", 3)])
def test_out_of_memory(place, call, engine, client, server_goes_on):
    """The host sees the error itself: it says what it means, and unloads all models."""
    build, kind = ENGINES[engine]
    scene = build(next(SEEDS))
    faulty_model(place, "out of memory", call)(scene)
    before = client.server.log.stat().st_size
    details = failure_of(scene, client)
    assert details["node_id"] == scene.only(kind)
    assert details["exception_type"].endswith("OutOfMemoryError")
    assert details["exception_message"].startswith(f"out of memory, {BROKEN}\nThis error means you ran out of memory")
    assert b"Got an OOM, unloading all loaded models." in client.server.log.read_bytes()[before:]


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("place", ["base", "b"])
def test_nan_from_the_model(place, engine, client, server_goes_on):
    """Instead of a black picture, an error that names who answered it and the step, counted from 1."""
    build, kind = ENGINES[engine]
    scene = build(next(SEEDS))
    faulty_model(place, "NaN", call=4)(scene)
    details = failure_of(scene, client)
    assert details["node_id"] == scene.only(kind) and details["exception_type"] == "ValueError"
    message = details["exception_message"].strip()
    who = {"base": "the base", "b": "region 2"}[place]
    step = 4 + (BASE_ONLY if place == "b" and kind == "RegionalSampler" else 0)
    assert re.search(rf"\b{who}\b.* NaN .*\bstep {step} of {STEPS}\b", message), message


# Size and number

GREY = (0.9, 0.9, 0.9)  # the base's colour


def colours(number):
    """Mean colour of region `number`, told apart by 0.15 at least in one channel."""
    return tuple(0.2 + 0.15 * (number // 4**channel % 4) for channel in range(3))


def flat(graph, colour):
    red, green, blue = colour
    return graph.add(
        "RegionalTestingPrompt",
        red=red,
        green=green,
        blue=blue,
        contrast=0.0,
        scale=8.0,
        direction=0.0,
        pattern="pixels",
    )


def many(boxes, size, engine, steps=6, **inputs):
    """A prompt of as many flat regions on a flat base as there are `boxes` of the picture, given in pixels."""
    graph = Scene()
    width, height = size
    graph.prompt[graph.canvas[0]]["inputs"] |= {"width": width, "height": height}
    base = flat(graph, GREY)
    regions = []
    for number, box in enumerate(boxes):
        prompt = flat(graph, colours(number))
        regions.append(
            graph.add(
                "RegionalPromptFromConditioning",
                mask=graph.mask(box, *size),
                model=graph.model,
                positive=prompt,
                negative=prompt,
                cfg=1.0,
            )
        )
    while len(regions) > 1:
        regions = [
            graph.add("CombineRegionalPrompts", **{f"regional_prompts{i}": one for i, one in enumerate(part, 1)})
            for part in (regions[start : start + 32] for start in range(0, len(regions), 32))
        ]
    if engine == "RegionalGuider":
        own = {"model": graph.model, "positive": base, "negative": base, "cfg": 1.0, "overlap_factor": 0}
        latent = graph.add(
            GUIDED,
            noise=graph.add("RandomNoise", noise_seed=next(SEEDS)),
            guider=graph.add("RegionalGuider", regional_prompts=regions[0], **own),
            sampler=graph.add("KSamplerSelect", sampler_name="euler"),
            sigmas=graph.add("BasicScheduler", model=graph.model, scheduler="normal", steps=steps, denoise=1.0),
            latent_image=graph.canvas,
        )
        graph.save(latent)
        return graph
    pipe = graph.add("ToBasicPipe", model=graph.model, positive=base, negative=base)
    settings = {"cfg": 1.0, "sampler_name": "euler", "scheduler": "normal", "sigma_factor": 1.0}
    sampler = graph.add("KSamplerAdvancedProvider", basic_pipe=pipe, **settings)
    return regional_sampler(
        next(SEEDS),
        scene=graph,
        base_sampler=sampler,
        regional_prompts=regions[0],
        steps=steps,
        base_only_steps=1,
        overlap_factor=0,
        engine=engine,
        **inputs,
    )


def assert_colours(picture, boxes):
    """In the middle of each box, its region's colour to two of 256 levels."""
    for number, (left, top, right, bottom) in enumerate(boxes):
        pixel = picture[(top + bottom) // 2 - 1, (left + right) // 2 - 1]
        torch.testing.assert_close(pixel, torch.tensor(colours(number)), atol=2 / 256, rtol=0)


HOW = ["stepwise", "lockstep", "RegionalGuider"]


@pytest.mark.parametrize("engine", HOW)
def test_64_regions(engine, client):
    boxes = [(x, y, x + 32, y + 32) for y in range(0, 256, 32) for x in range(0, 256, 32)]
    (picture,) = client.run(many(boxes, (256, 256), engine)).pictures
    assert_colours(picture, boxes)


@pytest.mark.parametrize("engine", HOW)
def test_2048_x_2048(engine, client):
    boxes = [(0, 0, 1024, 2048), (1024, 512, 2048, 2048)]
    (picture,) = client.run(many(boxes, (2048, 2048), engine, steps=3)).pictures
    assert picture.shape == (2048, 2048, 3)
    assert_colours(picture, boxes)
    torch.testing.assert_close(picture[256, 1536], torch.tensor(GREY), atol=2 / 256, rtol=0)


@pytest.mark.parametrize("engine", HOW)
@pytest.mark.parametrize("size", [8, 1])
def test_masks_of_one_pixel(size, engine, client):
    """One pixel of the latent is its region's; one of the picture is 1/64 of that, and shows no more than this."""
    boxes = [(24, 40, 24 + size, 40 + size), (64, 16, 64 + size, 16 + size)]
    (picture,) = client.run(many(boxes, (128, 96), engine)).pictures
    torch.testing.assert_close(picture[80, 110], torch.tensor(GREY), atol=2 / 256, rtol=0)
    for number, (left, top, *_) in enumerate(boxes):
        want = torch.tensor(colours(number) if size == 8 else GREY)
        # decoding mixes in 2 % of the neighbours next to a pixel's centre
        torch.testing.assert_close(picture[top + 3, left + 3], want, atol=0.02, rtol=0)


def test_a_mask_of_1_x_1_pixel_is_the_whole_canvas(client):
    for engine in HOW:
        graph = many([(0, 0, 1, 1)], (128, 96), engine)
        for node in graph.prompt.values():
            if node["class_type"] == "SolidMask":
                node["inputs"] |= {"width": 1, "height": 1}
        (picture,) = client.run(graph).pictures
        torch.testing.assert_close(picture.mean((0, 1)), torch.tensor(colours(0)), atol=2 / 256, rtol=0)


def test_200_prompts_in_a_row(tmp_path, new_server):
    """Neither memory nor threads grow between the 20th prompt and the 200th, on a server that has run nothing else."""
    with new_server(tmp_path) as server:
        client, process = Client(server), psutil.Process(server.process.pid)
        seen = {}
        for number in range(1, 201):
            scene = Scene()
            scene.prompt[scene.canvas[0]]["inputs"] |= {"width": 64, "height": 64}
            engine = ("stepwise", "lockstep")[number % 2]
            samplers = ("dpmpp_2m", "ddim") if number % 4 == 1 else ("euler", "euler")
            both = {"base_sampler": scene.step_sampler("base"), "regional_prompts": scene.regions(samplers)}
            regional_sampler(next(SEEDS), scene=scene, engine=engine, steps=2, base_only_steps=1, **both)
            assert client.run(scene).pictures[0].shape == (64, 64, 3)
            server.post("/history", {"clear": True})  # the server's own record of all prompts
            if number in (20, 200):
                own = [name for name in thread_names(server) if not name.startswith("asyncio")]  # grow with HTTP alone
                seen[number] = process.memory_info().rss / 2**20, process.num_threads(), own
    (memory, threads, names), (later, threads_later, names_later) = seen[20], seen[200]
    # MB. Between 1 and 10 were measured, up and down; what one prompt allocates is 2, so a leak would be 360.
    assert later - memory < 30
    assert names_later == names and not any(name.startswith("regional") for name in names)
    assert threads_later - threads < 5  # ComfyUI's threads for HTTP; 45 prompts with threads of their own lie between


# Nonsense over the API

BUILDERS = (
    regional_sampler,
    lockstep,
    side_by_side,
    regional_sampler_advanced,
    two_advanced_samplers,
    two_samplers,
    mask_grid,
    regional_guider,
    later(mask_grid, mode="Fork then Sample"),
)
WRONG = (
    None,
    "",
    "text",
    "nan",
    True,
    -1,
    0.5,
    1e308,
    math.inf,
    2**63,
    -(10**30),
    [],
    {},
    [1, 2, 3],
    ["no such node", 0],
    {"__value__": [1, 2]},
)


def small(build):
    """The builder's prompt at 64 x 40 pixels with 2 steps; MaskGrid keeps the size that its tiles have."""
    scene = build(next(SEEDS))
    if not any(node["class_type"] == "MaskToImage" for node in scene.prompt.values()):
        scene.inputs("EmptyLatentImage").update(width=64, height=40)
    for node in list(scene.prompt.values()):
        if "steps" in node["inputs"]:
            node["inputs"]["steps"] = 2
        if node["class_type"] == "VAEDecode":
            scene.add("RegionalTestingFinite", samples=node["inputs"]["samples"])
    return scene


def declared(node):
    inputs = NODE_CLASS_MAPPINGS[node["class_type"]].INPUT_TYPES()
    return {**inputs["required"], **inputs.get("optional", {})}


@st.composite
def spoiled_prompts(draw):
    """A prompt with one to three inputs of the pack's nodes missing, of a wrong type, misconnected or extreme."""
    scene = small(draw(st.sampled_from(BUILDERS)))
    for _ in range(draw(st.integers(1, 3))):
        ours = sorted(name for name, node in scene.prompt.items() if node["class_type"] in NODE_CLASS_MAPPINGS)
        node = scene.prompt[draw(st.sampled_from(ours))]
        name = draw(st.sampled_from(sorted(declared(node))))
        kind, options = declared(node)[name]
        if isinstance(kind, list) or kind == "COMBO":
            extremes = kind if isinstance(kind, list) else options["options"]
        elif kind == "BOOLEAN":
            extremes = [False, True]
        else:
            # 10000 steps are valid, and take their time: they have a test of their own
            extremes = [options[end] for end in ("min", "max") if end in options and name != "steps"]
        link = st.tuples(st.sampled_from(sorted(scene.prompt)), st.integers(-1, 8)).map(list)
        how = draw(st.sampled_from(["missing", "wrong", "link", *["extreme"] * 7]))
        if how == "missing":
            node["inputs"].pop(name, None)
        elif how == "extreme" and extremes:
            node["inputs"][name] = draw(st.sampled_from(extremes))
        else:
            node["inputs"][name] = draw(st.sampled_from(WRONG) if how == "wrong" else link)
    return scene


@settings(max_examples=250, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None)
@given(scene=spoiled_prompts())
def test_spoiled_prompts(scene, server):
    """Each is refused with HTTP 400 or by one sentence of the node, or it samples a picture; the server lives on."""
    assert_sampled_or_refused(scene, server)


def assert_sampled_or_refused(scene, server):
    client = Client(server)
    try:
        run = client.run(scene)
    except PromptRejected as refused:
        assert refused.reply["error"] or refused.reply["node_errors"]
    except ExecutionFailed as failed:
        assert_clear(failed.details)
    else:
        assert run.pictures
        assert [data["output"]["finite"] for data in run.of("executed") if "finite" in (data["output"] or {})] == [
            [True]
        ]
    assert server.running


def assert_clear(details):
    """One of the pack's nodes, or the host's that runs RegionalGuider, says in one sentence what it wants."""
    message = details["exception_message"].strip()
    assert details["node_type"] in {*NODE_CLASS_MAPPINGS, GUIDED}, details
    assert details["exception_type"] in ("TypeError", "ValueError"), message
    assert "\n" not in message and message.endswith(".") and not re.search(r"Traceback|File \"|\.py", message), message


FLOATS = [
    (build, node["class_type"], name)
    for build in BUILDERS[:-1]
    for node in build(0).prompt.values()
    if node["class_type"] in NODE_CLASS_MAPPINGS
    for name, (kind, *_) in declared(node).items()
    if kind == "FLOAT"
]


@pytest.mark.parametrize(
    ("build", "node", "name"),
    [one for one in dict.fromkeys(FLOATS)],
)
def test_a_widget_that_is_nan(build, node, name, client):
    """The server lets it pass: no comparison with min and max fails."""
    scene = small(build)
    for one in scene.prompt.values():
        if one["class_type"] == node:
            one["inputs"][name] = math.nan
    assert_sampled_or_refused(scene, client.server)


@pytest.mark.parametrize("build", BUILDERS[:-2], ids=lambda build: build.__name__)
def test_ten_thousand_steps_can_be_interrupted(build, client, server_goes_on):
    scene, sent = small(build), []
    for node in scene.prompt.values():
        if "steps" in node["inputs"]:
            node["inputs"]["steps"] = 10000

    def interrupt(event):
        if event.kind == "progress" and not sent:
            sent.append(client.server.interrupt())

    with pytest.raises(Interrupted):
        client.run(scene, interrupt)


@pytest.mark.parametrize(
    "build", [regional_sampler, two_advanced_samplers, two_samplers], ids=lambda build: build.__name__
)
def test_a_schedule_without_end_is_refused(build, client, server_goes_on):
    scene = small(build)
    for node in scene.prompt.values():
        if "denoise" in node["inputs"]:
            node["inputs"]["denoise"] = 1e-9
    assert_clear(failure_of(scene, client))


# No file, network or eval


OFFENCES = """
import os, pathlib, socket, subprocess, urllib.request

def connect(): socket.create_connection(("127.0.0.1", 9), timeout=1)
def listen(): socket.socket().bind(("127.0.0.1", 0))
def look_up(): socket.getaddrinfo("localhost", 80)
def fetch(): urllib.request.urlopen("http://127.0.0.1:9/", timeout=1)
def read(): open(__file__).read()
def read_by_path(): pathlib.Path(__file__).read_text()
def write(): open(os.path.join(os.path.dirname(__file__), "made"), "w")
def write_by_path(): pathlib.Path(__file__).with_name("made").write_text("made")
def remove(): os.remove(__file__)
def make_folder(): os.mkdir(os.path.join(os.path.dirname(__file__), "made"))
def list_folder(): os.listdir(".")
def run(): subprocess.run(["true"])
def shell(): os.system("true")
def evaluate(): eval("1 + 1")
def execute(): exec("a = 1")
def translate(): compile("1", "text", "eval")
"""


def tree(folder):
    return {str(path.relative_to(folder)): path.read_bytes() if path.is_file() else None for path in folder.rglob("*")}


@pytest.mark.slow
def test_no_file_no_network_no_eval(tmp_path):
    """Every sampler node runs with sockets blocked, on a read-only copy; what the pack might do instead is stopped."""
    copy, offender = tmp_path / "pack", tmp_path / "offender.py"
    copy.mkdir()
    for entry in ROOT.iterdir():
        if entry.name in ("__init__.py", "pyproject.toml"):
            shutil.copy(entry, copy)
        elif entry.name in ("masks", "samplers", "regional", "nodes", "web"):
            shutil.copytree(entry, copy / entry.name, ignore=shutil.ignore_patterns("__pycache__"))
    offender.write_text(OFFENCES, "utf-8")
    for path in [copy, *copy.rglob("*")]:
        path.chmod(path.stat().st_mode & ~0o222)
    before = tree(tmp_path)
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "COMFYUI_PATH": str(comfyui())}
    env["PYTHONPATH"] = str(ROOT / "tests")
    command = [sys.executable, "-P", str(ROOT / "tests" / "sandbox.py"), str(copy), str(offender)]
    run = subprocess.run(command, env=env, capture_output=True, text=True, timeout=240, cwd=tmp_path)
    assert run.returncode == 0, run.stdout + run.stderr
    lines = [line.split(" ", 1) for line in run.stdout.splitlines()]
    assert {what.split(",")[0] for how, what in lines if how == "ran"} == {
        "RegionalSampler",
        "RegionalSamplerAdvanced",
        "TwoAdvancedSamplersForMask",
        "TwoSamplersForMask",
        "MaskGrid N KSamplers Advanced",
        "RegionalGuider",
    }
    assert [what.split(":")[0] for how, what in lines if how == "stopped"] == re.findall(r"def (\w+)", OFFENCES)
    assert tree(tmp_path) == before

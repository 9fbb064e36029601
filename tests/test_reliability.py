"""What goes wrong, on a real server: docs/reliability.md has a row for each. After each fault the server samples on."""

import itertools
import re
import time

import pytest
import torch
from comfy_server import ComfyServer, ExecutionFailed, Interrupted
from dev import PACKS
from host import comfyui
from server_use import (
    BASE_ONLY,
    COLOURS,
    STEPS,
    Client,
    Graph,
    Scene,
    assert_regions_painted,
    mask_grid,
    regional_guider,
    regional_sampler,
    regional_sampler_advanced,
    two_advanced_samplers,
    two_samplers,
)
from testing_pack.faults import BROKEN

pytestmark = pytest.mark.server

SEEDS = itertools.count(5000)


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    device = [] if torch.cuda.is_available() else ["--cpu"]
    with ComfyServer(
        comfyui(),
        tmp_path_factory.mktemp("comfyui"),
        PACKS,
        args=[*device, "--disable-api-nodes"],
        env={"OMP_NUM_THREADS": "1"},
    ) as running:
        yield running


@pytest.fixture
def client(server):
    return Client(server)


@pytest.fixture
def server_goes_on(client):
    """After the test no thread of the pack is left, nothing is queued, and the next prompt's picture is right."""
    yield
    assert loop_threads(client) == []
    assert client.server.get("/queue") == {"queue_running": [], "queue_pending": []}
    assert_regions_painted(client.run(regional_sampler(seed=next(SEEDS))).pictures[0])


def loop_threads(client):
    """The threads of the server's process that the pack made."""
    graph = Graph()
    graph.add("RegionalTestingThreads")
    (output,) = client.server.run(graph.prompt)["outputs"].values()
    assert any("MainThread" in name for name in output["threads"])
    return [name for name in output["threads"] if name.startswith("regional")]


def lockstep(seed, scene=None, **inputs):
    return regional_sampler(seed, scene=scene, engine="lockstep", **inputs)


def side_by_side(seed, scene=None, **inputs):
    scene = scene or Scene()
    both = {"base_sampler": scene.step_sampler("base"), "regional_prompts": scene.regions(("dpmpp_2m", "ddim"))}
    return lockstep(seed, scene, **both, **inputs)


# Who samples, and in which node.
ENGINES = {
    "stepwise": (regional_sampler, "RegionalSampler"),
    "lockstep": (lockstep, "RegionalSampler"),
    "lockstep, unlike samplers": (side_by_side, "RegionalSampler"),
    "RegionalGuider": (regional_guider, "SamplerCustomAdvanced"),
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


def later(build, **inputs):
    def make(seed):
        return build(seed, **inputs)

    return make


GUIDED = "SamplerCustomAdvanced"
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
    "RegionalGuider, regions": (regional_guider, GUIDED, "b", 6),
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
        if not sent and (begins or (event.kind == "progress" and event.data["value"] == after)):
            client.server.interrupt()
            sent.append(time.monotonic())

    with pytest.raises(Interrupted):
        client.run(scene, interrupt)
    assert sent and time.monotonic() - sent[0] < 5
    values = [event.data["value"] for event in client.events if event.kind == "progress"]
    assert max(values, default=0) <= after + 1
    (end,) = (event.data for event in client.events if event.kind == "execution_interrupted")
    assert end["node_id"] == node


def test_two_prompts_wait_while_one_runs_and_is_interrupted(client):
    server = client.server
    scenes = [regional_sampler(next(SEEDS), slow=0.4), lockstep(next(SEEDS)), regional_sampler(next(SEEDS))]
    first, *others = (server.post("/prompt", {"prompt": scene.prompt})["prompt_id"] for scene in scenes)
    assert sorted(item[1] for item in server.get("/queue")["queue_pending"]) == sorted(others)
    server.interrupt()
    deadline = time.monotonic() + 60
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


@pytest.mark.xfail(strict=False, reason="NaN check is being built")
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("place", ["base", "b"])
def test_nan_from_the_model(place, engine, client, server_goes_on):
    """Instead of a black picture, an error that names who answered it and the step."""
    build, kind = ENGINES[engine]
    scene = build(next(SEEDS))
    faulty_model(place, "NaN", call=4)(scene)
    details = failure_of(scene, client)
    assert details["node_id"] == scene.only(kind) and details["exception_type"] == "ValueError"
    message = details["exception_message"].strip()
    who = {"base": "the base", "b": "region 2"}[place]
    assert "NaN" in message and re.search(rf"\b{who}\b", message)
    first = BASE_ONLY if place == "b" and kind == "RegionalSampler" else 0
    (step,) = re.findall(r"\bstep (\d+)", message)
    assert int(step) in (first + 3, first + 4)  # counted from 0 or from 1

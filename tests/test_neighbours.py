"""This pack beside another one with some of its class ids, on a real server, in both orders of loading."""

import re

import pytest
from comfy_server import ExecutionFailed
from dev import PACKS
from host import ROOT
from neighbour_use import NAME, NEIGHBOUR, TAKEN
from server_use import INNER, MASKS, SEEDS, STEPS, Client, Link, Scene, assert_painted, steps

pytest_plugins = ["neighbour_use"]

PACK = next(name for name, folder in PACKS.items() if folder == ROOT)


def test_each_keeps_its_nodes(beside_neighbour, pack):
    """The taken ids are the neighbour's, whoever loads first; all others are ours."""
    info = beside_neighbour.get("/object_info")
    for kind in pack.NODE_CLASS_MAPPINGS:
        assert info[kind]["python_module"] == f"custom_nodes.{NEIGHBOUR if kind in TAKEN else PACK}", kind
    assert info["RegionalSampler"]["display_name"] == NAME


def test_the_log_says_whose_they_are(beside_neighbour):
    """One line at the start, with each id and the pack."""
    (line,) = [line for line in beside_neighbour.log_at_start.splitlines() if NEIGHBOUR in line and "the nodes" in line]
    named = re.search(r"the nodes (.*) are those of (\S+),", line)
    assert sorted(named[1].split(", ")) == sorted(TAKEN) and named[2] == NEIGHBOUR
    assert "RegionalGuider, RegionEditor" in line
    assert "Traceback" not in beside_neighbour.log_at_start


def test_alone_nothing_is_said(server):
    assert "are those of" not in server.log_at_start


def sampled(scene: Scene, regional_prompts: Link) -> Scene:
    """The scene with the neighbour's sampler."""
    base = scene.step_sampler("base")
    inputs = {"seed": next(SEEDS), "steps": STEPS, "samples": scene.canvas, "base_sampler": base}
    scene.save(scene.add("RegionalSampler", **inputs, regional_prompts=regional_prompts))
    for node in scene.prompt.values():
        if node["class_type"] == "ToBasicPipe":
            node["inputs"] |= {"clip": [scene.model[0], 1], "vae": scene.vae}
    return scene


def test_our_regions_in_its_sampler(beside_neighbour):
    """Our samplers and regions do what their methods promise, whoever calls them."""
    scene = Scene()
    own = scene.step_sampler("a")
    region = scene.add("RegionalPrompt", mask=scene.mask(MASKS["a"]), advanced_sampler=own)
    (picture,) = Client(beside_neighbour).run(sampled(scene, region)).pictures
    assert_painted(picture, INNER["a"], steps("base", 0, 1) + steps("a", 1))
    assert_painted(picture, INNER["base"], steps("base"))


def without_sampler(scene: Scene) -> Link:
    """A region that has the base's sampler."""
    parts = {"positive": scene.prompt_of("a"), "negative": scene.prompt_of("a"), "cfg": 7.0}
    return scene.add("RegionalPromptFromConditioning", mask=scene.mask(MASKS["a"]), model=scene.model, **parts)


def test_a_region_without_sampler_in_its_sampler(beside_neighbour):
    """It cannot be sampled there; the sentence says where it can."""
    scene = Scene()
    with pytest.raises(ExecutionFailed, match=r"takes its sampler from the base.*RegionalGuider.*RegionalPrompt"):
        Client(beside_neighbour).run(sampled(scene, without_sampler(scene)))


def test_regional_guider_beside_it(beside_neighbour):
    """What the sentence advises."""
    scene = Scene()
    prompt = scene.prompt_of("base")
    regions = scene.add("CombineRegionalPrompts", regional_prompts1=without_sampler(scene))
    parts = {"model": scene.model, "positive": prompt, "negative": prompt, "cfg": 7.0}
    sigmas = {"model": scene.model, "scheduler": "normal", "steps": STEPS, "denoise": 1.0}
    latent = scene.add(
        "SamplerCustomAdvanced",
        noise=scene.add("RandomNoise", noise_seed=next(SEEDS)),
        guider=scene.add("RegionalGuider", **parts, regional_prompts=regions),
        sampler=scene.add("KSamplerSelect", sampler_name="euler"),
        sigmas=scene.add("BasicScheduler", **sigmas),
        latent_image=scene.canvas,
    )
    scene.save(latent)
    (picture,) = Client(beside_neighbour).run(scene).pictures
    assert_painted(picture, INNER["a"], steps("a"))
    assert_painted(picture, INNER["base"], steps("base"))

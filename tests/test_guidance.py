"""Flux guidance: a region that takes its sampler from the base takes the base's guidance value, if it has none."""

import pytest
import torch
from comfy.samplers import KSampler
from comfy_extras.nodes_custom_sampler import CFGGuider
from comfy_extras.nodes_flux import FluxGuidance
from testing_pack.models import random_flux, random_flux_cond
from use import box, custom, lockstep, pack, plain, regional_sampler, regions, relative, step_sampler, use

MODEL = random_flux()
LATENT = {"samples": torch.zeros(1, 16, 8, 12)}
EVERYWHERE = torch.ones(1, 16, 24)
HALF = box(16, 24, 0, 0, 16, 12)
GUIDANCE = 5.0


class TextEncoder:
    """A CLIP whose every prompt is `text()`."""

    def tokenize(self, prompt):
        return prompt

    def encode_from_tokens_scheduled(self, tokens):
        return text()


def text(seed=1):
    """A prompt as CLIPTextEncode makes it: without guidance."""
    ((tokens, options),) = random_flux_cond(seed)
    return [[tokens, {"pooled_output": options["pooled_output"]}]]


def guided(value=GUIDANCE, seed=1):
    return FluxGuidance.execute(text(seed), value).result[0]


NEGATIVE = text(9)


def sampler(positive, negative=NEGATIVE, **inputs):
    return step_sampler(MODEL, positive, negative, **{"scheduler": "simple", **inputs})


def from_conditioning(positive, mask=EVERYWHERE, negative=NEGATIVE):
    inputs = {"model": MODEL, "positive": positive, "negative": negative, "cfg": 1.5}
    return use("RegionalPromptFromConditioning", mask=mask, **inputs)


def encoded(node):
    """The regions that a node makes of texts: one everywhere."""
    shared = {"model": MODEL, "clip": TextEncoder(), "negative": NEGATIVE, "cfg": 1.5}
    if node == "RegionalGrid":
        return use(node, width=24, height=16, layout="1", prompts="a", **shared)["result"][0]
    if node == "RegionalPromptsFromMasks":
        lists = {name: [value] for name, value in shared.items()}
        return use(node, masks=[EVERYWHERE], prompts=["a"], **lists)["result"][0]
    if node == "RegionalPromptsFromColorMask":
        image = torch.ones(1, 16, 24, 3)
        return use(node, image=image, colors="auto", prompts="a", tolerance=24, **shared)["result"][0]
    drawing = '{"version": 1, "regions": [{"prompt": "a", "shape": {"type": "rect", "x": 0, "y": 0, "w": 1, "h": 1}}]}'
    inputs = {"model": MODEL, "clip": shared["clip"], "cfg": 1.5, "positive": "a", "negative": "b"}
    editor = pack.NODE_CLASS_MAPPINGS["RegionEditor"]()
    return editor.make(width=24, height=16, regions=drawing, **inputs)["result"][0]


TEXT_NODES = ["RegionalGrid", "RegionalPromptsFromColorMask", "RegionalPromptsFromMasks", "RegionEditor"]


def test_this_model_looks_at_its_guidance():
    two, three = (plain(sampler(positive), LATENT) for positive in (guided(), text()))
    assert relative(two, three) > 1e-3
    assert torch.equal(three, plain(sampler(guided(3.5)), LATENT))  # the model's own value


@pytest.mark.parametrize("node", TEXT_NODES)
def test_regions_of_texts_take_the_bases_in_lockstep(node):
    base = sampler(guided(), text() if node == "RegionEditor" else NEGATIVE)
    assert relative(lockstep(LATENT, base, encoded(node)), plain(base, LATENT)) < 1e-5


def test_what_has_its_own_keeps_it():
    base, own, complete = sampler(guided()), sampler(guided(2.0)), sampler(text())
    assert relative(lockstep(LATENT, base, from_conditioning(guided(2.0))), plain(own, LATENT)) < 1e-5
    # A region with a sampler of its own takes nothing from the base.
    assert relative(lockstep(LATENT, base, regions((EVERYWHERE, complete))), plain(complete, LATENT)) < 1e-5


def test_one_of_two_texts_may_have_its_own():
    base, both = sampler(guided()), guided(2.0, seed=2) + text()
    want = plain(sampler(guided(2.0, seed=2) + guided()), LATENT)
    assert relative(lockstep(LATENT, base, from_conditioning(both)), want) < 1e-5


def test_a_base_without_guidance_leaves_the_models_own():
    base = sampler(text(2))
    assert relative(lockstep(LATENT, base, from_conditioning(text())), plain(sampler(text()), LATENT)) < 1e-5


def test_the_cfg_of_a_base_without_a_negative_is_its_guidance():
    base = sampler(text(), "NegativePlaceholder", cfg=GUIDANCE)
    got = lockstep(LATENT, base, from_conditioning(text()))
    assert relative(got, plain(sampler(guided()), LATENT)) < 1e-5


@pytest.mark.parametrize("engine", ["stepwise", "lockstep"])
def test_both_engines_paint_what_an_own_value_paints(engine):
    base = sampler(guided(seed=2))
    run = {"engine": engine, "overlap_factor": 4}
    got, want, other = (
        regional_sampler(LATENT, base, from_conditioning(positive, HALF), **run)["samples"]
        for positive in (text(), guided(), guided(3.5))
    )
    assert torch.equal(got, want) and relative(got, other) > 5e-4


def test_the_guider_does_the_same():
    sigmas = KSampler(MODEL, 6, "cpu", "euler", "simple").sigmas
    inputs = {"model": MODEL, "positive": guided(), "negative": NEGATIVE, "cfg": 1.5}
    got = custom(use("RegionalGuider", regional_prompts=from_conditioning(text()), **inputs), sigmas, LATENT)
    want = custom(CFGGuider.execute(MODEL, guided(), NEGATIVE, 1.5).result[0], sigmas, LATENT)
    assert relative(got, want) < 1e-5


def test_prompts_are_not_changed():
    prompts, base = from_conditioning(text()), sampler(guided())
    lockstep(LATENT, base, prompts)
    ((_, options),) = prompts[0].sampler.guidance.positive
    assert options.keys() == {"pooled_output"}

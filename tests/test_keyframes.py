"""LoRA hooks of a prompt whose strength is scheduled by keyframes: each call has that of its sigma, in both engines."""

import comfy.sample
import comfy.samplers
import pytest
import torch
from comfy.hooks import HookKeyframe, HookKeyframeGroup, create_hook_lora, set_hooks_for_conditioning
from loras import lora_file
from testing_pack.models import random_cond, random_unet, wrapped
from use import box, pipe, regional_sampler, regions, relative, step_sampler, use

LAYERS = [
    "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q",
    "diffusion_model.middle_block.1.transformer_blocks.0.ff.net.2",
]
LATENT = {"samples": torch.zeros(1, 4, 8, 12)}
MASK = box(8, 12, 0, 0, 8, 6)
FRAMES = {0.0: 0.0, 0.2: 3.0, 0.4: -2.0}  # strengths by the percent from which they count


def scheduled(model):
    keyframes = HookKeyframeGroup()
    for percent, strength in FRAMES.items():
        keyframes.add(HookKeyframe(strength, percent))
    hooks = create_hook_lora(lora_file(model, LAYERS, seed=3), 1.0, 0.0)
    hooks.set_keyframes_on_hooks(keyframes)
    return hooks


def strength_at(model, sigma):
    percent_to_sigma = model.get_model_object("model_sampling").percent_to_sigma
    return [strength for percent, strength in FRAMES.items() if percent_to_sigma(percent) >= sigma][-1]


def prompt(n, hooks):
    return set_hooks_for_conditioning(random_cond(n), hooks)


def run(share, name, engine="stepwise", **inputs):
    """The picture, and (sigma, strength) of each model call; base, region and negative share hooks or have own ones."""
    seen = []
    model = random_unet()
    shared = scheduled(model)
    given = [shared if share else scheduled(model) for _ in range(3)]
    keyframes = [hooks.hooks[0].hook_keyframe for hooks in given]
    watching = wrapped(model, lambda x, sigma: seen.append((float(sigma.max()), [one.strength for one in keyframes])))
    negative = prompt(9, given[2])
    base, inside = (step_sampler(watching, prompt(n, given[n]), negative, sampler_name=name, cfg=2.0) for n in (0, 1))
    options = {"engine": engine, "steps": 8, "base_only_steps": 1, **inputs}
    out = regional_sampler(LATENT, base, regions((MASK, inside)), **options)["samples"]
    return out, seen, model


@pytest.mark.parametrize("engine", ["stepwise", "lockstep"])
@pytest.mark.parametrize("name", ["euler", "heun", "dpmpp_2m", "uni_pc"])
def test_each_call_has_the_strength_of_its_sigma(name, engine):
    inputs = {"additional_mode": "ratio additional"} if name == "uni_pc" else {}
    shared, seen, model = run(True, name, engine, **inputs)
    own, _, _ = run(False, name, engine, **inputs)
    assert relative(shared, own) < 1e-5
    for sigma, (strength, *_) in seen:
        assert strength == strength_at(model, sigma), f"at sigma {sigma}"
    assert {strength for _, (strength, *_) in seen} == set(FRAMES.values())


def plain(model, sigmas, conds, seed=5):
    noise = comfy.sample.prepare_noise(LATENT["samples"], seed)
    given = (model, noise, len(sigmas) - 1, 2.0, "euler", "normal", *conds, LATENT["samples"])
    with torch.inference_mode():
        return comfy.sample.sample(*given, sigmas=sigmas, seed=seed, disable_pbar=True)


@pytest.mark.parametrize("kind", ["KSAMPLER", "stepwise", "lockstep"])
def test_a_run_that_begins_where_the_last_one_ended(kind):
    """One step at a low sigma, again and again with the same prompts: none of them at the first keyframe."""
    model = random_unet()
    given = {"steps": 1, "denoise": 0.5, "seed": 5}

    def once(hooks):
        """`hooks`: of each prompt in turn."""
        conds = [prompt(n, one) for n, one in zip((1, 9, 1, 9), hooks, strict=True)]
        if kind == "KSAMPLER":
            of = {"cfg": 2.0, "sampler_name": "euler", "scheduler": "normal", **given}
            return use("KSamplerProvider", basic_pipe=pipe(model, *conds[:2]), **of).sample(LATENT)["samples"]
        base, inside = (step_sampler(model, *pair, cfg=2.0) for pair in (conds[:2], conds[2:]))
        options = {"engine": kind, "base_only_steps": 0, **given}
        return regional_sampler(LATENT, base, regions((MASK, inside)), **options)["samples"]

    sigmas = comfy.samplers.KSampler(model, 1, "cpu", "euler", "normal", 0.5).sigmas
    hooked = plain(model, sigmas, [prompt(n, scheduled(model)) for n in (1, 9)])
    assert relative(hooked, plain(model, sigmas, (random_cond(1), random_cond(9)))) > 1e-3
    shared = scheduled(model)
    with torch.inference_mode():
        want = once([scheduled(model) for _ in range(4)])
        if kind != "stepwise":
            assert relative(want, hooked) < 1e-5
        for _ in range(2):
            assert relative(once([shared] * 4), want) < 1e-5


def test_models_that_share_a_scheduled_hook():
    """In lockstep two models are asked in turn at one sigma; both get the strength of that sigma."""
    pictures = []
    for share in (True, False):
        models = [random_unet(), random_unet(seed=4)]
        shared = scheduled(models[0])
        given = [shared if share else scheduled(models[0]) for _ in range(2)]
        base, inside = (
            step_sampler(model, prompt(n, hooks), random_cond(9), cfg=2.0)
            for n, (model, hooks) in enumerate(zip(models, given, strict=True))
        )
        options = {"engine": "lockstep", "steps": 8, "base_only_steps": 0}
        pictures.append(regional_sampler(LATENT, base, regions((MASK, inside)), **options)["samples"])
    assert relative(*pictures) < 1e-5

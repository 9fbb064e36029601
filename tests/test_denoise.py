"""Regions with a denoise of their own: they keep the input picture until they begin."""

import itertools
import math
from dataclasses import replace

import comfy.sample
import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_advanced_samplers import SamplerLCMUpscale
from comfy_extras.nodes_custom_sampler import RandomNoise, SamplerCustomAdvanced
from pixel_scene import (
    BASE,
    EMPTY,
    HERE,
    KINDS,
    MASKS,
    NEGATIVE,
    ONE,
    PICTURE,
    SIZE,
    THERE,
    TWO,
    between,
    pixels,
    run,
    schedule,
)
from testing_pack.models import counted, random_cond, random_unet, texture_model
from use import box, custom, plain, regional_sampler_advanced, regions, relative, step_sampler, use


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["euler", "ddim", "dpm_2", "heun"])
@pytest.mark.parametrize("base_only", [0, 4])
def test_denoise_of_a_region_is_that_of_ksampler(base_only, name, kind):
    """18 steps at denoise 0.9 and 6 at 0.3 are both the end of a schedule of 20."""
    base, inside = (pixels(prompt, kind, sampler_name=name) for prompt in (BASE, ONE))
    prompts = regions((MASKS[0], inside), denoise=0.3)
    out = run(PICTURE, base, prompts, steps=18, denoise=0.9, base_only_steps=base_only)
    want = plain(inside, PICTURE, steps=6, denoise=0.3)
    # heun looks at the end of the last kept step, where the region has begun.
    assert relative(out[..., HERE], want[..., HERE]) < (0.05 if name == "heun" else 1e-5)
    assert relative(out[..., ~HERE], plain(base, PICTURE, steps=18, denoise=0.9)[..., ~HERE]) < 1e-4
    assert relative(plain(inside, PICTURE, steps=18, denoise=0.9)[..., HERE], want[..., HERE]) > 0.1


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    "name", ["dpmpp_2m", "deis", "uni_pc", "euler_ancestral", "dpmpp_2m_sde", "heun", "res_multistep", "dpm_fast"]
)
def test_until_it_begins_a_region_of_less_denoise_answers_with_the_picture(name, kind):
    """Exactly, for any sampler: plain sampling with a model that does so."""
    begin = float(schedule(kind, 20, name)[14]) * 1.001
    keeping = texture_model(kind).clone()
    keeping.set_model_sampler_post_cfg_function(
        lambda args: PICTURE["samples"] if float(args["sigma"].max()) > begin else args["denoised"]
    )
    base, inside = (pixels(prompt, kind, sampler_name=name) for prompt in (BASE, ONE))
    out = run(PICTURE, base, regions((MASKS[0], inside), denoise=0.3), steps=18, denoise=0.9, base_only_steps=5)
    want = plain(step_sampler(keeping, ONE, NEGATIVE, sampler_name=name), PICTURE, steps=18, denoise=0.9)
    assert relative(out[..., HERE], want[..., HERE]) < 1e-4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name, tolerance", [("dpmpp_2m", 0.08), ("deis", 0.25)])
def test_denoise_of_a_region_with_a_multistep_sampler_is_nearly_that_of_ksampler(name, tolerance, kind):
    """It brings along the kept picture where KSampler has no history: one step's difference, less with more steps."""
    base, inside = (pixels(prompt, kind, sampler_name=name) for prompt in (BASE, ONE))
    prompts = regions((MASKS[0], inside), denoise=0.3)
    errors = []
    for more in (1, 4):
        out = run(PICTURE, base, prompts, steps=18 * more, denoise=0.9)
        errors.append(relative(out[..., HERE], plain(inside, PICTURE, steps=6 * more, denoise=0.3)[..., HERE]))
    assert errors[0] < tolerance and errors[1] < errors[0] / 3


def test_denoise_in_a_whole_run():
    """From pure noise, too: KSampler adds 0.2 % more noise where it believes to start from nothing else."""
    base, inside = pixels(BASE), pixels(ONE)
    out = run(PICTURE, base, regions((MASKS[0], inside), denoise=0.3), steps=20)
    want = plain(inside, PICTURE, steps=6, denoise=0.3)
    assert relative(out[..., HERE], want[..., HERE]) < 2e-3


def test_denoise_with_another_seed_is_another_picture():
    base, inside = pixels(BASE), pixels(ONE)
    out = run(PICTURE, base, regions((MASKS[0], inside), denoise=0.3), steps=18, denoise=0.9, seed=6)
    assert relative(out[..., HERE], plain(inside, PICTURE, steps=6, denoise=0.3, seed=6)[..., HERE]) < 1e-4
    assert relative(out[..., HERE], plain(inside, PICTURE, steps=6, denoise=0.3)[..., HERE]) > 0.05


def test_a_denoise_above_the_runs_changes_nothing():
    base, inside = pixels(BASE), pixels(ONE)
    outs = [
        run(PICTURE, base, regions((MASKS[0], inside), denoise=denoise), steps=6, denoise=0.3, base_only_steps=0)
        for denoise in (0.3, 0.7, 1.0)
    ]
    assert torch.equal(outs[0], outs[1]) and torch.equal(outs[1], outs[2])


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m", "euler_ancestral", "dpmpp_2m_sde", "heun"])
@pytest.mark.parametrize("kind", KINDS)
def test_denoise_0_keeps_the_picture(kind, name):
    model, counter = counted(texture_model(kind))
    inside = step_sampler(model, ONE, NEGATIVE, sampler_name=name)
    prompts = regions((MASKS[0], inside), denoise=0.0) + regions((MASKS[1], pixels(TWO, kind, sampler_name=name)))
    out = run(PICTURE, pixels(BASE, kind, sampler_name=name), prompts, base_only_steps=3)
    assert counter.calls == []
    assert torch.allclose(out[..., HERE], PICTURE["samples"][..., HERE], atol=1e-5)
    assert relative(out[..., THERE], PICTURE["samples"][..., THERE]) > 0.5


@pytest.mark.parametrize("mode", ["ignore", "fixed"])
def test_denoise_0_keeps_the_picture_through_new_noise(mode):
    """The given one, not what the base alone has made of it when its noise begins anew."""
    options = {"steps": 9, "denoise": 0.9, "base_only_steps": 2, "seed_2nd_mode": mode}
    out = run(PICTURE, pixels(BASE), regions((MASKS[0], pixels(ONE)), denoise=0.0), **options)
    assert torch.allclose(out[..., HERE], PICTURE["samples"][..., HERE], atol=1e-6)
    without = run(PICTURE, pixels(BASE), regions((MASKS[0], pixels(BASE))), **options)
    assert relative(out[..., ~HERE], without[..., ~HERE]) < 1e-5


def test_a_picture_that_comes_with_noise_is_warned_of(caplog):
    prompts = regions((MASKS[0], pixels(ONE))) + regions((MASKS[1], pixels(TWO)), denoise=0.5)
    options = {"engine": "lockstep", "start_at_step": 2}
    regional_sampler_advanced(PICTURE, pixels(BASE), prompts, **options)
    regional_sampler_advanced(PICTURE, pixels(BASE), prompts[:1], add_noise=False, **options)
    assert "noise" not in caplog.text
    regional_sampler_advanced(PICTURE, pixels(BASE), prompts, add_noise=False, **options)
    assert caplog.text.count("comes with noise") == 1
    assert "RegionalSamplerAdvanced, region 2: its denoise keeps the input picture, which comes with" in caplog.text


@pytest.mark.parametrize("other", ["heun", "dpmpp_2m", "euler_ancestral"])
def test_denoise_beside_another_sampler(other):
    base, inside = pixels(BASE), pixels(ONE, sampler_name=other)
    kept = run(PICTURE, base, regions((MASKS[0], inside), denoise=0.0), base_only_steps=0)
    assert torch.allclose(kept[..., HERE], PICTURE["samples"][..., HERE], atol=1e-5)
    out = run(PICTURE, base, regions((MASKS[0], inside), denoise=0.3), steps=18, denoise=0.9, base_only_steps=0)
    if other == "heun":
        want = plain(inside, PICTURE, steps=6, denoise=0.3)
        assert relative(out[..., HERE], want[..., HERE]) < 0.05
    assert relative(out[..., ~HERE], plain(base, PICTURE, steps=18, denoise=0.9)[..., ~HERE]) < 1e-4


@pytest.mark.parametrize("denoise, own", [(0.0, 0), (0.3, 3)])
def test_while_it_keeps_the_picture_a_region_asks_nobody(denoise, own):
    """Beside another schedule: the base has its own 10 calls, whatever the region's sigmas are."""
    base_model, base_calls = counted(texture_model())
    model, calls = counted(texture_model())
    base = step_sampler(base_model, BASE, NEGATIVE, cfg=1.0)
    inside = step_sampler(model, ONE, NEGATIVE, cfg=1.0, sampler_name="dpmpp_2m", scheduler="karras")
    run(PICTURE, base, regions((MASKS[0], inside), denoise=denoise), base_only_steps=0)
    assert (len(base_calls.calls), len(calls.calls)) == (10, own)


def test_denoise_with_a_range_and_a_weight():
    """Kept until its share begins, then painted until its range ends, then the base's; both in parts of a half."""
    kind, weight, last = "eps", 0.5, 8
    end = between(kind, last)
    base, inside = pixels(BASE, kind, cfg=1.0), pixels(ONE, kind, cfg=1.0)
    out = run(
        PICTURE, base, regions((MASKS[0], inside), denoise=0.5, end_percent=end, weight=weight), base_only_steps=0
    )
    sigmas = schedule(kind)
    progress = texture_model(kind).get_model_object("model_sampling").percent_to_sigma
    noise = comfy.sample.prepare_noise(PICTURE["samples"], 5)
    x = PICTURE["samples"] + noise * math.sqrt(1 + float(sigmas[0]) ** 2)
    for sigma, low in itertools.pairwise(sigmas):
        step = int((sigmas > sigma).sum())
        top = PICTURE["samples"] if step < 5 else one_answer(ONE, x, sigma)
        share = weight if step < last else 0.0
        denoised = share * top + (1 - share) * one_answer(BASE, x, sigma)
        x = x + (x - denoised) / sigma * (low - sigma)
    assert float(progress(end)) < float(sigmas[last - 1])
    assert relative(out[..., HERE], x[..., HERE]) < 1e-4


def one_answer(prompt, x, sigma):
    """The exact denoised of a pixel prompt."""
    mean, std = prompt[0][0][0, 0, 0], prompt[0][0][0, 0, 4]
    return mean + std**2 / (std**2 + sigma**2) * (x - mean)


def test_regional_guider_counts_denoise_by_progress():
    """Where nobody knows the schedule that the sigmas are a part of."""
    model = texture_model()
    prompts = use(
        "RegionalPromptFromConditioning",
        mask=MASKS[0],
        model=model,
        positive=ONE,
        negative=NEGATIVE,
        cfg=1.5,
        denoise=0.4,
    )
    inputs = {"model": model, "positive": BASE, "negative": NEGATIVE, "cfg": 1.5, "overlap_factor": 0}
    out = custom(use("RegionalGuider", regional_prompts=prompts, **inputs), schedule("eps", 20)[2:], PICTURE)
    begin = float(model.get_model_object("model_sampling").percent_to_sigma(0.6))
    left = int((schedule("eps", 20)[:-1] <= begin).sum())
    want = custom(_alone(model, ONE), schedule("eps", 20)[-left - 1 :], PICTURE)
    assert relative(out[..., HERE], want[..., HERE]) < 1e-4


def _alone(model, prompt):
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(prompt, NEGATIVE)
    guider.set_cfg(1.5)
    return guider


def test_a_kept_picture_in_the_models_own_scale():
    """SD1.5's latents are scaled on their way into the model."""
    model = random_unet()
    latent = {"samples": torch.randn(1, 4, 8, 12, generator=torch.Generator().manual_seed(1))}
    base, inside = (step_sampler(model, random_cond(n), random_cond(9)) for n in (1, 2))
    out = run(latent, base, regions((box(8, 12, 0, 0, 8, 6), inside), denoise=0.0))
    assert torch.allclose(out[..., :6], latent["samples"][..., :6], atol=1e-4)


@pytest.mark.parametrize("compute", ["full", "crop"])
def test_a_sampler_that_resizes_cannot_keep_the_picture(compute):
    model = texture_model()
    sampler = SamplerLCMUpscale.execute(2.0, -1, "bislerp").result[0]

    def resized(denoise):
        inputs = {"model": model, "negative": NEGATIVE, "cfg": 1.5}
        prompts = use(
            "RegionalPromptFromConditioning", mask=box(10, 20, 0, 0, 10, 8), positive=ONE, denoise=denoise, **inputs
        )
        guider = use(
            "RegionalGuider",
            regional_prompts=prompts,
            positive=BASE,
            region_compute=compute,
            crop_context=0,
            overlap_factor=0,
            **inputs,
        )
        noise = RandomNoise.execute(5).result[0]
        return SamplerCustomAdvanced.execute(noise, guider, sampler, schedule("eps", 4), PICTURE).result[0]["samples"]

    assert resized(1.0).shape[-2:] == tuple(2 * side for side in SIZE)
    with pytest.raises(ValueError, match=r"denoise below 1 keeps .* resized to .* choose another sampler"):
        resized(0.4)


def test_an_empty_schedule_of_a_region_follows_the_base():
    base, inside = pixels(BASE), pixels(ONE)
    nothing = replace(inside, scheduler_func=lambda model, name, steps: torch.zeros(0))
    got, want = (run(EMPTY, base, regions((MASKS[0], one))) for one in (nothing, inside))
    assert torch.equal(got, want)

"""Regions that are computed on a part of the canvas."""

from dataclasses import replace

import comfy.conds
import comfy.controlnet
import comfy.sample
import comfy.samplers
import comfy.supported_models
import pytest
import torch
from comfy_extras.nodes_custom_sampler import KSamplerSelect, RandomNoise, SamplerCustomAdvanced
from comfy_extras.nodes_model_advanced import RescaleCFG
from comfy_extras.nodes_model_patch import DiffSynthCnetPatch, ZImageControlPatch
from comfy_extras.nodes_pag import PerturbedAttentionGuidance
from comfy_extras.nodes_rope import ScaleROPE
from loras import UNET_CONV, UNET_LINEAR, Patching, as_switched, with_lora
from pixel_scene import BASE, EMPTY, KINDS, MASKS, NEGATIVE, ONE, SIZE, TWO, pixels
from testing_pack.families import FAMILIES
from testing_pack.models import (
    counted,
    pixel_cond,
    random_cond,
    random_flux,
    random_flux_cond,
    random_unet,
    texture_cond,
    texture_model,
)
from testing_pack.texture import Texture
from use import box, lockstep, plain, regions, relative, step_sampler, use


def run(latent, base, prompts, compute="crop", context=16, **inputs):
    """Samples in lockstep, with `context` pixels (by default two latent pixels) around the boxes."""
    return lockstep(latent, base, prompts, region_compute=compute, crop_context=context, **inputs)


def both(latent, base, prompts, **inputs):
    """(crop, full)"""
    return [run(latent, base, prompts, compute, **inputs) for compute in ("crop", "full")]


def empty(height, width, channels=4, batch=1):
    return {"samples": torch.zeros(batch, channels, height, width)}


def area(counter):
    """The largest of what the calls at one sigma take, in rows x latent pixels."""
    sums = {}
    for call in counter.calls:
        sums[call.sigma] = sums.get(call.sigma, 0) + call.rows * call.height * call.width
    return max(sums.values())


# A model that treats every pixel alone gives the same picture


@pytest.mark.parametrize("cfg", [1.0, 1.5])
@pytest.mark.parametrize(
    "name",
    [
        "euler",
        "heun",
        "dpmpp_2m",
        "euler_ancestral",
        "dpmpp_2m_sde",
        "uni_pc",
        "lms",
        "euler_cfg_pp",
        "dpmpp_2m_cfg_pp",
    ],
)
def test_crop_equals_full_on_a_pixelwise_model(name, cfg):
    kind = KINDS[len(name) % 3]
    model, counter = counted(texture_model(kind))
    base, *others = (pixels(prompt, model=model, sampler_name=name, cfg=cfg) for prompt in (BASE, ONE, TWO))
    prompts = regions(*zip(MASKS, others, strict=True))
    full = run(EMPTY, base, prompts, "full")
    counter.calls.clear()
    crop = run(EMPTY, base, prompts)
    assert relative(crop, full) < 1e-5
    # 5 x 6 and 5 x 9 with two around, as far as the canvas goes.
    assert {(call.height, call.width) for call in counter.calls} == {SIZE, (8, 10), (8, 12)}


@pytest.mark.parametrize("overlap", [0, 1, 4])
@pytest.mark.parametrize("blend", ["mix", "stack"])
def test_soft_masks_and_overlaps(blend, overlap):
    """The box is around all that has weight: the ring and the soft end of a mask too."""
    soft = torch.zeros(1, *SIZE)
    soft[:, 2:9, 3:9] = torch.linspace(0.05, 1, 6)
    prompts = regions((soft, pixels(ONE)), (box(*SIZE, 4, 6, 10, 14, 0.7), pixels(TWO)))
    crop, full = both(EMPTY, pixels(BASE), prompts, overlap_factor=overlap, blend=blend, context=0)
    assert relative(crop, full) < 1e-5


@pytest.mark.parametrize("names", [("euler", "heun"), ("dpmpp_2m", "euler_ancestral"), ("euler", "euler_cfg_pp")])
def test_unlike_samplers_side_by_side(names):
    base = pixels(BASE, sampler_name=names[0])
    prompts = regions(
        (MASKS[0], pixels(ONE, sampler_name=names[1])),
        (MASKS[1], pixels(TWO, sampler_name=names[0], scheduler="karras")),
    )
    crop, full = both(EMPTY, base, prompts)
    assert relative(crop, full) < 1e-5


@pytest.mark.parametrize("when", [{"start_percent": 0.3}, {"end_percent": 0.5}, {"weight": 0.4}, {"denoise": 0.4}])
def test_regions_in_time(when):
    """A region of its own box in each phase; the base is cropped where regions cover the rest."""
    picture = {"samples": torch.randn(1, 4, *SIZE, generator=torch.Generator().manual_seed(1)) * 0.3}
    half = box(*SIZE, 0, 0, 12, 11)
    prompts = regions((half, pixels(ONE)), **when) + regions((1 - half, pixels(TWO)))
    crop, full = both(picture, pixels(BASE), prompts, denoise=0.9)
    assert relative(crop, full) < 1e-5


def test_a_batch_with_a_mask_for_each_picture():
    """The box holds the region of every picture."""
    model, counter = counted(texture_model())
    latent = empty(*SIZE, batch=2)
    prompts = regions((torch.cat(MASKS), pixels(ONE, model=model)))
    crop, full = both(latent, pixels(BASE), prompts, context=0)
    assert relative(crop, full) < 1e-5
    assert (counter.calls[0].height, counter.calls[0].width) == (10, 17)
    for n in range(2):
        assert relative(crop[n][..., MASKS[n][0] > 0], plain(pixels(ONE), latent)[n][..., MASKS[n][0] > 0]) < 1e-5


def test_several_prompts_with_strengths_and_ranges_in_one_conditioning():
    positive = [
        [ONE[0][0], {"strength": 0.3}],
        [TWO[0][0], {"strength": 0.7, "end_percent": 0.5}],
        [BASE[0][0], {"start_percent": 0.4}],
    ]
    crop, full = both(EMPTY, pixels(BASE), regions((MASKS[1], pixels(positive))))
    assert relative(crop, full) < 1e-5


def test_a_noise_mask():
    samples = torch.randn(1, 4, *SIZE, generator=torch.Generator().manual_seed(1))
    latent = {"samples": samples, "noise_mask": box(*SIZE, 3, 0, 12, 12)}
    crop, full = both(latent, pixels(BASE), regions(*zip(MASKS, (pixels(ONE), pixels(TWO)), strict=True)))
    assert relative(crop, full) < 1e-5
    assert torch.allclose(crop[..., :3, :], samples[..., :3, :], atol=1e-4)


def test_regional_guider():
    model, counter = counted(texture_model())
    prompts = use(
        "RegionalPromptFromConditioning", mask=MASKS[0], model=model, positive=ONE, negative=NEGATIVE, cfg=1.5
    )
    inputs = {"model": model, "positive": BASE, "negative": NEGATIVE, "cfg": 1.5, "regional_prompts": prompts}
    noise, sampler = RandomNoise.execute(5).result[0], KSamplerSelect.execute("dpmpp_2m").result[0]
    sigmas = comfy.samplers.KSampler(model, 6, "cpu", "dpmpp_2m", "normal").sigmas
    results = []
    for compute in ("crop", "full"):
        guider = use("RegionalGuider", overlap_factor=0, region_compute=compute, crop_context=8, **inputs)
        # Twice, and at another size in between: boxes are made anew.
        for size in (SIZE, (24, 40), SIZE):
            out = SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, empty(*size)).result[0]["samples"]
            results.append(out)
    for crop, full in zip(results[:3], results[3:], strict=True):
        assert relative(crop, full) < 1e-5
    assert {(call.height, call.width) for call in counter.calls} == {SIZE, (24, 40), (7, 8), (12, 14)}


# What a model that looks around itself sees: the box, and nothing else


def alone(sampler, latent, place, seed=5):
    """One step of the host's own sampling of a part (y, x slices) of the latent, with the noise of that part."""
    model, cfg, name, scheduler, positive, negative, _ = sampler.params
    noise = comfy.sample.prepare_noise(latent["samples"], seed)[(..., *place)]
    samples = latent["samples"][(..., *place)]
    return comfy.sample.sample(
        model, noise, 1, cfg, name, scheduler, positive, negative, samples, seed=seed, disable_pbar=True
    )


# A region of 8 x 8 in a canvas of 16 x 24, and its box with 16 pixels of context.
CANVAS, REGION, BOX = (16, 24), box(16, 24, 4, 8, 12, 16), (slice(2, 14), slice(6, 18))
INSIDE = REGION[0] > 0


def assert_sees_its_box(base, inside, latent, tolerance=1e-5, **inputs):
    """At the first step all look at the noise, so the region's answer is that of plain sampling of the box."""
    got = run(latent, base, regions((REGION, inside)), steps=1, **inputs)
    where = (..., INSIDE[BOX])
    want, other = alone(inside, latent, BOX)[where], plain(inside, latent, steps=1)[..., INSIDE]
    assert relative(got[..., INSIDE], want) < tolerance
    assert relative(got[..., ~INSIDE], plain(base, latent, steps=1)[..., ~INSIDE]) < tolerance
    assert relative(want, other) > 10 * tolerance, "the box makes no difference"


def unet(n, model=None, **inputs):
    return step_sampler(model or random_unet(), random_cond(n), random_cond(9), **inputs)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("cfg", [1.0, 4.0])
@pytest.mark.parametrize("batch", [1, 2])
def test_a_unet_sees_its_box(batch, cfg, kind):
    model = random_unet(kind)
    assert_sees_its_box(unet(1, model, cfg=cfg), unet(2, model, cfg=cfg), empty(*CANVAS, batch=batch))


def test_a_unets_box_lies_on_the_grid_of_its_deepest_layer():
    """Two levels: boxes begin and end on even latent pixels."""
    model, counter = counted(random_unet())
    run(empty(16, 24), unet(1), regions((box(16, 24, 5, 9, 10, 16), unet(2, model))), steps=1, context=0)
    assert {(call.height, call.width) for call in counter.calls} == {(6, 8)}


def rescaled(model):
    return RescaleCFG().patch(model, 0.7)[0]


def perturbed(model):
    return PerturbedAttentionGuidance.execute(model, 3.0).result[0]


def with_calc_cond_batch(model):
    """Asks the host itself, and once more for a negative that is mixed in; as TCFG-like patches do."""

    def function(args):
        cond, uncond = comfy.samplers.calc_cond_batch(
            args["model"], args["conds"], args["input"], args["sigma"], args["model_options"]
        )
        return [cond, 0.5 * uncond + 0.5 * cond.flip(-1)]

    clone = model.clone()
    clone.set_model_sampler_calc_cond_batch_function(function)
    return clone


def with_cfg_function(model):
    """Depends on the size of what it sees."""

    def function(args):
        answer = args["cond"] + (args["cond"] - args["uncond"]) * args["cond"].std()
        return answer

    clone = model.clone()
    clone.set_model_sampler_cfg_function(function)
    return clone


def with_pre_cfg_function(model):
    def function(args):
        cond, uncond = args["conds_out"]
        return [cond, uncond - uncond.mean()]

    clone = model.clone()
    clone.set_model_sampler_pre_cfg_function(function)
    return clone


FUNCTIONS = [rescaled, perturbed, with_calc_cond_batch, with_cfg_function, with_pre_cfg_function]


@pytest.mark.parametrize("patch", FUNCTIONS, ids=lambda patch: patch.__name__)
def test_functions_of_a_model_see_the_box(patch):
    model = random_unet()
    assert_sees_its_box(unet(1, model, cfg=4.0), unet(2, patch(model), cfg=4.0), empty(*CANVAS))


@pytest.mark.parametrize("patch", [rescaled, perturbed], ids=lambda patch: patch.__name__)
def test_functions_of_a_model_with_a_lora_see_the_box(patch):
    """PAG asks the model on its own: those rows are the region's, too."""
    model = random_unet()
    inside = unet(2, patch(with_lora(model, UNET_LINEAR)), cfg=4.0)
    assert_sees_its_box(unet(1, model, cfg=4.0), inside, empty(*CANVAS), 1e-4)


def deviations(base, inside, contexts=(8, 16), steps=3):
    """How far the run in crop is from the run in full, for each context in pixels."""
    prompts, latent = regions((REGION, inside)), empty(*CANVAS)
    full = run(latent, base, prompts, "full", steps=steps)
    return [relative(run(latent, base, prompts, context=context, steps=steps), full) for context in contexts]


@pytest.mark.parametrize("patch", FUNCTIONS[:2], ids=lambda patch: patch.__name__)
def test_functions_in_a_whole_run(patch):
    model = random_unet()
    near, far = deviations(unet(1, model, cfg=2.0), unet(2, patch(model), cfg=2.0))
    assert 0.35 > near > far > 1e-3, (near, far)


@pytest.mark.parametrize("name", ["euler_cfg_pp", "euler_ancestral_cfg_pp", "dpmpp_2m_cfg_pp"])
def test_cfg_pp_on_a_unet(name):
    """These samplers look at the composed uncond: that of each region is of its box."""
    model = random_unet()
    near, far = deviations(unet(1, model, sampler_name=name), unet(2, model, sampler_name=name))
    assert 0.35 > near > far > 1e-3, (near, far)


def inpainting_unet():
    """SD1.5's inpainting model: 9 channels, of which the mask and the picture to fill are given beside the latent."""
    config = {**FAMILIES["SD15"].unet, "in_channels": 9, "dtype": torch.float32}
    model = comfy.supported_models.SD15(config).get_model({}, "")
    assert model.concat_keys == ("mask", "masked_image")
    patcher = random_unet()  # the same net but for its first layer
    own = patcher.model.diffusion_model.state_dict()
    first = "input_blocks.0.0.weight"
    generator = torch.Generator().manual_seed(1)
    own[first] = torch.randn(own[first].shape[0], 9, 3, 3, generator=generator) / 9
    model.diffusion_model.load_state_dict(own)
    return type(patcher)(model, load_device=patcher.load_device, offload_device=patcher.offload_device)


def inpainting(n, place=(slice(None), slice(None))):
    generator = torch.Generator().manual_seed(3)
    options = {
        "concat_latent_image": torch.randn(1, 4, *CANVAS, generator=generator)[(..., *place)],
        "concat_mask": (torch.rand(1, 1, *CANVAS, generator=generator) > 0.5).float()[(..., *place)],
    }
    return [[random_cond(n)[0][0], options]]


@pytest.mark.parametrize("cfg", [1.0, 4.0])
def test_an_inpainting_models_picture_is_cut_to_the_box(cfg):
    """Where functions ask the model on their own, too."""
    model = inpainting_unet()
    for patch in (lambda model: model, perturbed):
        base, inside = (
            step_sampler(one, inpainting(n), inpainting(9), cfg=cfg) for n, one in ((1, model), (2, patch(model)))
        )
        got = run(empty(*CANVAS), base, regions((REGION, inside)), steps=1)
        cut = step_sampler(inside.params[0], inpainting(2, BOX), inpainting(9, BOX), cfg=cfg)
        want = alone(cut, empty(*CANVAS), BOX)
        assert relative(got[..., INSIDE], want[..., INSIDE[BOX]]) < 1e-5
        unmoved = step_sampler(inside.params[0], inpainting(2, _shifted()), inpainting(9, _shifted()), cfg=cfg)
        assert relative(alone(unmoved, empty(*CANVAS), BOX)[..., INSIDE[BOX]], want[..., INSIDE[BOX]]) > 1e-2


def _shifted():
    return slice(0, 12), slice(0, 12)


@pytest.mark.parametrize("layers", [UNET_LINEAR, UNET_CONV], ids=["linear", "conv"])
def test_loras_of_boxes_of_several_sizes(layers, monkeypatch):
    """Rows of unlike sizes go in several calls; each gets its own region's LoRA, without patching."""
    model = random_unet()
    masks = [box(16, 24, 0, 0, 8, 8), box(16, 24, 8, 8, 16, 14), box(16, 24, 0, 16, 12, 24)]
    base = unet(1, model)
    prompts = regions(
        *((mask, unet(n, with_lora(model, layers, seed=n))) for n, mask in enumerate(masks, 2)),
    )
    latent = empty(16, 24)
    plain(base, latent, steps=1)
    with Patching() as patching:
        got = run(latent, base, prompts, steps=2)
    assert patching.count == 0
    want = as_switched(monkeypatch, lambda: run(latent, base, prompts, steps=2))
    assert relative(got, want) < 1e-4
    without = run(latent, base, regions(*((mask, unet(n, model)) for n, mask in enumerate(masks, 2))), steps=2)
    assert relative(without, want) > 1e-3


def test_loras_that_are_hooked(monkeypatch, caplog):
    """What cannot be routed has weight hooks; these conds are cropped like any."""
    model = random_unet()
    clone = with_lora(model, UNET_LINEAR, kind="dora")
    base, inside = unet(1, model), unet(2, clone)
    assert_sees_its_box(base, inside, empty(*CANVAS), 1e-4)
    assert "hooks" in caplog.text and "not cropped" not in caplog.text


@pytest.mark.parametrize("scale", [1.0, 0.5])
def test_positions_are_those_of_the_place(scale):
    """Flux: as the host's own ScaleROPE shifts them, also upon one that the user has."""
    model = random_flux()
    if scale != 1.0:
        model = ScaleROPE.execute(model, scale, 3.0, 1.0, 0.0, 1.0, 0.0).result[0]
    base, inside = (step_sampler(model, random_flux_cond(n), random_flux_cond(9), cfg=1.0) for n in (1, 2))
    latent = empty(*CANVAS, channels=16)
    got = run(latent, base, regions((REGION, inside)), steps=1)[..., INSIDE]
    # Two latent pixels are one patch: the box begins at patch (1, 3).
    shift = 3.0 * scale + (3.0 if scale != 1.0 else 0.0)
    moved, _ = (
        ScaleROPE.execute(random_flux(), scale, x, 1.0, y, 1.0, 0.0).result[0] for x, y in ((shift, 1.0), (0, 0))
    )
    want = alone(step_sampler(moved, *inside.params[4:6], cfg=1.0), latent, BOX)[..., INSIDE[BOX]]
    assert relative(got, want) < 1e-5


def test_what_is_outside_of_the_box_is_not_seen():
    """A change of the input picture there changes nothing in the region at the first step, in full it does."""
    model = random_unet()
    changed = torch.zeros(1, 4, *CANVAS)
    changed[..., :2, :] = 1.0
    prompts = regions((REGION, unet(2, model)))
    outs = {
        compute: [
            run({"samples": samples}, unet(1, model), prompts, compute, steps=1, denoise=0.5)[..., INSIDE]
            for samples in (torch.zeros(1, 4, *CANVAS), changed)
        ]
        for compute in ("crop", "full")
    }
    assert relative(*outs["crop"]) < 1e-6 < relative(*outs["full"])


# Nearer to full with more context


@pytest.mark.slow
def test_the_deviation_of_a_unet_falls_with_the_context():
    model = random_unet()
    latent, base = empty(32, 32), unet(1, model, cfg=2.0)
    prompts = regions((box(32, 32, 12, 12, 20, 20), unet(2, model, cfg=2.0)))
    full = run(latent, base, prompts, "full", steps=2)
    inside = (..., slice(12, 20), slice(12, 20))
    errors = [
        relative(run(latent, base, prompts, context=context, steps=2)[inside], full[inside])
        for context in (0, 16, 32, 256)
    ]
    assert errors[0] > errors[1] > errors[2] > errors[3] == 0.0


@pytest.mark.parametrize("kind", KINDS)
def test_a_texture_needs_a_context_of_its_scale(kind):
    """What lies beyond some of its features says nothing of a pixel: there crop is full."""
    model = texture_model(kind)
    prompt = texture_cond(Texture((0.2, -0.1, 0.3), (0.4, 0.3, 0.2), "clouds", 3.0))
    base, inside = pixels(BASE, model=model, cfg=1.0), pixels(prompt, model=model, cfg=1.0)
    latent = empty(64, 64)
    prompts = regions((box(64, 64, 28, 28, 36, 36), inside))
    full = run(latent, base, prompts, "full")[..., 28:36, 28:36]
    errors = [
        relative(run(latent, base, prompts, context=8 * context)[..., 28:36, 28:36], full)
        for context in (0, 3, 9, 18, 60)
    ]
    assert errors[0] > 5 * errors[2] and errors[2] < 0.03 and errors[3] < 0.01 and errors[4] == 0.0, errors


# What it costs


def columns(count, size):
    step = size // count
    return [box(size, size, 0, n * step, size, (n + 1) * step) for n in range(count)]


@pytest.mark.parametrize("count, target", [(4, 3.2), (16, 6.3)])
def test_what_columns_cost(count, target):
    """1024 x 1024 pixels with 64 of context: at most so many whole canvases per evaluation."""
    model, counter = counted(texture_model())
    base = pixels(BASE, model=model)
    prompts = regions(
        *((mask, pixels(ONE if n % 2 else TWO, model=model)) for n, mask in enumerate(columns(count, 128)))
    )
    run(empty(128, 128), base, prompts, steps=1, context=64)
    assert area(counter) <= target * 128**2
    counter.calls.clear()
    run(empty(128, 128), base, prompts, "full", steps=1)
    assert area(counter) == 3 * 128**2  # two prompts in all


@pytest.mark.parametrize("count, target", [(2, 2.5), (3, 3.04), (4, 3.5)])
def test_what_columns_of_unlike_prompts_cost_beside_a_covered_base(count, target):
    """The base's row of all the canvas is not there to be shared."""
    model, counter = counted(texture_model())
    samplers = [pixels(pixel_cond(0.1 * n, 0.2), model=model) for n in range(count)]
    masks = columns(count, 128)
    masks[-1][..., (count - 1) * (128 // count) :] = 1  # to the edge, where thirds leave a rest
    prompts = regions(*zip(masks, samplers, strict=True))
    run(empty(128, 128), samplers[0], prompts, steps=1, context=128)
    assert area(counter) <= target * 128**2
    counter.calls.clear()
    run(empty(128, 128), samplers[0], prompts, "full", steps=1)
    assert area(counter) == (count + 1) * 128**2


@pytest.mark.parametrize("count, target", [(4, 3.2), (8, 4.1)])
def test_what_columns_of_a_unet_cost(count, target):
    """In a picture a quarter as large, with a quarter of the context."""
    model, counter = counted(random_unet())
    prompts = regions(*((mask, unet(n + 1, model)) for n, mask in enumerate(columns(count, 32))))
    run(empty(32, 32), unet(99, model), prompts, steps=1, context=16)
    assert area(counter) <= target * 32**2
    assert len(counter.calls) <= 4  # one for each size
    counter.calls.clear()
    run(empty(32, 32), unet(99, model), prompts, "full", steps=1)
    assert area(counter) == (count + 1) * 32**2


def test_regions_that_share_a_box_share_a_negative():
    model, counter = counted(random_unet())
    left, right = box(32, 32, 8, 8, 16, 12), box(32, 32, 8, 12, 16, 16)
    cross = [box(32, 32, 8, 8, 16, 16, 0.3), box(32, 32, 8, 8, 16, 16, 0.2)]
    base = unet(1)
    run(empty(32, 32), base, regions(*((mask, unet(n, model)) for n, mask in enumerate(cross))), steps=1, context=0)
    assert [(call.rows, call.height, call.width) for call in counter.calls] == [(3, 8, 8)]
    counter.calls.clear()
    run(
        empty(32, 32),
        base,
        regions(*((mask, unet(n, model)) for n, mask in enumerate((left, right)))),
        steps=1,
        context=0,
    )
    assert [(call.rows, call.height, call.width) for call in counter.calls] == [(4, 8, 4)]


@pytest.mark.parametrize("size, cropped", [(4, True), (12, True), (20, True), (24, False), (28, False)])
def test_full_where_cropping_would_cost_more(size, cropped):
    """On the whole canvas the region shares the base's negative: it costs one row there, two in its box."""
    model, counter = counted(random_unet())
    start = (32 - size) // 2
    mask = box(32, 32, start, start, start + size, start + size)
    run(empty(32, 32), unet(1, model), regions((mask, unet(2, model))), steps=1, context=0)
    calls = sorted((call.height, call.width, call.rows) for call in counter.calls)
    assert calls == ([(size, size, 2), (32, 32, 2)] if cropped else [(32, 32, 3)])


def test_with_a_negative_of_its_own_a_region_is_cropped_up_to_nearly_the_canvas():
    model, counter = counted(random_unet())
    inside = step_sampler(model, random_cond(2), random_cond(8))
    run(empty(32, 32), unet(1, model), regions((box(32, 32, 1, 1, 30, 30), inside)), steps=1, context=0)
    assert {(call.height, call.rows) for call in counter.calls} == {(30, 2), (32, 2)}


def test_a_covered_base_costs_nothing_and_one_at_the_side_is_cropped():
    model, counter = counted(texture_model())
    mask = box(*SIZE, 0, 0, 12, 14)
    run(EMPTY, pixels(BASE, model=model), regions((mask, pixels(ONE)), (mask, pixels(TWO))), context=0)
    assert {(call.height, call.width) for call in counter.calls} == {(12, 6)}


# What keeps a region on the whole canvas


class Control(comfy.controlnet.ControlBase):
    """A ControlNet that has nothing to add."""

    def get_control(self, *_):
        return None


WHOLE = {
    "a ControlNet": {"control": Control()},
    "an area": {"area": (8, 8, 4, 8), "strength": 1.0},
    "a mask": {"mask": torch.ones(1, 16, 24), "set_area_to_bounds": False, "mask_strength": 1.0},
    "a default prompt": {"default": True},
}


@pytest.mark.parametrize("what", WHOLE)
@pytest.mark.parametrize("kind", ["positive", "negative"])
def test_what_holds_for_the_whole_canvas_keeps_a_region_there(kind, what, caplog):
    model, counter = counted(random_unet())
    prompts = {"positive": random_cond(2), "negative": random_cond(9)}
    # With a plain prompt beside it, as default prompts need.
    prompts[kind] = [[random_cond(5)[0][0], WHOLE[what]], *prompts[kind]]
    inside = step_sampler(model, prompts["positive"], prompts["negative"])
    other = box(16, 24, 0, 0, 6, 6)
    pairs = regions((other, unet(3)), (REGION, inside))
    with caplog.at_level("WARNING"):
        crop, full = both(empty(*CANVAS), unet(1), pairs, steps=3, context=0)
    said = [record.getMessage() for record in caplog.records if "not cropped" in record.getMessage()]
    assert said == [
        f"region 2 is computed on the whole canvas, not cropped: its prompt has {what} for the whole canvas."
    ]
    assert bool(crop.isfinite().all()) and {(call.height, call.width) for call in counter.calls} >= {CANVAS}
    assert relative(crop[..., INSIDE], full[..., INSIDE]) < 5e-3  # of the other region, which is cropped


def crop_obstacle(options, size=None):
    """Why a member with these options of its positive needs the whole canvas, on a latent of `size` (h, w)."""
    from pack.regional.compute.crop import Crop
    from pack.regional.models.group import ModelGroup
    from pack.samplers.guided import Guidance

    group = ModelGroup(0, Guidance(random_unet(), [[None, options]], [], 1.0))
    group.processed_size = size
    return Crop().obstacle(group, 0)


def test_gligen_keeps_a_region_on_the_whole_canvas(caplog):
    """The processed conds are enough to see it; no GLIGEN model is at hand."""
    assert crop_obstacle({"gligen": ("position", None, [])}) == "its prompt has GLIGEN boxes for the whole canvas"


def test_a_picture_for_the_whole_canvas_in_another_form_keeps_a_region_there():
    options = {"model_conds": {"camera": comfy.conds.CONDRegular(torch.zeros(1, 3, 8, 8))}}
    assert crop_obstacle(options, (8, 8)) == "its prompt has camera for the whole canvas"
    assert crop_obstacle(options, (8, 16)) is None


def test_reference_pictures_keep_a_region_on_the_whole_canvas(caplog):
    """Their positions would be shifted by that of the crop."""
    reference = torch.randn(1, 16, *CANVAS, generator=torch.Generator().manual_seed(3))
    model = random_flux()

    def one(n):
        positive = random_flux_cond(n)
        return [[positive[0][0], {**positive[0][1], "reference_latents": [reference]}]]

    base, inside = (step_sampler(model, one(n), one(9), cfg=1.0) for n in (1, 2))
    crop, full = both(empty(*CANVAS, channels=16), base, regions((REGION, inside)), steps=2)
    assert torch.equal(crop, full)
    assert "region 1 is computed on the whole canvas, not cropped: its prompt has ref_latents" in caplog.text


def test_a_camera_keeps_a_region_on_the_whole_canvas(caplog):
    """Wan's camera model adds an embedding of the whole picture's pixels, in a net that is derived from Wan's."""
    family = replace(
        FAMILIES["Wan"],
        config=comfy.supported_models.WAN21_Camera,
        unet={**FAMILIES["Wan"].unet, "model_type": "camera"},
        shape=(16, 1, 8, 12),
    )
    camera = torch.randn(1, 24, 1, 64, 96, generator=torch.Generator().manual_seed(3))
    model = family.make()

    def one(n):
        return [[family.cond(n)[0][0], {"camera_conditions": camera}]]

    base, inside = (step_sampler(model, one(n), one(9)) for n in (1, 2))
    mask = box(8, 12, 4, 6, 8, 12)
    crop, full = both(family.latent(), base, regions((mask, inside)), steps=1, context=0)
    assert torch.equal(crop, full)
    assert "region 1 is computed on the whole canvas, not cropped: WAN21_Camera cannot be told" in caplog.text


class Patch:
    """A patch of a model that changes nothing."""

    def __call__(self, args, extra_options=None):
        return {"img": args["img"]} if extra_options is None else extra_options["original_block"](args)


class PatchWithModel(Patch):
    """As the host's nodes for ControlNets that come as model patches."""

    def models(self):
        return []


@pytest.mark.parametrize("kind", ["patch", "replacement"])
def test_a_model_patched_into_the_model_keeps_a_region_on_the_whole_canvas(kind, caplog):
    """It fits its picture of all the canvas to the size of what it is given."""
    assert all(hasattr(host, "models") for host in (ZImageControlPatch, DiffSynthCnetPatch))

    def areas(patch):
        model, counter = counted(random_flux())
        patched = model.clone()
        if kind == "patch":
            patched.set_model_double_block_patch(patch)
        else:
            patched.set_model_patch_replace(patch, "dit", "double_block", 0)
        base, inside = (
            step_sampler(one, random_flux_cond(n), random_flux_cond(9), cfg=1.0)
            for n, one in enumerate((model, patched))
        )
        latent = empty(*CANVAS, channels=16)
        run(latent, base, regions((REGION, inside)), steps=1, context=0)
        return {(call.height, call.width) for call in counter.calls}

    assert areas(Patch()) != {CANVAS} and "not cropped" not in caplog.text
    assert areas(PatchWithModel()) == {CANVAS}
    assert "region 1 is computed on the whole canvas, not cropped: a model is patched into its own" in caplog.text


def test_a_region_of_the_whole_canvas_is_not_complained_of(caplog):
    prompt = [[random_cond(5)[0][0], WHOLE["an area"]], *random_cond(2)]
    inside = step_sampler(random_unet(), prompt, random_cond(9))
    run(empty(*CANVAS), unet(1), regions((torch.ones(1, 4, 4), inside)), steps=2)
    assert "not cropped" not in caplog.text


def test_said_once_in_a_run_of_phases_and_samplers(caplog):
    """The same region in several phases: one line."""
    prompt = [[random_cond(5)[0][0], WHOLE["an area"]], *random_cond(2)]
    model = random_unet()
    inside = step_sampler(model, prompt, random_cond(9))
    prompts = regions((REGION, inside)) + regions((box(16, 24, 0, 0, 6, 6), unet(3, model)), start_percent=0.5)
    with caplog.at_level("WARNING"):
        run(empty(*CANVAS), unet(1, model), prompts, steps=6)
    assert sum("not cropped" in record.getMessage() for record in caplog.records) == 1


@pytest.mark.parametrize("kind", KINDS)
def test_inputs_are_not_changed_and_a_second_run_is_the_same(kind):
    positive = random_cond(2)
    before = positive[0][0].clone(), dict(positive[0][1])
    model = random_unet(kind)
    inside = step_sampler(model, positive, random_cond(9))
    options = dict(model.model_options)
    prompts = regions((REGION, inside))
    first, second = (run(empty(*CANVAS), unet(1, model), prompts, steps=3) for _ in range(2))
    assert torch.equal(first, second)
    assert torch.equal(before[0], positive[0][0]) and before[1] == positive[0][1] and options == model.model_options


@pytest.mark.slow
def test_null_split_in_crop_is_near_plain_sampling():
    """One prompt everywhere: the nearer, the further the regions see."""
    model = random_unet()

    def spelled(times):
        """The same to the model, but another tensor, so that nobody shares an evaluation."""
        positive, negative = ([[cond[0][0].repeat(1, times, 1), {}]] for cond in (random_cond(1), random_cond(9)))
        return step_sampler(model, positive, negative, cfg=2.0)

    latent = empty(32, 32)
    prompts = regions((box(32, 32, 0, 0, 32, 8), spelled(2)), (box(32, 32, 0, 24, 32, 32), spelled(3)))
    want = plain(spelled(1), latent, steps=2)
    errors = [relative(run(latent, spelled(1), prompts, context=context, steps=2), want) for context in (0, 64, 256)]
    assert 0.4 > errors[0] > errors[1] > errors[2] and errors[2] < 1e-5, errors

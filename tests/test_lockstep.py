"""The lockstep engine: every sampler of the host's list, against plain sampling, where the right answer is known."""

import threading

import comfy.model_management
import comfy.sample
import comfy.samplers
import pytest
import torch
from pixel_scene import BASE, EMPTY, KINDS, MASKS, NEGATIVE, ONE, REST, SIZE, TWO, assert_each_has_its_own, pixels
from testing_pack.models import (
    counted,
    random_cond,
    random_unet,
    reference_cond,
    reference_model,
    texture_model,
    wrapped,
)
from use import (
    box,
    custom,
    lockstep,
    plain,
    regional_sampler,
    regional_sampler_advanced,
    regions,
    relative,
    step_sampler,
    use,
)

SAMPLERS = comfy.samplers.KSampler.SAMPLERS
# Adaptive step sizes look at the whole picture, so what lies beside a region counts there.
OWN_PROMPT = {"dpm_adaptive": 0.01}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", SAMPLERS)
def test_own_prompt(name, kind):
    """On a pixel-wise exact model each region equals plain sampling of its own prompt and seed."""
    model = texture_model(kind)
    schedulers = ["normal", "karras", "simple", "beta"]
    # Which scheduler and cfg a sampler is tried with depends on its place in the list; all of both come up.
    scheduler, cfg = schedulers[SAMPLERS.index(name) % 4], (1.0, 1.5)[SAMPLERS.index(name) // 4 % 2]
    samplers = [
        step_sampler(model, prompt, NEGATIVE, cfg=cfg, sampler_name=name, scheduler=scheduler)
        for prompt in (BASE, ONE, TWO)
    ]
    out = lockstep(EMPTY, samplers[0], regions(*zip(MASKS, samplers[1:], strict=True)))
    assert_each_has_its_own(out, samplers, [REST, *MASKS], OWN_PROMPT.get(name, 1e-5))


@pytest.mark.parametrize("cfg", [1.0, 1.5])
@pytest.mark.parametrize("scheduler", comfy.samplers.KSampler.SCHEDULERS)
@pytest.mark.parametrize("kind", KINDS)
def test_own_prompt_on_every_schedule(kind, scheduler, cfg):
    samplers = [
        step_sampler(texture_model(kind), prompt, NEGATIVE, cfg=cfg, sampler_name="dpmpp_2m", scheduler=scheduler)
        for prompt in (BASE, ONE, TWO)
    ]
    out = lockstep(EMPTY, samplers[0], regions(*zip(MASKS, samplers[1:], strict=True)))
    assert_each_has_its_own(out, samplers, [REST, *MASKS])


def _soft(height, width):
    return torch.linspace(0, 1, width).expand(1, height, width).clone()


# Regions that carry the base's prompt, at 8 x 12 latent pixels of 64 x 96 mask pixels.
SPLITS = {
    "one hard": [box(64, 96, 8, 16, 40, 64)],
    "two that overlap": [box(64, 96, 8, 16, 40, 64), box(64, 96, 24, 40, 64, 96)],
    "two soft": [_soft(64, 96), 1 - _soft(64, 96)],
    "five of all kinds": [
        box(64, 96, 0, 0, 32, 32),
        box(64, 96, 3, 35, 29, 61, 0.4),
        box(64, 96, 32, 0, 64, 96),
        _soft(64, 96) * 0.7,
        box(64, 96, 20, 20, 44, 76),
    ],
}


def null_split(name, kind, split, overlap, **inputs):
    sampler = step_sampler(random_unet(kind), random_cond(1), random_cond(2), cfg=3.0, sampler_name=name)
    latent = {"samples": torch.zeros(1, 4, 8, 12)}
    prompts = regions(*((mask, sampler) for mask in SPLITS[split]))
    out = lockstep(latent, sampler, prompts, steps=5, overlap_factor=overlap, **inputs)
    return relative(out, plain(sampler, latent, steps=5))


@pytest.mark.parametrize("name", SAMPLERS)
def test_null_split(name):
    """Regions with the base's prompt leave plain sampling unchanged, on a network in which every pixel sees all."""
    number = SAMPLERS.index(name)
    error = null_split(
        name, KINDS[number % 3], list(SPLITS)[number // 3 % 4], (0, 10)[number % 2], base_only_steps=number % 3
    )
    assert error < 1e-4


@pytest.mark.parametrize("overlap", [0, 10, 500])
@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize("kind", KINDS)
def test_null_split_with_every_kind_of_mask(kind, split, overlap):
    assert null_split("euler_ancestral", kind, split, overlap) < 1e-4


PAIRS = [
    ("euler", "dpmpp_2m"),
    ("dpmpp_2m", "euler_ancestral"),
    ("euler", "uni_pc"),
    ("heun", "deis"),
    ("dpmpp_2m_sde", "dpm_2"),
    ("euler", "euler_cfg_pp"),
    ("res_multistep", "lms"),
    ("ddim", "dpmpp_3m_sde"),
    ("dpm_fast", "lcm"),
]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("pair", PAIRS, ids="-".join)
def test_unlike_samplers_side_by_side(pair, kind):
    """Samplers, schedulers and sigma factors that differ: each region equals its own plain run."""
    model = texture_model(kind)
    samplers = [
        step_sampler(model, BASE, NEGATIVE, sampler_name=pair[0]),
        step_sampler(model, ONE, NEGATIVE, sampler_name=pair[1]),
        step_sampler(model, TWO, NEGATIVE, sampler_name=pair[0], scheduler="karras"),
    ]
    out = lockstep(EMPTY, samplers[0], regions(*zip(MASKS, samplers[1:], strict=True)))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("regional-")]
    assert_each_has_its_own(out, samplers, [REST, *MASKS])


def test_unlike_samplers_see_each_other_at_one_noise_level():
    """Where all carry one prompt and samplers agree in the limit, side by side is near to plain sampling on a UNet."""
    model = random_unet("flow")
    euler, heun = (
        step_sampler(model, random_cond(1), random_cond(2), cfg=2.0, sampler_name=name) for name in ("euler", "heun")
    )
    latent = {"samples": torch.zeros(1, 4, 8, 12)}
    mask = box(64, 96, 8, 16, 40, 64)
    out = lockstep(latent, euler, regions((mask, heun)), steps=20)
    one, other = (plain(sampler, latent, steps=20) for sampler in (euler, heun))
    assert relative(out, one) < relative(other, one)


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_sigma_factor_of_a_region(factor):
    base = step_sampler(texture_model(), BASE, NEGATIVE)
    inside = step_sampler(texture_model(), ONE, NEGATIVE, sigma_factor=factor)
    out = lockstep(EMPTY, base, regions((MASKS[0], inside)))
    want = inside.sample_advanced(True, 5, 8, EMPTY, 0, 8, False, "DISABLE")["samples"]
    assert relative(out[..., MASKS[0][0] > 0], want[..., MASKS[0][0] > 0]) < 1e-4


def test_sampler_objects_and_scheduler_functions():
    sampler = comfy.samplers.ksampler("dpmpp_2m_sde", {"eta": 0.5, "solver_type": "heun"})
    schedule = use("GITSSchedulerFuncProvider", coeff=1.1, denoise=1.0)
    model = texture_model()
    options = {"sampler_opt": sampler, "scheduler_func_opt": schedule}
    base, inside = (step_sampler(model, prompt, NEGATIVE, cfg=1.0, **options) for prompt in (BASE, ONE))
    out = lockstep(EMPTY, base, regions((MASKS[0], inside)))
    for one, mask in ((base, 1 - MASKS[0]), (inside, MASKS[0])):
        guider = comfy.samplers.CFGGuider(model)
        guider.set_conds(one.guidance.positive, NEGATIVE)
        noise = comfy.sample.prepare_noise(EMPTY["samples"], 5)
        want = guider.sample(noise, EMPTY["samples"], sampler, schedule(model, "", 8), disable_pbar=True, seed=5)
        assert relative(out[..., mask[0] > 0], want[..., mask[0] > 0]) < 1e-4


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m_sde", "euler_ancestral_cfg_pp", "heun", "uni_pc"])
def test_regional_guider_equals_regional_sampler(name):
    model = random_unet()
    base, inside = (step_sampler(model, random_cond(n), random_cond(9), cfg=n, sampler_name=name) for n in (2, 4))
    latent = {"samples": torch.zeros(1, 4, 8, 12)}
    prompts = regions((box(64, 96, 8, 16, 40, 64), inside), variation_seed=3, variation_strength=0.3)
    want = lockstep(latent, base, prompts, overlap_factor=10, steps=6)
    guider = use(
        "RegionalGuider",
        model=model,
        positive=random_cond(2),
        negative=random_cond(9),
        cfg=2.0,
        regional_prompts=prompts,
        overlap_factor=10,
    )
    out = custom(guider, comfy.samplers.KSampler(model, 6, "cpu", name, "normal").sigmas, latent, name)
    assert relative(out, want) < 1e-5


def test_regional_guider_lets_the_base_begin():
    """The first half of the progress is the base's: there the region's prompt is not asked."""
    model, asked = texture_model(), []
    recorded = wrapped(model, lambda x, sigma: asked.append(float(sigma.max())))
    prompts = use(
        "RegionalPromptFromConditioning", mask=MASKS[0], model=recorded, positive=ONE, negative=NEGATIVE, cfg=1.0
    )
    guider = use(
        "RegionalGuider",
        model=model,
        positive=BASE,
        negative=NEGATIVE,
        cfg=1.0,
        regional_prompts=prompts,
        base_only_percent=0.5,
    )
    sigmas = comfy.samplers.KSampler(model, 10, "cpu", "euler", "normal").sigmas
    custom(guider, sigmas, EMPTY, "euler")
    half = model.get_model_object("model_sampling").percent_to_sigma(0.5)
    assert asked == pytest.approx([float(sigma) for sigma in sigmas[:-1] if sigma <= half])


def test_regional_guider_can_be_used_again_at_another_size():
    model = texture_model()
    prompts = use(
        "RegionalPromptFromConditioning", mask=MASKS[0], model=model, positive=ONE, negative=NEGATIVE, cfg=1.0
    )
    guider = use("RegionalGuider", model=model, positive=BASE, negative=NEGATIVE, cfg=1.0, regional_prompts=prompts)
    sigmas = comfy.samplers.KSampler(model, 10, "cpu", "euler", "normal").sigmas
    small = custom(guider, sigmas, EMPTY, "euler")
    large = custom(guider, sigmas, {"samples": torch.zeros(1, 4, 24, 40)}, "euler")
    again = custom(guider, sigmas, EMPTY, "euler")
    assert torch.equal(small, again)
    inside = torch.nn.functional.interpolate(MASKS[0][None], size=(24, 40))[0, 0] > 0
    assert large[..., inside].mean().item() == pytest.approx(0.1, abs=0.05)


@pytest.mark.parametrize("engine", ["stepwise", "lockstep"])
def test_prompt_from_conditioning_takes_the_bases_sampler(engine):
    model = random_unet()
    base, inside = (step_sampler(model, random_cond(n), random_cond(9), sampler_name="dpmpp_2m") for n in (1, 2))
    latent, mask = {"samples": torch.zeros(1, 4, 8, 12)}, box(64, 96, 8, 16, 40, 64)
    short = use(
        "RegionalPromptFromConditioning",
        mask=mask,
        model=model,
        positive=random_cond(2),
        negative=random_cond(9),
        cfg=1.5,
    )
    want = lockstep(latent, base, regions((mask, inside)), engine=engine)
    assert torch.equal(lockstep(latent, base, short, engine=engine), want)
    with pytest.raises(TypeError, match="takes its sampler from the base"):
        short[0].sampler.sample_advanced(True, 1, 4, latent, 0, 4, False)


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m", "euler_ancestral", "uni_pc"])
def test_image_to_image(name):
    latent = {"samples": torch.randn(2, 4, *SIZE, generator=torch.Generator().manual_seed(1)) * 0.3}
    samplers = [step_sampler(texture_model(), prompt, NEGATIVE, sampler_name=name) for prompt in (BASE, ONE, TWO)]
    out = lockstep(latent, samplers[0], regions(*zip(MASKS, samplers[1:], strict=True)), denoise=0.5)
    assert_each_has_its_own(out, samplers, [REST, *MASKS], latent=latent, denoise=0.5)


@pytest.mark.parametrize("name", ["euler", "heun", "dpm_2", "ddim"])
@pytest.mark.parametrize("kind", KINDS)
def test_two_runs_in_a_row_equal_one(kind, name):
    """Leftover noise in between; for samplers without memory."""
    model = random_unet(kind)
    base, inside = (step_sampler(model, random_cond(n), random_cond(9), sampler_name=name) for n in (1, 2))
    latent = {"samples": torch.zeros(1, 4, 8, 12)}
    prompts = regions((box(64, 96, 8, 16, 40, 64), inside))
    options = {"engine": "lockstep", "overlap_factor": 10}
    whole = regional_sampler_advanced(latent, base, prompts, **options)
    first = regional_sampler_advanced(latent, base, prompts, end_at_step=3, return_with_leftover_noise=True, **options)
    second = regional_sampler_advanced(first, base, prompts, start_at_step=3, add_noise=False, **options)
    assert relative(second["samples"], whole["samples"]) < 1e-4


def test_an_early_end_without_leftover_noise_counts_as_ksampler_advanced_does():
    samplers = [step_sampler(texture_model(), prompt, NEGATIVE) for prompt in (BASE, ONE)]
    prompts = regions((MASKS[0], samplers[1]))
    out = regional_sampler_advanced(EMPTY, samplers[0], prompts, end_at_step=4, engine="lockstep")["samples"]
    inputs = {"steps": 6, "last_step": 4, "force_full_denoise": True}
    assert_each_has_its_own(out, samplers, [1 - MASKS[0], MASKS[0]], **inputs)


@pytest.mark.parametrize("name", ["euler", "heun", "dpmpp_2m"])
def test_base_only_steps(name):
    """Only the base is asked before the step at which the regions begin."""
    model, counter = counted(texture_model())
    base = step_sampler(texture_model(), BASE, NEGATIVE, sampler_name=name)
    inside = step_sampler(model, ONE, NEGATIVE, sampler_name=name)
    lockstep(EMPTY, base, regions((MASKS[0], inside)), base_only_steps=3)
    sigmas = comfy.samplers.KSampler(model, 8, "cpu", name, "normal").sigmas
    assert max(call.sigma for call in counter.calls) == pytest.approx(float(sigmas[3]))


def test_base_only_steps_then_regions_equal_two_plain_runs():
    base, inside = (step_sampler(texture_model(), prompt, NEGATIVE) for prompt in (BASE, ONE))
    out = lockstep(EMPTY, base, regions((MASKS[0], inside)), base_only_steps=3)
    first = base.sample_advanced(True, 5, 8, EMPTY, 0, 3, True, "DISABLE")
    want = inside.sample_advanced(False, 5, 8, first, 3, 8, False, "DISABLE")["samples"]
    assert relative(out[..., MASKS[0][0] > 0], want[..., MASKS[0][0] > 0]) < 1e-4


@pytest.mark.parametrize("mode", ["fixed", "seed+seed_2nd"])
def test_second_seed_gives_new_noise_after_the_base_only_steps(mode):
    base, inside = (step_sampler(texture_model(), prompt, NEGATIVE) for prompt in (BASE, ONE))
    out = lockstep(EMPTY, base, regions((MASKS[0], inside)), base_only_steps=3, seed_2nd_mode=mode)
    first = base.sample_advanced(True, 5, 8, EMPTY, 0, 3, False, "DISABLE")
    seed = {"fixed": 6, "seed+seed_2nd": 11}[mode]
    want = inside.sample_advanced(True, seed, 8, first, 3, 8, False, "DISABLE")["samples"]
    assert relative(out[..., MASKS[0][0] > 0], want[..., MASKS[0][0] > 0]) < 1e-4


def test_noise_mask_is_respected():
    latent = {"samples": torch.randn(1, 4, *SIZE, generator=torch.Generator().manual_seed(1)), "noise_mask": MASKS[1]}
    half = box(*SIZE, 0, 0, 12, 14)
    for name in ("euler", "dpmpp_2m"):
        base = step_sampler(texture_model(), BASE, NEGATIVE)
        inside = step_sampler(texture_model(), ONE, NEGATIVE, sampler_name=name)
        out = lockstep(latent, base, regions((half, inside)))
        kept = MASKS[1][0] == 0
        assert torch.allclose(out[..., kept], latent["samples"][..., kept], atol=1e-4)
        masks = [(1 - half) * MASKS[1], half * MASKS[1]]
        assert_each_has_its_own(out, [base, inside], masks, latent=latent)


def test_two_advanced_samplers_in_lockstep():
    base, inside = (step_sampler(texture_model(), prompt, NEGATIVE) for prompt in (BASE, ONE))
    shared = {"seed": 5, "steps": 8, "denoise": 1.0, "samples": EMPTY, "base_sampler": base, "mask_sampler": inside}
    out = use("TwoAdvancedSamplersForMask", mask=MASKS[0], overlap_factor=0, engine="lockstep", **shared)
    assert list(out) == ["samples"]
    assert_each_has_its_own(out["samples"], [base, inside], [1 - MASKS[0], MASKS[0]])
    blend = use("TwoAdvancedSamplersForMask", mask=MASKS[0], overlap_factor=3, engine="lockstep", **shared)["samples"]
    changed = (blend - out["samples"]).abs().amax((0, 1)) > 1e-4
    ring = box(*SIZE, 0, 0, 9, 11)[0] - MASKS[0][0]  # 3 latent pixels around it, cut at the picture's edge
    assert torch.equal(changed, ring > 0)


def test_models_that_differ():
    """Another model of the same latent format, EPS beside v, and a clone with its own cfg function."""
    base = step_sampler(texture_model("eps"), BASE, NEGATIVE)
    v = step_sampler(texture_model("v"), ONE, NEGATIVE)
    clone = texture_model("eps").clone()
    clone.set_model_sampler_cfg_function(lambda args: args["input"] - (args["cond_denoised"] + 0.25))
    own = step_sampler(clone, TWO, NEGATIVE)
    samplers = [base, v, own]
    out = lockstep(EMPTY, base, regions(*zip(MASKS, samplers[1:], strict=True)))
    assert_each_has_its_own(out, samplers, [REST, *MASKS])


def test_clones_of_one_network_with_unlike_weights():
    """A LoRA'd region: its clone's weights while it is asked, the base's before and after."""
    model = random_unet()
    clone = model.clone()
    key = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_v.weight"
    weight = model.model_state_dict()[key]
    clone.add_patches({key: (torch.randn(weight.shape, generator=torch.Generator().manual_seed(1)) * 0.5,)}, 1.0)
    before = weight.clone()
    base, inside = (step_sampler(patcher, random_cond(1), random_cond(9)) for patcher in (model, clone))
    latent = {"samples": torch.zeros(1, 4, 8, 12)}
    everywhere = lockstep(latent, base, regions((torch.ones(1, 8, 8), inside)))
    assert relative(everywhere, plain(inside, latent)) < 1e-4
    apart = relative(plain(inside, latent), plain(base, latent))
    assert apart > 1e-2
    half = lockstep(latent, base, regions((box(8, 12, 0, 0, 8, 6), inside)))
    assert relative(half, plain(inside, latent)) > 1e-3 and relative(half, plain(base, latent)) > 1e-3
    assert relative(plain(base, latent), plain(base, latent)) == 0.0
    assert torch.equal(model.model_state_dict()[key], before)


def test_flow_beside_eps_is_refused():
    base, inside = (step_sampler(texture_model(kind), BASE, NEGATIVE) for kind in ("eps", "flow"))
    with pytest.raises(ValueError, match=r"region 1: .* by flow, the base's by EPS or v"):
        lockstep(EMPTY, base, regions((MASKS[0], inside)))


def test_functions_of_a_model_run_on_its_own_prediction_and_the_samplers_on_the_composed():
    seen = []
    model = texture_model()
    clone = model.clone()
    clone.set_model_sampler_post_cfg_function(lambda args: seen.append(args["denoised"]) or args["denoised"] + 0.5)
    base = step_sampler(model, BASE, NEGATIVE, sampler_name="euler_cfg_pp")
    inside = step_sampler(clone, ONE, NEGATIVE, sampler_name="euler_cfg_pp")
    out = lockstep(EMPTY, base, regions((MASKS[0], inside)))
    assert len(seen) == 8
    assert_each_has_its_own(out, [base, inside], [1 - MASKS[0], MASKS[0]])


def test_patches_learn_which_rows_are_cond_and_which_uncond():
    """IPAdapter and its kin pick by 0 or 1, so the place of a row in the larger batch must not reach them."""
    seen = set()

    def wrapper(apply_model, args):
        seen.update(args["cond_or_uncond"])
        seen.update(args["c"]["transformer_options"]["cond_or_uncond"])
        return apply_model(args["input"], args["timestep"], **args["c"])

    model = texture_model()
    model.set_model_unet_function_wrapper(wrapper)
    samplers = [step_sampler(model, prompt, NEGATIVE) for prompt in (BASE, ONE, TWO)]
    lockstep(EMPTY, samplers[0], regions(*zip(MASKS, samplers[1:], strict=True)))
    assert seen == {0, 1}


def test_conds_with_areas_and_timestep_ranges_stay_with_their_region():
    """An area in one region's conds is no area of another's, and a cond counts only in its range."""
    model = texture_model()
    area = [[TWO[0][0], {"area": (4, 4, 2, 3), "strength": 1.0}], [ONE[0][0], {}]]
    early = [[ONE[0][0], {"start_percent": 0.0, "end_percent": 0.5}], [TWO[0][0], {"start_percent": 0.5}]]
    samplers = [step_sampler(model, prompt, NEGATIVE) for prompt in (BASE, area, early)]
    out = lockstep(EMPTY, samplers[0], regions(*zip(MASKS, samplers[1:], strict=True)))
    assert_each_has_its_own(out, samplers, [REST, *MASKS])


def rows(count, cfg=1.5, shared=True, masks=None, negative=None):
    """Rows of each model call at `count` regions in a 16 x 16 picture."""
    model, counter = counted(random_unet())
    negatives = [random_cond(99 if shared else 50 + n) if negative is None else negative for n in range(count + 1)]
    samplers = [step_sampler(model, random_cond(n), negatives[n], cfg=cfg) for n in range(count + 1)]
    masks = masks or [box(16, 16, 2 * n, 0, 2 * n + 2, 12) for n in range(count)]
    started = []
    start = threading.Thread.start

    def starting(thread):
        started.append(thread)
        start(thread)

    threading.Thread.start = starting
    try:
        latent = {"samples": torch.zeros(1, 4, 16, 16)}
        lockstep(latent, samplers[0], regions(*zip(masks, samplers[1:], strict=True)), steps=3)
    finally:
        threading.Thread.start = start
    assert not [one for one in started if one.name.startswith("regional")]
    assert len(counter.calls) == 3
    return {call.rows for call in counter.calls}


@pytest.mark.parametrize("count", [1, 2, 4])
def test_rows(count):
    """One call for all rows of a step, of the base and N regions; no thread when all share sampler and schedule."""
    assert rows(count) == {count + 2}
    assert rows(count, shared=False) == {2 * count + 2}
    assert rows(count, cfg=1.0) == {count + 1}
    assert rows(count, negative="NegativePlaceholder") == {count + 1}


def test_what_has_no_weight_is_not_evaluated():
    full = torch.ones(1, 16, 16)
    assert rows(1, masks=[full]) == {2}
    assert rows(2, masks=[full, torch.zeros(1, 16, 16)]) == {2}
    hidden = regions((full, pixels(ONE)))
    model, counter = counted(texture_model())
    lockstep(EMPTY, step_sampler(model, BASE, NEGATIVE), hidden)
    assert counter.rows == 0


class Fails:
    """A SAMPLER that fails after some model calls, in its own words."""

    def __init__(self, error, calls=2):
        self.error, self.calls = error, calls

    def sample(self, model_wrap, sigmas, extra_args, callback, noise, *_, **__):
        for _ in range(self.calls):
            model_wrap(noise, sigmas[:1], **extra_args)
        raise self.error

    def max_denoise(self, *_):
        return True


class TestFailures:
    """One thread's end is the end of all; the error reaches the caller as itself, and no thread is left."""

    @pytest.fixture(autouse=True)
    def no_thread_is_left(self):
        yield
        assert not [one for one in threading.enumerate() if one.name.startswith("regional-")]

    def test_a_failing_sampler_is_named(self):
        error = RuntimeError("no luck")
        prompts = regions((MASKS[0], pixels(ONE)), (MASKS[1], pixels(TWO, sampler_opt=Fails(error))))
        with pytest.raises(RuntimeError, match="sampler of region 2 failed: no luck") as caught:
            lockstep(EMPTY, pixels(BASE), prompts)
        assert caught.value is error

    @pytest.mark.parametrize(
        "error",
        [comfy.model_management.InterruptProcessingException(), comfy.model_management.OOM_EXCEPTION("out of memory")],
        ids=["interrupt", "memory"],
    )
    def test_what_the_host_looks_at_comes_through_untouched(self, error):
        prompts = regions((MASKS[0], pixels(ONE, sampler_opt=Fails(error))))
        with pytest.raises(type(error)) as caught:
            lockstep(EMPTY, pixels(BASE), prompts)
        assert caught.value is error and "sampler of" not in str(error)

    @pytest.mark.parametrize("other", ["euler", "dpmpp_2m"])
    def test_a_failing_model(self, other):
        calls = []

        def fail(x, sigma):
            calls.append(1)
            if len(calls) == 3:
                raise RuntimeError("broken model")

        broken = step_sampler(wrapped(texture_model(), fail), ONE, NEGATIVE, sampler_name=other)
        with pytest.raises(RuntimeError, match=r"^broken model$"):
            lockstep(EMPTY, pixels(BASE), regions((MASKS[0], broken)))

    @pytest.mark.parametrize("other", ["heun", "dpmpp_2m"])
    def test_interrupt_within_one_model_call(self, other):
        calls = []

        def interrupt(x, sigma):
            calls.append(1)
            if len(calls) == 3:
                comfy.model_management.interrupt_current_processing()

        model = wrapped(texture_model(), interrupt)
        base = step_sampler(model, BASE, NEGATIVE, sampler_name="heun")
        inside = step_sampler(model, ONE, NEGATIVE, sampler_name=other)
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            lockstep(EMPTY, base, regions((MASKS[0], inside)))
        assert len(calls) == 3
        want = lockstep(EMPTY, pixels(BASE, sampler_name="heun"), regions((MASKS[0], pixels(ONE, sampler_name=other))))
        calls.extend([1] * 9)
        assert torch.equal(lockstep(EMPTY, base, regions((MASKS[0], inside))), want)


@pytest.mark.parametrize("other", ["euler", "dpmpp_2m"])
def test_one_bar_with_previews_of_the_whole_canvas(other, monkeypatch):
    import comfy.utils
    import latent_preview

    reports, shown = [], []

    class Previewer(latent_preview.LatentPreviewer):
        def decode_latent_to_preview_image(self, preview_format, x0):
            shown.append(x0.clone())
            return preview_format, None, 64

    monkeypatch.setattr(
        comfy.utils,
        "PROGRESS_BAR_HOOK",
        lambda value, total, preview, node_id=None: reports.append((value, total, node_id)),
    )
    monkeypatch.setattr(latent_preview, "get_previewer", lambda *_: Previewer())
    prompts = regions(
        *((mask, pixels(prompt, cfg=1.0, sampler_name=other)) for mask, prompt in zip(MASKS, (ONE, TWO), strict=True))
    )
    lockstep(EMPTY, pixels(BASE, cfg=1.0), prompts, steps=8, unique_id="9")
    assert [value for value, _, _ in reports] == [*range(1, 9), 8]
    assert {(total, node_id) for _, total, node_id in reports} == {(8, "9")}
    for mask, mean in zip([REST, *MASKS], (-0.5, 0.1, 0.6), strict=True):
        assert shown[-1][..., mask[0] > 0].mean().item() == pytest.approx(mean, abs=0.15)


def test_inputs_are_never_changed():
    model = random_unet()
    positive, negative = random_cond(1), random_cond(2)
    base = step_sampler(model, positive, negative)
    inside = step_sampler(model, random_cond(3), negative, sampler_name="uni_pc")
    latent = {"samples": torch.zeros(1, 4, 8, 12), "batch_index": [4], "mine": 1}
    mask = box(64, 96, 8, 16, 40, 64)
    before = positive[0][0].clone(), mask.clone(), dict(model.model_options), list(positive[0][1])
    first = regional_sampler(latent, base, regions((mask, inside)), engine="lockstep")
    second = regional_sampler(latent, base, regions((mask, inside)), engine="lockstep")
    assert torch.equal(first["samples"], second["samples"])
    assert set(first) == {"samples", "batch_index", "mine"}
    assert torch.count_nonzero(latent["samples"]) == 0
    assert torch.equal(before[0], positive[0][0]) and torch.equal(before[1], mask)
    assert before[2] == model.model_options and before[3] == list(positive[0][1])


def test_batches_with_a_mask_for_each_picture():
    masks = torch.cat(MASKS)
    latent = {"samples": torch.zeros(2, 4, *SIZE)}
    samplers = [pixels(BASE), pixels(ONE)]
    out = lockstep(latent, samplers[0], regions((masks, samplers[1])))
    for n in range(2):
        for sampler, mask in zip(samplers, (1 - masks[n], masks[n]), strict=True):
            want = plain(sampler, latent)[n]
            assert relative(out[n][..., mask > 0], want[..., mask > 0]) < 1e-5


def test_hooks_of_a_regions_conds():
    """A weight hook on one region's prompt changes that region alone."""
    import comfy.hooks

    model = random_unet()
    key = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_v.weight"
    shape = model.model_state_dict()[key].shape
    patch = {key: (torch.randn(shape, generator=torch.Generator().manual_seed(1)) * 0.5,)}
    hooks = comfy.hooks.HookGroup()
    hook = comfy.hooks.WeightHook(strength_model=1.0, strength_clip=0.0)
    hook.weights, hook.need_weight_init = patch, False
    hooks.add(hook)
    hooked = comfy.hooks.set_hooks_for_conditioning(random_cond(1), hooks)
    base = step_sampler(model, random_cond(1), random_cond(9))
    inside = step_sampler(model, hooked, random_cond(9))
    latent = {"samples": torch.zeros(1, 4, 8, 12)}
    everywhere = lockstep(latent, base, regions((torch.ones(1, 8, 8), inside)))
    assert relative(everywhere, plain(inside, latent)) < 1e-4
    assert relative(plain(inside, latent), plain(base, latent)) > 1e-3
    half = lockstep(latent, base, regions((box(8, 12, 0, 0, 8, 6), inside)))
    assert relative(half, plain(inside, latent)) > 1e-3 and relative(half, plain(base, latent)) > 1e-3
    assert relative(lockstep(latent, base, regions((box(8, 12, 0, 0, 8, 6), base))), plain(base, latent)) < 1e-4


def test_reference_model_side_by_side_stays_near_one_sampler():
    """A model that sees neighbours: unlike samplers with one prompt differ from one sampler by their own error only."""
    model, values, negative = reference_model("eps"), [0.5, -0.2, 0.1, 0.3, 0.7], reference_cond([0] * 4 + [1])
    heun, euler = (
        step_sampler(model, reference_cond(values), negative, cfg=1.0, sampler_name=name) for name in ("heun", "euler")
    )
    out = lockstep(EMPTY, heun, regions((MASKS[0], euler)), steps=20)
    one, other = (plain(sampler, EMPTY, steps=20) for sampler in (heun, euler))
    assert relative(out, one) < relative(other, one)

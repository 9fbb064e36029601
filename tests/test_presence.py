"""Regions that paint for a while, in part or late; frames; and whose answer is not a number."""

import itertools
import math
import threading
from dataclasses import replace

import comfy.sample
import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_advanced_samplers import SamplerLCMUpscale
from comfy_extras.nodes_custom_sampler import KSamplerSelect, RandomNoise, SamplerCustomAdvanced
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from test_families import by_ksampler as family_plain
from test_families import mask as family_mask
from test_families import sampler as family_sampler
from test_lockstep import BASE, EMPTY, MASKS, NEGATIVE, ONE, REST, SIZE, TWO, plain
from testing_pack.families import FAMILIES
from testing_pack.faults import RegionalTestingFaultyModel
from testing_pack.models import counted, random_cond, random_unet, texture_model
from use import box, regional_sampler, regional_sampler_advanced, regions, relative, step_sampler, use

KINDS = ["eps", "v", "flow"]
ENGINES = ["lockstep", "stepwise"]
HERE, THERE = (mask[0] > 0 for mask in MASKS)
PICTURE = {"samples": torch.randn(1, 4, *SIZE, generator=torch.Generator().manual_seed(1)) * 0.3}


def pixels(prompt, kind="eps", **inputs):
    return step_sampler(texture_model(kind), prompt, NEGATIVE, **inputs)


def run(latent, base, prompts, engine="lockstep", **inputs):
    """RegionalSampler of 10 steps, 2 of the base alone, unless told otherwise."""
    return regional_sampler(latent, base, prompts, **{"engine": engine, "steps": 10, **inputs})["samples"]


def during(prompt, start, end):
    """The prompt in a range of the sampling progress, as ConditioningSetTimestepRange makes it."""
    return [[tensor, {**options, "start_percent": start, "end_percent": end}] for tensor, options in prompt]


def schedule(kind, steps=10, name="euler", scheduler="normal"):
    return comfy.samplers.KSampler(texture_model(kind), steps, "cpu", name, scheduler).sigmas


def percent_at(kind, sigma):
    """The sampling progress of a sigma, by bisection of the host's percent_to_sigma."""
    to_sigma = texture_model(kind).get_model_object("model_sampling").percent_to_sigma
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if float(to_sigma(middle)) > sigma else (low, middle)
    return high


def between(kind, step, steps=10):
    """The progress halfway between the sigmas of two steps, where no step stands."""
    sigmas = schedule(kind, steps)
    return percent_at(kind, float(sigmas[step - 1] + sigmas[step]) / 2)


# When


RANGES = [(0, 6), (4, 10), (4, 7), (0, 10)]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("first, last", RANGES)
@pytest.mark.parametrize("engine", ENGINES)
def test_a_region_in_a_range_is_a_prompt_that_is_switched(engine, first, last, kind):
    """In its place the host's own sampling with a prompt that is the base's but for the steps `first` to `last`."""
    start, end = (between(kind, first) if first else 0.0), (between(kind, last) if last < 10 else 1.0)
    begin = max(start, between(kind, 2))
    switched = [*during(BASE, 0.0, begin), *during(ONE, begin, end), *during(BASE, end, 1.0)]
    base, inside = pixels(BASE, kind), pixels(ONE, kind)
    out = run(EMPTY, base, regions((MASKS[0], inside), start_percent=start, end_percent=end), engine)
    want = plain(pixels(switched, kind), steps=10)
    assert relative(out[..., HERE], want[..., HERE]) < 1e-4
    assert relative(out[..., ~HERE], plain(base, steps=10)[..., ~HERE]) < 1e-4
    if (first, last) != (0, 10):
        always = run(EMPTY, base, regions((MASKS[0], inside)), engine)
        assert relative(out[..., HERE], always[..., HERE]) > 1e-3


@pytest.mark.parametrize("name", ["euler", "dpmpp_2m", "heun", "dpmpp_2m_sde", "euler_ancestral", "uni_pc"])
def test_any_sampler_in_lockstep(name):
    start, end = between("eps", 4), between("eps", 7)
    inputs = {"sampler_name": name}
    out = run(
        EMPTY,
        pixels(BASE, **inputs),
        regions((MASKS[0], pixels(ONE, **inputs)), start_percent=start, end_percent=end),
        base_only_steps=0,
    )
    switched = [*during(BASE, 0.0, start), *during(ONE, start, end), *during(BASE, end, 1.0)]
    want = plain(pixels(switched, **inputs), steps=10)
    assert relative(out[..., HERE], want[..., HERE]) < 1e-4


@pytest.mark.parametrize("base_only", [0.0, 0.3])
def test_regional_guider(base_only):
    """The later of base_only_percent and start_percent counts."""
    model, end = texture_model(), 0.7
    for start in (0.0, 0.2, 0.5):
        prompts = use(
            "RegionalPromptFromConditioning",
            mask=MASKS[0],
            model=model,
            positive=ONE,
            negative=NEGATIVE,
            cfg=1.5,
            start_percent=start,
            end_percent=end,
        )
        inputs = {"model": model, "positive": BASE, "negative": NEGATIVE, "cfg": 1.5, "overlap_factor": 0}
        guider = use("RegionalGuider", regional_prompts=prompts, base_only_percent=base_only, **inputs)
        out = custom(guider, schedule("eps"))
        begin = max(start, base_only)
        switched = [*during(BASE, 0.0, begin), *during(ONE, begin, end), *during(BASE, end, 1.0)]
        want = plain(pixels(switched), steps=10)
        assert relative(out[..., HERE], want[..., HERE]) < 1e-4


def custom(guider, sigmas, latent=EMPTY, name="euler", seed=5):
    noise, sampler = RandomNoise.execute(seed).result[0], KSamplerSelect.execute(name).result[0]
    return SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).result[0]["samples"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("engine", ENGINES)
def test_both_ends_of_a_range_belong_to_it(engine, kind):
    """As in the host's timestep ranges: the step that stands exactly at start or end is the region's."""
    progress = texture_model(kind).get_model_object("model_sampling").percent_to_sigma
    percents = [0.0, 0.2, 0.4, 0.6, 0.8]
    sigmas = torch.tensor([min(float(progress(p)), float(progress(1e-3))) for p in percents] + [0.0])
    model, counter = counted(texture_model(kind))
    own = {"scheduler_func_opt": lambda *_: sigmas, "cfg": 1.0}
    base, inside = pixels(BASE, kind, **own), step_sampler(model, ONE, NEGATIVE, **own)
    prompts = regions((MASKS[0], inside), start_percent=0.2, end_percent=0.6)
    run(EMPTY, base, prompts, engine, steps=5, base_only_steps=0)
    assert [call.sigma for call in counter.calls] == pytest.approx(sigmas[1:4].tolist(), rel=1e-3)


def test_two_regions_after_each_other_at_one_place():
    """One ends where the other begins: before, the first; at that very step both, mixed; after, the second."""
    start = between("eps", 5)
    first = regions((MASKS[0], pixels(ONE)), end_percent=start)
    second = regions((MASKS[0], pixels(TWO)), start_percent=start)
    out = run(EMPTY, pixels(BASE), first + second, base_only_steps=0)
    want = plain(pixels([*during(ONE, 0.0, start), *during(TWO, start, 1.0)]), steps=10)
    assert relative(out[..., HERE], want[..., HERE]) < 1e-4


def test_a_range_that_holds_no_step_leaves_the_base(caplog):
    model, counter = counted(texture_model())
    start, end = between("eps", 4), between("eps", 4) + 1e-4
    for engine in ENGINES:
        prompts = regions((MASKS[0], step_sampler(model, ONE, NEGATIVE)), start_percent=start, end_percent=end)
        out = run(EMPTY, pixels(BASE), prompts, engine)
        assert relative(out, plain(pixels(BASE), steps=10)) < 1e-5
    assert counter.calls == []


def test_what_does_not_paint_is_not_asked():
    """20 steps: the base alone, one region, both, the other, the base alone; and the covered base never in between."""
    kinds = {name: counted(texture_model()) for name in ("base", "one", "two")}
    samplers = {
        name: step_sampler(model, prompt, NEGATIVE, cfg=1.0)
        for (name, (model, _)), prompt in zip(kinds.items(), (BASE, ONE, TWO), strict=True)
    }
    at = [between("eps", step, 20) for step in (4, 8, 12, 16)]
    everywhere = torch.ones(1, *SIZE)
    prompts = regions((everywhere, samplers["one"]), start_percent=at[0], end_percent=at[2])
    prompts += regions((everywhere, samplers["two"]), start_percent=at[1], end_percent=at[3])
    run(EMPTY, samplers["base"], prompts, steps=20, base_only_steps=0)
    assert [len(counter.calls) for _, counter in kinds.values()] == [8, 8, 8]


@pytest.mark.parametrize("other", ["karras", "normal"])
def test_beside_another_sampler_nobody_is_asked_in_vain(other):
    """A region with a schedule of its own is asked within its range only, and the base at the end not at its sigmas."""
    base_model, base_calls = counted(texture_model())
    model, calls = counted(texture_model())
    start, end = 0.3, 0.6
    base = step_sampler(base_model, BASE, NEGATIVE, cfg=1.0)
    inside = step_sampler(model, ONE, NEGATIVE, cfg=1.0, sampler_name="dpmpp_2m", scheduler=other)
    run(EMPTY, base, regions((MASKS[0], inside), start_percent=start, end_percent=end), base_only_steps=0)
    progress = model.get_model_object("model_sampling").percent_to_sigma
    own = schedule("eps", name="dpmpp_2m", scheduler=other)[:-1]
    within = [s for s in own.tolist() if float(progress(end)) <= s <= float(progress(start))]
    assert [call.sigma for call in calls.calls] == pytest.approx(within, rel=1e-5)
    # Before it begins the region follows the base, at its own sigmas too; once it has ended nobody follows it.
    before = [s for s in own.tolist() if s > float(progress(start))]
    wanted = sorted({round(s, 3) for s in [*before, *schedule("eps")[:-1].tolist()]}, reverse=True)
    assert [round(call.sigma, 3) for call in base_calls.calls] == pytest.approx(wanted, rel=1e-3)


percents = st.integers(0, 20).map(lambda n: n / 20)


@st.composite
def presences(draw):
    start = draw(st.integers(0, 19)) / 20
    end = draw(st.integers(int(start * 20) + 1, 20)) / 20
    return {"start_percent": start, "end_percent": end, "weight": draw(percents)}


NETS = {kind: random_unet(kind) for kind in KINDS}


@settings(
    max_examples=40,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.sampled_from(KINDS),
    st.lists(presences(), min_size=1, max_size=3),
    st.sampled_from(["mix", "stack"]),
    st.sampled_from([0, 2]),
    st.sampled_from(["euler", "heun", "dpmpp_2m", "dpmpp_2m_sde"]),
)
def test_null_split_with_any_ranges_and_weights(kind, when, blend, base_only, name):
    """With the base's prompt everywhere: whoever paints when and how much, it is plain sampling."""
    one = step_sampler(NETS[kind], random_cond(1), random_cond(2), cfg=3.0, sampler_name=name)
    masks = [box(64, 96, 8, 16, 40, 64), box(64, 96, 24, 40, 64, 96), torch.linspace(0, 1, 96).expand(1, 64, 96)]
    prompts = [region for mask, each in zip(masks, when, strict=False) for region in regions((mask, one), **each)]
    latent = {"samples": torch.zeros(1, 4, 8, 12)}
    out = run(latent, one, prompts, steps=5, base_only_steps=base_only, blend=blend, overlap_factor=10)
    assert relative(out, plain(one, latent, steps=5)) < 1e-4


@settings(
    max_examples=25,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(
    st.lists(presences(), min_size=1, max_size=2),
    st.sampled_from([("euler", "heun"), ("dpmpp_2m", "euler"), ("euler_ancestral", "dpmpp_2m_sde")]),
    st.sampled_from(["normal", "karras"]),
)
def test_side_by_side_with_any_ranges_ends_in_the_prompts(when, names, scheduler):
    """Unlike samplers and schedules: no pixel is lost, and what no region touches is the base's own run."""
    base = pixels(BASE, sampler_name=names[0])
    inside = [pixels(prompt, sampler_name=names[1], scheduler=scheduler) for prompt in (ONE, TWO)]
    prompts = [
        region
        for mask, sampler, each in zip(MASKS, inside, when, strict=False)
        for region in regions((mask, sampler), **each)
    ]
    out = run(EMPTY, base, prompts, base_only_steps=0)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("regional-")]
    assert bool(out.isfinite().all()) and float(out.abs().max()) < 5
    rest = REST[0] > 0
    assert relative(out[..., rest], plain(base, steps=10)[..., rest]) < 1e-3


# How much


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("name", ["euler", "dpmpp_2m", "euler_ancestral", "uni_pc"])
@pytest.mark.parametrize("weight", [0.5, 0.2])
def test_weight_mixes_both_predictions(weight, name, kind):
    """As the host mixes two prompts of these strengths in one CONDITIONING."""
    inputs = {"sampler_name": name, "kind": kind}
    base, inside = pixels(BASE, **inputs), pixels(ONE, **inputs)
    out = run(EMPTY, base, regions((MASKS[0], inside), weight=weight), base_only_steps=0)
    mixed = [[BASE[0][0], {"strength": 1 - weight}], [ONE[0][0], {"strength": weight}]]
    want = plain(pixels(mixed, **inputs), steps=10)
    assert relative(out[..., HERE], want[..., HERE]) < 1e-4
    assert relative(out[..., ~HERE], plain(base, steps=10)[..., ~HERE]) < 1e-4


def test_weight_0_is_the_base_alone_and_costs_nothing():
    model, counter = counted(texture_model())
    prompts = regions((MASKS[0], step_sampler(model, ONE, NEGATIVE)), weight=0.0)
    out = run(EMPTY, pixels(BASE), prompts, base_only_steps=0)
    assert torch.equal(out, run(EMPTY, pixels(BASE), regions((MASKS[0], pixels(BASE))), base_only_steps=0))
    assert counter.calls == []


def answer(prompts, blend="mix"):
    """One step: the blend of what the members answer to the noise."""
    return run(EMPTY, pixels(BASE, cfg=1.0), prompts, steps=1, base_only_steps=0, blend=blend)


def test_stack_puts_the_later_region_on_top():
    own = {name: plain(pixels(prompt, cfg=1.0), steps=1) for name, prompt in zip("b12", (BASE, ONE, TWO), strict=True)}
    left, right = box(*SIZE, 0, 0, 12, 12), box(*SIZE, 0, 8, 12, 20)
    both = slice(8, 12)
    for weights, mixed, stacked in (
        ((1.0, 1.0), (0, 0.5, 0.5), (0, 0, 1)),
        ((1.0, 0.5), (0, 2 / 3, 1 / 3), (0, 0.5, 0.5)),
        ((0.5, 1.0), (0, 1 / 3, 2 / 3), (0, 0, 1)),
        ((0.5, 0.4), (0.1, 0.5, 0.4), (0.3, 0.3, 0.4)),
    ):
        prompts = [
            region
            for mask, prompt, weight in zip((left, right), (ONE, TWO), weights, strict=True)
            for region in regions((mask, pixels(prompt, cfg=1.0)), weight=weight)
        ]
        for blend, shares in (("mix", mixed), ("stack", stacked)):
            want = sum(share * own[name] for name, share in zip("b12", shares, strict=True))
            assert relative(answer(prompts, blend)[..., both], want[..., both]) < 1e-5
    reverse = regions((right, pixels(TWO, cfg=1.0)), (left, pixels(ONE, cfg=1.0)))
    assert relative(answer(reverse, "stack")[..., both], own["1"][..., both]) < 1e-5


def test_a_region_that_is_covered_by_the_stack_is_not_asked():
    model, counter = counted(texture_model())
    prompts = regions((MASKS[0], step_sampler(model, ONE, NEGATIVE)), (torch.ones(1, 4, 4), pixels(TWO)))
    run(EMPTY, pixels(BASE), prompts, blend="stack")
    assert counter.calls == []


# How late: denoise


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
    assert relative(out[..., HERE], want[..., HERE]) < (0.05 if name == "heun" else 1e-4)
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
    assert relative(out[..., HERE], want[..., HERE]) < 5e-3


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


# Runs that end with noise


def leftover(base, prompts):
    """The first 6 of 12 steps, with what noise is left."""
    return regional_sampler_advanced(
        EMPTY, base, prompts, engine="lockstep", steps=12, end_at_step=6, return_with_leftover_noise=True
    )["samples"]


OTHERS = [{"sampler_name": name} for name in ("heun", "dpmpp_2m", "euler_ancestral")] + [{"sigma_factor": 0.9}]


@pytest.mark.parametrize("own", OTHERS, ids=str)
def test_a_region_that_has_not_begun_leaves_the_base_s_noise(own):
    """Its own sampler's result is at another noise, or of another noise."""
    base = pixels(BASE)
    out = leftover(base, regions((MASKS[0], pixels(ONE, **own)), start_percent=0.95))
    want = base.sample_advanced(True, 5, 12, EMPTY, 0, 6, True, "DISABLE")["samples"]
    assert relative(out, want) < 1e-5


@pytest.mark.parametrize("own", OTHERS[:-1], ids=str)
def test_a_region_that_still_paints_leaves_its_own_noise(own):
    inside = pixels(ONE, **own)
    longer, shorter = (leftover(pixels(BASE), regions((MASKS[0], inside), end_percent=end)) for end in (1.0, 0.9))
    assert torch.equal(shorter, longer)
    assert relative(longer[..., HERE], leftover(pixels(BASE), regions((MASKS[0], pixels(BASE))))[..., HERE]) > 1e-2


# Refusals, and what stepwise does not do


@pytest.mark.parametrize("node", ["RegionalPrompt", "RegionalPromptFromConditioning"])
@pytest.mark.parametrize("name", ["start_percent", "end_percent", "weight", "denoise"])
@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan, math.inf])
def test_values_outside_are_refused(node, name, value):
    with pytest.raises(ValueError, match=rf"^{node}: {name} should be between 0 and 1, {value} came"):
        make(node, **{name: value})


@pytest.mark.parametrize("node", ["RegionalPrompt", "RegionalPromptFromConditioning"])
@pytest.mark.parametrize("start, end", [(0.5, 0.5), (0.6, 0.2), (1.0, 1.0), (0.0, 0.0)])
def test_an_empty_range_is_refused(node, start, end):
    with pytest.raises(ValueError, match=rf"^{node}: start_percent {start} is not before end_percent {end}.*raise"):
        make(node, start_percent=start, end_percent=end)


def make(node, **inputs):
    if node == "RegionalPrompt":
        return use(node, mask=MASKS[0], advanced_sampler=pixels(ONE), **inputs)
    return use(node, mask=MASKS[0], model=texture_model(), positive=ONE, negative=NEGATIVE, cfg=1.5, **inputs)


@pytest.mark.parametrize("engine", ["stepwise", "lockstep"])
def test_what_stepwise_does_not_do_is_said(engine, caplog):
    prompts = regions((MASKS[0], pixels(ONE)), weight=0.5)
    prompts += regions((MASKS[1], pixels(TWO)), denoise=0.25, start_percent=0.1)
    with caplog.at_level("WARNING"):
        run(EMPTY, pixels(BASE), prompts, engine, steps=3, region_compute="crop", blend="stack")
    said = [record.getMessage() for record in caplog.records if "stepwise engine does not do" in record.getMessage()]
    if engine == "lockstep":
        assert said == []
        return
    assert len(said) == 1 and said[0].endswith("choose the lockstep engine.")
    for part in ("region_compute crop", "blend stack", "weight 0.5 of region 1", "denoise 0.25 of region 2"):
        assert part in said[0]
    assert "start_percent" not in said[0]


@pytest.mark.parametrize("name, value", [("blend", "add"), ("region_compute", "half")])
def test_other_choices_are_refused(name, value):
    with pytest.raises(ValueError, match=rf"^RegionalSampler: {name} .* was expected, '{value}' came"):
        run(EMPTY, pixels(BASE), regions((MASKS[0], pixels(ONE))), **{name: value})


# Frames


def walking():
    """A Wan-like video of three latent frames: the region walks to the right, and is gone in the last."""
    family = FAMILIES["Wan"]
    masks = torch.cat(
        [family_mask(family, right=4), family_mask(family, left=4, right=8), family_mask(family, value=0.0)]
    )
    where = [(0, slice(0, 4)), (1, slice(4, 8))]
    return family, masks, where


def walked(engine, masks, model, **inputs):
    """Where the region's prompt changes anything: (frames, h, w)."""
    family = FAMILIES["Wan"]
    base, inside = family_sampler(family, model, 1), family_sampler(family, model, 2)
    options = {"steps": 2, "base_only_steps": 1, **inputs}
    got, same = (run(family.latent(), base, regions((masks, one)), engine, **options) for one in (inside, base))
    return (got - same).abs().amax((0, 1)) > 1e-5


@pytest.mark.parametrize(
    "engine, paste",
    [("lockstep", True), ("stepwise", False), ("stepwise", True)],
)
def test_a_mask_for_each_frame(engine, paste):
    family, masks, where = walking()
    changed = walked(engine, masks, family.make(), restore_latent=paste)
    expected = torch.zeros(3, *family.shape[-2:], dtype=torch.bool)
    for frame, place in where:
        expected[frame, :, place] = True
    assert torch.equal(changed, expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_frames_are_spread_over_the_videos(engine):
    """Twelve masks for three latent frames, and two: the middle frame is then half of both."""
    family, masks, _ = walking()
    model = family.make()
    changed = walked(engine, masks, model)
    assert torch.equal(walked(engine, masks.repeat_interleave(4, 0), model), changed)
    if engine == "lockstep":
        both = walked(engine, masks[:2], model)
        assert both[1, :, :8].all() and torch.equal(both[0], changed[0]) and torch.equal(both[2], changed[1])


@pytest.mark.parametrize("engine", ENGINES)
def test_frames_of_a_whole_run(engine):
    family, masks, _ = walking()
    model = family.make()
    base, inside = family_sampler(family, model, 1), family_sampler(family, model, 2)
    latent = family.latent()
    options = {"steps": 3, "base_only_steps": 1, "overlap_factor": 8}
    got = run(latent, base, regions((masks, inside)), engine, **options)
    assert got.shape == latent["samples"].shape and bool(got.isfinite().all())
    if engine == "lockstep":
        same = run(latent, base, regions((masks, base)), engine, **options)
        assert relative(same, family_plain(base, latent)) < 1e-4


@pytest.mark.parametrize("engine", ENGINES)
def test_masks_for_two_videos_are_no_frames(engine):
    family, masks, _ = walking()
    model = family.make()
    base = family_sampler(family, model, 1)
    with pytest.raises(ValueError, match=r"region 1: 1 mask or 2 .* expected, 3 came"):
        run(family.latent(batch=2), base, regions((masks, base)), engine, steps=1)


# Not a number


def broken(prompt, call=3, pixels=slice(None), **inputs):
    model = RegionalTestingFaultyModel.nan(texture_model(), call, pixels)
    return step_sampler(model, prompt, NEGATIVE, cfg=1.0, **inputs)


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("who", ["the base", "region 1", "region 2"])
def test_nan_names_who_and_the_step(engine, who):
    samplers = {"the base": pixels(BASE), "region 1": pixels(ONE), "region 2": pixels(TWO)}
    samplers[who] = broken(BASE, call=3)
    base, *others = samplers.values()
    step = 3 if who == "the base" else 5  # after two base-only steps
    prompts = regions(*zip(MASKS, others, strict=True))
    with pytest.raises(ValueError, match=rf"^{who}: the model answered NaN or infinity at step {step} of 10"):
        run(EMPTY, base, prompts, engine)


@pytest.mark.parametrize("other", ["heun", "dpmpp_2m"])
def test_nan_beside_another_sampler(other):
    prompts = regions((MASKS[0], broken(ONE, sampler_name=other)), (MASKS[1], pixels(TWO)))
    with pytest.raises(ValueError, match=r"^region 1: the model answered NaN or infinity at step \d of 10 \(sigma"):
        run(EMPTY, pixels(BASE), prompts, base_only_steps=0)
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("regional-")]


def test_nan_where_a_region_has_no_weight_is_named():
    """NaN times a weight of 0 is NaN."""
    prompts = regions((MASKS[0], broken(ONE, pixels=slice(15, 20))))
    with pytest.raises(ValueError, match=r"^region 1: the model answered NaN"):
        run(EMPTY, pixels(BASE), prompts)


def test_nan_in_regional_guider():
    prompts = regions((MASKS[0], broken(ONE, call=2)), (MASKS[1], pixels(TWO)))
    inputs = {"model": texture_model(), "positive": BASE, "negative": NEGATIVE, "cfg": 1.5}
    guider = use("RegionalGuider", regional_prompts=prompts, base_only_percent=0.0, **inputs)
    with pytest.raises(ValueError, match=r"^region 1: the model answered NaN or infinity at step 2 of 10 \(sigma"):
        custom(guider, schedule("eps"))
    again = use("RegionalGuider", regional_prompts=regions((MASKS[0], pixels(ONE))), **inputs)
    assert bool(custom(again, schedule("eps")).isfinite().all())


def test_nan_in_a_part_of_the_schedule():
    """The steps that are run are counted."""
    base = pixels(BASE)
    for engine in ENGINES:
        prompts = regions((MASKS[0], broken(ONE, call=1)))
        with pytest.raises(ValueError, match=r"^region 1: .* at step 1 of 3"):
            regional_sampler_advanced(EMPTY, base, prompts, engine=engine, start_at_step=3)

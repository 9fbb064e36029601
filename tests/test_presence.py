"""Regions that paint for a part of the run or at a part of their weight."""

import math
import threading

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pixel_scene import (
    BASE,
    EMPTY,
    ENGINES,
    HERE,
    KINDS,
    MASKS,
    NEGATIVE,
    ONE,
    REST,
    SIZE,
    TWO,
    between,
    during,
    pixels,
    run,
    schedule,
)
from testing_pack.models import counted, reference_cond, reference_model, texture_model
from use import box, custom, plain, regional_sampler_advanced, regions, relative, step_sampler, use

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
    want = plain(pixels(switched, kind), EMPTY, steps=10)
    assert relative(out[..., HERE], want[..., HERE]) < 1e-4
    assert relative(out[..., ~HERE], plain(base, EMPTY, steps=10)[..., ~HERE]) < 1e-4
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
    want = plain(pixels(switched, **inputs), EMPTY, steps=10)
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
        out = custom(guider, schedule("eps"), EMPTY)
        begin = max(start, base_only)
        switched = [*during(BASE, 0.0, begin), *during(ONE, begin, end), *during(BASE, end, 1.0)]
        want = plain(pixels(switched), EMPTY, steps=10)
        assert relative(out[..., HERE], want[..., HERE]) < 1e-4


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
    want = plain(pixels([*during(ONE, 0.0, start), *during(TWO, start, 1.0)]), EMPTY, steps=10)
    assert relative(out[..., HERE], want[..., HERE]) < 1e-4


def test_a_range_that_holds_no_step_leaves_the_base(caplog):
    model, counter = counted(texture_model())
    start, end = between("eps", 4), between("eps", 4) + 1e-4
    for engine in ENGINES:
        prompts = regions((MASKS[0], step_sampler(model, ONE, NEGATIVE)), start_percent=start, end_percent=end)
        out = run(EMPTY, pixels(BASE), prompts, engine)
        assert relative(out, plain(pixels(BASE), EMPTY, steps=10)) < 1e-5
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


MODELS = {kind: reference_model(kind) for kind in KINDS}


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
    """With the base's prompt everywhere, any ranges and weights give plain sampling; the model sees neighbours."""
    positive, negative = reference_cond([0.5, -0.2, 0.1, 0.3, 0.7]), reference_cond([0.0, 0.0, 0.0, 0.0, 1.0])
    one = step_sampler(MODELS[kind], positive, negative, cfg=3.0, sampler_name=name)
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
    assert relative(out[..., rest], plain(base, EMPTY, steps=10)[..., rest]) < 1e-5


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
    want = plain(pixels(mixed, **inputs), EMPTY, steps=10)
    assert relative(out[..., HERE], want[..., HERE]) < 1e-4
    assert relative(out[..., ~HERE], plain(base, EMPTY, steps=10)[..., ~HERE]) < 1e-4


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
    own = {
        name: plain(pixels(prompt, cfg=1.0), EMPTY, steps=1)
        for name, prompt in zip("b12", (BASE, ONE, TWO), strict=True)
    }
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

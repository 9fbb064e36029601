"""A model that answers NaN or infinity: the error says whose model it is, and the step."""

import threading

import pytest
from pixel_scene import BASE, EMPTY, ENGINES, MASKS, NEGATIVE, ONE, TWO, pixels, run, schedule
from testing_pack.faults import RegionalTestingFaultyModel
from testing_pack.models import texture_model
from use import custom, regional_sampler_advanced, regions, step_sampler, use


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
        custom(guider, schedule("eps"), EMPTY)
    again = use("RegionalGuider", regional_prompts=regions((MASKS[0], pixels(ONE))), **inputs)
    assert bool(custom(again, schedule("eps"), EMPTY).isfinite().all())


def test_nan_in_a_part_of_the_schedule():
    """The steps that are run are counted."""
    base = pixels(BASE)
    for engine in ENGINES:
        prompts = regions((MASKS[0], broken(ONE, call=1)))
        with pytest.raises(ValueError, match=r"^region 1: .* at step 1 of 3"):
            regional_sampler_advanced(EMPTY, base, prompts, engine=engine, start_at_step=3)

"""A denoise below 1 on schedules whose length is not the steps they are made for, against the host's KSampler."""

import comfy.sample
import comfy.samplers
import pytest
import torch
from testing_pack.models import counted, pixel_cond, random_cond, random_unet, texture_model
from use import box, pipe, regional_sampler, regions, relative, step_sampler, use

SIZE = (8, 12)
LATENT = {"samples": torch.randn(1, 4, *SIZE, generator=torch.Generator().manual_seed(3))}
LEFT, MIDDLE = box(*SIZE, 0, 0, 8, 5), box(*SIZE, 0, 4, 8, 9, 0.6)
# The schedule for int(steps / denoise) steps has more than these, or fewer.
UNLIKE = {"ddim_uniform": [(20, 0.7), (9, 0.15), (30, 0.97)], "beta": [(9, 0.01), (20, 0.02)]}
CASES = [(scheduler, steps, denoise) for scheduler, cases in UNLIKE.items() for steps, denoise in cases]
SAMPLERS = ["euler", "dpmpp_2m", "dpm_2", "euler_ancestral"]


def sigmas_of(model, sampler, scheduler, steps, denoise):
    return comfy.samplers.KSampler(model, steps, "cpu", sampler, scheduler, denoise).sigmas


def plain(model, steps, denoise, sampler="euler", scheduler="ddim_uniform", sigmas=None, prompt=None, latent=LATENT):
    noise = comfy.sample.prepare_noise(latent["samples"], 5)
    run = (model, noise, steps, 1.5, sampler, scheduler, prompt or random_cond(1), random_cond(9), latent["samples"])
    with torch.inference_mode():
        return comfy.sample.sample(*run, denoise=denoise, sigmas=sigmas, seed=5, disable_pbar=True)


def split(model, steps, denoise, scheduler="ddim_uniform", sampler="euler", **inputs):
    """RegionalSampler of two regions with the base's prompt."""
    of = {"sampler_name": sampler, "scheduler": scheduler, "scheduler_func_opt": inputs.pop("function", None)}
    one = step_sampler(model, random_cond(1), random_cond(9), **of)
    options = {"engine": "lockstep", "base_only_steps": 2, "steps": steps, "denoise": denoise, **inputs}
    return regional_sampler(LATENT, one, regions((LEFT, one), (MIDDLE, one)), **options)["samples"]


@pytest.mark.parametrize("scheduler, steps, denoise", CASES)
def test_the_cases_are_unlike(scheduler, steps, denoise):
    whole = sigmas_of(texture_model(), "euler", scheduler, int(steps / denoise), 1.0)
    assert len(whole) - 1 != int(steps / denoise)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("scheduler, steps, denoise", CASES)
def test_lockstep_begins_where_ksampler_does(scheduler, steps, denoise, sampler):
    model = random_unet()
    got = split(model, steps, denoise, scheduler, sampler)
    assert relative(got, plain(model, steps, denoise, sampler, scheduler)) < 1e-5


@pytest.mark.parametrize("length", [-9, -1, 1, 7])
def test_a_schedule_of_any_length(length):
    """A SCHEDULER_FUNC may return what it likes, also fewer sigmas than the steps that are sampled."""
    model, steps, denoise = random_unet(), 6, 0.6

    def schedule(model, sampler_name, steps):
        return torch.linspace(9.0, 0.0, steps + length + 1)

    want = plain(model, steps, 1.0, sigmas=schedule(model, "euler", int(steps / denoise))[-(steps + 1) :])
    got = split(model, steps, denoise, function=schedule, base_only_steps=0)
    assert relative(got, want) < 1e-5


def test_a_second_seed_after_base_only_steps():
    """Two runs: the base's first steps end in a finished picture, the others begin at the sigma where these ended."""
    model, steps, denoise = random_unet(), 9, 0.15
    got = split(model, steps, denoise, seed_2nd=8, seed_2nd_mode="fixed", base_only_steps=3)
    sigmas = sigmas_of(model, "euler", "ddim_uniform", steps, denoise)
    first = sigmas[:4].clone()
    first[-1] = 0.0
    middle = {"samples": plain(model, steps, 1.0, sigmas=first)}
    noise = comfy.sample.prepare_noise(middle["samples"], 8)
    run = (model, noise, steps, 1.5, "euler", "normal", random_cond(1), random_cond(9), middle["samples"])
    with torch.inference_mode():
        want = comfy.sample.sample(*run, sigmas=sigmas[3:], seed=8, disable_pbar=True)
    assert relative(got, want) < 1e-5


def test_unlike_schedules_each_begin_where_theirs_does():
    """On a model that treats every pixel alone each member equals its own plain run."""
    model, steps, denoise = texture_model(), 9, 0.15
    prompts = [pixel_cond(-0.5, 0.3), pixel_cond(0.4, 0.2)]
    schedulers = ["normal", "ddim_uniform"]
    samplers = [
        step_sampler(model, prompt, pixel_cond(0.0, 0.6), scheduler=scheduler)
        for prompt, scheduler in zip(prompts, schedulers, strict=True)
    ]
    options = {"engine": "lockstep", "steps": steps, "base_only_steps": 0, "denoise": denoise}
    got = regional_sampler(LATENT, samplers[0], regions((LEFT, samplers[1])), **options)["samples"]
    noise = comfy.sample.prepare_noise(LATENT["samples"], 5)
    for prompt, scheduler, inside in zip(prompts, schedulers, (LEFT[0] == 0, LEFT[0] > 0), strict=True):
        run = (model, noise, steps, 1.5, "euler", scheduler, prompt, pixel_cond(0.0, 0.6), LATENT["samples"])
        with torch.inference_mode():
            want = comfy.sample.sample(*run, denoise=denoise, seed=5, disable_pbar=True)
        assert relative(got[..., inside], want[..., inside]) < 1e-5


@pytest.mark.parametrize("scheduler, steps, denoise", CASES)
def test_two_advanced_samplers_for_mask(scheduler, steps, denoise):
    model = random_unet()
    one = step_sampler(model, random_cond(1), random_cond(9), scheduler=scheduler)
    shared = {"seed": 5, "samples": LATENT, "base_sampler": one, "mask_sampler": one, "mask": MIDDLE}
    got = use("TwoAdvancedSamplersForMask", steps=steps, denoise=denoise, overlap_factor=2, engine="lockstep", **shared)
    assert relative(got["samples"], plain(model, steps, denoise, scheduler=scheduler)) < 1e-5


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("scheduler, steps, denoise", [*CASES, ("ddim_uniform", 30, 1.0), ("ddim_uniform", 60, 1.0)])
def test_a_ksampler_provider_is_ksampler(scheduler, steps, denoise, sampler):
    """Also with a denoise of 1, where KSampler runs all steps of the schedule."""
    model = random_unet()
    given = {"sampler_name": sampler, "scheduler": scheduler, "denoise": denoise, "steps": steps, "seed": 5}
    one = use("KSamplerProvider", cfg=1.5, basic_pipe=pipe(model, random_cond(1), random_cond(9)), **given)
    with torch.inference_mode():
        got = one.sample(LATENT)["samples"]
    assert relative(got, plain(model, steps, denoise, sampler, scheduler)) < 1e-5


@pytest.mark.parametrize("steps, denoise", [(20, 0.35), (30, 0.2), (60, 0.15)])
def test_a_region_with_a_denoise_equals_ksampler_of_that_denoise(steps, denoise):
    """Its share is so many steps of the whole schedule, as KSampler takes them from int(steps / denoise)."""
    model = texture_model()
    base, inside = (
        step_sampler(model, pixel_cond(mean, 0.3), pixel_cond(0.0, 0.6), scheduler="ddim_uniform")
        for mean in (-0.5, 0.4)
    )
    options = {"engine": "lockstep", "steps": steps, "base_only_steps": 0}
    got = regional_sampler(LATENT, base, regions((LEFT, inside), denoise=denoise), **options)["samples"]
    noise = comfy.sample.prepare_noise(LATENT["samples"], 5)
    own = round(steps * denoise)
    assert int(own / denoise) == steps
    run = (
        model,
        noise,
        own,
        1.5,
        "euler",
        "ddim_uniform",
        pixel_cond(0.4, 0.3),
        pixel_cond(0.0, 0.6),
        LATENT["samples"],
    )
    with torch.inference_mode():
        want = comfy.sample.sample(*run, denoise=denoise, seed=5, disable_pbar=True)
    assert relative(got[..., LEFT[0] > 0], want[..., LEFT[0] > 0]) < 1e-5


@pytest.mark.parametrize("scheduler, steps, denoise", CASES)
def test_stepwise_counts_from_the_schedules_beginning_and_says_so(scheduler, steps, denoise, caplog):
    """Saved workflows got that picture; docs/engines.md says so."""
    model, counter = counted(random_unet())
    split(model, steps, denoise, scheduler, engine="stepwise", base_only_steps=0)
    total = int(steps / denoise)
    schedule = sigmas_of(model, "euler", scheduler, total, 1.0)
    want = schedule[:-1][total - steps : total].tolist()
    asked = [call.sigma for call in counter.calls]
    assert list(dict.fromkeys(asked)) == pytest.approx(want)
    assert caplog.text.count(f"{scheduler} has {len(schedule) - 1} steps where {total} are asked for") == 1


@pytest.mark.parametrize("engine, denoise", [("lockstep", 0.7), ("stepwise", 1.0)])
def test_nothing_is_said_where_nothing_differs(engine, denoise, caplog):
    split(random_unet(), 20, denoise, engine=engine)
    assert "steps where" not in caplog.text


def test_the_report_counts_the_same_steps():
    """A region with a range: it paints in as many steps as the run's sigmas say, not those of the shorter schedule."""
    model = random_unet()
    base, inside = (step_sampler(model, random_cond(n), random_cond(9), scheduler="ddim_uniform") for n in (1, 2))
    prompts = regions((LEFT, inside), start_percent=0.9)
    text = use(
        "RegionalReport",
        regional_prompts=prompts,
        base_sampler=base,
        samples=LATENT,
        steps=9,
        denoise=0.15,
        base_only_steps=0,
    )["result"][1]
    border = model.get_model_object("model_sampling").percent_to_sigma(0.9)
    own = sigmas_of(model, "euler", "ddim_uniform", 9, 0.15)[:-1]
    assert f"in {int((own <= border * (1 + 1e-4)).sum())} of 9 steps" in text

"""Sigma schedules against the host's own KSampler and scheduler nodes, and cuts of them against plain lists."""

import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_align_your_steps import AlignYourStepsScheduler
from comfy_extras.nodes_gits import GITSScheduler
from comfy_extras.nodes_lt import LTXVScheduler
from comfy_extras.nodes_optimalsteps import OptimalStepsScheduler
from pack.samplers.schedules import cut, gits, make_sigmas, schedule_steps, scheduler_names
from testing_pack.models import counted, reference_cond, reference_model
from use import pipe, regional_sampler, regional_sampler_advanced, regions, step_sampler, use

HOST_SCHEDULERS = comfy.samplers.KSampler.SCHEDULERS
WHOLE = ["euler", "dpmpp_2m_sde", "ddim"]
WITHOUT_PENULTIMATE = ["dpm_2", "dpm_2_ancestral", "uni_pc", "uni_pc_bh2"]
EXTRA = {
    "AYS SDXL": lambda steps: AlignYourStepsScheduler.execute("SDXL", steps, 1.0),
    "AYS SD1": lambda steps: AlignYourStepsScheduler.execute("SD1", steps, 1.0),
    "AYS SVD": lambda steps: AlignYourStepsScheduler.execute("SVD", steps, 1.0),
    "GITS[coeff=1.2]": lambda steps: GITSScheduler.execute(1.2, steps, 1.0),
    "LTXV[default]": lambda steps: LTXVScheduler.execute(steps, 2.05, 0.95, True, 0.1),
    "OSS FLUX": lambda steps: OptimalStepsScheduler.execute("FLUX", steps, 1.0),
    "OSS Wan": lambda steps: OptimalStepsScheduler.execute("Wan", steps, 1.0),
    "OSS Chroma": lambda steps: OptimalStepsScheduler.execute("Chroma", steps, 1.0),
}
MODELS = {kind: reference_model(kind) for kind in ("eps", "v", "flow")}


def ksampler(sampler, scheduler, steps, kind="eps", denoise=1.0):
    model = MODELS[kind]
    return comfy.samplers.KSampler(model, steps, model.load_device, sampler, scheduler, denoise, model.model_options)


def test_the_extra_names_follow_the_hosts():
    assert scheduler_names() == [*HOST_SCHEDULERS, *EXTRA]


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("scheduler", HOST_SCHEDULERS)
@pytest.mark.parametrize("sampler", WHOLE + WITHOUT_PENULTIMATE)
def test_the_hosts_names_give_the_hosts_sigmas(sampler, scheduler, kind):
    for steps in (2, 7, 20):
        sigmas = make_sigmas(MODELS[kind], scheduler, sampler, steps)
        assert torch.equal(sigmas, ksampler(sampler, scheduler, steps, kind).sigmas)


@pytest.mark.parametrize("sampler", WITHOUT_PENULTIMATE)
def test_the_penultimate_sigma_is_not_dropped_without_a_name(sampler):
    nameless = make_sigmas(MODELS["eps"], "karras", "", 6)
    assert torch.equal(nameless, ksampler("euler", "karras", 6).sigmas)
    assert not torch.equal(nameless, make_sigmas(MODELS["eps"], "karras", sampler, 6))


@pytest.mark.parametrize("steps", [2, 10, 20, 33])
@pytest.mark.parametrize("scheduler", EXTRA)
def test_the_extra_names_give_the_sigmas_of_the_hosts_nodes(scheduler, steps):
    for sampler in ("euler", ""):
        assert torch.equal(make_sigmas(MODELS["eps"], scheduler, sampler, steps), EXTRA[scheduler](steps).result[0])
    *head, _, last = EXTRA[scheduler](steps + 1).result[0].tolist()
    for sampler in WITHOUT_PENULTIMATE:
        assert make_sigmas(MODELS["eps"], scheduler, sampler, steps).tolist() == [*head, last]


@pytest.mark.parametrize("scheduler", EXTRA)
def test_the_extra_names_have_a_schedule_of_one_step(scheduler):
    first, last = make_sigmas(MODELS["eps"], scheduler, "euler", 1).tolist()
    assert first == EXTRA[scheduler](2).result[0][0] > 0.9 and last == 0.0


@pytest.mark.parametrize("denoise", [1.0, 0.5, 0.24])
@pytest.mark.parametrize("coeff", [0.8, 1.2, 1.5])
def test_gits_is_the_hosts_node(coeff, denoise):
    assert torch.equal(gits(coeff, 12, denoise), GITSScheduler.execute(coeff, 12, denoise).result[0])


@pytest.mark.parametrize("sampler", ["euler", "dpm_2"])
def test_a_scheduler_func_takes_the_place_of_the_name(sampler):
    asked = []

    def schedule(model, sampler_name, steps):
        asked.append((model, sampler_name, steps))
        return torch.linspace(3.0, 0.0, steps + 1)

    sigmas = make_sigmas(MODELS["eps"], "karras", sampler, 4, schedule)
    assert sigmas.tolist() == [3.0, 2.25, 1.5, 0.75, 0.0]  # nothing is added or dropped, not even for dpm_2
    assert asked == [(MODELS["eps"], sampler, 4)]


# cut

SCHEDULE = torch.tensor([14.0, 7.5, 4.0, 2.0, 0.7, 0.0])
STARTS = [0, 1, 3, 4, 5, 6, 10000]
ENDS = [0, 1, 2, 4, 5, 6, 10000]


def naive_cut(sigmas, start, end, leave_noise):
    kept = [sigma for step, sigma in enumerate(sigmas) if step <= end]
    if len(kept) < len(sigmas) and not leave_noise:
        kept[-1] = 0.0
    kept = kept[start:]
    return kept if len(kept) > 1 else []  # one sigma is no step


@pytest.mark.parametrize("leave_noise", [False, True])
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("start", STARTS)
def test_cut_is_a_stretch_of_the_list(start, end, leave_noise):
    given = SCHEDULE.clone()
    part = cut(given, start, end, leave_noise)
    assert part.tolist() == naive_cut(SCHEDULE.tolist(), start, end, leave_noise)
    part.fill_(-1.0)
    assert torch.equal(given, SCHEDULE)  # the schedule is shared by all steps of a run


@pytest.mark.parametrize("length", [0, 1])
def test_cut_of_a_schedule_without_steps_is_empty(length):
    assert cut(SCHEDULE[:length], 0, 10, False).tolist() == []


def test_cut_keeps_the_noise_of_a_schedule_that_does_not_end_at_zero():
    assert cut(SCHEDULE[:-1], 2, 10, False).tolist() == SCHEDULE[2:-1].tolist()


@pytest.mark.parametrize("leave_noise", [False, True])
@pytest.mark.parametrize("end", ENDS)
def test_cut_is_what_the_hosts_ksampler_does(end, leave_noise):
    model, counter = counted(MODELS["eps"])
    positive, negative = reference_cond([0.5, -0.3, 0.1, 0.2, 0.6]), reference_cond([0.0, 0.0, 0.0, 0.0, 1.0])
    noise = torch.randn((1, 4, 4, 6), generator=torch.Generator().manual_seed(0))
    latent = torch.full((1, 4, 4, 6), 0.3)

    def run(start, last, full, sigmas=None):
        counter.calls.clear()
        sampler = comfy.samplers.KSampler(model, 5, model.load_device, "euler", "karras", 1.0, model.model_options)
        sampler.sigmas = sampler.sigmas.clone() if sigmas is None else sigmas
        with torch.inference_mode():
            samples = sampler.sample(
                noise, positive, negative, 2.0, latent, start, last, full, disable_pbar=True, seed=0
            )
        return samples, [call.sigma for call in counter.calls]

    schedule = make_sigmas(model, "karras", "euler", 5)
    for start in STARTS:
        want, want_sigmas = run(start, end, not leave_noise)
        part = cut(schedule, start, end, leave_noise)
        if not len(part):
            assert want is latent and not want_sigmas  # nothing is left to sample
            continue
        got, got_sigmas = run(None, None, False, part)
        assert got_sigmas == want_sigmas and torch.equal(got, want)


# denoise


@pytest.mark.parametrize("sampler", ["euler", "uni_pc"])
@pytest.mark.parametrize("denoise", [1.0, 0.95, 0.7, 0.5, 0.33, 0.3, 0.1, 0.01])
@pytest.mark.parametrize("steps", [1, 7, 20])
def test_schedule_steps_ends_in_the_steps_of_the_hosts_denoise(steps, denoise, sampler):
    total = schedule_steps(steps, denoise, "here")
    part = cut(make_sigmas(MODELS["eps"], "karras", sampler, total), total - steps, total, False)
    assert torch.equal(part, ksampler(sampler, "karras", steps, denoise=denoise).sigmas)


@pytest.mark.parametrize("denoise", [0.0, -0.5])
def test_schedule_steps_refuses_denoise_0(denoise):
    with pytest.raises(ValueError, match=f"here: denoise .*{denoise}"):
        schedule_steps(20, denoise, "here")


# One step


def test_kl_optimal_of_one_step_is_refused_by_name():
    """The host divides by steps - 1 there: its KSampler gives NaN."""
    assert ksampler("euler", "kl_optimal", 1).sigmas.isnan().any()
    with pytest.raises(ValueError, match=r"^here: kl_optimal makes no schedule for 1 step, .*; take more steps, or"):
        make_sigmas(MODELS["eps"], "kl_optimal", "euler", 1, owner="here")
    assert make_sigmas(MODELS["eps"], "kl_optimal", "dpm_2", 1).isfinite().all()  # made for two, as in KSampler


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_scheduler_func_without_numbers_is_refused(bad):
    with pytest.raises(ValueError, match=r"^here: the custom schedule makes no schedule for 3 steps"):
        make_sigmas(MODELS["eps"], "normal", "euler", 3, lambda *_: torch.tensor([bad, 1.0, 0.0]), "here")


NAMES = {
    "RegionalSampler": "RegionalSampler, region 1: kl_optimal",
    "RegionalSamplerAdvanced": "RegionalSamplerAdvanced, region 1: kl_optimal",
    "TwoAdvancedSamplersForMask": "TwoAdvancedSamplersForMask, mask_sampler: kl_optimal",
    "the base": "RegionalSampler, the base: kl_optimal",
    "a second seed": "RegionalSampler, the base: kl_optimal",
    "a second pass": "RegionalSampler, region 1: kl_optimal",
    "TwoSamplersForMask": "KSamplerProvider: kl_optimal",
    "MaskGrid N KSamplers Advanced": "MaskGrid N KSamplers Advanced: kl_optimal",
    "RegionalReport": "This run would fail. RegionalReport, region 1: kl_optimal",
}


def without_a_schedule(name, engine):
    """Run what makes a schedule of kl_optimal for one step; returns the report, if it is one."""
    cond, latent, mask = reference_cond([0.1] * 5), {"samples": torch.zeros(1, 4, 4, 6)}, torch.ones(1, 4, 6)
    model = MODELS["eps"]
    good = step_sampler(model, cond, cond)
    bad = step_sampler(model, cond, cond, scheduler="kl_optimal")
    if name == "TwoSamplersForMask":
        given = {"seed": 1, "steps": 1, "cfg": 1.0, "sampler_name": "euler", "scheduler": "kl_optimal", "denoise": 1.0}
        whole = use("KSamplerProvider", basic_pipe=pipe(model, cond, cond), **given)
        return use(name, latent_image=latent, base_sampler=whole, mask_sampler=whole, mask=mask)
    if name.startswith("MaskGrid"):
        given = {"add_noise": "enable", "noise_seed": 1, "steps": 1, "cfg": 1.0, "sampler_name": "euler"}
        given |= {"scheduler": "kl_optimal", "start_at_step": 0, "end_at_step": 1, "rows": 1, "columns": 1}
        given |= {"return_with_leftover_noise": "disable", "mode": "Sample then Fork"}
        image = torch.ones(1, 32, 48, 3)
        return use(name, model=model, positive=cond, negative=cond, latent_image=latent, mask=image, **given)
    if name == "TwoAdvancedSamplersForMask":
        given = {"seed": 1, "steps": 1, "denoise": 1.0, "samples": latent, "overlap_factor": 0, "engine": engine}
        return use(name, base_sampler=good, mask_sampler=bad, mask=mask, **given)
    if name == "RegionalSamplerAdvanced":
        return regional_sampler_advanced(latent, good, regions((mask, bad)), steps=1, engine=engine)
    if name == "RegionalReport":
        given = {"regional_prompts": regions((mask, bad)), "base_sampler": good, "steps": 1}
        return use(name, **given, engine=engine)["result"][1]
    options = {"steps": 1, "base_only_steps": 0, "engine": engine}
    if name == "the base":
        return regional_sampler(latent, bad, regions((mask, good)), **options)
    if name == "a second seed":
        options |= {"base_only_steps": 1, "seed_2nd_mode": "fixed"}
        return regional_sampler(latent, bad, regions((mask, good)), **options)
    if name == "a second pass":
        bad = step_sampler(model, cond, cond, scheduler="kl_optimal", sampler_name="uni_pc")
        options |= {"additional_mode": "ratio additional"}
    return regional_sampler(latent, good, regions((mask, bad)), **options)


@pytest.mark.parametrize("engine", ["stepwise", "lockstep"])
@pytest.mark.parametrize("name", NAMES)
def test_everything_that_makes_a_schedule_names_its_owner(name, engine):
    if name == "a second pass" and engine == "lockstep":
        assert without_a_schedule(name, engine)["samples"].isfinite().all()  # it has none
    elif name == "RegionalReport":
        assert without_a_schedule(name, engine).startswith(NAMES[name])
    else:
        with pytest.raises(ValueError) as error:
            without_a_schedule(name, engine)
        assert str(error.value).startswith(f"{NAMES[name]} makes no schedule for 1 step")

"""Sigma schedules against the host's own KSampler and scheduler nodes, and cuts of them against plain lists."""

import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_align_your_steps import AlignYourStepsScheduler
from comfy_extras.nodes_gits import GITSScheduler
from comfy_extras.nodes_lt import LTXVScheduler
from comfy_extras.nodes_optimalsteps import OptimalStepsScheduler
from pack.samplers.providers import schedule_steps
from pack.samplers.schedules import cut, gits, make_sigmas, scheduler_names
from testing_pack.models import counted, reference_cond, reference_model

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

"""Lockstep with what models and samplers of the host do besides predicting."""

import comfy.model_management
import comfy.sample
import comfy.samplers
import pytest
import torch
from comfy_extras.nodes_custom_sampler import RandomNoise, SamplerCustomAdvanced
from pixel_scene import BASE, EMPTY, MASKS, NEGATIVE, ONE, REST, SIZE, TWO, assert_each_has_its_own, pixels
from testing_pack.models import (
    counted,
    random_cond,
    random_unet,
    texture_model,
    wrapped,
)
from use import (
    box,
    custom,
    lockstep,
    regions,
    relative,
    step_sampler,
    use,
)


def test_cfg_override_of_the_core():
    """A wrapper of the model sets the guider's cfg while it samples."""
    from comfy_extras.nodes_custom_sampler import CFGOverride

    model = CFGOverride.execute(texture_model(), 1.0, 0.0, 1.0).result[0]
    samplers = [step_sampler(model, prompt, NEGATIVE, cfg=6.0) for prompt in (BASE, ONE)]
    out = lockstep(EMPTY, samplers[0], regions((MASKS[0], samplers[1])))
    assert_each_has_its_own(out, samplers, [1 - MASKS[0], MASKS[0]])


@pytest.mark.parametrize("other", ["euler", "heun"])
def test_wrappers_around_the_prediction_run_once_a_sigma(other):
    import comfy.patcher_extension

    sigmas = []

    def wrapper(executor, x, timestep, model_options, seed):
        sigmas.append(float(timestep.max()))
        return executor(x, timestep, model_options, seed)

    model = texture_model()
    model.add_wrapper(comfy.patcher_extension.WrappersMP.PREDICT_NOISE, wrapper)
    base, inside = step_sampler(model, BASE, NEGATIVE), step_sampler(model, ONE, NEGATIVE, sampler_name=other)
    out = lockstep(EMPTY, base, regions((MASKS[0], inside)))
    ran = len(sigmas)
    assert_each_has_its_own(out, [base, inside], [1 - MASKS[0], MASKS[0]])
    # heun asks twice a step, the last aside; half of that is at euler's sigmas, and served together.
    assert ran == {"euler": 8, "heun": 15}[other]


@pytest.mark.parametrize("where", ["pre", "post"])
def test_functions_that_work_in_place_change_their_own_member(where):
    """Members share the evaluation of an equal negative, not the tensor."""

    def post(args):
        args["uncond_denoised"].mul_(0.5)
        return args["denoised"]

    def pre(args):
        args["conds_out"][1].mul_(0.5)
        return args["conds_out"]

    model = texture_model()
    if where == "post":
        model.set_model_sampler_post_cfg_function(post)
    else:
        model.set_model_sampler_pre_cfg_function(pre)
    samplers = [step_sampler(model, prompt, NEGATIVE, cfg=3.0) for prompt in (BASE, ONE, TWO)]
    out = lockstep(EMPTY, samplers[0], regions(*zip(MASKS, samplers[1:], strict=True)))
    assert_each_has_its_own(out, samplers, [REST, *MASKS])


def test_a_sampler_that_works_on_its_answer_in_place():
    from comfy_extras.nodes_advanced_samplers import SamplerLCMUpscale

    base = step_sampler(
        texture_model(), BASE, NEGATIVE, sampler_opt=SamplerLCMUpscale.execute(1.0, 1, "bislerp").result[0]
    )
    inside = pixels(ONE)
    out = lockstep(EMPTY, base, regions((MASKS[0], inside)))
    assert_each_has_its_own(out, [inside], [MASKS[0]])


def test_a_sampler_that_changes_the_latents_size():
    from comfy_extras.nodes_advanced_samplers import SamplerLCMUpscale

    model, latent = random_unet(), {"samples": torch.zeros(1, 4, 8, 12)}
    sampler = SamplerLCMUpscale.execute(2.0, -1, "bislerp").result[0]
    prompts = use(
        "RegionalPromptFromConditioning",
        mask=box(8, 12, 0, 0, 8, 6),
        model=model,
        positive=random_cond(1),
        negative=random_cond(2),
        cfg=2.0,
    )
    inputs = {"model": model, "positive": random_cond(1), "negative": random_cond(2), "cfg": 2.0}
    guider = use("RegionalGuider", regional_prompts=prompts, **inputs)
    alone = comfy.samplers.CFGGuider(model)
    alone.set_conds(random_cond(1), random_cond(2))
    alone.set_cfg(2.0)
    sigmas = comfy.samplers.KSampler(model, 4, "cpu", "euler", "normal").sigmas
    noise = RandomNoise.execute(5).result[0]
    got, want = (
        SamplerCustomAdvanced.execute(noise, one, sampler, sigmas, latent).result[0]["samples"]
        for one in (guider, alone)
    )
    assert got.shape == (1, 4, 16, 24)
    assert relative(got, want) < 1e-4
    beside = regions((MASKS[0], pixels(ONE, sampler_opt=sampler)))
    with pytest.raises(ValueError, match=r"sampler of region 1 failed: .* shape"):
        lockstep(EMPTY, pixels(BASE), beside)


@pytest.mark.parametrize("steps", [7, 30, 60])
def test_schedules_longer_than_their_steps_are_run_to_their_end(steps):
    samplers = [pixels(prompt, scheduler="ddim_uniform") for prompt in (BASE, ONE)]
    out = lockstep(EMPTY, samplers[0], regions((MASKS[0], samplers[1])), steps=steps)
    assert_each_has_its_own(out, samplers, [1 - MASKS[0], MASKS[0]], steps=steps)


def test_the_kept_part_of_an_inpainted_picture_is_at_the_right_noise_level():
    """Between the steps of unlike schedules, too: there the canvas is the kept picture with the run's noise."""
    latent = {"samples": torch.randn(1, 4, *SIZE, generator=torch.Generator().manual_seed(1)), "noise_mask": MASKS[1]}
    kept, seen = MASKS[1][0] == 0, []
    model = wrapped(texture_model(), lambda x, sigma: seen.append((x[:1].clone(), float(sigma.max()))))
    base = step_sampler(model, BASE, NEGATIVE)
    inside = step_sampler(model, ONE, NEGATIVE, scheduler="karras")
    lockstep(latent, base, regions((box(*SIZE, 0, 0, 12, 14), inside)))
    noise = comfy.sample.prepare_noise(latent["samples"], 5)
    for x, sigma in seen:
        if sigma < 14:  # at the very start the host leaves the picture out
            want = (latent["samples"] + sigma * noise)[..., kept]
            assert relative(x[..., kept], want) < 1e-5


def test_cfg_pp_beside_a_sampler_that_needs_no_negative():
    soft = torch.full((1, *SIZE), 0.5)
    results = []
    for always in (False, True):
        model = texture_model()
        if always:
            model.disable_model_cfg1_optimization()
        base = step_sampler(model, BASE, NEGATIVE, cfg=1.0)
        inside = step_sampler(model, ONE, NEGATIVE, cfg=1.0, sampler_name="euler_cfg_pp", scheduler="karras")
        results.append(lockstep(EMPTY, base, regions((soft, inside))))
    assert relative(*results) < 1e-5


def test_a_sampler_that_writes_into_its_options_changes_no_other():
    class Writes:
        def sample(self, model_wrap, sigmas, extra_args, callback, noise, *_, **__):
            extra_args["model_options"]["sampler_post_cfg_function"] = [lambda args: args["denoised"] * 0]
            return model_wrap(noise, sigmas[:1], **extra_args)

        def max_denoise(self, *_):
            return True

    base = pixels(BASE)
    out = lockstep(EMPTY, base, regions((MASKS[0], pixels(ONE, sampler_opt=Writes()))))
    assert_each_has_its_own(out, [base], [1 - MASKS[0]])


def test_a_covered_base_with_a_schedule_of_its_own_costs_no_calls():
    model, counter = counted(texture_model())
    base = step_sampler(model, BASE, NEGATIVE)
    inside = step_sampler(model, ONE, NEGATIVE, scheduler="karras")
    lockstep(EMPTY, base, regions((torch.ones(1, 8, 8), inside)))
    assert len(counter.calls) == 8


def test_flow_models_of_unlike_noise_scale_are_refused():
    base, other = texture_model("flow"), texture_model("flow")
    other.model.model_sampling.noise_scale = 2.0
    with pytest.raises(ValueError, match=r"flow at noise scale 2\.0, the base's by flow"):
        lockstep(EMPTY, step_sampler(base, BASE, NEGATIVE), regions((MASKS[0], step_sampler(other, ONE, NEGATIVE))))


def test_what_others_change_of_the_guider_counts():
    model = texture_model()
    prompts = use(
        "RegionalPromptFromConditioning", mask=MASKS[0], model=model, positive=ONE, negative=NEGATIVE, cfg=3.0
    )
    inputs = {"model": model, "positive": BASE, "negative": NEGATIVE, "regional_prompts": prompts}
    guider = use("RegionalGuider", cfg=3.0, overlap_factor=0, **inputs)
    guider.set_cfg(1.0)
    sigmas = comfy.samplers.KSampler(model, 8, "cpu", "euler", "normal").sigmas
    for _ in range(2):
        out = custom(guider, sigmas, EMPTY, "euler")
        samplers = [pixels(prompt, cfg=1.0) for prompt in (BASE, ONE)]
        assert_each_has_its_own(out, samplers, [1 - MASKS[0], MASKS[0]])
    assert guider.cfg == 1.0

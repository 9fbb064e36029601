"""Noise and recovery: against the host, naive NumPy, and the noise that samplers really drew."""

import math

import comfy.sample
import comfy.samplers
import numpy as np
import pytest
import torch
from comfy.k_diffusion.sampling import BrownianTreeNoiseSampler
from pack.samplers.guided import Guidance
from pack.samplers.noise import MAX_SEED, NOISE_PATH_SAMPLERS, initial_noise, mix, step_seed
from pack.samplers.prompts import RegionalPromptObject, Variation
from pack.samplers.providers import AdvancedSampler
from pack.samplers.recovery import Pass, Recovery, passes
from pack.samplers.schedules import make_sigmas
from testing_pack.models import reference_cond, reference_model, wrapped

# torchsde's remark on a time that rounding puts just outside of the path; the host's own runs draw it too.
pytestmark = pytest.mark.filterwarnings("ignore:Should have t[ab]:UserWarning")


def gaussian(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def error(got, want):
    return float((got - want).norm() / want.norm())


# initial_noise


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
@pytest.mark.parametrize("shape", [(1, 4, 6, 8), (3, 16, 5, 7), (2, 16, 3, 4, 6)], ids=str)
def test_initial_noise_is_the_hosts(shape, dtype):
    samples = torch.zeros(shape, dtype=dtype)
    noise = initial_noise({"samples": samples}, 7)
    assert torch.equal(noise, comfy.sample.prepare_noise(samples, 7))
    assert torch.equal(noise, gaussian(*shape, seed=7).to(dtype))


@pytest.mark.parametrize("index", [[0, 1, 2], [2, 0, 1], [1, 1, 5], [4, 4, 4]], ids=str)
def test_initial_noise_follows_the_batch_index(index):
    samples = torch.zeros(3, 4, 6, 8)
    noise = initial_noise({"samples": samples, "batch_index": index}, 7)
    assert torch.equal(noise, comfy.sample.prepare_noise(samples, 7, index))
    generator = torch.Generator().manual_seed(7)
    drawn = [torch.randn((4, 6, 8), generator=generator) for _ in range(6)]
    assert torch.equal(noise, torch.stack([drawn[i] for i in index]))


# mix


def naive_linear(a, b, t):
    return ((1 - t) * a + t * b) / math.sqrt((1 - t) ** 2 + t**2)


def naive_slerp(a, b, t):
    """Item by item on the great circle between the two."""
    out = np.empty_like(a)
    for item in range(len(a)):
        x, y = a[item].ravel(), b[item].ravel()
        angle = math.acos(x.dot(y) / math.sqrt(x.dot(x) * y.dot(y)))
        mixed = math.sin((1 - t) * angle) / math.sin(angle) * x + math.sin(t * angle) / math.sin(angle) * y
        out[item] = mixed.reshape(a[item].shape)
    return out


METHODS = {"linear": naive_linear, "slerp": naive_slerp}
SHAPES = [(1, 4, 8, 8), (3, 4, 5, 7), (2, 16, 2, 4, 6)]


@pytest.mark.parametrize("strength", [0.0, 0.1, 0.5, 0.73, 1.0])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("method", METHODS)
def test_mix_is_the_formula(method, shape, strength):
    a, b = gaussian(*shape, seed=1), gaussian(*shape, seed=2)
    given = a.clone(), b.clone()
    mixed = mix(a, b, strength, method)
    want = METHODS[method](a.double().numpy(), b.double().numpy(), strength)
    np.testing.assert_allclose(mixed.numpy(), want, rtol=1e-4, atol=1e-5)
    assert torch.equal(a, given[0]) and torch.equal(b, given[1])


@pytest.mark.parametrize("strength", [0.0, 0.2, 0.5, 0.9, 1.0])
@pytest.mark.parametrize("method", METHODS)
def test_mix_keeps_unit_variance(method, strength):
    mixed = mix(gaussian(2, 4, 128, 128, seed=1), gaussian(2, 4, 128, 128, seed=2), strength, method)
    for item in mixed:  # 65536 values: a spread of 0.3 % of the deviation
        assert float(item.std()) == pytest.approx(1.0, abs=0.02) and abs(float(item.mean())) < 0.02


@pytest.mark.parametrize("method", METHODS)
def test_mix_ends_in_one_of_the_two(method):
    a, b = gaussian(2, 4, 8, 8, seed=1), gaussian(2, 4, 8, 8, seed=2)
    torch.testing.assert_close(mix(a, b, 0.0, method), a)
    torch.testing.assert_close(mix(a, b, 1.0, method), b)


@pytest.mark.parametrize("strength", [0.0, 0.3, 0.5, 1.0])
@pytest.mark.parametrize("factor", [1.0, 1.0 + 1e-6, 2.0])
def test_slerp_of_parallel_noises_is_the_line_between_them(factor, strength):
    a = gaussian(2, 4, 8, 8)
    torch.testing.assert_close(mix(a, factor * a, strength, "slerp"), (1 + (factor - 1) * strength) * a)


def test_slerp_of_a_batch_treats_each_picture_alone():
    a, b = gaussian(2, 4, 8, 8, seed=1), gaussian(2, 4, 8, 8, seed=2)
    b[0] = a[0]  # one parallel, one not
    mixed = mix(a, b, 0.4, "slerp")
    torch.testing.assert_close(mixed[0], a[0])
    torch.testing.assert_close(mixed[1:], mix(a[1:], b[1:], 0.4, "slerp"))


def test_mix_names_an_unknown_method():
    with pytest.raises(ValueError, match="cubic"):
        mix(gaussian(1, 4, 2, 2), gaussian(1, 4, 2, 2), 0.5, "cubic")


# touch_noise


def block(height, width, rows, columns, value=1.0):
    mask = torch.zeros(height, width)
    mask[rows, columns] = value
    return mask


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("shape", [(2, 4, 6, 10), (1, 16, 3, 6, 10)], ids=str)
@pytest.mark.parametrize("scale", [1, 8])
def test_touch_noise_varies_the_noise_inside_the_mask_only(scale, shape, method):
    inside = block(6, 10, slice(1, 4), slice(2, 9))
    mask = inside.repeat_interleave(scale, 0).repeat_interleave(scale, 1)
    noise = gaussian(*shape, seed=3)
    given, given_mask = noise.clone(), mask.clone()
    touched = RegionalPromptObject(mask, None, Variation(11, 0.4, method)).touch_noise(noise)
    other = comfy.sample.prepare_noise(noise, 11)
    mixed = METHODS[method](noise.double().numpy(), other.double().numpy(), 0.4)
    want = np.where(inside.numpy() == 1, mixed, noise.numpy())
    np.testing.assert_allclose(touched.numpy(), want, rtol=1e-4, atol=1e-5)
    outside = (inside == 0).expand(shape)
    assert torch.equal(touched[outside], noise[outside]) and not torch.equal(touched, noise)
    assert torch.equal(noise, given) and torch.equal(mask, given_mask)


def test_touch_noise_leaves_noise_under_a_soft_mask():
    noise = gaussian(1, 4, 6, 6)
    mask = block(6, 6, slice(0, 3), slice(0, 6), 0.999)
    assert torch.equal(RegionalPromptObject(mask, None, Variation(1, 1.0)).touch_noise(noise), noise)


def test_touch_noise_of_strength_0_is_the_noise():
    noise = gaussian(1, 4, 6, 6)
    assert torch.equal(RegionalPromptObject(torch.ones(6, 6), None, Variation(1, 0.0)).touch_noise(noise), noise)


def test_touch_noise_takes_one_mask_for_each_picture():
    noise = gaussian(2, 4, 6, 6)
    masks = torch.stack([torch.zeros(6, 6), torch.ones(6, 6)])
    touched = RegionalPromptObject(masks, None, Variation(1, 1.0)).touch_noise(noise)
    assert torch.equal(touched[0], noise[0])
    assert torch.equal(touched[1], comfy.sample.prepare_noise(noise, 1)[1])


@pytest.mark.parametrize("size", [(512, 512), (33, 47)], ids=str)
def test_touch_noise_under_a_full_mask_varies_every_pixel(size):
    """A mask of another size than the latent's: between ones there is 1, though float arithmetic says 0.9999999."""
    noise = gaussian(1, 4, 60, 60)
    touched = RegionalPromptObject(torch.ones(size), None, Variation(1, 1.0)).touch_noise(noise)
    assert torch.equal(touched, comfy.sample.prepare_noise(noise, 1))


# step_seed


def test_step_seeds_never_meet():
    seeds = [*range(300), 2**32, 2**62, 2**63 - 1]
    drawn = [step_seed(seed, step) for seed in seeds for step in range(200)]
    assert len(set(drawn)) == len(drawn)
    assert len({step_seed(5, step) for step in range(10000)}) == 10000
    assert all(0 <= seed <= MAX_SEED for seed in drawn)


@pytest.mark.parametrize("seed", [0, 5, MAX_SEED])
def test_step_0_keeps_the_seed_and_the_others_are_seeds_for_torch(seed):
    assert step_seed(seed, 0) == seed
    for step in (1, 2, 19, 9999):
        torch.Generator().manual_seed(step_seed(seed, step) + 1)  # the host's default_noise_sampler adds 1


# The noise that samplers draw themselves. With s = 0 the model's denoised is `MU` at every sigma: a sampler's history
# is of no use to it, and only the noise can tell a run from the same run cut into steps.

MU = [0.5, -0.3, 0.2, 0.1]
FLAT = reference_cond([*MU, 0.0])
STEPS, SEED = 6, 23
SHAPE = (2, 4, 6, 8)
LATENT = {"samples": gaussian(*SHAPE, seed=9)}
SDE = sorted(NOISE_PATH_SAMPLERS)


def provider(sampler, kind="eps", sigma_factor=1.0, cond=FLAT):
    return AdvancedSampler(Guidance(reference_model(kind), cond, cond, 1.0), sampler, "simple", sigma_factor)


def stretch(source, start, end, latent, seed=SEED, noise=False):
    with torch.inference_mode():
        return source.sample_advanced(noise, seed, STEPS, latent, start, end, True, recovery_mode="DISABLE")


def in_steps(source, seed=SEED, steps=range(STEPS), latent=LATENT):
    """The latents before the first of `steps` and after each of them."""
    latents = [latent]
    for step in steps:
        latents.append(stretch(source, step, step + 1, latents[-1], seed, noise=step == 0))
    return [one["samples"] for one in latents]


def in_model(samples):
    return samples * 0.18215  # what the SD1.5 format does to latents before the model sees them


@pytest.mark.parametrize("kind", ["eps", "flow"])
@pytest.mark.parametrize("sampler", SDE)
def test_single_steps_follow_the_noise_path_of_the_whole_run(sampler, kind):
    source = provider(sampler, kind)
    # The last step goes to sigma 0, where there is no noise left to see.
    whole = stretch(source, 0, STEPS - 1, LATENT, noise=True)["samples"]
    cut = in_steps(source, steps=range(STEPS - 1))[-1]
    assert error(cut, whole) < 1e-4
    assert error(in_steps(source, SEED + 1, range(STEPS - 1))[-1], whole) > 0.05


@pytest.mark.parametrize("kind", ["eps", "flow"])
@pytest.mark.parametrize("sampler", SDE)
def test_a_whole_run_draws_the_hosts_noise_path(sampler, kind):
    cond = reference_cond([*MU, 0.6])
    samples = LATENT["samples"]
    with torch.inference_mode():
        want = comfy.sample.sample(
            reference_model(kind),
            comfy.sample.prepare_noise(samples, SEED),
            STEPS,
            1.0,
            sampler,
            "simple",
            cond,
            cond,
            samples,
            disable_pbar=True,
            seed=SEED,
        )
    assert error(stretch(provider(sampler, kind, cond=cond), 0, STEPS, LATENT, noise=True)["samples"], want) < 1e-5
    assert error(stretch(provider(sampler, kind, cond=cond), 0, STEPS, LATENT, SEED + 1, True)["samples"], want) > 0.05


@pytest.mark.parametrize("factor", [1.0, 0.9])
@pytest.mark.parametrize("sampler", ["dpmpp_2m_sde", "dpmpp_3m_sde"])
def test_single_steps_draw_the_increments_of_a_path_over_the_whole_schedule(sampler, factor):
    """The path is made of the schedule as it is; sigma_factor only says which of its stretches are used."""
    source = provider(sampler, sigma_factor=factor)
    sigmas = make_sigmas(source.guidance.model, "simple", sampler, STEPS)
    path = BrownianTreeNoiseSampler(torch.zeros(SHAPE), sigmas[-2], sigmas[0], seed=SEED, cpu=True)
    latents = [in_model(samples) for samples in in_steps(source)]
    mu = torch.tensor(MU)[:, None, None]
    for step in range(1, STEPS - 2):
        now, then = factor * sigmas[step], factor * sigmas[step + 1]
        # x' = (s'/s)^2 x + (1 - (s'/s)^2) mu + s' sqrt(1 - (s'/s)^2) noise: the SDE's exact step for a fixed denoised
        share = float(then / now) ** 2
        drawn = latents[step + 1] - share * latents[step] - (1 - share) * mu
        drawn /= float(then) * math.sqrt(1 - share)
        assert error(drawn, path(now, then)) < 1e-3


@pytest.mark.parametrize("sampler", ["euler_ancestral", "dpmpp_2s_ancestral", "lcm"])
def test_ancestral_steps_draw_new_noise_each(sampler):
    source = provider(sampler)
    sigmas = make_sigmas(source.guidance.model, "simple", sampler, STEPS).tolist()
    latents = [in_model(samples) - torch.tensor(MU)[:, None, None] for samples in in_steps(source)]
    drawn = []
    for step in range(1, STEPS - 1):
        now, then = sigmas[step], sigmas[step + 1]
        up = then if sampler == "lcm" else min(then, math.sqrt(then**2 * (now**2 - then**2) / now**2))
        down = math.sqrt(then**2 - up**2)
        drawn.append(((latents[step + 1] - down / now * latents[step]) / up).flatten())
        assert float(drawn[-1].std()) == pytest.approx(1.0, abs=0.15)  # else it is no noise of this step
    correlation = torch.corrcoef(torch.stack(drawn)) - torch.eye(len(drawn))
    assert correlation.abs().max() < 0.25  # 384 values: independent noises have 0.05 or so, equal ones 1


def test_ddim_keeps_one_noise_outside_its_mask():
    """ddim shows the model noise of the seed outside of the mask; a new one at each step would be another run's."""
    mask = torch.zeros(1, 6, 8)
    mask[..., :4] = 1.0
    seen = []
    model = wrapped(reference_model(), lambda x, sigma: seen.append((x[: SHAPE[0]].clone(), float(sigma[0]))))
    source = AdvancedSampler(Guidance(model, FLAT, FLAT, 1.0), "ddim", "simple")
    latents = in_steps(source, latent={**LATENT, "noise_mask": mask}, steps=range(1, STEPS))
    noises = [(x - in_model(latent)) / sigma for (x, sigma), latent in zip(seen, latents, strict=False)]
    assert len(noises) == STEPS - 1 and float(noises[0][..., 4:].std()) == pytest.approx(1.0, abs=0.1)
    for noise in noises[1:]:
        assert error(noise[..., 4:], noises[0][..., 4:]) < 1e-4


# recovery.passes

UNI_PC = ["uni_pc", "uni_pc_bh2"]
FAST = [*UNI_PC, "dpmpp_sde", "dpmpp_sde_gpu"]
MULTISTEP = ["dpmpp_2m_sde", "dpmpp_2m_sde_gpu", "dpmpp_3m_sde", "dpmpp_3m_sde_gpu"]
RECOVERED = {**dict.fromkeys(FAST, "dpm_fast"), **dict.fromkeys(MULTISTEP, "dpmpp_2m")}


def test_recovery_is_for_uni_pc_and_the_sde_samplers_only():
    recovery = Recovery("ratio between", "AUTO", 0.3)
    for sampler in ["", *comfy.samplers.KSampler.SAMPLERS]:
        if sampler in RECOVERED:
            assert passes(sampler, recovery) == [Pass(None, 0.7), Pass(RECOVERED[sampler], 0.3)]
        else:
            assert passes(sampler, recovery) == [Pass(None, 1.0)]


@pytest.mark.parametrize("asked", ["AUTO", "euler", "ddpm"])
@pytest.mark.parametrize(
    ("mode", "ratio", "main", "second"),
    [
        ("DISABLE", 0.0, 1.0, None),
        ("DISABLE", 0.3, 1.0, None),
        ("DISABLE", 1.0, 1.0, None),
        ("ratio additional", 0.0, 1.0, None),
        ("ratio additional", 0.3, 1.0, 0.3),
        ("ratio additional", 1.0, 1.0, 1.0),
        ("ratio between", 0.0, 1.0, None),
        ("ratio between", 0.3, 0.7, 0.3),
        ("ratio between", 1.0, None, 1.0),
    ],
)
@pytest.mark.parametrize("sampler", RECOVERED)
def test_the_passes_of_a_step(sampler, mode, ratio, main, second, asked):
    want = [] if main is None else [Pass(None, main)]
    if second is not None:
        want.append(Pass(RECOVERED[sampler] if asked == "AUTO" else asked, second))
    assert passes(sampler, Recovery(mode, asked, ratio)) == want

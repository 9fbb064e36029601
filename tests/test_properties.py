"""Both engines under random regions, masks, samplers and schedules: what must hold whatever they are given."""

import copy
import threading

import comfy.sample
import comfy.samplers
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from pack.samplers.schedules import make_sigmas
from testing_pack.models import pixel_cond, texture_model
from use import plain, regional_sampler, regional_sampler_advanced, regions, relative, step_sampler

NEGATIVE = pixel_cond(0.0, 0.6)
MODELS = {kind: texture_model(kind) for kind in ("eps", "v", "flow")}
# started anew at every step, these fail or end in another place than they would in one run; docs/engines.md
EXACT_STEPWISE = ["euler", "ddim", "heun", "dpm_2"]
WITHOUT_RESTART = [name for name in comfy.samplers.KSampler.SAMPLERS if "cfg_pp" not in name]


def examples(count):
    """The same `count` examples on every run; the fixture that they share only sets the inference mode."""
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.filter_too_much]
    return settings(max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=checks)


seeds = st.integers(0, 2**64 - 2)  # with the largest one the host's own ancestral and SDE samplers overflow
sizes = st.tuples(st.integers(1, 12), st.integers(1, 12))


@st.composite
def masks(draw, batch=1, hard=False, size=None):
    """A mask of any size: empty, full, a box, specks, or soft; for one picture or for each."""
    height, width = size or draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    count = 1 if size else draw(st.sampled_from([1, batch]))
    kind = draw(st.sampled_from(["empty", "full", "box", "box", "specks", *([] if hard else ["soft", "faint"])]))
    mask = torch.zeros(count, height, width)
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    if kind == "full":
        mask += 1
    elif kind == "box":
        top, left = draw(st.integers(0, height - 1)), draw(st.integers(0, width - 1))
        bottom, right = draw(st.integers(top + 1, height)), draw(st.integers(left + 1, width))
        mask[:, top:bottom, left:right] = 1
    elif kind != "empty":
        mask = torch.rand(mask.shape, generator=generator)
        mask = {"specks": (mask > 0.8).float(), "soft": mask, "faint": mask * 0.3}[kind]
    return mask


@st.composite
def latents(draw):
    height, width = draw(sizes)
    batch = draw(st.integers(1, 2))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    empty = draw(st.booleans())
    samples = torch.zeros(batch, 4, height, width)
    latent = {"samples": samples if empty else torch.randn(samples.shape, generator=generator) * 0.3}
    if draw(st.booleans()):
        latent["noise_mask"] = draw(masks(batch))
    return latent


@st.composite
def prompts(draw):
    mean = tuple(draw(st.integers(-8, 8)) / 10 for _ in range(4))
    return pixel_cond(mean, draw(st.sampled_from([0.0, 0.05, 0.3, 1.0])))


@st.composite
def samplers(draw, kind, names=comfy.samplers.KSampler.SAMPLERS, **fixed):
    inputs = {
        "cfg": draw(st.sampled_from([0.0, 1.0, 1.5, 7.0])),
        "sampler_name": draw(st.sampled_from(names)),
        "scheduler": draw(st.sampled_from(comfy.samplers.KSampler.SCHEDULERS)),
        "sigma_factor": draw(st.sampled_from([1.0, 1.0, 1.0, 0.8, 1.2])),
    }
    negative = draw(st.sampled_from([NEGATIVE, pixel_cond(0.3, 0.2)]))
    return step_sampler(MODELS[kind], draw(prompts()), negative, **{**inputs, **fixed})


@st.composite
def jobs(draw):
    """A node of both kinds with all that goes into it: (node function, latent, base, prompts, inputs)."""
    engine, kind, latent = draw(st.sampled_from(["stepwise", "lockstep"])), draw(st.sampled_from([*MODELS])), None
    latent = draw(latents())
    names = comfy.samplers.KSampler.SAMPLERS if engine == "lockstep" else WITHOUT_RESTART
    batch = latent["samples"].shape[0]
    base = draw(samplers(kind, names))
    alike = draw(st.booleans())
    own = {"sampler_name": base.sampler_name, "scheduler": base.scheduler, "sigma_factor": base.sigma_factor}
    regional = []
    for _ in range(draw(st.integers(1, 3))):
        variation = {"variation_seed": draw(st.integers(0, 9)), "variation_strength": draw(st.sampled_from([0.0, 0.4]))}
        sampler = draw(samplers(kind, names, **(own if alike else {})))
        regional += regions((draw(masks(batch)), sampler), **variation)
    inputs = {
        "engine": engine,
        "steps": draw(st.integers(1, 6)),
        "overlap_factor": draw(st.sampled_from([0, 1, 5, 10000])),
        "restore_latent": draw(st.booleans()),
        "additional_mode": draw(st.sampled_from(["DISABLE", "ratio between", "ratio additional"])),
        "additional_sigma_ratio": draw(st.sampled_from([0.0, 0.3, 1.0])),
    }
    if draw(st.booleans()):
        modes = st.sampled_from(["ignore", "fixed", "seed+seed_2nd", "seed-seed_2nd"])
        inputs |= {
            "seed": draw(seeds),
            "seed_2nd_mode": draw(modes),
            "base_only_steps": draw(st.integers(0, 8)),
            "denoise": draw(st.sampled_from([1.0, 0.7, 0.1])),
        }
        return regional_sampler, latent, base, regional, inputs
    start = draw(st.integers(0, inputs["steps"] - 1))
    inputs |= {
        "noise_seed": draw(seeds),
        "add_noise": draw(st.booleans()),
        "start_at_step": start,
        "end_at_step": draw(st.sampled_from([start + 1, start + 2, 10000])),
        "return_with_leftover_noise": draw(st.booleans()),
    }
    return regional_sampler_advanced, latent, base, regional, inputs


def tensors(value):
    """All tensors in nested lists, dicts and this pack's own objects."""
    if isinstance(value, torch.Tensor):
        return [value]
    if isinstance(value, dict):
        return [tensor for one in value.values() for tensor in tensors(one)]
    if isinstance(value, (list, tuple)):
        return [tensor for one in value for tensor in tensors(one)]
    return tensors(vars(value)) if type(value).__module__.startswith("pack.") else []


def host_fails(sampler, latent, inputs):
    """Whether plain sampling with the host's own KSampler raises or gives NaN here."""
    model, cfg, name, scheduler, positive, negative, factor = sampler.params
    # The host's own: an error of this pack's must not count as the host's.
    steps = inputs["steps"]
    made = steps + (name in comfy.samplers.KSampler.DISCARD_PENULTIMATE_SIGMA_SAMPLERS)
    sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, made)
    if not bool(sigmas.isfinite().all()):
        return True
    # Outside of the `try`, for the same reason.
    sigmas = make_sigmas(model, scheduler, name, steps) * factor
    noise = comfy.sample.prepare_noise(latent["samples"], 1)
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive, negative)
    guider.set_cfg(cfg)
    try:
        out = guider.sample(noise, latent["samples"], comfy.samplers.sampler_object(name), sigmas, disable_pbar=True)
    except Exception:
        return True
    return not bool(out.isfinite().all())


def own_threads():
    return [thread for thread in threading.enumerate() if thread.name != "tqdm_monitor"]  # the host's, of its bar


@pytest.mark.slow
@examples(150)
@given(job=jobs())
def test_any_job(job):
    """The result is finite and shaped like the latent, nothing given is changed, no thread is left, and it repeats."""
    node, latent, base, regional, inputs = job
    before = copy.deepcopy(latent), [tensor.clone() for tensor in tensors([base, regional])]
    options = {kind: copy.deepcopy(model.model_options) for kind, model in MODELS.items()}
    threads = own_threads()
    try:
        out = node(latent, base, regional, **inputs)
    except Exception:
        assume(not any(host_fails(sampler, latent, inputs) for sampler in [base, *(p.sampler for p in regional)]))
        raise
    finally:
        assert own_threads() == threads
    samples = out["samples"]
    assert samples.shape == latent["samples"].shape and samples.dtype == torch.float32
    assert out.keys() == latent.keys() - {"noise_mask"}
    if not samples.isfinite().all():
        assert any(host_fails(sampler, latent, inputs) for sampler in [base, *(p.sampler for p in regional)])
    assert latent.keys() == before[0].keys()
    assert all(torch.equal(latent[key], before[0][key]) for key in latent)
    assert all(torch.equal(*pair) for pair in zip(tensors([base, regional]), before[1], strict=True))
    assert {kind: model.model_options for kind, model in MODELS.items()} == options
    assert torch.equal(node(latent, base, regional, **inputs)["samples"].nan_to_num(), samples.nan_to_num())


def stretch(sampler, latent, steps, seed, start=0, end=None, noise=True, leave=False):
    end = steps if end is None else end
    return sampler.sample_advanced(noise, seed, steps, latent, start, end, leave, "DISABLE")


@st.composite
def scenes(draw, names):
    """A base and regions with hard masks of the latent's size, all with one sampler and schedule."""
    kind, size = draw(st.sampled_from([*MODELS])), draw(sizes)
    own = {
        "sampler_name": draw(st.sampled_from(names)),
        "scheduler": draw(st.sampled_from(["normal", "karras", "simple", "beta", "sgm_uniform"])),
        "sigma_factor": 1.0,
        "cfg": draw(st.sampled_from([1.0, 1.5])),
    }
    base = draw(samplers(kind, **own))
    pairs = [(draw(masks(size=size, hard=True)), draw(samplers(kind, **own))) for _ in range(draw(st.integers(1, 3)))]
    assume(any(mask.any() for mask, _ in pairs))
    generator = torch.Generator().manual_seed(draw(st.integers(0, 99)))
    samples = torch.randn(1, 4, *size, generator=generator) * draw(st.sampled_from([0.0, 0.3]))
    return {"samples": samples}, base, pairs, draw(st.integers(2, 7)), draw(st.integers(0, 999))


def places(pairs):
    """Where the base alone is, and each region alone: (mask of the latent's size, sampler or None)."""
    count = sum(mask for mask, _ in pairs)
    yield count[0] == 0, None
    for mask, sampler in pairs:
        yield (count[0] == 1) & (mask[0] == 1), sampler


@pytest.mark.slow
@examples(60)
@given(scene=scenes([name for name in comfy.samplers.KSampler.SAMPLERS if name != "dpm_adaptive"]))
def test_lockstep_gives_each_its_own_plain_run(scene):
    """On a model that looks at each pixel alone, where one member has all the weight."""
    latent, base, pairs, steps, seed = scene
    assume(not host_fails(base, latent, {"steps": steps}))
    out = regional_sampler(latent, base, regions(*pairs), steps=steps, seed=seed, base_only_steps=0, engine="lockstep")[
        "samples"
    ]
    for where, sampler in places(pairs):
        want = plain(sampler or base, latent, steps, seed)
        if where.any():
            assert relative(out[..., where], want[..., where]) < 1e-5


@pytest.mark.slow
@examples(40)
@given(scene=scenes(EXACT_STEPWISE), base_only=st.integers(1, 3))
def test_stepwise_gives_each_its_own_run_after_the_bases(scene, base_only):
    """Samplers without memory, on a model that looks at each pixel alone, where one member is alone."""
    latent, base, pairs, steps, seed = scene
    assume(base_only < steps)
    out = regional_sampler(
        latent, base, regions(*pairs), steps=steps, seed=seed, base_only_steps=base_only, engine="stepwise"
    )["samples"]
    begun = stretch(base, latent, steps, seed, end=base_only, leave=True)
    for where, sampler in places(pairs):
        want = stretch(sampler or base, begun, steps, seed, start=base_only, noise=False)["samples"]
        if where.any():
            assert relative(out[..., where], want[..., where]) < 1e-5


@examples(40)
@given(scene=scenes(comfy.samplers.KSampler.SAMPLERS), data=st.data())
def test_lockstep_of_one_prompt_is_plain_sampling(scene, data):
    """Whatever the masks are: the weights of all sum to 1."""
    latent, base, pairs, steps, seed = scene
    assume(not host_fails(base, latent, {"steps": steps}))
    prompts = regions(*((data.draw(masks()), base) for _ in pairs))
    overlap, base_only = data.draw(st.sampled_from([0, 3, 100])), data.draw(st.integers(0, 3))
    out = regional_sampler(
        latent,
        base,
        prompts,
        steps=steps,
        seed=seed,
        base_only_steps=base_only,
        overlap_factor=overlap,
        engine="lockstep",
    )["samples"]
    assert relative(out, plain(base, latent, steps, seed)) < 1e-5

"""One REGIONAL_PROMPTS on two passes at two sizes: the same regions at the same relative places."""

import comfy.samplers
import nodes as host_nodes
import pytest
import torch
from comfy_extras.nodes_custom_sampler import KSamplerSelect, RandomNoise, SamplerCustomAdvanced
from pack.regional.regions import read_regions
from pack.regional.timeline import WeightTimeline
from testing_pack.models import pixel_cond, random_cond, random_unet, texture_model
from use import box, regional_sampler, regions, relative, step_sampler, use

# Mean and standard deviation of each prompt; they lie several deviations apart.
STATS = {"base": (-0.5, 0.05), "one": (0.1, 0.05), "two": (0.6, 0.1)}
NEGATIVE = pixel_cond(0.0, 0.6)
# Masks of 512 x 512 pixels; (top, left, bottom, right) at a latent of 64 x 64.
PLACES = {"one": (6, 4, 38, 28), "two": (20, 36, 60, 60)}
MASKS = {name: box(512, 512, *(8 * edge for edge in place)) for name, place in PLACES.items()}
SMALL, LARGE = 64, 128
FIRST, SECOND = 12, 8  # steps of the passes
BASE_ONLY = {"lockstep": 2, "stepwise": 2, "guider": 0}


def sampler(name, kind="eps"):
    return step_sampler(texture_model(kind), pixel_cond(*STATS[name]), NEGATIVE, cfg=1.0)


def one_prompt_everywhere(name, kind, latent, steps, denoise, seed, base_only):
    """The host's own sampling of one prompt everywhere, after `base_only` steps of the base's."""
    total = int(steps / denoise)
    start, middle = total - steps, total - steps + base_only
    for own, first, last in (("base", start, middle), (name, middle, total)):
        if first < last:
            model, cfg, sampler_name, scheduler, positive, negative, _ = sampler(own, kind).params
            run = (model, seed, total, cfg, sampler_name, scheduler, positive, negative, latent)
            options = {"disable_noise": first > start, "start_step": first, "last_step": last}
            latent = host_nodes.common_ksampler(*run, **options, force_full_denoise=last == total)[0]
    return latent


def prompts_of(kind="eps"):
    return regions(*((MASKS[name], sampler(name, kind)) for name in PLACES))


def upscale(latent, method):
    return host_nodes.LatentUpscale().upscale(latent, method, 8 * LARGE, 8 * LARGE, "disabled")[0]


def with_nodes(engine, kind, prompts):
    base = sampler("base", kind)

    def sample(latent, steps, denoise, seed):
        inputs = {"base_only_steps": BASE_ONLY[engine], "overlap_factor": 10, "seed": seed}
        return regional_sampler(latent, base, prompts, steps=steps, denoise=denoise, engine=engine, **inputs)

    return sample


def with_guider(kind, prompts):
    """The host's own second pass: SamplerCustomAdvanced with one and the same guider."""
    model = texture_model(kind)
    guider = use(
        "RegionalGuider",
        model=model,
        positive=pixel_cond(*STATS["base"]),
        negative=NEGATIVE,
        cfg=1.0,
        regional_prompts=prompts,
        overlap_factor=10,
    )
    euler = KSamplerSelect.execute("euler").result[0]

    def sample(latent, steps, denoise, seed):
        sigmas = comfy.samplers.KSampler(model, steps, "cpu", "euler", "normal", denoise).sigmas
        noise = RandomNoise.execute(seed).result[0]
        return SamplerCustomAdvanced.execute(noise, guider, euler, sigmas, latent).result[0]

    return sample


WAYS = {
    "lockstep": lambda kind, prompts: with_nodes("lockstep", kind, prompts),
    "stepwise": lambda kind, prompts: with_nodes("stepwise", kind, prompts),
    "guider": with_guider,
}


def inside(samples, name, margin=2):
    """The values of a region (or, for the base, of what lies outside of all), `margin` pixels of a 64 latent away from
    its edges."""
    scale = samples.shape[-1] // SMALL
    places = {}
    for own, (top, left, bottom, right) in PLACES.items():
        step = -margin if name == "base" else margin
        places[own] = box(
            *samples.shape[-2:],
            *(scale * edge for edge in (top + step, left + step, bottom - step, right - step)),
        )
    where = 1 - places["one"].maximum(places["two"]) if name == "base" else places[name]
    return samples[..., where[0] > 0]


def assert_each_has_its_own(samples, singles):
    """In its place each region is what its own prompt alone gives, and that is what its name says."""
    for name, (mean, _) in STATS.items():
        got, want = inside(samples, name), inside(singles[name], name)
        assert relative(got, want) < 1e-4, name
        assert float(got.mean()) == pytest.approx(mean, abs=0.03), name


@pytest.mark.parametrize("method", ["nearest-exact", "bilinear", "bislerp"])
@pytest.mark.parametrize("kind", ["eps", "flow"])
@pytest.mark.parametrize("way", WAYS)
def test_a_second_pass_at_twice_the_size(way, kind, method):
    prompts = prompts_of(kind)
    given = [prompt.mask.clone() for prompt in prompts]
    sample = WAYS[way](kind, prompts)
    empty = {"samples": torch.zeros(1, 4, SMALL, SMALL)}
    first = sample(empty, FIRST, 1.0, 1)
    ones = {name: one_prompt_everywhere(name, kind, empty, FIRST, 1.0, 1, BASE_ONLY[way]) for name in STATS}
    assert_each_has_its_own(first["samples"], {name: one["samples"] for name, one in ones.items()})
    larger = upscale(first, method)
    second = sample(larger, SECOND, 0.5, 2)["samples"]
    assert second.shape == (1, 4, LARGE, LARGE)
    twos = {
        name: one_prompt_everywhere(name, kind, upscale(one, method), SECOND, 0.5, 2, BASE_ONLY[way])
        for name, one in ones.items()
    }
    assert_each_has_its_own(second, {name: two["samples"] for name, two in twos.items()})
    assert relative(second, larger["samples"]) > 0.02
    # Nothing is left over from the second pass.
    assert torch.equal(sample(empty, FIRST, 1.0, 1)["samples"], first["samples"])
    assert all(torch.equal(prompt.mask, mask) for prompt, mask in zip(prompts, given, strict=True))


@pytest.mark.parametrize("way", WAYS)
def test_regions_alone_bring_their_place_to_the_second_pass(way):
    """From a flat picture: nothing but the regional prompts says where the regions are."""
    sample = WAYS[way]("eps", prompts_of())
    flat = {"samples": torch.full((1, 4, LARGE, LARGE), STATS["base"][0])}
    second = sample(flat, SECOND, 0.7, 2)["samples"]
    for name in PLACES:
        nearest = min(STATS, key=lambda other: abs(float(inside(second, name).mean()) - STATS[other][0]))
        assert nearest == name
    assert float(inside(second, "base").mean()) == pytest.approx(STATS["base"][0], abs=0.02)


@pytest.mark.parametrize("engine", ["lockstep", "stepwise"])
def test_sizes_that_are_no_multiples(engine):
    """A second pass at 1.5 times the height and 1.25 times the width."""
    sample = with_nodes(engine, "eps", prompts_of())
    first = sample({"samples": torch.zeros(1, 4, SMALL, SMALL)}, FIRST, 1.0, 1)
    larger = host_nodes.LatentUpscale().upscale(first, "bilinear", 640, 768, "disabled")[0]
    second = sample(larger, SECOND, 0.5, 2)["samples"]
    assert second.shape == (1, 4, 96, 80)
    for name, (top, left, bottom, right) in PLACES.items():
        rows, columns = (
            slice(round(1.5 * top) + 3, round(1.5 * bottom) - 3),
            slice(-(-5 * left // 4) + 3, 5 * right // 4 - 3),
        )
        assert float(second[..., rows, columns].mean()) == pytest.approx(STATS[name][0], abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("engine", ["lockstep", "stepwise"])
def test_a_network_in_two_passes(engine):
    """On a network in which every pixel sees all: one prompt everywhere is plain sampling, at both sizes."""
    own = step_sampler(random_unet(), random_cond(1), random_cond(2), cfg=2.0)
    prompts = regions((box(128, 128, 16, 16, 96, 64), own))
    latent = {"samples": torch.zeros(1, 4, 16, 16)}
    results = []
    for regional in (prompts, regions((torch.zeros(1, 128, 128), own))):
        first = regional_sampler(latent, own, regional, engine=engine)
        larger = host_nodes.LatentUpscale().upscale(first, "bilinear", 256, 256, "disabled")[0]
        results.append(
            regional_sampler(larger, own, regional, engine=engine, denoise=0.5, base_only_steps=0)["samples"]
        )
    # Stepwise has its seams.
    assert relative(*results) < (1e-4 if engine == "lockstep" else 0.03)


def weights(size, overlap, count=2):
    timeline = WeightTimeline(read_regions(prompts_of()[:count], texture_model(), overlap, "test"), "test")
    return timeline.maps((1, 4, size, size), torch.device("cpu")).at(1.0).maps


@pytest.mark.parametrize("overlap", [0, 16, 32, 80])
def test_the_ring_is_as_wide_in_the_picture_at_both_sizes(overlap):
    """`overlap_factor` is in mask pixels: 8 of them are a latent pixel of the first pass and two of the second."""
    for size, pixels in ((SMALL, 8), (LARGE, 4)):
        ring = overlap // pixels
        top, left, bottom, right = (edge * 8 // pixels for edge in PLACES["one"])
        row = weights(size, overlap, 1)[1][0, 0, (top + bottom) // 2]
        falling = [1 - (d + 0.5) / ring for d in range(ring)]
        around = row[max(left - ring, 0) : left].flip(0)
        assert torch.allclose(around, torch.tensor(falling)[: len(around)])
        assert bool((row[left:right] == 1).all()) and bool((row[: max(left - ring, 0)] == 0).all())


@pytest.mark.parametrize("overlap", [0, 16, 40])
def test_the_larger_weights_are_the_smaller_ones_in_more_detail(overlap):
    small, large = weights(SMALL, overlap), weights(LARGE, overlap)
    for n, weight in small.items():
        coarse = torch.nn.functional.avg_pool2d(large[n], 2)
        # Corners of the rings are products, so their mean is not exactly the coarse one.
        assert float((coarse - weight).abs().max()) <= (0.0 if overlap == 0 else 0.07)

"""The step-wise engine beyond the reference cases: shapes, devices, what it must not change, and what it refuses."""

import copy
import itertools

import comfy.latent_formats
import comfy.samplers
import pytest
import torch
from testing_pack.models import (
    ClosedForm,
    _patcher,
    counted,
    pixel_cond,
    random_cond,
    random_unet,
    reference_cond,
    reference_model,
    texture_model,
    wrapped,
)
from use import box, pipe, regional_sampler, regional_sampler_advanced, regions, relative, step_sampler, use

A, B, C = (pixel_cond(mean, 0.1) for mean in (-0.5, 0.1, 0.6))
NEUTRAL = pixel_cond(0.0, 0.5)


def latent(batch=1, height=12, width=20, channels=4, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {"samples": torch.randn(batch, channels, height, width, generator=generator) * 0.3}


def pixels(prompt, kind="eps", **inputs):
    return step_sampler(texture_model(kind), prompt, NEUTRAL, cfg=inputs.pop("cfg", 1.0), **inputs)


def means(samples, mask):
    """Mean over the mask's pixels, given at latent size."""
    return samples[..., mask[0] > 0].mean().item()


@pytest.mark.parametrize("kind", ["eps", "v", "flow"])
def test_each_region_gets_its_own_prompt_at_its_place_in_a_non_square_picture(kind):
    left = box(12, 20, 1, 2, 6, 8)
    right = box(24, 40, 10, 24, 22, 38)  # another mask size
    out = regional_sampler(
        {"samples": torch.zeros(1, 4, 12, 20)},
        pixels(A, kind),
        regions((left, pixels(B, kind)), (right, pixels(C, kind))),
        steps=20,
    )["samples"]
    right = torch.nn.functional.interpolate(right[None], size=(12, 20))[0]
    assert means(out, left) == pytest.approx(0.1, abs=0.05)
    assert means(out, right) == pytest.approx(0.6, abs=0.05)
    assert means(out, 1 - left - right) == pytest.approx(-0.5, abs=0.05)


def test_transposing_the_inputs_transposes_the_result():
    """Nothing swaps width and height. Odd growth, since an even one grows further down and right."""

    def run(flip):
        turn = (lambda t: t.transpose(-1, -2).contiguous()) if flip else (lambda t: t)
        # dpm_2 takes no noise, so the noise need not be transposed.
        base, inside = (
            step_sampler(reference_model(), reference_cond(values), reference_cond([0] * 4 + [1]))
            for values in ([0.5, -0.2, 0.1, 0.3, 0.7], [-1, 0.4, 0.8, -0.3, 0.9])
        )
        prompts = regions((turn(box(96, 160, 16, 40, 56, 120)), inside))
        start = {"samples": turn(latent()["samples"])}
        return turn(regional_sampler_advanced(start, base, prompts, add_noise=False, overlap_factor=9)["samples"])

    assert relative(run(True), run(False)) < 1e-6


def test_masks_of_any_rank_and_kind_mean_the_same():
    mask = box(24, 40, 4, 6, 20, 30)
    kinds = [mask, mask[0], mask[:, None], mask.bool(), (mask * 255).to(torch.uint8), mask.half(), mask.double()]
    results = [
        regional_sampler(latent(), pixels(A), regions((kind, pixels(B))), overlap_factor=3)["samples"] for kind in kinds
    ]
    for result in results[1:]:
        assert torch.equal(result, results[0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.cuda
def test_masks_and_latents_on_the_gpu():
    mask = box(24, 40, 4, 6, 20, 30)
    cpu = regional_sampler(latent(), pixels(A), regions((mask, pixels(B))))["samples"]
    on_gpu = {"samples": latent()["samples"].to(device="cuda")}
    gpu = regional_sampler(on_gpu, pixels(A), regions((mask.to(device="cuda"), pixels(B))))["samples"]
    assert relative(gpu.cpu(), cpu.cpu()) < 1e-4


def test_empty_region_is_skipped_and_full_region_covers_all(caplog):
    empty, full = torch.zeros(1, 12, 20), torch.ones(1, 12, 20)
    model, counter = counted(texture_model())
    with_empty = regional_sampler(
        latent(),
        pixels(A),
        regions((empty, step_sampler(model, B, NEUTRAL, cfg=1.0)), (box(12, 20, 0, 0, 6, 6), pixels(C))),
    )
    without = regional_sampler(latent(), pixels(A), regions((box(12, 20, 0, 0, 6, 6), pixels(C))))
    assert torch.equal(with_empty["samples"], without["samples"])
    assert counter.rows == 0
    assert "region 1" in caplog.text and "empty" in caplog.text
    out = regional_sampler(latent(), pixels(A), regions((full, pixels(C))), steps=20)["samples"]
    assert out.mean().item() == pytest.approx(0.6, abs=0.05)


def test_only_empty_regions_leave_the_base():
    only_base = regional_sampler(latent(), pixels(A), regions((torch.zeros(1, 8, 8), pixels(B))), steps=20)["samples"]
    assert only_base.mean().item() == pytest.approx(-0.5, abs=0.05)


def test_soft_masks_are_rounded_for_the_region_and_shut_the_base_out_where_not_zero():
    soft = torch.linspace(0, 1, 20).expand(1, 12, 20).clone()
    soft[..., 0] = 0.0
    out = regional_sampler(latent(), pixels(A), regions((soft, pixels(C))), steps=20)["samples"]
    assert out[..., 11:].mean().item() == pytest.approx(0.6, abs=0.05)
    assert out[..., 0].mean().item() == pytest.approx(-0.5, abs=0.1)


def test_one_mask_for_each_picture_of_the_batch():
    masks = torch.cat([box(12, 20, 0, 0, 12, 10), box(12, 20, 0, 10, 12, 20)])
    out = regional_sampler(latent(batch=2), pixels(A), regions((masks, pixels(C))), steps=20)["samples"]
    for picture, mask in zip(out, masks, strict=True):
        assert means(picture, mask[None]) == pytest.approx(0.6, abs=0.05)
        assert means(picture, 1 - mask[None]) == pytest.approx(-0.5, abs=0.05)


def test_batch_index_and_other_keys_are_kept_and_the_noise_mask_is_dropped():
    start = {
        **latent(batch=2),
        "batch_index": [3, 7],
        "downscale_ratio_spacial": 8,
        "noise_mask": torch.ones(1, 12, 20),
    }
    prompts = regions((box(12, 20, 0, 0, 6, 6), pixels(B)))
    out = regional_sampler(start, pixels(A), prompts)
    assert set(out) == {"samples", "batch_index", "downscale_ratio_spacial"}
    assert "noise_mask" in start
    single = regional_sampler({"samples": start["samples"][1:], "batch_index": [7]}, pixels(A), prompts)
    assert relative(out["samples"][1:], single["samples"]) < 1e-5


@pytest.mark.parametrize("frames", [1, 3])
def test_video_latents(frames):
    """5-D: one mask for all frames, also with a batch of masks."""
    start = {"samples": torch.zeros(2, 4, frames, 12, 20)}
    masks = torch.cat([box(12, 20, 0, 0, 12, 10), box(12, 20, 0, 10, 12, 20)])
    base, inside = video([-0.5] * 4 + [0.1]), video([0.6] * 4 + [0.1])
    out = regional_sampler(start, base, regions((masks, inside)), steps=20)["samples"]
    assert out.shape == start["samples"].shape
    for picture, mask in zip(out, masks, strict=True):
        assert means(picture, mask[None]) == pytest.approx(0.6, abs=0.05)
        assert means(picture, 1 - mask[None]) == pytest.approx(-0.5, abs=0.05)


class VideoLatents(comfy.latent_formats.LatentFormat):
    latent_channels, latent_dimensions = 4, 3


def video(values):
    """A sampler with a model of independent values around `mu`, for latents with frames."""

    def denoised(x, sigma, row):
        mu, gain = row[:4, None, None, None], row[4] ** 2 / (row[4] ** 2 + sigma**2)
        return mu + gain * (x - mu)

    model = _patcher(ClosedForm("eps", VideoLatents, denoised), None)
    return step_sampler(model, reference_cond(values), reference_cond([0] * 4 + [1]), cfg=1.0)


def test_sixteen_channel_models_take_an_empty_four_channel_latent():
    model = random_unet("flow", in_channels=16)
    base, inside = (step_sampler(model, random_cond(n), random_cond(9)) for n in (1, 2))
    out = regional_sampler({"samples": torch.zeros(1, 4, 8, 16)}, base, regions((box(8, 8, 0, 0, 4, 4), inside)))
    assert out["samples"].shape == (1, 16, 8, 16)
    assert torch.isfinite(out["samples"]).all()


def grid_inputs(sampler, **inputs):
    """MaskGrid's inputs with a KSAMPLER_ADVANCED's parameters: 4 steps, all of them, unless told otherwise."""
    names = ("model", "cfg", "sampler_name", "scheduler", "positive", "negative")
    return {
        **dict(zip(names, sampler.params, strict=False)),
        "add_noise": "enable",
        "noise_seed": 1,
        "steps": 4,
        "start_at_step": 0,
        "end_at_step": 100,
        "return_with_leftover_noise": "disable",
        "mode": "Sample then Fork",
        **inputs,
    }


def everything(base, inside, mask):
    """Each sampler node once, on inputs of its own that it gets again and again."""
    prompts = regions((mask, inside), variation_seed=3, variation_strength=0.4)
    full = [
        use(
            "KSamplerProvider",
            seed=1,
            steps=4,
            cfg=1.5,
            sampler_name="euler",
            scheduler="normal",
            denoise=1.0,
            basic_pipe=pipe(*provider.params[:1], *provider.params[4:6]),
        )
        for provider in (base, inside)
    ]
    start = latent(batch=2)
    shared = {"base_sampler": base, "mask_sampler": inside, "mask": mask}
    grid = grid_inputs(base, latent_image=start, mask=torch.ones(1, 48, 80, 3), rows=2, columns=2)
    return (
        start,
        prompts,
        {
            "RegionalSampler": lambda: regional_sampler(start, base, prompts, overlap_factor=4),
            "RegionalSamplerAdvanced": lambda: regional_sampler_advanced(start, base, prompts, restore_latent=True),
            "TwoAdvancedSamplersForMask": lambda: use(
                "TwoAdvancedSamplersForMask", seed=1, steps=4, denoise=1.0, samples=start, overlap_factor=1, **shared
            ),
            "TwoSamplersForMask": lambda: use(
                "TwoSamplersForMask", latent_image=start, base_sampler=full[0], mask_sampler=full[1], mask=mask
            ),
            "Sample then Fork": lambda: use("MaskGrid N KSamplers Advanced", **grid),
            "Fork then Sample": lambda: use("MaskGrid N KSamplers Advanced", **{**grid, "mode": "Fork then Sample"}),
        },
    )


NODES = [
    "RegionalSampler",
    "RegionalSamplerAdvanced",
    "TwoAdvancedSamplersForMask",
    "TwoSamplersForMask",
    "Sample then Fork",
    "Fork then Sample",
]


@pytest.mark.parametrize("node", NODES)
def test_inputs_are_never_changed_and_the_same_inputs_give_the_same_result(node):
    model = random_unet()
    base, inside = (step_sampler(model, random_cond(n), random_cond(9)) for n in (1, 2))
    mask = box(12, 20, 2, 3, 9, 15)
    start, prompts, runs = everything(base, inside, mask)
    before = copy.deepcopy((start, mask, prompts[0].mask, base.params[4:6], inside.params[4:6]))
    first, second = runs[node]()["samples"], runs[node]()["samples"]
    after = (start, mask, prompts[0].mask, base.params[4:6], inside.params[4:6])
    assert torch.equal(first, second)
    assert torch.isfinite(first).all()
    assert_same(before, after)


def assert_same(a, b):
    if isinstance(a, torch.Tensor):
        assert torch.equal(a, b)
    elif isinstance(a, dict):
        assert a.keys() == b.keys()
        for key in a:
            assert_same(a[key], b[key])
    elif isinstance(a, list | tuple):
        assert len(a) == len(b)
        for one, other in zip(a, b, strict=True):
            assert_same(one, other)
    else:
        assert a == b


@pytest.mark.parametrize("node", NODES[-2:])
def test_mask_grid_serves_every_picture_of_the_batch(node):
    """The cells of a batch are those of its pictures: all pictures of the first cell, then of the second."""
    model = reference_model()
    base = step_sampler(model, reference_cond([0.5, 0, 0, 0, 1]), reference_cond([0] * 4 + [1]))
    start, _, runs = everything(base, base, box(12, 20, 0, 0, 4, 4))
    out = runs[node]()["samples"]
    assert out.shape == (2 * 4, 4, 12, 20)
    for cell, (rows, columns) in enumerate([(a, b) for a in (0, 6) for b in (0, 10)]):
        for picture in range(2):
            changed = ((out[2 * cell + picture] - start["samples"][picture]).abs() > 1e-3).any(0)
            inside = torch.zeros(12, 20, dtype=torch.bool)
            inside[rows : rows + 6, columns : columns + 10] = True
            assert torch.equal(changed, inside)


def noise_of_steps(name):
    """For each step but the last, what it adds to the base's pixels that is no multiple of what they were before it,
    as a vector whose norm is its share of the result. The model answers 0, so without noise a step only scales."""
    latents = []
    model = wrapped(texture_model(), lambda x, sigma: latents.append(x[..., 6:].flatten()))
    base = step_sampler(model, pixel_cond(0.0, 1e-6), NEUTRAL, cfg=1.0, sampler_name=name)
    inside = regions((box(12, 20, 0, 0, 12, 6), pixels(A, sampler_name=name)))
    regional_sampler_advanced({"samples": torch.zeros(1, 4, 12, 20)}, base, inside, steps=6)
    assert len(latents) == 6
    return [
        (after - (after @ before) / (before @ before) * before) / after.norm()
        for before, after in itertools.pairwise(latents)
    ]


@pytest.mark.parametrize("name", ["euler_ancestral", "lcm", "ddpm", "er_sde", "dpmpp_2m_sde_heun"])
def test_every_step_draws_new_noise(name):
    noises = noise_of_steps(name)
    assert min(float(noise.norm()) for noise in noises) > 0.3
    for one, other in itertools.combinations(noises, 2):
        # 672 values: independent noises have 0.04 or so, equal ones 1
        assert torch.nn.functional.cosine_similarity(one, other, dim=0).abs() < 0.2


@pytest.mark.parametrize("name", ["euler", "ddim"])
def test_samplers_without_noise_draw_none(name):
    assert max(float(noise.norm()) for noise in noise_of_steps(name)) < 1e-4


def test_variation_changes_the_noise_in_the_region_only():
    model, seen = texture_model(), []
    recording = wrapped(model, lambda x, sigma: seen.append(x.clone()))
    mask = box(12, 20, 0, 0, 6, 10)
    for base_only in (0, 2):
        starts = []
        for strength in (0.0, 0.5):
            seen.clear()
            prompts = regions((mask, pixels(B)), variation_seed=9, variation_strength=strength)
            base = step_sampler(recording, A, NEUTRAL, cfg=1.0)
            regional_sampler({"samples": torch.zeros(1, 4, 12, 20)}, base, prompts, base_only_steps=base_only)
            starts.append(seen[0])
        changed = (starts[0] != starts[1]).any(1)
        assert torch.equal(changed, mask > 0)


def test_regional_steps_begin_with_new_noise_only_when_the_mode_says_so():
    results = {
        mode: regional_sampler(
            {"samples": torch.zeros(1, 4, 12, 20)},
            pixels(pixel_cond(0.0, 1.0)),
            regions((box(12, 20, 0, 0, 4, 4), pixels(B))),
            seed_2nd_mode=mode,
        )["samples"]
        for mode in ("ignore", "fixed", "increment", "decrement", "randomize", "seed+seed_2nd", "seed-seed_2nd")
    }
    same = [results[mode] for mode in ("fixed", "increment", "decrement", "randomize")]
    assert all(torch.equal(same[0], one) for one in same[1:])
    different = [results["ignore"], same[0], results["seed+seed_2nd"], results["seed-seed_2nd"]]
    for i, one in enumerate(different):
        assert all(not torch.allclose(one, other, atol=1e-3) for other in different[i + 1 :])


@pytest.mark.parametrize(
    ("seed", "second", "mode", "want"),
    [
        (5, 7, "ignore", 5),
        (5, 7, "randomize", 7),
        (5, 7, "seed+seed_2nd", 12),
        (1125899906842624, 3, "seed+seed_2nd", 3),
        (5, 7, "seed-seed_2nd", 1125899906842622),
        (0xFFFFFFFFFFFFFFFF, 0xFFFFFFFFFFFFFFFF, "seed+seed_2nd", None),
        (0, 0xFFFFFFFFFFFFFFFF, "seed-seed_2nd", None),
    ],
)
def test_second_seed(pack, seed, second, mode, want):
    got = pack.nodes.samplers.second_seed(seed, second, mode)
    assert 0 <= got <= 0xFFFFFFFFFFFFFFFF
    assert want is None or got == want


def test_model_calls_are_those_of_the_plan():
    """20 steps, 2 of the base alone: 2 + 18 (N + 1) calls of 2 rows each."""
    for count in (1, 2, 4):
        model, counter = counted(texture_model())
        sampler = step_sampler(model, A, NEUTRAL)
        masks = [box(8, 8, 2 * i, 0, 2 * i + 2, 8) for i in range(count)]
        regional_sampler(latent(height=8, width=8), sampler, regions(*((mask, sampler) for mask in masks)), steps=20)
        assert len(counter.calls) == 2 + 18 * (count + 1)
        assert counter.rows == 2 * len(counter.calls)


class TestRefusals:
    """One sentence: what was expected, what came, which region, what to do."""

    sampler = staticmethod(lambda: pixels(A))

    @pytest.mark.parametrize(
        ("inputs", "error", "words"),
        [
            ({"denoise": 0.0}, ValueError, ["denoise", "0"]),
            ({"regional_prompts": []}, ValueError, ["regional prompts", "RegionalPrompt"]),
            ({"regional_prompts": "text"}, TypeError, ["REGIONAL_PROMPTS", "str"]),
            ({"regional_prompts": ["text"]}, TypeError, ["region 1", "str"]),
            ({"base_sampler": "text"}, TypeError, ["base_sampler", "KSAMPLER_ADVANCED", "str"]),
            ({"base_sampler": None}, TypeError, ["base_sampler", "nothing"]),
            ({"samples": "text"}, TypeError, ["LATENT", "str"]),
            ({"samples": {"samples": torch.zeros(1, 64, 100)}}, ValueError, ["(1, 64, 100)"]),
        ],
    )
    def test_regional_sampler(self, inputs, error, words):
        given = {
            "samples": latent(),
            "base_sampler": pixels(A),
            "regional_prompts": regions((box(8, 8, 0, 0, 4, 4), pixels(B))),
            **inputs,
        }
        with pytest.raises(error) as caught:
            regional_sampler(given.pop("samples"), given.pop("base_sampler"), given.pop("regional_prompts"), **given)
        assert str(caught.value).startswith("RegionalSampler")
        for word in words:
            assert word in str(caught.value)

    def test_batch_of_masks_that_fits_no_batch_of_latents(self):
        prompts = regions((box(8, 8, 0, 0, 4, 4), pixels(B)), (torch.ones(3, 8, 8), pixels(C)))
        with pytest.raises(ValueError, match=r"region 2: 1 mask or 2 .* 3 came"):
            regional_sampler(latent(batch=2), pixels(A), prompts)

    def test_masks_of_unlike_counts_of_frames(self):
        start, sampler = {"samples": torch.zeros(1, 4, 3, 12, 20)}, video([0.1] * 5)
        prompts = regions(*((torch.ones(count, 12, 20), sampler) for count in (5, 1, 9)))
        with pytest.raises(ValueError, match=r"one number of frames for all masks, \[5, 9\] came; .* lockstep"):
            regional_sampler(start, sampler, prompts)
        assert regional_sampler(start, sampler, prompts[:2], steps=3)["samples"].isfinite().all()

    def test_nan(self):
        mask = torch.ones(1, 8, 8)
        mask[0, 3, 3] = torch.nan
        with pytest.raises(ValueError, match="NaN"):
            regions((mask, pixels(A)))

    def test_unlike_latent_formats(self):
        inside = step_sampler(random_unet("flow", in_channels=16), random_cond(1), random_cond(2))
        with pytest.raises(ValueError, match=r"region 1: .*SD3.*PictureLatents"):
            regional_sampler(latent(), pixels(A), regions((box(8, 8, 0, 0, 4, 4), inside)))

    def test_start_and_end(self, caplog):
        prompts = regions((box(12, 20, 0, 0, 4, 4), pixels(B)))
        with pytest.raises(ValueError, match=r"start_at_step \(4\) must be below end_at_step \(3\)"):
            regional_sampler_advanced(latent(), pixels(A), prompts, start_at_step=4, end_at_step=3)
        given = latent()
        out = regional_sampler_advanced(given, pixels(A), prompts, start_at_step=6)
        assert torch.equal(out["samples"], given["samples"])
        assert "start_at_step is 6 of 6 steps" in caplog.text

    def test_base_only_steps_past_the_end(self, caplog):
        prompts = regions((box(12, 20, 0, 0, 4, 4), pixels(B)))
        past = regional_sampler(latent(), pixels(A), prompts, base_only_steps=50, steps=6)["samples"]
        exact = regional_sampler(latent(), pixels(A), prompts, base_only_steps=6, steps=6)["samples"]
        assert torch.equal(past, exact)
        assert past.mean().item() == pytest.approx(-0.5, abs=0.1)
        assert "base_only_steps is 50 of 6 steps" in caplog.text

    def test_grid_that_does_not_fill_the_canvas(self):
        grid = grid_inputs(pixels(A), latent_image=latent(), mask=torch.ones(1, 48, 48, 3), rows=2, columns=3)
        with pytest.raises(ValueError, match=r"144 x 96.*160 x 96"):
            use("MaskGrid N KSamplers Advanced", **grid)

    def test_grid_that_does_not_divide_the_latent(self):
        grid = grid_inputs(pixels(A), latent_image=latent(height=9), mask=torch.ones(1, 36, 160, 3), rows=2, columns=1)
        with pytest.raises(ValueError, match=r"2 row\(s\) do not divide the latent of 20 x 9"):
            use("MaskGrid N KSamplers Advanced", **grid)

    def test_two_samplers(self):
        with pytest.raises(TypeError, match=r"base_sampler: a KSAMPLER was expected"):
            use("TwoSamplersForMask", latent_image=latent(), base_sampler=1, mask_sampler=2, mask=torch.ones(8, 8))
        with pytest.raises(TypeError, match=r"mask_sampler: a KSAMPLER_ADVANCED was expected"):
            use(
                "TwoAdvancedSamplersForMask",
                seed=1,
                steps=4,
                denoise=1.0,
                samples=latent(),
                base_sampler=pixels(A),
                mask_sampler="text",
                mask=torch.ones(8, 8),
                overlap_factor=0,
            )


def test_interrupt_stops_within_one_model_call_and_leaves_the_host_usable():
    import comfy.model_management

    calls = []

    def interrupt_at_third(x, sigma):
        calls.append(1)
        if len(calls) == 3:
            comfy.model_management.interrupt_current_processing()

    model = wrapped(texture_model(), interrupt_at_third)
    base = step_sampler(model, A, NEUTRAL, cfg=1.0, sampler_name="heun")
    prompts = regions((box(12, 20, 0, 0, 6, 6), pixels(B)))
    before = set(comfy.samplers.CFGGuider.__dict__)
    with pytest.raises(comfy.model_management.InterruptProcessingException):
        regional_sampler(latent(), base, prompts)
    assert len(calls) == 3
    assert set(comfy.samplers.CFGGuider.__dict__) == before
    want = regional_sampler(latent(), pixels(A, sampler_name="heun"), prompts)["samples"]
    calls.extend([1] * 10)
    assert torch.equal(regional_sampler(latent(), base, prompts)["samples"], want)


def test_one_bar_over_the_whole_run(monkeypatch):
    import comfy.utils

    reports = []
    monkeypatch.setattr(
        comfy.utils,
        "PROGRESS_BAR_HOOK",
        lambda value, total, preview, node_id=None: reports.append((value, total, node_id)),
    )
    prompts = regions((box(12, 20, 0, 0, 6, 6), pixels(B)), (box(12, 20, 6, 6, 12, 12), pixels(C)))
    regional_sampler(latent(), pixels(A), prompts, unique_id="17")
    values = [value for value, _, _ in reports]
    assert {(total, node_id) for _, total, node_id in reports} == {(2 + 4 * 3, "17")}
    assert values == sorted(values) and values[-1] == 2 + 4 * 3


# Samplers that need several steps


def looks_ahead(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """euler, which looks at the sigma after the next: as samplers with a schedule of their own do."""
    for n in range(len(sigmas) - 1):
        denoised = model(x, sigmas[n] * x.new_ones([x.shape[0]]), **(extra_args or {}))
        after_next = sigmas[n + 2] if n + 3 < len(sigmas) or n == 0 else sigmas[n + 1]
        assert after_next <= sigmas[n]
        x = x + (x - denoised) / sigmas[n] * (sigmas[n + 1] - sigmas[n])
    return x


def adds_sizes(model, x, sigmas, extra_args=None, callback=None, disable=None):
    """Fails as torch does where a schedule is shorter than what it is added to."""
    sigmas[:2] + torch.ones(3) if len(sigmas) < 3 else None
    return looks_ahead(model, x, sigmas, extra_args)


def fails(model, x, sigmas, extra_args=None, callback=None, disable=None):
    raise RuntimeError("a fault of its own")


def custom(function):
    return comfy.samplers.KSAMPLER(function)


def named_run(function, where, engine="stepwise", **inputs):
    odd = pixels(A, sampler_opt=custom(function))
    base, inside = (odd, pixels(B)) if where == "the base" else (pixels(A), odd)
    options = {"engine": engine, "steps": 4, "base_only_steps": 2, **inputs}
    return regional_sampler(latent(), base, regions((box(12, 20, 0, 0, 6, 6), inside)), **options)["samples"]


@pytest.mark.parametrize("where", ["the base", "region 1"])
@pytest.mark.parametrize("function, kind", [(looks_ahead, "IndexError"), (adds_sizes, "RuntimeError")])
def test_a_sampler_that_needs_several_steps_is_named_with_the_engine_that_gives_them(function, kind, where):
    with pytest.raises(ValueError) as error:
        named_run(function, where)
    said = str(error.value)
    assert said.startswith(f"RegionalSampler, {where}: its sampler {function.__name__} failed ({kind}: ")
    assert "choose the lockstep engine, which gives it the whole schedule" in said
    assert named_run(function, where, "lockstep").isfinite().all()


def test_other_faults_of_a_sampler_stay_its_own():
    with pytest.raises(RuntimeError, match=r"^a fault of its own$"):
        named_run(fails, "region 1")


@pytest.mark.parametrize("fault", [IndexError("of the model"), RuntimeError("The size of tensor a is wrong")], ids=str)
def test_faults_of_a_model_stay_its_own(fault):
    def fail(x, sigma):
        raise fault

    broken = step_sampler(wrapped(texture_model(), fail), B, NEUTRAL)
    with pytest.raises(type(fault)) as error:
        regional_sampler(latent(), pixels(A), regions((box(12, 20, 0, 0, 6, 6), broken)), steps=4)
    assert error.value is fault


def test_a_call_over_several_steps_fails_as_it_is():
    """The base-only steps are one call: there the engine is not to blame."""

    def fails_late(model, x, sigmas, extra_args=None, callback=None, disable=None):
        return sigmas[len(sigmas)]

    with pytest.raises(IndexError):
        named_run(fails_late, "the base")

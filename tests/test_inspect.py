"""RegionalPreview and RegionalReport: that what they show and promise is what a run does."""

import copy
import logging
import re
import struct
from pathlib import Path

import comfy.model_management
import folder_paths
import numpy as np
import pytest
import torch
from comfy_execution.utils import CurrentNodeContext
from loras import UNET_LINEAR, with_lora
from pack.masks.formats.overlay import overlay, palette
from pack.regional.regions import read_regions
from pack.regional.timeline import WeightTimeline
from PIL import Image
from server import PromptServer
from server_use import INNER, Scene
from testing_pack.models import (
    counted,
    random_cond,
    random_flux,
    random_flux_cond,
    random_unet,
    reference_model,
    texture_model,
)
from use import box, custom, regional_sampler, regions, step_sampler, use

MODEL = texture_model()
SIZE, PIXELS = (16, 24), (128, 192)
LATENT = {"samples": torch.zeros(1, 4, *SIZE)}
# In mask pixels: 4 x 5 and 6 x 8 latent pixels, which overlap in 2 x 2.
ONE, TWO = box(*PIXELS, 16, 32, 48, 72), box(*PIXELS, 32, 56, 80, 120)


def sampler(n, model=MODEL, negative=9, **inputs):
    return step_sampler(model, random_cond(n), random_cond(negative), **inputs)


PROMPTS = regions((ONE, sampler(1)), (TWO, sampler(2)))


def preview(prompts=PROMPTS, **inputs):
    """(preview, text) of RegionalPreview, without overlap unless told otherwise."""
    out = use("RegionalPreview", regional_prompts=prompts, **{"overlap_factor": 0, **inputs})
    assert out["result"][0] is prompts
    return out["result"][1], out["ui"]["text"][0]


def report(base, prompts=PROMPTS, **inputs):
    """The text of RegionalReport; no overlap, 6 steps, 2 of the base alone unless told otherwise."""
    defaults = {"samples": LATENT, "steps": 6, "base_only_steps": 2, "overlap_factor": 0}
    out = use("RegionalReport", regional_prompts=prompts, base_sampler=base, **{**defaults, **inputs})
    assert out["result"][0] is prompts and out["ui"]["text"] == (out["result"][1],)
    return out["result"][1]


@pytest.fixture
def sent(monkeypatch):
    """What the host's server would send to browsers: (kind, text, node)."""
    messages = []
    keep = lambda event, data, sid=None: messages.append((event, data))  # noqa: E731
    monkeypatch.setattr(PromptServer.instance, "send_sync", keep)
    return messages


def as_text(message):
    _, data = message
    (length,) = struct.unpack(">I", data[:4])
    return data[4 : 4 + length].decode(), data[4 + length :].decode()


# Masks of other proportions than the latent's

WIDE = {"samples": torch.zeros(1, 4, 16, 48)}


def stretched(name, size="48 x 16"):
    return f"{name}: the mask of 192 x 128 pixels is stretched to the latent's {size}; give masks, and the canvas of"


def test_a_stretched_region_is_shown_as_it_is_sampled():
    shown, text = preview(samples=WIDE)
    assert shown.shape == (1, 128, 384, 3) and stretched("region 1, region 2") in text
    plain, text = preview(samples=LATENT)
    assert plain.shape == (1, *PIXELS, 3) and "stretched" not in text
    assert torch.equal(shown[0, 20, 72], plain[0, 20, 36]) and not torch.equal(shown[0, 20, 36], plain[0, 20, 36])
    nearly = {"samples": torch.zeros(1, 4, 16, 25)}
    assert "stretched" not in preview(samples=nearly)[1]


def test_a_mask_without_a_shape_is_not_stretched():
    whole = regions((torch.ones(1, 64, 64), sampler(1)), (TWO, sampler(2)))
    assert "stretched" not in preview(whole, samples=LATENT)[1]
    assert stretched("region 2") in preview(whole, samples=WIDE)[1]


def test_stretched_regions_are_reported():
    assert "Note: " + stretched("region 1, region 2") in report(sampler(0), samples=WIDE)
    assert "stretched" not in report(sampler(0))


@pytest.mark.parametrize("engine", ["stepwise", "lockstep"])
def test_stretched_regions_are_told_on_the_sampler(engine, sent, caplog):
    model = random_unet()
    prompts = regions((ONE, sampler(1, model)), (TWO, sampler(2, model)))

    def run(latent):
        sent.clear()
        caplog.clear()
        regional_sampler(latent, sampler(0, model), prompts, engine=engine, steps=2, base_only_steps=0, unique_id="7")
        texts = [as_text(message) for message in sent if isinstance(message[1], bytes)]
        return texts[-1], [record.getMessage() for record in caplog.records if "stretched" in record.getMessage()]

    (node, text), logged = run(WIDE)
    assert node == "7" and text.startswith(stretched("region 1, region 2"))
    assert logged == [f"RegionalSampler, {text}"]
    (node, text), logged = run(LATENT)
    assert "stretched" not in text and logged == []


def test_stretched_regions_are_told_on_the_node_that_runs_the_guider(sent, caplog):
    model = random_unet()
    prompts = regions((ONE, sampler(1, model)), (TWO, sampler(2, model)))
    conds = {"positive": random_cond(0), "negative": random_cond(9), "cfg": 1.0}
    guider = use("RegionalGuider", model=model, regional_prompts=prompts, **conds)
    with CurrentNodeContext("prompt", "12"):
        for latent in (LATENT, WIDE):
            sent.clear()
            custom(guider, torch.tensor([1.0, 0.5, 0.0]), latent)
            texts = [as_text(message) for message in sent if isinstance(message[1], bytes)]
            assert [node for node, text in texts if "stretched" in text] == (["12"] if latent is WIDE else [])
    assert sum("stretched" in record.getMessage() for record in caplog.records) == 1


# Preview


@pytest.mark.parametrize("blend", ["mix", "stack"])
@pytest.mark.parametrize("overlap", [0, 10, 40])
def test_the_weights_shown_are_those_of_lockstep(overlap, blend):
    prompts = PROMPTS[:1] + regions((TWO * 0.6, sampler(2)), weight=0.5)
    timeline = WeightTimeline(read_regions(prompts, MODEL, overlap, "test"), "test", blend=blend)
    weights = timeline.maps(LATENT["samples"].shape, torch.device("cpu")).at(1.0).maps
    shown, text = preview(prompts, samples=LATENT, overlap_factor=overlap, blend=blend)
    masks = torch.cat([weights[n][:, 0] for n in (1, 2)])
    assert torch.equal(shown, overlay(masks, None, PIXELS))
    assert [float(x) for x in re.findall(r"([\d.]+)%", text)[:3]] == [
        pytest.approx(100 * float(weights[n].mean()), abs=0.051) for n in (1, 2, 0)
    ]


def test_coverage_gaps_and_overlaps():
    _, text = preview(samples=LATENT)
    # 20 and 48 of 384 latent pixels, less 2 for each of the 2 x 2 that they share.
    assert text.splitlines() == [
        "region 1: 4.7% of the picture",
        "region 2: 12.0% of the picture",
        "gaps, which the base paints: 83.3%",
        "overlaps of regions: 1.0%",
    ]
    assert "overlaps of regions: 0.0%" in preview(PROMPTS[:1])[1]
    whole = regions((ONE, sampler(1)), (1 - ONE, sampler(2)))
    assert "gaps, which the base paints: 0.0%\n" in preview(whole)[1]


def test_without_a_latent_the_canvas_is_the_largest_mask():
    small = box(16, 24, 2, 4, 6, 9)
    shown, text = preview(regions((small, sampler(1)), (TWO, sampler(2))))
    assert shown.shape == (1, *PIXELS, 3)
    assert text == preview(PROMPTS)[1]


def test_colours_and_numbers():
    shown, _ = preview(samples=LATENT)
    one, two = (torch.tensor(color) for color in palette(2))
    assert torch.equal(shown[0, 17, 33], one) and torch.equal(shown[0, 78, 118], two)
    assert torch.allclose(shown[0, 40, 64], (one + two) / 2)
    assert torch.equal(shown[0, 0, 0], torch.full((3,), 0.2))
    for mask in (ONE, TWO):  # a white number with a black rim inside of each
        inside = shown[0][mask[0] > 0]
        assert (inside == 1).all(-1).any() and (inside == 0).all(-1).any()


def test_a_region_without_a_mask_is_left_out_and_keeps_its_number(caplog):
    empty = regions((torch.zeros(1, *PIXELS), sampler(1)))
    shown, text = preview(empty + PROMPTS[:1], samples=LATENT)
    want = overlay(box(*SIZE, 2, 4, 6, 9), None, PIXELS, numbers=[2])
    assert torch.equal(shown, want) and not torch.equal(shown, overlay(box(*SIZE, 2, 4, 6, 9), None, PIXELS))
    assert text.startswith("region 2: 5.2%") and text.endswith("\nregion 1: left out, its mask is empty")
    assert "region 1: its mask is empty" in caplog.text


def test_all_regions_empty():
    shown, text = preview(regions((torch.zeros(1, *PIXELS), sampler(1))), samples=LATENT)
    assert torch.equal(shown, torch.full_like(shown, 0.2))
    assert "gaps, which the base paints: 100.0%" in text and "region 1: left out" in text


@pytest.mark.parametrize("size", [PIXELS, (64, 100), (300, 200)])
def test_the_image_shows_through_at_its_own_size(size):
    image = torch.rand(2, *size, 3, generator=torch.Generator().manual_seed(0))
    given = image.clone()
    shown, _ = preview(image=image, samples=LATENT)
    assert shown.shape == (1, *size, 3) and torch.equal(image, given)
    corner = (slice(0, size[0] // 16), slice(0, size[1] // 16))
    assert torch.equal(shown[0][corner], image[0][corner])
    y, x = size[0] * 76 // 128, size[1] * 117 // 192
    assert torch.allclose(shown[0, y, x], 0.4 * image[0, y, x] + 0.6 * torch.tensor(palette(2)[1]), atol=1e-6)


def test_an_empty_latent_is_fitted_as_a_sampler_would():
    fits = {"samples": torch.zeros(1, 4, 32, 48), "downscale_ratio_spacial": 4}
    assert preview(samples=fits, overlap_factor=10)[1] == preview(samples=LATENT, overlap_factor=10)[1]


def test_a_mask_for_each_picture():
    """The first is shown, the shares are of all."""
    batch = torch.cat([ONE, TWO])
    prompts = regions((batch, sampler(1)))
    shown, text = preview(prompts, samples={"samples": torch.zeros(2, 4, *SIZE)})
    assert torch.equal(shown, preview(PROMPTS[:1], samples=LATENT)[0])
    assert text.startswith("region 1: 8.9% of the picture")  # (20 + 48) / 768
    with pytest.raises(ValueError, match=r"^RegionalPreview, region 1: .*3.* expected, 2 came"):
        preview(prompts, samples={"samples": torch.zeros(3, 4, *SIZE)})


def frames(one=5, two=9):
    """PROMPTS with as many masks, all alike."""
    return regions((ONE.expand(one, -1, -1), sampler(1)), (TWO.expand(two, -1, -1), sampler(2)))


VIDEO = {"samples": torch.zeros(1, 4, 3, *SIZE)}


@pytest.mark.parametrize("samples", [None, VIDEO])
def test_masks_of_unlike_counts_of_frames(samples):
    shown, text = preview(frames(), samples=samples)
    want, says = preview(samples=LATENT)
    assert torch.equal(shown, want) and text == says


@pytest.mark.parametrize("dimensions", [2, 3, 4])
def test_regional_prompts_of_other_packs(dimensions):
    class Foreign:
        def __init__(self, ours):
            self.sampler, self.mask = ours.sampler, ours.mask.reshape(*[1] * (dimensions - 2), *PIXELS)

        def get_mask_erosion(self, factor):
            raise AssertionError("the overlay is lockstep's")

        def touch_noise(self, noise):
            raise AssertionError("nothing is sampled")

    foreign = [Foreign(prompt) for prompt in PROMPTS]
    (ours, text), (theirs, same) = preview(samples=LATENT), preview(foreign, samples=LATENT)
    assert torch.equal(ours, theirs) and text == same
    assert report(sampler(0), foreign) == report(sampler(0))


def test_the_picture_is_saved_and_the_text_is_sent_to_the_node(sent):
    out = use("RegionalPreview", regional_prompts=PROMPTS, unique_id="7")
    (image,) = out["ui"]["images"]
    assert image["type"] == "temp"
    with Image.open(Path(folder_paths.get_temp_directory()) / image["subfolder"] / image["filename"]) as saved:
        pixels = torch.from_numpy(np.array(saved)).float() / 255
    assert (pixels - out["result"][1][0]).abs().max() < 1 / 255
    use("RegionalReport", regional_prompts=PROMPTS, base_sampler=sampler(0), unique_id="8")
    (seven, text), (eight, words) = map(as_text, sent)
    assert (seven, eight) == ("7", "8")
    assert text == out["ui"]["text"][0] and "model call" in words


def test_nobody_is_told_without_a_node(sent):
    preview()
    report(sampler(0))
    assert not sent


@pytest.mark.parametrize(
    ("prompts", "says"), [("text", "expects REGIONAL_PROMPTS, str came"), ([], "there are no regional prompts")]
)
def test_preview_refuses_what_is_no_region(prompts, says):
    with pytest.raises((TypeError, ValueError), match=f"^RegionalPreview: .*{says}"):
        preview(prompts)


# Report: the numbers


NUMBERS = r": (\d+) rows in (\d+) model calls?, an area of ([\d.e+]+) pictures"


def promised(text):
    """{"step", "run"}: (rows, calls, area in pictures)"""
    found = [re.search(f"{line}{NUMBERS}", text) for line in ("The dearest step", "The whole run")]
    return dict(zip(("step", "run"), [(int(m[1]), int(m[2]), float(m[3])) for m in found], strict=True))


def measured(counter, shape):
    """As `promised`, from the calls that were made."""
    whole = shape[-2] * shape[-1]
    steps = {}
    for call in counter.calls:
        steps.setdefault(call.sigma, []).append(call)
    sums = [
        (sum(c.rows for c in calls), len(calls), sum(c.rows * c.height * c.width for c in calls) / whole)
        for calls in [*steps.values(), counter.calls]
    ]
    *each, run = sums
    return {"step": max(each, key=lambda sums: sums[2]), "run": run}


def thirds(count):
    """`count` masks beside each other, in the left part of the canvas."""
    width = PIXELS[1] * 2 // 3 // count
    return [box(*PIXELS, 16, n * width, 96, (n + 1) * width) for n in range(count)]


def combined(*numbers):
    return [cond for n in numbers for cond in random_cond(n)]


UNET, UNET_COUNTER = counted(random_unet(device="cpu"))


def unet(n, model=UNET, **inputs):
    return sampler(n, model, **inputs)


def assert_kept(base, prompts, latent=LATENT, counter=UNET_COUNTER, **inputs):
    """A run makes just the calls that the report promises. `inputs` are those of both nodes."""
    options = {"steps": 4, "base_only_steps": 1, "overlap_factor": 8, **inputs}
    text = report(base, prompts, samples=latent, **{"engine": "lockstep", **options})
    counter.calls.clear()
    regional_sampler(latent, base, prompts, **{"engine": "lockstep", **options})
    want, got = promised(text), measured(counter, latent["samples"].shape)
    for name, (rows, calls, area) in got.items():
        assert want[name][:2] == (rows, calls), f"{name}: {got} came, {want} was promised in\n{text}"
        assert want[name][2] == pytest.approx(area, rel=1e-3), text
    return text


ENGINES = pytest.mark.parametrize("engine", ["lockstep", "stepwise"])


@ENGINES
@pytest.mark.parametrize("count", [1, 2, 4])
@pytest.mark.parametrize("cfg", [1.0, 2.0])
@pytest.mark.parametrize("shared", [True, False])
def test_rows_of_a_run(shared, cfg, count, engine):
    prompts = regions(
        *((mask, unet(n, negative=9 if shared else 10 + n, cfg=cfg)) for n, mask in enumerate(thirds(count), 1))
    )
    text = assert_kept(unet(0, cfg=cfg), prompts, engine=engine)
    rows, calls, _ = promised(text)["step"]
    if engine == "stepwise":
        assert (rows, calls) == ((count + 1) * (1 if cfg == 1 else 2), count + 1)
    else:
        assert (rows, calls) == (count + 1 if cfg == 1 else count + 2 if shared else 2 * count + 2, 1)


@ENGINES
@pytest.mark.parametrize("count", [1, 2])
def test_rows_of_a_batch(count, engine):
    latent = {"samples": torch.zeros(3, 4, *SIZE)}
    text = assert_kept(unet(0), regions(*((mask, unet(1)) for mask in thirds(count))), latent, engine=engine)
    assert "128 pixels, 3 pictures" in text


def test_equal_prompts_are_asked_once():
    prompts = regions(*((mask, unet(0)) for mask in thirds(2)))
    assert promised(assert_kept(unet(0), prompts))["step"][0] == 2


@ENGINES
def test_a_prompt_of_several_parts(engine):
    inside = step_sampler(UNET, combined(1, 2, 3), random_cond(9))
    assert_kept(unet(0), regions((ONE, inside)), engine=engine)


@ENGINES
def test_mixed_cfg(engine):
    assert_kept(unet(0, cfg=1.0), regions((ONE, unet(1, cfg=3.0)), (TWO, unet(2, cfg=1.0))), engine=engine)


@pytest.mark.parametrize("kind, ways", [("lora", "its LoRA is added"), ("dora", "patched by hooks")])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_rows_of_clones(count, kind, ways):
    clones = [with_lora(UNET, UNET_LINEAR, 0.5, kind=kind, seed=n) for n in range(count)]
    prompts = regions(
        *((mask, unet(n, clone)) for n, (mask, clone) in enumerate(zip(thirds(count), clones, strict=True), 1))
    )
    text = assert_kept(unet(0), prompts)
    assert text.count(ways) == count


def test_rows_of_regions_with_one_clone():
    clone = with_lora(UNET, UNET_LINEAR)
    text = assert_kept(unet(0), regions(*((mask, unet(n, clone)) for n, mask in enumerate(thirds(2), 1))))
    assert promised(text)["step"][:2] == (5, 1)  # three positives; the negative as it is and with the LoRA


@ENGINES
@pytest.mark.parametrize("count", [1, 2])
def test_rows_of_another_checkpoint(count, engine):
    other, _ = counted(random_unet(seed=1, device="cpu"), UNET_COUNTER)
    prompts = regions(*((mask, unet(n, other)) for n, mask in enumerate(thirds(count), 1)))
    text = assert_kept(unet(0), prompts, engine=engine)
    assert promised(text)["step"][1] == (2 if engine == "lockstep" else count + 1)
    assert ("2 models are needed" if engine == "lockstep" else "Not all have one model") in text


@pytest.mark.parametrize("cfg", [1.0, 2.0])
@pytest.mark.parametrize("context", [0, 24])
@pytest.mark.parametrize("count", [1, 2, 4])
def test_rows_and_area_of_crops(count, context, cfg):
    """Of like and unlike sizes, with and without a negative that is shared only on the whole canvas."""
    latent = {"samples": torch.zeros(1, 4, 32, 48)}
    masks = [box(32, 48, 4 * n, 10 * n, 4 * n + 8 + n % 2 * 6, 10 * n + 8) for n in range(count)]
    prompts = regions(*((mask, unet(n, cfg=cfg)) for n, mask in enumerate(masks, 1)))
    text = assert_kept(unet(0, cfg=cfg), prompts, latent, steps=2, region_compute="crop", crop_context=context)
    full = report(unet(0, cfg=cfg), prompts, samples=latent, steps=4, base_only_steps=1, overlap_factor=8)
    assert promised(text)["step"][2] < promised(full)["step"][2]


@pytest.mark.parametrize("count", [1, 2, 4])
def test_rows_and_area_of_crops_that_know_their_place(count):
    model, counter = counted(random_flux())
    make = lambda n: step_sampler(model, random_flux_cond(n), "NegativePlaceholder", cfg=3.5, scheduler="simple")  # noqa: E731
    latent = {"samples": torch.zeros(1, 16, 32, 48)}
    masks = [box(32, 48, 6 * n, 10 * n, 6 * n + 8, 10 * n + 8) for n in range(count)]
    prompts = regions(*((mask, make(n)) for n, mask in enumerate(masks, 1)))
    text = assert_kept(make(0), prompts, latent, counter, region_compute="crop", crop_context=16)
    assert promised(text)["step"][1] == count + 1


def test_what_cannot_be_cropped_is_said():
    area = [[random_cond(1)[0][0], {"area": (8, 8, 0, 0), "strength": 1.0}]]
    text = report(unet(0), regions((ONE, step_sampler(UNET, area, random_cond(9)))), region_compute="crop")
    assert "Note: region 1 is computed on the whole canvas, not cropped: its prompt has an area" in text


@pytest.mark.parametrize("compute", ["full", "crop"])
@ENGINES
@pytest.mark.parametrize(
    "when", [{"start_percent": 0.5}, {"end_percent": 0.4}, {"start_percent": 0.3, "end_percent": 0.6}], ids=str
)
def test_rows_of_regions_in_time(when, engine, compute):
    prompts = regions((ONE, unet(1)), **when) + regions((TWO, unet(2)))
    text = assert_kept(unet(0), prompts, steps=8, engine=engine, region_compute=compute, crop_context=8)
    took = [int(n) for n in re.findall(r"in (\d+) of 8 steps", text)]
    assert took[0] == 8 and took[2] == 7 and 0 < took[1] < 7


@pytest.mark.parametrize("denoise", [0.25, 0.5])
def test_rows_of_a_region_that_begins_late(denoise):
    text = assert_kept(unet(0), regions((ONE, unet(1)), denoise=denoise), steps=8, base_only_steps=0)
    assert [int(n) for n in re.findall(r"in (\d+) of 8 steps", text)] == [8, round(8 * denoise)]


@ENGINES
def test_rows_with_a_denoise_of_the_whole_run(engine):
    picture = {"samples": torch.randn(1, 4, *SIZE, generator=torch.Generator().manual_seed(0))}
    prompts = regions((ONE, unet(1)), end_percent=0.8)
    text = assert_kept(unet(0), prompts, picture, steps=6, denoise=0.5, engine=engine)
    assert text.startswith(f"{engine}, 6 steps, the first 1 of the base alone")
    assert report(unet(0), prompts) != report(unet(0), prompts, denoise=0.5)


def test_a_region_without_weight_costs_nothing():
    prompts = regions((ONE, unet(1)), weight=0.0) + regions((TWO, unet(2)))
    text = assert_kept(unet(0), prompts)
    assert promised(text)["step"][0] == 3
    assert "Note: region 1 has no weight anywhere, so it paints nothing." in text
    assert "region 1: BaseModel, euler on normal, cfg 1.5, 0.0% of the picture, weight 0, in 0 of 6" in report(
        unet(0), prompts
    )


def test_a_base_that_is_covered_costs_nothing():
    text = assert_kept(unet(0), regions((ONE, unet(1)), (1 - ONE, unet(2))), overlap_factor=0)
    assert promised(text)["step"][0] == 3
    assert re.search(r"the base: .*in 1 of 4 steps", text)


@pytest.mark.parametrize("others", [["dpmpp_2m"], ["euler_ancestral", "ddim"]])
@pytest.mark.parametrize("scheduler", ["normal", "karras"])
def test_rows_of_unlike_samplers_side_by_side(scheduler, others):
    """At one sigma they share a call; on unlike schedules each is asked at its own."""
    prompts = regions(
        *(
            (mask, unet(n, sampler_name=name, scheduler=scheduler))
            for n, (mask, name) in enumerate(zip(thirds(len(others)), others, strict=True), 1)
        )
    )
    for more in ({}, {"base_only_steps": 0}, {"region_compute": "crop", "crop_context": 8}):
        assert_kept(unet(0), prompts, **more)


def test_the_base_paints_all_steps():
    text = assert_kept(unet(0), PROMPTS_OF_UNET, base_only_steps=9)
    assert promised(text)["run"][:2] == (8, 4)
    assert "Note: the base paints all 4 steps, so no region is painted; lower base_only_steps." in text


PROMPTS_OF_UNET = regions((ONE, unet(1)), (TWO, unet(2)))


def test_a_plain_ksampler_is_compared_with():
    assert "KSampler with the base alone: 12 rows." in report(unet(0), PROMPTS_OF_UNET)
    assert "KSampler with the base alone: 6 rows." in report(unet(0, cfg=1.0), PROMPTS_OF_UNET)


# Report: the words


def test_each_region_is_described():
    model = random_unet(device="cpu")
    clone = with_lora(with_lora(model, UNET_LINEAR, 0.8), UNET_LINEAR, -0.25, seed=1)
    inside = sampler(1, clone, sampler_name="dpmpp_2m", scheduler="karras", cfg=3.0)
    prompts = regions((ONE, inside), start_percent=0.25, end_percent=0.75, weight=0.5, denoise=0.9)
    text = report(sampler(0, model), prompts)
    assert text.startswith("lockstep, 6 steps, the first 2 of the base alone, 192 x 128 pixels\n")
    assert re.search(r"\nthe base: BaseModel, euler on normal, cfg 1.5, 97.4% of the picture, in 6 of 6 steps\n", text)
    (line,) = [line for line in text.splitlines() if line.startswith("region 1: ")]
    for part in (
        f"BaseModel with patches on {len(UNET_LINEAR)} weights (LoRA strength 0.8 + -0.25)",
        "dpmpp_2m on karras",
        "cfg 3,",
        "2.6% of the picture",
        "from 25% to 75% of the sampling",
        "weight 0.5",
        "denoise 0.9",
        "its LoRA is added to its own rows",
    ):
        assert part in line


def test_custom_samplers_and_schedules_are_named_so():
    import comfy.samplers

    own = {"sampler_opt": comfy.samplers.sampler_object("euler"), "scheduler_func_opt": lambda *_: SIGMAS}
    assert "a custom sampler on a custom schedule" in report(sampler(0, **own), PROMPTS)


SIGMAS = torch.tensor([9.0, 6.0, 4.0, 2.0, 1.0, 0.5, 0.0])


def test_a_region_from_conditioning_has_the_bases_sampler():
    prompts = use(
        "RegionalPromptFromConditioning",
        mask=ONE,
        model=UNET,
        positive=random_cond(1),
        negative=random_cond(9),
        cfg=2.0,
    )
    text = assert_kept(unet(0, sampler_name="dpmpp_2m", scheduler="karras"), prompts)
    assert "region 1: BaseModel, dpmpp_2m on karras, cfg 2" in text


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("euler", None),
        ("heun", None),
        ("uni_pc", "the base: uni_pc takes a second pass in each step unless additional_mode is DISABLE"),
        ("dpmpp_2m", "the base: dpmpp_2m is started anew at every step"),
    ],
)
def test_stepwise_warns_of_samplers_that_suffer(name, says):
    text = report(sampler(0, sampler_name=name), engine="stepwise")
    assert (says in text) if says else "Note" not in text
    assert "Note" not in report(sampler(0, sampler_name=name))


def test_stepwise_says_what_it_does_not_do():
    note = "The stepwise engine does not do"
    for more in ({"region_compute": "crop"}, {"blend": "stack"}):
        assert note in report(sampler(0), engine="stepwise", **more)
    for more in ({"weight": 0.5}, {"denoise": 0.5}):
        text = report(sampler(0), regions((ONE, sampler(1)), **more), engine="stepwise")
        assert note in text and "weight 0.5" not in text
    assert note not in report(sampler(0), engine="stepwise")


def test_stepwise_covers_what_its_grown_masks_cover():
    text = report(sampler(0), PROMPTS[:1], engine="stepwise", overlap_factor=17)  # 8 to all sides: 6 x 7
    assert "the base: BaseModel" not in text and re.search(r"region 1: .*, 10.9% of the picture", text)
    assert re.search(r"the base: .*, 94.8% of the picture", text)


def test_a_region_without_a_mask_is_said_to_be_left_out():
    text = report(sampler(0), regions((torch.zeros(1, *PIXELS), sampler(1))) + PROMPTS)
    assert "Note: region 1 is left out, its mask is empty." in text and "region 3: " in text


def test_without_a_latent_it_is_one_of_the_largest_masks_size():
    assert report(sampler(0), samples=None) == report(sampler(0))
    batch = regions((torch.cat([ONE, TWO]), sampler(1)))
    assert report(sampler(0), batch, samples=None) == report(
        sampler(0), batch, samples={"samples": torch.zeros(2, 4, *SIZE)}
    )


def test_a_video():
    text = report(sampler(0), samples={"samples": torch.zeros(1, 4, 3, *SIZE)})
    assert "192 x 128 pixels\n" in text and promised(text)["step"][0] > 0


def test_a_video_with_masks_of_unlike_counts_of_frames():
    assert report(sampler(0), frames(), samples=VIDEO) == report(sampler(0), samples=VIDEO)
    stepwise = report(sampler(0), frames(), samples=VIDEO, engine="stepwise")
    assert stepwise.startswith("This run would fail. RegionalReport: the stepwise engine expects one number of frames")


FLUX = random_flux()


@pytest.mark.parametrize(
    ("base", "prompts", "inputs", "reason"),
    [
        (sampler(0), "text", {}, "RegionalReport: regional_prompts expects REGIONAL_PROMPTS, str came"),
        (sampler(0), [], {}, "RegionalReport: there are no regional prompts"),
        ("text", PROMPTS, {}, "RegionalReport, base_sampler: a KSAMPLER_ADVANCED was expected, str came"),
        ("text", PROMPTS, {"samples": None}, "RegionalReport, base_sampler: a KSAMPLER_ADVANCED was expected"),
        (sampler(0), PROMPTS, {"samples": 3}, "RegionalReport: a LATENT was expected, int came"),
        (sampler(0, reference_model("eps")), PROMPTS, {}, "RegionalReport, region 1: its model has latents of format"),
        (
            sampler(0),
            regions((ONE, sampler(1, texture_model("flow")))),
            {},
            "RegionalReport, region 1: its model predicts by flow, the base's by EPS or v",
        ),
        (
            sampler(0),
            regions((torch.cat([ONE, TWO]), sampler(1))),
            {"samples": {"samples": torch.zeros(3, 4, *SIZE)}},
            "RegionalReport, region 1: 1 mask or 3 (one for each picture of the latent batch) expected, 2 came",
        ),
        (sampler(0), PROMPTS, {"denoise": 0.0}, "RegionalReport: denoise must be above 0"),
        (sampler(0), PROMPTS, {"engine": "both"}, "RegionalReport: engine stepwise or lockstep was expected"),
    ],
    ids=lambda value: value if isinstance(value, str) and " " in value else "",
)
def test_what_would_fail_is_said(base, prompts, inputs, reason, sent):
    assert report(base, prompts, **inputs).startswith(f"This run would fail. {reason}")


def test_what_would_fail_fails():
    flow = regions((ONE, sampler(1, texture_model("flow"))))
    with pytest.raises(ValueError, match="its model predicts by flow"):
        regional_sampler(LATENT, sampler(0), flow, engine="lockstep")
    assert "would fail" not in report(sampler(0), flow, engine="stepwise")


@ENGINES
def test_nothing_is_changed_loaded_or_asked(engine):
    model, counter = counted(random_unet(device="cpu"))
    clone = with_lora(model, UNET_LINEAR)
    base, inside = sampler(0, model), sampler(1, clone)
    mask, latent = ONE.clone(), {"samples": torch.zeros(1, 4, *SIZE)}
    prompts = regions((mask, inside), (TWO, inside))
    weights = {name: weight.clone() for name, weight in model.model.state_dict().items()}
    conds = copy.deepcopy(inside.params[4:6])
    before = len(comfy.model_management.current_loaded_models)
    state = torch.get_rng_state()
    report(base, prompts, samples=latent, engine=engine, region_compute="crop")
    preview(prompts, samples=latent, image=torch.zeros(1, 8, 8, 3))
    assert not counter.calls and len(comfy.model_management.current_loaded_models) == before
    assert torch.equal(state, torch.get_rng_state())
    assert list(latent) == ["samples"] and not latent["samples"].any() and torch.equal(mask, ONE)
    assert all(torch.equal(weight, weights[name]) for name, weight in model.model.state_dict().items())
    for (had, options), (has, now) in zip(
        [cond for given in conds for cond in given],
        [cond for given in inside.params[4:6] for cond in given],
        strict=True,
    ):
        assert torch.equal(had, has) and options.keys() == now.keys()


def test_the_usual_case_warns_of_nothing(caplog):
    with caplog.at_level(logging.INFO):
        text = report(sampler(0))
        preview()
    assert not caplog.records and "Note" not in text


# On a server


def test_both_are_outputs_of_their_own(client):
    scene = Scene()
    prompts = scene.regions()
    shown = scene.add("RegionalPreview", regional_prompts=prompts, samples=scene.canvas, overlap_factor=10)
    said = scene.add(
        "RegionalReport", regional_prompts=shown, base_sampler=scene.step_sampler("base"), samples=scene.canvas
    )
    with client.server.messages("listener") as listener:
        run = client.run(scene)
        texts = {}
        while len(texts) < 2:
            message = listener.receive(30)
            if isinstance(message, bytes) and message[:4] == struct.pack(">I", 3):  # the host's BinaryEventTypes.TEXT
                node, text = as_text((None, message[4:]))
                texts[node] = text
    outputs = {data["node"]: data["output"] for data in run.of("executed")}
    (picture,) = run.pictures
    assert outputs[shown[0]]["images"] and picture.shape == (320, 512, 3)
    for n, name in enumerate("ab"):
        ((left, top, *_),) = INNER[name]
        corner = picture[top * 8 + 1, left * 8 + 1]
        assert torch.allclose(corner, torch.tensor(palette(2)[n]), atol=2 / 256)
    assert outputs[shown[0]]["text"] == [texts[shown[0]]] and "region 2: " in texts[shown[0]]
    assert outputs[said[0]]["text"] == [texts[said[0]]]
    assert texts[said[0]].startswith("lockstep, 20 steps, the first 2 of the base alone, 512 x 320 pixels\n")
    assert not [node for node in run.executed if scene.prompt[node]["class_type"] in ("VAEDecode", "SaveImage")]

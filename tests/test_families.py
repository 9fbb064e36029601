"""The families of models that ComfyUI knows: one prompt, own prompts, places, LoRA, the loader, what is refused."""

from dataclasses import replace
from functools import partial

import comfy.nested_tensor
import comfy.sd
import comfy.utils
import pytest
import torch
import use
from comfy.ldm.flux.layers import EmbedND
from comfy_extras.nodes_custom_sampler import KSamplerSelect, Noise_RandomNoise, SamplerCustomAdvanced
from family_use import mask, pixels, sampler
from loras import Patching, as_switched, with_lora
from testing_pack.families import FAMILIES, LOADED, stable_audio
from testing_pack.models import random_cond
from use import pipe, regional_sampler, regional_sampler_advanced, regions, relative, step_sampler

lockstep, plain = partial(use.lockstep, steps=3), partial(use.plain, steps=3)
every_family = pytest.mark.parametrize("name", FAMILIES)


# One step at a middling noise level: what comes out is the model's answer.
ANSWER = {"steps": 1, "denoise": 0.3}


@every_family
def test_one_prompt_everywhere_is_plain_sampling(name):
    family = FAMILIES[name]
    one = sampler(family, family.make(), 1)
    half = family.shape[-1] // 2
    masks = [mask(family, right=half, value=0.7), mask(family, left=half), mask(family, top=1, bottom=3, value=0.4)]
    got = lockstep(family.latent(), one, regions(*[(each, one) for each in masks]), overlap_factor=pixels(family))
    want = plain(one, family.latent())
    assert want.shape == (1, *family.shape) and bool(torch.isfinite(want).all()) and float(want.std()) > 0.1
    assert relative(got, want) < 1e-4


@every_family
def test_a_region_has_its_own_prompt(name):
    """Its prompt has more tokens than the base's, where the family lets it."""
    family = FAMILIES[name]
    model = family.make()
    base, inside = sampler(family, model, 1), sampler(family, model, 2, family.more_tokens)
    latent = family.latent()
    got = lockstep(latent, base, regions((mask(family), inside)))
    own, other = plain(inside, latent), plain(base, latent)
    assert relative(got, own) < 1e-4
    assert relative(own, other) > 4e-3
    half = lockstep(latent, base, regions((mask(family, right=family.shape[-1] // 2), inside)))
    assert relative(half, own) > 2e-3 and relative(half, other) > 2e-3


@every_family
def test_a_mask_in_pixels_lands_in_its_latent_pixels(name):
    """The region's answer inside of its mask, outside the base's."""
    family = FAMILIES[name]
    model = family.make()
    base, inside = sampler(family, model, 1), sampler(family, model, 2)
    latent, (height, width) = family.latent(), family.shape[-2:]
    got = lockstep(latent, base, regions((mask(family, 1, 2, height - 1, width - 1), inside)), **ANSWER)
    own, other = plain(inside, latent, **ANSWER), plain(base, latent, **ANSWER)
    want = other.clone()
    want[..., 1 : height - 1, 2 : width - 1] = own[..., 1 : height - 1, 2 : width - 1]
    assert relative(got, want) < 1e-4
    assert relative(want, own) > 1e-3 and relative(want, other) > 1e-3


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.noise_mask == "blends"])
def test_a_mask_lands_there_in_stepwise_too(name):
    """Not for models that read a noise_mask themselves: this engine samples by means of one."""
    family = FAMILIES[name]
    model = family.make()
    base, inside = sampler(family, model, 1), sampler(family, model, 2)
    latent, (height, width) = family.latent(), family.shape[-2:]
    one = regions((mask(family, 1, 2, height - 1, width - 1), inside))
    got = regional_sampler(latent, base, one, engine="stepwise", base_only_steps=0, **ANSWER)
    other = plain(base, latent, **ANSWER)
    changed = (got["samples"] - other).abs().amax(dim=tuple(range(other.ndim - 2))) > 1e-5
    assert torch.equal(changed, mask(family, 1, 2, height - 1, width - 1)[0, :: pixels(family), :: pixels(family)] > 0)


@pytest.mark.parametrize("name", [name for name, family in FAMILIES.items() if family.noise_mask != "fails"])
def test_a_noise_mask_is_respected_as_by_ksampler(name):
    family = FAMILIES[name]
    one = sampler(family, family.make(), 1)
    samples = torch.randn(1, *family.shape, generator=torch.Generator().manual_seed(3))
    latent = {"samples": samples, "noise_mask": mask(family, top=1, right=family.shape[-1] // 2)}
    want = plain(one, latent)
    assert relative(lockstep(latent, one, regions((mask(family, top=2), one))), want) < 1e-4
    assert relative(want, plain(one, {"samples": samples})) > 1e-3


@every_family
def test_overlap_in_pixels_is_a_ring_of_latent_pixels(name):
    """A ring as wide as one latent pixel: half the region's around its mask, and no further."""
    family = FAMILIES[name]
    model = family.make()
    base, inside = sampler(family, model, 1), sampler(family, model, 2)
    latent, half = family.latent(), family.shape[-1] // 2
    got = lockstep(latent, base, regions((mask(family, right=half), inside)), overlap_factor=pixels(family), **ANSWER)
    own, other = plain(inside, latent, **ANSWER), plain(base, latent, **ANSWER)
    weight = torch.tensor([1.0] * half + [0.5] + [0.0] * (family.shape[-1] - half - 1))
    assert relative(got, weight * own + (1 - weight) * other) < 1e-4


@every_family
def test_a_lora_in_a_region(name, monkeypatch):
    """Without patching of weights, the clone's picture in a full region, and in half a picture what switching gives."""
    family = FAMILIES[name]
    model = family.make()
    clone = with_lora(model, family.lora_layers)
    assert len(clone.patches) == len(family.lora_layers)
    base, inside = sampler(family, model, 1), sampler(family, clone, 2)
    latent = family.latent()
    plain(base, latent)  # the base's weights are loaded once
    half = mask(family, right=family.shape[-1] // 2)
    with Patching() as patching:
        full = lockstep(latent, base, regions((mask(family), inside)))
        halved = lockstep(latent, base, regions((half, inside)))
    assert patching.count == 0
    want = plain(inside, latent)
    assert relative(full, want) < 1e-4
    assert relative(want, plain(sampler(family, model, 2), latent)) > 1e-3
    assert relative(halved, as_switched(monkeypatch, lambda: lockstep(latent, base, regions((half, inside))))) < 1e-4


@pytest.mark.parametrize("name", LOADED)
def test_the_loader_knows_it(name, tmp_path, monkeypatch):
    """What the host's own loader makes of a file of the model's weights, with all of the above in one run."""
    family = LOADED[name]
    model = family.make()
    path = tmp_path / "model.safetensors"
    weights = {key: weight.contiguous() for key, weight in model.model.diffusion_model.state_dict().items()}
    comfy.utils.save_torch_file(weights, str(path))
    loaded = comfy.sd.load_diffusion_model(str(path), model_options={"dtype": torch.float32})
    assert type(loaded.model) is type(model.model)
    assert type(loaded.model.model_config) is family.config
    latent = family.latent()
    want = plain(sampler(family, model, 1), latent)
    base = sampler(family, loaded, 1)
    assert relative(plain(base, latent), want) < 1e-4
    assert relative(lockstep(latent, base, regions((mask(family, right=2), base))), want) < 1e-4
    inside = sampler(family, with_lora(loaded, family.lora_layers), 2, family.more_tokens)
    with Patching() as patching:
        got = lockstep(latent, base, regions((mask(family), inside)))
    assert patching.count == 0
    assert relative(got, plain(inside, latent)) < 1e-4


# No positions at all, or only those of patches relative to each other.
WITHOUT_PLACES = {"SD15", "SDXL", "LTXV"}


@pytest.mark.parametrize("name", [name for name in FAMILIES if name not in WITHOUT_PLACES])
def test_a_crop_has_the_positions_of_its_place_or_is_refused(name, caplog):
    """Measured where the model turns the patches' places (.., y, x, ..) into rotary embeddings."""
    family = FAMILIES[name]
    height, width = (max(size, 12) for size in family.shape[-2:])
    family = replace(family, shape=(*family.shape[:-2], height, width))
    model = family.make()
    seen = []

    def look(module, args, kwargs):
        ids = args[0] if args else kwargs["ids"]
        if ids.shape[-1] > 2:
            seen.append({tuple(place) for place in ids[..., 1:3].reshape(-1, 2).tolist()} - {(0.0, 0.0)})

    for module in model.model.diffusion_model.modules():
        if isinstance(module, EmbedND):
            module.register_forward_pre_hook(look, with_kwargs=True)
    base, inside = sampler(family, model, 1), sampler(family, model, 2)
    corner = mask(family, top=height // 2, left=width // 2)
    full = lockstep(family.latent(), base, regions((corner, inside)), **ANSWER)
    places = set().union(*seen)
    seen.clear()
    crop = {"region_compute": "crop", "crop_context": 0}
    got = lockstep(family.latent(), base, regions((corner, inside)), **ANSWER, **crop)
    if "not cropped" in caplog.text:
        assert torch.equal(got, full)
        return
    rows, columns = (sorted({place[axis] for place in places}) for axis in (0, 1))
    top, left = rows[len(rows) // 2], columns[len(columns) // 2]
    assert min(filter(None, seen), key=len) == {(y, x) for y, x in places if y >= top and x >= left}


def test_a_video_takes_a_mask_for_each_picture_of_the_batch():
    family = FAMILIES["Wan"]
    model = family.make()
    base, inside = sampler(family, model, 1), sampler(family, model, 2)
    latent = family.latent(batch=2)
    masks = torch.cat([mask(family), mask(family, value=0.0)])
    got = lockstep(latent, base, regions((masks, inside)))
    assert relative(got[:1], plain(inside, latent)[:1]) < 1e-4
    assert relative(got[1:], plain(base, latent)[1:]) < 1e-4


def test_a_video_takes_a_mask_for_each_frame():
    """One video, as many masks as latent frames: the region walks, and is gone in the last frame."""
    family = FAMILIES["Wan"]
    model = family.make()
    base, inside = sampler(family, model, 1), sampler(family, model, 2)
    latent = family.latent()
    masks = torch.cat([mask(family, right=4), mask(family, left=4, right=8), mask(family, value=0.0)])
    got = lockstep(latent, base, regions((masks, inside)), **ANSWER)
    want, own = plain(base, latent, **ANSWER), plain(inside, latent, **ANSWER)
    for frame, where in ((0, slice(0, 4)), (1, slice(4, 8))):
        want[:, :, frame, :, where] = own[:, :, frame, :, where]
    assert relative(got, want) < 1e-4
    assert relative(want, own) > 1e-3


def test_a_lora_beside_reference_latents_at_timestep_zero(monkeypatch):
    """As in Qwen-Image-Edit 2511: the modulations are asked for all rows, and then for all of them at timestep 0."""
    family = FAMILIES["QwenImage"]
    model = family.make()
    clone = with_lora(model, ["diffusion_model.transformer_blocks.0.img_mod.1"])
    reference = torch.randn(1, *family.shape, generator=torch.Generator().manual_seed(3))

    def one(model, seed):
        options = {"reference_latents": [reference], "reference_latents_method": "index_timestep_zero"}
        positive, negative = ([[family.cond(each)[0][0], options]] for each in (seed, 9))
        return step_sampler(model, positive, negative)

    latent, half = family.latent(), mask(family, right=6)
    got = lockstep(latent, one(model, 1), regions((half, one(clone, 2))))
    want = as_switched(monkeypatch, lambda: lockstep(latent, one(model, 1), regions((half, one(clone, 2)))))
    assert relative(want, lockstep(latent, one(model, 1), regions((half, one(model, 2))))) > 1e-3
    assert relative(got, want) < 1e-4


def test_a_lora_on_the_experts_of_a_mixture(monkeypatch):
    """HiDream's experts are called with those tokens of all rows that chose them."""
    family = FAMILIES["HiDream"]
    model = family.make()
    layers = [f"diffusion_model.double_stream_blocks.0.block.ff_i.experts.{number}.w2" for number in range(4)]
    base, inside = sampler(family, model, 1), sampler(family, with_lora(model, layers), 2)
    latent, half = family.latent(), mask(family, right=6)
    got = lockstep(latent, base, regions((half, inside)))
    want = as_switched(monkeypatch, lambda: lockstep(latent, base, regions((half, inside))))
    assert relative(want, lockstep(latent, base, regions((half, sampler(family, model, 2))))) > 1e-3
    assert relative(got, want) < 1e-4


AUDIO, NESTED = "audio", "nested"


def flat(kind):
    """A model, its prompts and a LATENT that has no single height and width."""
    if kind == AUDIO:
        model, cond = stable_audio(), lambda seed: random_cond(seed, context_dim=768)
        latent = {"samples": torch.zeros(1, 64, 32)}
    else:
        family = FAMILIES["LTXV"]
        model, cond = family.make(), family.cond
        sound = torch.zeros(1, 8, 16, 12)
        latent = {"samples": comfy.nested_tensor.NestedTensor([family.latent()["samples"], sound])}
    return model, cond, latent


def test_the_audio_model_works_by_itself():
    model, cond, latent = flat(AUDIO)
    out = plain(step_sampler(model, cond(1), cond(9)), latent)
    assert out.shape == (1, 64, 32) and bool(torch.isfinite(out).all()) and float(out.std()) > 0.1


@pytest.mark.parametrize("kind", [AUDIO, NESTED])
@pytest.mark.parametrize("engine", ["lockstep", "stepwise"])
@pytest.mark.parametrize(
    "node", ["RegionalSampler", "RegionalSamplerAdvanced", "TwoAdvancedSamplersForMask", "TwoSamplersForMask"]
)
def test_other_latents_are_refused_in_a_sentence(kind, engine, node):
    model, cond, latent = flat(kind)
    one, area = step_sampler(model, cond(1), cond(9)), torch.ones(1, 32, 32)
    whole = {"seed": 1, "steps": 2, "denoise": 1.0}
    with pytest.raises(ValueError) as raised:
        if node == "RegionalSampler":
            regional_sampler(latent, one, regions((area, one)), engine=engine)
        elif node == "RegionalSamplerAdvanced":
            regional_sampler_advanced(latent, one, regions((area, one)), engine=engine)
        elif node == "TwoAdvancedSamplersForMask":
            pair = {"base_sampler": one, "mask_sampler": one, "mask": area}
            use.use(node, samples=latent, overlap_factor=0, engine=engine, **whole, **pair)
        else:
            settings = {"cfg": 1.5, "sampler_name": "euler", "scheduler": "normal"}
            full = use.use("KSamplerProvider", basic_pipe=pipe(model, cond(1), cond(9)), **whole, **settings)
            use.use(node, latent_image=latent, base_sampler=full, mask_sampler=full, mask=area)
    assert_a_sentence(raised, node, kind)


@pytest.mark.parametrize("kind", [AUDIO, NESTED])
def test_other_latents_are_refused_by_the_guider(kind):
    model, cond, latent = flat(kind)
    prompts = regions((torch.ones(1, 32, 32), step_sampler(model, cond(1), cond(9))))
    inputs = {"model": model, "positive": cond(1), "negative": cond(9), "cfg": 1.5, "regional_prompts": prompts}
    guider, euler = use.use("RegionalGuider", **inputs), KSamplerSelect.execute("euler").result[0]
    with pytest.raises(ValueError) as raised:
        SamplerCustomAdvanced.execute(Noise_RandomNoise(1), guider, euler, torch.tensor([1.0, 0.5, 0.0]), latent)
    assert_a_sentence(raised, "RegionalGuider", kind)


def assert_a_sentence(raised, node, kind):
    message = str(raised.value)
    assert message.startswith(f"{node}: a latent of pictures") and message.endswith(".") and "\n" not in message
    assert ("nested" if kind == NESTED else "(1, 64, 32)") in message
    assert raised.value.__cause__ is None and raised.value.__context__ is None

"""LoRA for each region in lockstep: on one loaded model, with the result of the patched clone."""

import threading
from functools import partial

import comfy.lora
import comfy.model_management
import comfy.model_patcher
import pytest
import torch
import use
from loras import UNET_CONV, UNET_LINEAR, Patching, as_switched, lora_file, with_lora
from testing_pack.models import (
    counted,
    random_cond,
    random_flux,
    random_flux_cond,
    random_unet,
    wrapped,
)
from use import box, regions, relative, step_sampler

lockstep, plain = partial(use.lockstep, steps=3), partial(use.plain, steps=3)

FLUX_LINEAR = [
    "diffusion_model.double_blocks.0.img_attn.qkv",
    "diffusion_model.double_blocks.0.txt_mlp.0",
    "diffusion_model.double_blocks.0.img_mod.lin",
    "diffusion_model.single_blocks.0.linear2",
]


class Network:
    """A kind of model with its layers, conditioning and latent."""

    def __init__(self, make, cond, layers, channels):
        self.model, self.cond, self.layers = make, cond, layers
        self.latent = {"samples": torch.zeros(1, channels, 8, 12)}


NETWORKS = {
    "unet": Network(random_unet, random_cond, UNET_LINEAR + UNET_CONV, 4),
    "flux": Network(random_flux, random_flux_cond, FLUX_LINEAR, 16),
}


def columns(count, width=12):
    """`count` masks beside each other over the whole canvas."""
    step = width // count
    return [box(8, width, 0, n * step, 8, width if n + 1 == count else (n + 1) * step) for n in range(count)]


@pytest.mark.parametrize("strength", [1.0, 0.5, -0.7])
@pytest.mark.parametrize("kind", ["lora", "loha", "lokr", "bias"])
@pytest.mark.parametrize("network", NETWORKS)
def test_a_full_region_equals_its_clone_without_patching(network, kind, strength):
    net = NETWORKS[network]
    layers = [layer for layer in net.layers if kind != "bias" or "to_" not in layer]
    model = net.model()
    clone = with_lora(model, layers, strength, kind=kind)
    assert clone.patches
    base, inside = (step_sampler(patcher, net.cond(1), net.cond(9)) for patcher in (model, clone))
    plain(base, net.latent)  # the base's weights are loaded once
    with Patching() as patching:
        got = lockstep(net.latent, base, regions((torch.ones(1, 8, 12), inside)))
    assert patching.count == 0
    want = plain(inside, net.latent)
    assert relative(got, want) < 1e-4
    assert relative(want, plain(base, net.latent)) > 1e-3


@pytest.mark.parametrize("kind", ["dora", "glora", "oft", "diff"])
@pytest.mark.parametrize("network", NETWORKS)
def test_what_cannot_be_added_is_hooked_and_said(network, kind, caplog):
    net = NETWORKS[network]
    model = net.model()
    layers = [layer for layer in net.layers if "qkv" not in layer or kind != "glora"]
    clone = with_lora(model, layers, kind=kind)
    assert clone.patches
    base, inside = (step_sampler(patcher, net.cond(1), net.cond(9)) for patcher in (model, clone))
    got = lockstep(net.latent, base, regions((torch.ones(1, 8, 12), inside)))
    assert relative(got, plain(inside, net.latent)) < 1e-4
    assert caplog.text.count("region 1: its weights are patched by hooks at every step") == 1


@pytest.mark.parametrize("network", NETWORKS)
def test_hooks_and_routed_rows_on_one_model(network, monkeypatch):
    """Stacked patches of both kinds, with strengths, on a base that has its own; hooks of the user's stay on."""
    from comfy.hooks import create_hook_lora, set_hooks_for_conditioning

    net = NETWORKS[network]
    plain_layers = [layer for layer in net.layers if "qkv" not in layer]
    base_model = with_lora(net.model(), net.layers, 0.7, seed=1)
    models = [
        with_lora(with_lora(base_model, net.layers, 0.5, seed=2), plain_layers, -0.7, seed=3, kind="oft"),
        with_lora(with_lora(base_model, plain_layers, 0.8, seed=4, kind="dora"), net.layers, 0.5, seed=5),
        with_lora(base_model, net.layers, -0.6, seed=6),
    ]
    own = create_hook_lora(lora_file(base_model, net.layers, seed=7), 0.5, 0.0)
    samplers = [
        step_sampler(model, set_hooks_for_conditioning(net.cond(n), own) if n == 1 else net.cond(n), net.cond(9))
        for n, model in enumerate(models)
    ]
    base = step_sampler(base_model, net.cond(5), net.cond(9))
    pairs = list(zip(columns(4)[1:], samplers, strict=True))
    got = lockstep(net.latent, base, regions(*pairs))
    want = as_switched(monkeypatch, lambda: lockstep(net.latent, base, regions(*pairs)))
    assert relative(got, want) < 1e-4
    for sampler in samplers:
        alone = lockstep(net.latent, base, regions((torch.ones(1, 8, 12), sampler)))
        assert relative(alone, plain(sampler, net.latent)) < 1e-4


class Dynamic(comfy.model_patcher.ModelPatcher):
    """What a model is where VRAM is dynamic, in all that counts without its loader."""

    non_dynamic_delegate_model = None
    get_non_dynamic_delegate = comfy.model_patcher.ModelPatcherDynamic.get_non_dynamic_delegate

    def is_dynamic(self):
        return True


def test_a_dynamic_model_takes_no_hooks_and_that_is_said(caplog):
    net = NETWORKS["unet"]
    given = net.model()
    model = Dynamic(given.model, given.load_device, given.offload_device)
    base = step_sampler(model, net.cond(1), net.cond(9))
    inside = step_sampler(with_lora(model, UNET_LINEAR, kind="dora"), net.cond(2), net.cond(9))
    got = lockstep(net.latent, base, regions((torch.ones(1, 8, 12), inside)))
    assert relative(got, plain(inside, net.latent)) < 1e-4
    assert caplog.text.count("region 1: the model's weights are switched for it at every step") == 1
    assert "hooks would load the model a second time, as dynamic VRAM takes none" in caplog.text


def test_patches_that_are_not_built_on_the_base_s_are_switched_and_said(caplog):
    net = NETWORKS["unet"]
    origin = net.model()
    base = step_sampler(with_lora(origin, net.layers, seed=1), net.cond(1), net.cond(9))
    inside = step_sampler(with_lora(origin, net.layers, kind="diff"), net.cond(2), net.cond(9))
    got = lockstep(net.latent, base, regions((torch.ones(1, 8, 12), inside)))
    assert relative(got, plain(inside, net.latent)) < 1e-4
    assert caplog.text.count("region 1: the model's weights are switched for it at every step") == 1


def test_switched_clones_are_switched_as_seldom_as_can_be(monkeypatch):
    """There and back again: the model that is loaded is asked first, so that N clones are N - 1 switches a step."""
    net = NETWORKS["unet"]
    model = net.model()
    clones = [with_lora(model, net.layers, seed=n) for n in (1, 2)]
    base = step_sampler(model, net.cond(0), net.cond(9))
    pairs = [
        (mask, step_sampler(clone, net.cond(1), net.cond(9)))
        for mask, clone in zip(columns(3)[1:], clones, strict=True)
    ]
    switches = []
    load = comfy.model_management.load_models_gpu
    with monkeypatch.context() as patched:
        loading = lambda *args, **kwargs: (switches.append(1), load(*args, **kwargs))  # noqa: E731
        patched.setattr(comfy.model_management, "load_models_gpu", loading)
        as_switched(monkeypatch, lambda: lockstep(net.latent, base, regions(*pairs), steps=4))
    loads_before_sampling = 3
    assert len(switches) - loads_before_sampling <= 4 * 2


@pytest.mark.parametrize("network", NETWORKS)
def test_many_regions_equal_switched_clones(network, monkeypatch):
    """Stacked LoRAs, one on the base too, one shared, negative strengths: as if each clone were loaded in turn."""
    net = NETWORKS[network]
    origin = net.model()
    base_model = with_lora(origin, net.layers[:2], 0.8, seed=1)
    models = [
        with_lora(base_model, net.layers, 1.0, seed=2),
        with_lora(with_lora(base_model, net.layers[1:], -0.6, seed=3), net.layers, 0.5, seed=4, kind="lokr"),
        origin,  # without the base's own
    ]
    models.append(models[0])  # one clone in two regions
    base = step_sampler(base_model, net.cond(0), net.cond(9))
    pairs = [
        (mask, step_sampler(model, net.cond(n + 1), net.cond(9)))
        for n, (mask, model) in enumerate(zip(columns(4), models, strict=True))
    ]
    plain(base, net.latent)
    with Patching() as patching:
        got = lockstep(net.latent, base, regions(*pairs), overlap_factor=2)
    assert patching.count == 0
    want = as_switched(monkeypatch, lambda: lockstep(net.latent, base, regions(*pairs), overlap_factor=2))
    assert relative(got, want) < 1e-4


@pytest.mark.parametrize("counts", [(1, 2), (2, 1), (1, 3), (0, 2)], ids=str)
def test_one_patch_held_several_times(counts):
    """By the base and by the region: what one of them holds oftener counts."""
    net = NETWORKS["unet"]
    model = net.model()
    loaded = comfy.lora.load_lora(lora_file(model, net.layers), comfy.lora.model_lora_keys_unet(model.model, {}))
    clones = [model.clone() for _ in counts]
    for clone, count in zip(clones, counts, strict=True):
        for _ in range(count):
            clone.add_patches(loaded, 0.5)
    base, inside = (step_sampler(clone, net.cond(1), net.cond(9)) for clone in clones)
    got = lockstep(net.latent, base, regions((torch.ones(1, 8, 12), inside)))
    want = plain(inside, net.latent)
    assert relative(got, want) < 1e-4
    assert relative(want, plain(base, net.latent)) > 1e-3


def test_rows_and_calls():
    """One call a step; negatives under unlike weights are not the same, those of one clone are."""
    model, counter = counted(random_unet())
    first, second = (with_lora(model, UNET_LINEAR, seed=n) for n in (1, 2))
    base = step_sampler(model, random_cond(0), random_cond(9))
    pairs = [
        (mask, step_sampler(clone, random_cond(n + 1), random_cond(9)))
        for n, (mask, clone) in enumerate(zip(columns(4)[1:], (first, second, second), strict=True))
    ]
    lockstep({"samples": torch.zeros(1, 4, 8, 12)}, base, regions(*pairs))
    assert [call.rows for call in counter.calls] == [4 + 3] * 3


def test_a_fused_projection_is_patched_in_part():
    """Patches with an offset, as LoRAs of other libraries have them for q, k and v of one layer."""
    model = random_flux()
    clone = model.clone()
    key = "diffusion_model.double_blocks.0.img_attn.qkv.weight"
    shape = model.model_state_dict()[key].shape
    generator = torch.Generator().manual_seed(3)
    from comfy.weight_adapter import LoRAAdapter

    for part in (0, 2):
        third = shape[0] // 3
        adapter = LoRAAdapter(
            set(),
            (
                torch.randn(third, 4, generator=generator) * 0.3,
                torch.randn(4, shape[1], generator=generator) * 0.3,
                None,
                None,
                None,
                None,
            ),
        )
        clone.add_patches({(key, (0, part * third, third)): adapter}, 0.7)
    base, inside = (step_sampler(patcher, random_flux_cond(1), random_flux_cond(9)) for patcher in (model, clone))
    latent = NETWORKS["flux"].latent
    plain(base, latent)
    with Patching() as patching:
        got = lockstep(latent, base, regions((torch.ones(1, 8, 12), inside)))
    assert patching.count == 0
    assert relative(got, plain(inside, latent)) < 1e-4


@pytest.mark.parametrize("other", ["euler", "dpmpp_2m"])
@pytest.mark.parametrize("failure", ["interrupt", "error", "none"])
def test_the_model_is_left_as_it_was(failure, other):
    model, calls = random_unet(), []

    def fail(x, sigma):
        calls.append(1)
        if len(calls) == 2 and failure == "interrupt":
            comfy.model_management.interrupt_current_processing()
        if len(calls) == 2 and failure == "error":
            raise RuntimeError("broken")

    before = {key: weight.clone() for key, weight in model.model_state_dict().items()}
    watched = wrapped(model, fail)
    clone = with_lora(watched, UNET_LINEAR + UNET_CONV)
    base = step_sampler(watched, random_cond(1), random_cond(9))
    inside = step_sampler(clone, random_cond(2), random_cond(9), sampler_name=other)
    latent = NETWORKS["unet"].latent
    expected = {"interrupt": comfy.model_management.InterruptProcessingException, "error": RuntimeError}.get(failure)
    if expected:
        with pytest.raises(expected):
            lockstep(latent, base, regions((columns(2)[0], inside)))
    else:
        lockstep(latent, base, regions((columns(2)[0], inside)))
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("regional-")]
    after = model.model_state_dict()
    assert all(torch.equal(weight, after[key]) for key, weight in before.items())
    assert not any(module._forward_hooks for module in model.model.modules())
    calls.extend([1] * 9)
    others = with_lora(watched, UNET_LINEAR, seed=8)
    second = step_sampler(others, random_cond(2), random_cond(9))
    got = lockstep(latent, base, regions((torch.ones(1, 8, 12), second)))
    assert relative(got, plain(second, latent)) < 1e-4


def test_a_layer_that_is_not_called_or_mixes_rows_is_noticed(caplog):
    """Rather slow than wrong: the run begins again, with weight hooks."""
    model = random_unet()
    attention = model.model.diffusion_model.input_blocks[1][1].transformer_blocks[0].attn1
    layer = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q"

    class ByHand(torch.nn.Module):
        """Uses the layer's weight, and never calls it."""

        def __init__(self, inner):
            super().__init__()
            self.inner, self.weight = inner, inner.weight

        def forward(self, x):
            return torch.nn.functional.linear(x, self.inner.weight)

    clone = with_lora(model, [layer])
    inner = attention.to_q
    base, inside = (step_sampler(patcher, random_cond(1), random_cond(9)) for patcher in (model, clone))
    latent = NETWORKS["unet"].latent
    want = plain(inside, latent)
    attention._modules["to_q"] = inner
    forward = attention.forward
    attention.forward = lambda *args, **kwargs: by_hand(attention, inner, ByHand(inner), forward, *args, **kwargs)
    got = lockstep(latent, base, regions((torch.ones(1, 8, 12), inside)))
    assert "does not call its layer" in caplog.text
    assert relative(got, want) < 1e-4


def by_hand(attention, inner, replacement, forward, *args, **kwargs):
    attention._modules["to_q"] = replacement
    try:
        return forward(*args, **kwargs)
    finally:
        attention._modules["to_q"] = inner


def test_batches_of_several_pictures():
    net = NETWORKS["unet"]
    latent = {"samples": torch.zeros(3, 4, 8, 12)}
    model = net.model()
    base, inside = (
        step_sampler(patcher, net.cond(1), net.cond(9)) for patcher in (model, with_lora(model, net.layers))
    )
    got = lockstep(latent, base, regions((torch.ones(1, 8, 12), inside)))
    assert relative(got, plain(inside, latent)) < 1e-4


@pytest.mark.parametrize("name", ["PAG", "SAG", "a calc_cond_batch function"])
def test_what_asks_the_model_on_its_own_gets_the_lora_too(name):
    import comfy.samplers
    from comfy_extras.nodes_pag import PerturbedAttentionGuidance
    from comfy_extras.nodes_sag import SelfAttentionGuidance

    net = NETWORKS["unet"]
    model = net.model()
    if name == "PAG":
        model = PerturbedAttentionGuidance.execute(model, 3.0).result[0]
    elif name == "SAG":
        model = SelfAttentionGuidance.execute(model, 0.5, 2.0).result[0]
    else:
        model.set_model_sampler_calc_cond_batch_function(
            lambda args: comfy.samplers.calc_cond_batch(
                args["model"], args["conds"], args["input"], args["sigma"], args["model_options"]
            )
        )
    base, inside = (
        step_sampler(patcher, net.cond(1), net.cond(9)) for patcher in (model, with_lora(model, net.layers))
    )
    plain(base, net.latent)
    with Patching() as patching:
        got = lockstep(net.latent, base, regions((torch.ones(1, 8, 12), inside)))
    assert patching.count == 0
    want = plain(inside, net.latent)
    assert relative(got, want) < 1e-4
    assert relative(want, plain(base, net.latent)) > 1e-2


def test_a_clone_with_a_weight_wrapper_is_no_weight_clone():
    net = NETWORKS["unet"]
    model = net.model()
    clone = model.clone()
    clone.add_weight_wrapper(f"{net.layers[0]}.weight", lambda weight: weight * 0)
    base, inside = (step_sampler(patcher, net.cond(1), net.cond(9)) for patcher in (model, clone))
    got = lockstep(net.latent, base, regions((torch.ones(1, 8, 12), inside)))
    assert relative(got, plain(inside, net.latent)) < 1e-4


def quantised_flux(model):
    """A model with the weights of `model`, those of its blocks in 8 bits with a scale, through the host's loader."""
    import json

    import comfy.sd

    stored = {}
    for key, weight in model.model.diffusion_model.state_dict().items():
        stored[key] = weight.clone()
        if "blocks" in key and key.endswith(".weight") and weight.ndim == 2:
            scale = weight.abs().max() / 448
            stored[key], stored[f"{key}_scale"] = (weight / scale).to(torch.float8_e4m3fn), scale
            kind = json.dumps({"format": "float8_e4m3fn"}).encode()
            stored[key.removesuffix("weight") + "comfy_quant"] = torch.tensor(list(kind), dtype=torch.uint8)
    return comfy.sd.load_diffusion_model_state_dict(stored)


@pytest.mark.parametrize("kind", ["lora", "lokr", "diff"])
def test_quantised_weights(kind, caplog):
    """Routed, a LoRA is as near to the exact clone as the quantised base is; patched, it would be rounded with them."""
    from testing_pack.families import FAMILIES

    family = FAMILIES["Flux"]
    exact = family.make()
    model = quantised_flux(exact)
    latent = family.latent()
    shape = latent["samples"].shape[-2:]

    def sampled(patcher):
        return plain(step_sampler(patcher, family.cond(1), family.cond(9)), latent)

    rounding = relative(sampled(model), sampled(exact))
    clone = with_lora(model, family.lora_layers, kind=kind)
    base, inside = (step_sampler(patcher, family.cond(1), family.cond(9)) for patcher in (model, clone))
    sampled(model)
    with Patching() as patching:
        got = lockstep(latent, base, regions((torch.ones(1, *shape), inside)))
    if kind == "diff":
        assert "quantised weights take no hooks" in caplog.text
        assert relative(got, sampled(clone)) < 1e-6
    else:
        assert patching.count == 0
        assert relative(got, sampled(with_lora(exact, family.lora_layers, kind=kind))) < 1.2 * rounding


@pytest.mark.parametrize("kind", ["lora", "oft"])
@pytest.mark.parametrize("network", NETWORKS)
def test_offloaded_weights(network, kind, monkeypatch):
    """Low VRAM: weights stay away from the device and are patched when they are cast, at each use."""
    net = NETWORKS[network]
    layers = [layer for layer in net.layers if "qkv" not in layer]
    model = net.model()
    base_model = with_lora(model, layers, 0.8, seed=1)
    clone = with_lora(base_model, layers, 0.5, seed=2, kind=kind)
    base, inside = (step_sampler(patcher, net.cond(1), net.cond(9)) for patcher in (base_model, clone))
    want = plain(inside, net.latent)
    load, loads = comfy.model_patcher.ModelPatcher.load, []

    def load_little(patcher, device_to=None, lowvram_model_memory=0, force_patch_weights=False, full_load=False):
        loads.append(patcher)
        return load(patcher, device_to, 1, force_patch_weights, False)

    model.detach()
    monkeypatch.setattr(comfy.model_patcher.ModelPatcher, "load", load_little)
    got = lockstep(net.latent, base, regions((torch.ones(1, 8, 12), inside)))
    assert loads and model.model.model_lowvram
    assert relative(got, want) < 1e-4
    assert relative(plain(base, net.latent), want) > 1e-3


def test_weights_of_eight_bits():
    """A model stored in 8 bits and computed in 32: the LoRA is added at full precision."""
    net = NETWORKS["unet"]
    model = net.model()
    coarse = {key: weight.to(torch.float8_e4m3fn) for key, weight in model.model.diffusion_model.state_dict().items()}
    with_rounded = net.model()
    with_rounded.model.diffusion_model.load_state_dict({key: weight.float() for key, weight in coarse.items()})
    stored = net.model()
    for name, module in stored.model.diffusion_model.named_modules():
        if hasattr(module, "comfy_cast_weights"):
            module.comfy_cast_weights = True
            for kind in ("weight", "bias"):
                if getattr(module, kind, None) is not None:
                    setattr(module, kind, torch.nn.Parameter(coarse[f"{name}.{kind}"], requires_grad=False))
    base = step_sampler(stored, net.cond(1), net.cond(9))
    inside = step_sampler(with_lora(stored, net.layers), net.cond(1), net.cond(9))
    got = lockstep(net.latent, base, regions((torch.ones(1, 8, 12), inside)))
    want = plain(step_sampler(with_lora(with_rounded, net.layers), net.cond(1), net.cond(9)), net.latent)
    assert relative(got, want) < 1e-4

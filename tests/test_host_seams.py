"""The private seams of ComfyUI in regional/host.py: the signature and the behaviour behind each of them.

A new ComfyUI that changes one of them fails here, by the name of the seam. `.ci/run` runs this file on the oldest
supported ComfyUI too.
"""

import inspect
import re

import comfy.conds
import comfy.hooks
import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import comfy.sample
import comfy.sampler_helpers
import comfy.samplers
import comfy.weight_adapter
import comfyui_version
import pytest
import torch
from comfy.model_patcher import ModelPatcher
from comfy.weight_adapter import LoHaAdapter, LoKrAdapter, LoRAAdapter
from comfy_extras.nodes_model_advanced import RescaleCFG
from comfy_extras.nodes_model_patch import DiffSynthCnetPatch
from loras import with_lora
from pack.regional import host, host_functions
from testing_pack.families import FAMILIES
from testing_pack.models import pixel_cond, random_cond, random_flux, random_flux_cond, random_unet, texture_model
from use import box, regional_sampler, regions, relative, step_sampler

PINNED = "0.30.0"  # the ComfyUI of scripts/dev.py
LAYER = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q"
CONV = "diffusion_model.input_blocks.1.0.in_layers.2"


def names(function):
    return list(inspect.signature(function).parameters)


class Prepared(comfy.samplers.Sampler):
    """A SAMPLER that hands the prepared guider and its options to a function."""

    def __init__(self, look):
        self._look = look

    def sample(self, model_wrap, sigmas, extra_args, callback, noise, *rest, **options):
        self._look(model_wrap, extra_args["model_options"])
        return noise


def prepared(model, look, positive=None, negative=None, size=(8, 8)):
    """Run `look(guider, model_options)` where a sampler runs."""
    guider = comfy.samplers.CFGGuider(model)
    guider.set_conds(positive or random_cond(1), negative or random_cond(2))
    guider.set_cfg(3.0)
    noise = torch.randn(1, 4, *size, generator=torch.Generator().manual_seed(0))
    sigmas = torch.tensor([5.0, 0.0])
    guider.sample(noise, torch.zeros_like(noise), Prepared(look), sigmas, disable_pbar=True, seed=0)


X = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(3))
TIMESTEP = torch.tensor([2.0])


# Sampling


def test_guided_is_the_second_half_of_sampling_function():
    assert names(comfy.samplers.sampling_function) == [
        *("model", "x", "timestep", "uncond", "cond", "cond_scale", "model_options", "seed")
    ]
    assert names(comfy.samplers.cfg_function) == [
        *("model", "cond_pred", "uncond_pred", "cond_scale", "x", "timestep", "model_options", "cond", "uncond")
    ]
    model = random_unet()
    model.set_model_sampler_pre_cfg_function(lambda args: [args["conds_out"][0] * 1.5, args["conds_out"][1]])
    model.set_model_sampler_cfg_function(lambda args: args["uncond"] + 2 * (args["cond"] - args["uncond"]))
    model.set_model_sampler_post_cfg_function(lambda args: args["denoised"] + args["cond_denoised"])
    compared = []

    def look(guider, options):
        cond, uncond, inner = guider.conds["positive"], guider.conds["negative"], guider.inner_model
        want = comfy.samplers.sampling_function(inner, X, TIMESTEP, uncond, cond, 3.0, options)
        out = comfy.samplers.calc_cond_batch(inner, [cond, uncond], X, TIMESTEP, options)
        first = out[0] * 1.5
        got = host.guided(inner, [cond, uncond], out, 3.0, X, TIMESTEP, options)
        compared.append(torch.equal(got[2], want) and torch.equal(got[0], first) and torch.equal(got[1], out[1]))

    prepared(model, look)
    assert compared == [True]


def test_the_keys_of_model_options():
    model = random_unet()
    function = lambda *_: None  # noqa: E731
    model.set_model_sampler_pre_cfg_function(function, disable_cfg1_optimization=True)
    model.set_model_sampler_post_cfg_function(function)
    model.set_model_sampler_cfg_function(function)
    model.set_model_sampler_calc_cond_batch_function(function)
    model.set_model_unet_function_wrapper(function)
    for key in (host.PRE_CFG, host.POST_CFG, host.CFG, host.CALC_COND_BATCH, host.WRAPPER):
        assert model.model_options[key]
    assert model.model_options[host.ALWAYS_UNCOND] is True


def test_a_model_function_wrapper_sees_the_places_of_the_conds():
    """`cond_or_uncond` has one entry for each chunk of rows: the index into the lists of calc_cond_batch."""
    seen = []

    def wrapper(apply_model, args):
        seen.append((sorted(args["cond_or_uncond"]), args["input"].shape[0], args["c"]["transformer_options"]))
        return apply_model(args["input"], args["timestep"], **args["c"])

    model = random_unet()
    model.set_model_unet_function_wrapper(wrapper)
    lists = lambda guider: [guider.conds["positive"], guider.conds["negative"], guider.conds["positive"]]  # noqa: E731
    prepared(
        model,
        lambda guider, options: comfy.samplers.calc_cond_batch(guider.inner_model, lists(guider), X, TIMESTEP, options),
    )
    [(places, rows, transformer_options)] = seen
    assert places == [0, 1, 2] and rows == 3 and sorted(transformer_options["cond_or_uncond"]) == places


def test_predict_noise_goes_through_wrappers():
    """The same as the host's own guider does around its predict_noise."""
    assert names(comfy.samplers.CFGGuider.predict_noise) == ["self", "x", "timestep", "model_options", "seed"]

    def wrapper(executor, x, timestep, model_options, seed):
        return executor(x * 2, timestep, model_options, seed) + 1

    model = random_unet()
    compared = []

    def look(guider, options):
        want = guider.outer_predict_noise(X, TIMESTEP, options, None)
        got, wrapped = host.through_predict_noise_wrappers(guider, guider.predict_noise, X, TIMESTEP, options)
        compared.append((torch.equal(got, want), wrapped))

    prepared(model, look)
    model.add_wrapper(comfy.patcher_extension.WrappersMP.PREDICT_NOISE, wrapper)
    prepared(model, look)
    assert compared == [(True, False), (True, True)]


def test_members_conds_are_processed_apart():
    """The host's process_conds copies an area into the other lists of its dict; each member's own stays its own."""
    assert names(comfy.samplers.process_conds)[:7] == [
        *("model", "noise", "conds", "device", "latent_image", "denoise_mask", "seed")
    ]
    area = [[random_cond(1)[0][0], {"area": (4, 4, 0, 0), "strength": 1.0, "set_area_to_bounds": False}]]
    convert = comfy.sampler_helpers.convert_cond
    conds = {(0, "positive"): convert(area), (1, "positive"): convert(random_cond(2))}
    compared = []

    def look(guider, options):
        device = X.device
        together = comfy.samplers.process_conds(
            guider.inner_model, X, {"positive": convert(area), "negative": convert(random_cond(2))}, device, X
        )
        apart = host.processed_conds(guider.inner_model, conds, X, X, device, None, 0)
        compared.append((len(together["negative"]), {member: len(one["positive"]) for member, one in apart.items()}))
        assert apart[1]["positive"][0]["model_conds"]["c_crossattn"].cond.shape == random_cond(2)[0][0].shape

    prepared(random_unet(), look)
    assert compared == [(2, {0: 1, 1: 1})]


def test_conds_are_taken_out_and_put_back():
    """CFGGuider.inner_sample processes the guider's `conds`."""
    seen = []

    class Guider(comfy.samplers.CFGGuider):
        def inner_sample(self, *args, **kwargs):
            with host.conds_taken_out(self) as given:
                result = super().inner_sample(*args, **kwargs)
                seen.append((sorted(given), self.conds))
            seen.append(sorted(self.conds))
            return result

    guider = Guider(random_unet())
    guider.set_conds(random_cond(1), random_cond(2))
    guider.sample(X, torch.zeros_like(X), Prepared(lambda *_: None), torch.tensor([5.0, 0.0]), disable_pbar=True)
    assert seen == [(["negative", "positive"], {}), ["negative", "positive"]]


# Models and patchers


def test_clones_are_made_active_in_turns():
    """Clones share their weights: the one that is made active has them with its own patches."""
    assert names(comfy.model_management.load_models_gpu)[:4] == [
        *("models", "memory_required", "force_patch_weights", "minimum_memory_required")
    ]
    model = random_unet()
    clone = with_lora(model, [LAYER])
    weight = lambda: model.model.get_submodule(LAYER).weight.clone()  # noqa: E731
    comfy.model_management.load_models_gpu([model])
    own = weight()
    host.make_active(clone, model, [], (0, 0))
    patched = weight()
    host.make_active(model, clone, [], (0, 0))
    assert torch.equal(weight(), own) and relative(patched, own) > 1e-3
    assert not hasattr(model.model, "current_patcher") or model.model.current_patcher is model


def test_weight_clones_differ_in_patches_alone():
    model = random_unet()
    assert host.is_weight_clone(model, model.clone()) and host.is_weight_clone(model, with_lora(model, [LAYER]))
    assert not host.is_weight_clone(model, random_unet())
    changes = {
        "object_patches": lambda clone: clone.add_object_patch("model_sampling", object()),
        "weight_wrapper_patches": lambda clone: clone.add_weight_wrapper("x.weight", lambda w: w),
        "wrappers": lambda clone: clone.add_wrapper(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, print),
        "callbacks": lambda clone: clone.add_callback(comfy.patcher_extension.CallbacksMP.ON_CLONE, lambda *_: None),
        "injections": lambda clone: clone.set_injections("one", []),
        "attachments": lambda clone: clone.set_attachments("one", object()),
        "additional_models": lambda clone: clone.set_additional_models("one", [random_unet()]),
        "model_options": lambda clone: clone.set_model_unet_function_wrapper(lambda *_: None),
    }
    for name, change in changes.items():
        assert hasattr(model, name)
        clone = model.clone()
        change(clone)
        assert not host.is_weight_clone(model, clone), name
    assert hasattr(model, "force_cast_weights") and hasattr(model, "hook_patches")


def test_what_the_host_says_about_loaded_weights():
    model = random_unet()
    comfy.model_management.load_models_gpu([model])
    assert model.model.model_lowvram is False and not host.is_low_vram(model.model)
    assert host.hook_obstacle(model) is None and model.is_dynamic() is False
    quantised = pytest.importorskip("comfy.quant_ops")
    assert quantised.QuantizedTensor.__name__ == "QuantizedTensor"


def test_patches_are_entries_of_five():
    model = random_unet()
    clone = with_lora(with_lora(model, [LAYER], 0.5), [LAYER], -0.25, seed=1)
    first, second = host.patches_of(clone, f"{LAYER}.weight")
    assert (first.strength, second.strength) == (0.5, -0.25)
    assert isinstance(first.value, LoRAAdapter) and first.diff is None
    assert (first.strength_model, first.offset, first.function) == (1.0, None, None)
    assert host.patches_of(model, f"{LAYER}.weight") == []
    [diff] = host.patches_of(with_lora(model, [CONV], kind="bias"), f"{CONV}.bias")
    assert diff.diff is not None and diff.diff.shape == model.model.get_submodule(CONV).bias.shape


def test_hooks_take_patches_as_they_are():
    assert names(comfy.hooks.WeightHook.add_hook_patches) == [
        *("self", "model", "model_options", "target_dict", "registered")
    ]
    assert names(ModelPatcher.add_hook_patches) == ["self", "hook", "patches", "strength_patch", "strength_model"]
    model = random_unet()
    [patch] = host.patches_of(with_lora(model, [LAYER]), f"{LAYER}.weight")
    hook = host.ClonePatches([(1.0, 1.0, {f"{LAYER}.weight": patch.value})])
    assert isinstance(hook.clone(), host.ClonePatches)
    cond = [[random_cond(1)[0][0], {"hooks": comfy.hooks.HookGroup()}]]
    cond[0][1]["hooks"].add(hook)
    got, want = (
        comfy.sample.sample(one, X, 2, 2.0, "euler", "normal", positive, random_cond(2), X * 0, disable_pbar=True)
        for one, positive in ((model, cond), (with_lora(model, [LAYER]), random_cond(1)))
    )
    # The hook is on the positive alone.
    plain = comfy.sample.sample(
        model, X, 2, 2.0, "euler", "normal", random_cond(1), random_cond(2), X * 0, disable_pbar=True
    )
    assert 0 < relative(got, want) < relative(got, plain) or relative(got, plain) > 1e-4


# Weight adapters


@pytest.mark.parametrize("kind", ["lora", "loha", "lokr", "dora", "glora", "oft", "diff"])
def test_additive_adapters_are_told_from_others(kind):
    [patch] = host.patches_of(with_lora(random_unet(), [LAYER], kind=kind), f"{LAYER}.weight")
    want = {"lora": LoRAAdapter, "loha": LoHaAdapter, "lokr": LoKrAdapter}.get(kind)
    if want is not None:
        assert type(patch.value) is want and host.adapter_obstacle(patch.value) is None
    else:
        name = {"dora": "DoRA", "diff": "full weights"}.get(kind, kind)
        assert host.adapter_obstacle(patch.value) == f"({name}) is not additive"


def test_an_adapter_that_changes_the_weights_shape_is_none():
    up, down, shape = torch.ones(4, 2), torch.ones(2, 4), torch.tensor([8, 4])
    adapter = LoRAAdapter(set(), (up, down, 1.0, None, None, shape))
    assert host.adapter_obstacle(adapter) == "changes the weight's shape"


@pytest.mark.parametrize("kind", ["lora", "loha", "lokr"])
@pytest.mark.parametrize("layer", [LAYER, CONV])
def test_an_adapter_adds_what_the_patch_adds(kind, layer):
    """W x + h(x) is the output of the layer with the patch on its weight."""
    model = random_unet()
    clone = with_lora(model, [layer], 0.7, kind=kind)
    [patch] = host.patches_of(clone, f"{layer}.weight")
    module = model.model.get_submodule(layer)
    adapter = host.bypass_adapter(patch.value, module, patch.strength, torch.device("cpu"))
    width = module.weight.shape[1]
    x = torch.randn(2, width, 6, 6) if layer == CONV else torch.randn(2, 5, width)
    comfy.model_management.load_models_gpu([model])
    out = module(x)
    got = out + adapter.h(x, out)
    host.make_active(clone, model, [], (0, 0))
    want = module(x)
    host.make_active(model, clone, [], (0, 0))
    assert relative(got, want) < 1e-5 < relative(out, want)


# Networks


def test_patches_and_positions_of_networks():
    unet, flux = random_unet().model, random_flux().model
    assert (host.patch_size(unet), host.patch_size(flux), host.patch_size(texture_model().model)) == (2, 2, 1)
    assert (host.has_positions(unet), host.has_positions(flux)) == (False, True)
    assert all(host.takes_crops(model) for model in (unet, flux, texture_model().model))


@pytest.mark.parametrize("family", FAMILIES)
def test_networks_by_their_names(family):
    """Those that are told where a crop lies are named in regional/host.py; a renamed one would be computed in full."""
    croppable = {"SD15", "SDXL", "Flux", "Flux2", "Lumina2", "ZImage", "Wan", "Ernie", "LTXV"}
    model = FAMILIES[family].make().model
    named = type(model.diffusion_model).__name__ in host._CROPPABLE
    assert host.takes_crops(model) is named
    if family in croppable:
        assert named


def test_rope_options_move_the_positions():
    """Flux's positions of the image move by (top, left) patches; those of the text stay."""
    model = random_flux()
    seen = []
    handle = model.model.diffusion_model.pe_embedder.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    x = torch.zeros(1, 16, 8, 8)
    try:
        for options in ({}, host.with_position({}, 3.0, 5.0)):
            text, pooled = random_flux_cond(1)[0][0], random_flux_cond(1)[0][1]["pooled_output"]
            model.model.diffusion_model(
                x, torch.tensor([1.0]), text, y=pooled, guidance=torch.tensor([1.0]), transformer_options=options
            )
    finally:
        handle.remove()
    moved = (seen[1] - seen[0])[0]
    assert bool((moved[: text.shape[1]] == 0).all())
    assert torch.allclose(moved[text.shape[1] :], torch.tensor([0.0, 3.0, 5.0]))
    twice = host.with_position(host.with_position({}, 3.0, 5.0), 1.0, 1.0)["rope_options"]
    assert (twice["shift_y"], twice["shift_x"]) == (4.0, 6.0)


def test_model_patches_say_that_they_bring_a_model():
    assert callable(DiffSynthCnetPatch.models)

    class Patch:
        def models(self):
            return []

    patch = Patch()
    assert host.has_patched_models({"patches": {"double_block": [patch]}})
    assert host.has_patched_models({"patches_replace": {"attn2": {("block", 0): patch}}})
    assert not host.has_patched_models({"patches": {"attn1_patch": [lambda *_: None]}})


# Functions of patches, and of the host itself


@pytest.mark.parametrize("file", sorted(host_functions._INDIFFERENT))
def test_nodes_that_are_known_by_their_names(file):
    """A node that the host has renamed would be asked in a call of its own."""
    path = host_functions._ROOT / file
    if not path.is_file():
        pytest.skip("this ComfyUI has no such file")
    text = path.read_text("utf-8")
    known = {name for name in host_functions._INDIFFERENT[file] if re.search(rf"(class|def) {name}\b", text)}
    missing = host_functions._INDIFFERENT[file] - known
    assert not missing or comfyui_version.__version__ != PINNED


def test_the_origin_of_a_function():
    model = random_unet()
    function = RescaleCFG().patch(model, 0.7)[0].model_options["sampler_cfg_function"]
    assert host_functions._origin(function)[0] == "comfy_extras/nodes_model_advanced.py"
    assert host_functions.is_hosts(function) and host_functions.is_indifferent(function)
    assert host_functions.name_of(function) == "RescaleCFG"
    own = lambda args: args["denoised"]  # noqa: E731
    assert not host_functions.is_hosts(own) and not host_functions.is_indifferent(own)
    own.regional_any_rows = True
    assert host_functions.is_indifferent(own)


def test_replaced_functions_are_told_and_put_back(monkeypatch):
    own = host_functions.host_functions()
    assert {"sampling_function", "calc_cond_batch", "cfg_function"} <= set(own) and not host_functions.replaced(own)

    def sampling_function(*args, **kwargs):
        return own["sampling_function"](*args, **kwargs)

    with host_functions.with_host_functions({**own, "sampling_function": sampling_function}):
        assert comfy.samplers.sampling_function is sampling_function
        assert host_functions.replaced(host_functions.host_functions()) == ["sampling_function"]
    assert host_functions.host_functions() == own


def test_hooks_are_kept_as_they_are():
    groups = [comfy.hooks.HookGroup(), None, comfy.hooks.HookGroup()]
    hooks = [comfy.hooks.WeightHook(), comfy.hooks.WeightHook()]
    groups[0].add(hooks[0])
    groups[2].add(hooks[1])
    assert [id(one) for one in host_functions.same_hooks(groups).hooks] == [id(one) for one in hooks]


def test_one_device():
    model = random_unet()
    assert host.on_each_device(model) == [model] and host.device_of_call({"c": {}}) is None
    layers = model.model.get_submodule(LAYER), model.model.get_submodule(CONV)
    assert all(host.is_own_layer(layer) for layer in layers) and not host.is_own_layer(Foreign())


class Foreign(torch.nn.Module):
    """A layer of another pack."""


# One run of each engine


@pytest.mark.parametrize("engine", ["stepwise", "lockstep"])
@pytest.mark.parametrize("compute", ["full", "crop"])
def test_a_region_in_each_engine(engine, compute):
    """On the exact model each place shows its own prompt."""
    model, size = texture_model(), (12, 16)
    base, inside = (step_sampler(model, pixel_cond(mean, 0.0), pixel_cond(0.0, 0.6)) for mean in (0.5, -0.5))
    mask = box(*size, 2, 3, 9, 12)
    options = {"engine": engine, "region_compute": compute, "crop_context": 16}
    out = regional_sampler({"samples": torch.zeros(1, 4, *size)}, base, regions((mask, inside)), **options)["samples"]
    plain = regional_sampler({"samples": torch.zeros(1, 4, *size)}, base, regions((mask, base)), **options)["samples"]
    where = mask[:, None].bool().expand_as(out)
    assert float((out[~where] - plain[~where]).abs().max()) < 1e-5
    assert float(out[where].mean()) < -0.3 < 0.3 < float(plain[where].mean())

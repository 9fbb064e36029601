"""Several GPUs, stood in for by a second CPU: the picture of one device, and one model call on each in a step.

The host splits the rows of a model call over the devices of its MultiGPU node, and calls the models in threads.
"""

import threading
from contextlib import nullcontext

import comfy.model_management
import pytest
import torch
from loras import Patching, with_lora
from testing_pack.models import random_cond, random_flux, random_flux_cond, random_unet
from use import box, regional_sampler, regions, relative, step_sampler, use

SECOND = torch.device("cpu", 0)
UNET_LAYERS = [
    "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q",
    "diffusion_model.middle_block.1.transformer_blocks.0.ff.net.2",
    "diffusion_model.time_embed.0",
    "diffusion_model.input_blocks.1.0.in_layers.2",
]
FLUX_LAYERS = ["diffusion_model.double_blocks.0.img_attn.qkv", "diffusion_model.single_blocks.0.linear2"]
UNET, FLUX = (random_unet, random_cond, UNET_LAYERS, 4), (random_flux, random_flux_cond, FLUX_LAYERS, 16)
NETWORKS = {"unet": UNET, "flux": FLUX}
STEPS = 4
# Three regions of one size that leave some of the canvas to the base.
MASKS = [box(16, 32, 0, left, 16, left + 8) for left in (0, 8, 16)]


def on_two_devices(make):
    """A model whose additional models are those that the host's MultiGPU node makes for one more device."""
    model = make()
    twin = model.clone(model_override=(make().model, ({}, {}, {}, set())))
    twin.load_device, twin.is_multigpu_base_clone, twin.hook_backup = SECOND, True, {}
    model.set_additional_models("multigpu", [twin])
    return model


def watched(model):
    """The model with a wrapper that notes the device of each call and its number of rows, in order."""
    calls = []

    def wrapper(apply_model, args):
        device = args["c"]["transformer_options"].get("multigpu_thread_device", torch.device("cpu"))
        calls.append((device, args["input"].shape[0], threading.current_thread()))
        return apply_model(args["input"], args["timestep"], **args["c"])

    wrapper.regional_any_rows = True  # it takes any rows, so those of several regions may share a call
    clone = model.clone()
    clone.set_model_unet_function_wrapper(wrapper)
    return clone, calls


def models_for(kind, model, layers):
    """The models of the base and the three regions."""
    if kind == "one model":
        return [model] * 4
    if kind == "a LoRA in each region":
        return [model, *(with_lora(model, layers, 0.8, seed=n) for n in range(3))]
    if kind == "a LoRA in two regions":
        clone = with_lora(model, layers, 0.8, seed=1)
        return [model, clone, model, clone]
    if kind == "LoRAs on LoRAs":
        base = with_lora(model, layers, 0.7, seed=5)
        stacked = with_lora(with_lora(base, layers, 0.5, seed=1, kind="lokr"), layers[-1:], -0.6, seed=2)
        return [base, stacked, model, with_lora(base, layers, 0.5, seed=3, kind="bias")]
    raise KeyError(kind)


KINDS = ["one model", "a LoRA in each region", "a LoRA in two regions", "LoRAs on LoRAs"]


def sampled(models, cond, channels, others="euler", **inputs):
    samplers = [
        step_sampler(model, cond(n), cond(9), sampler_name=others if n else "euler") for n, model in enumerate(models)
    ]
    latent = {"samples": torch.zeros(1, channels, 16, 32)}
    options = {"engine": "lockstep", "steps": STEPS, "base_only_steps": 0, **inputs}
    with torch.inference_mode():
        return regional_sampler(latent, samplers[0], regions(*zip(MASKS, samplers[1:], strict=True)), **options)[
            "samples"
        ]


def both(kind, network="unet", others="euler", patching=None, **inputs):
    """The pictures on two devices and on one, and the calls on the two."""
    make, cond, layers, channels = NETWORKS[network]
    model, calls = watched(on_two_devices(make))
    models = models_for(kind, model, layers)
    if patching is not None:  # the base's weights are loaded once
        sampled(models, cond, channels, steps=1)
        calls.clear()
    with patching or nullcontext():
        got = sampled(models, cond, channels, others, **inputs)
    alone, _ = watched(make())
    want = sampled(models_for(kind, alone, layers), cond, channels, others, **inputs)
    return got, want, calls


def running_threads():
    return {thread for thread in threading.enumerate() if thread.name != "tqdm_monitor"}  # the host's, of its bar


def assert_threads_ended(before):
    """The host ends the threads of its devices without waiting for them."""
    for thread in running_threads() - before:
        thread.join(10)
        assert not thread.is_alive()


def left_as_it_was(model):
    modules = [one.model for one in (model, *model.get_additional_models_with_key("multigpu"))]
    assert not any(module._forward_hooks for one in modules for module in one.modules())
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("regional-")]


@pytest.mark.parametrize("network", NETWORKS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_picture_of_one_device_by_one_call_on_each(kind, network, caplog):
    patching = Patching()
    got, want, calls = both(kind, network, patching=patching)
    assert relative(got, want) < 1e-5
    assert len(calls) == 2 * STEPS
    assert [calls[n][0] for n in range(2 * STEPS)].count(SECOND) == STEPS
    # One negative for all, or one for each set of weights.
    rows = {"one model": 5, "a LoRA in each region": 8, "a LoRA in two regions": 6, "LoRAs on LoRAs": 8}[kind]
    assert sum(rows for _, rows, _ in calls) == STEPS * rows
    assert len({thread for _, _, thread in calls} - {threading.main_thread()}) == 2
    assert patching.count == 0
    assert "weights are" not in caplog.text


@pytest.mark.parametrize("kind", KINDS)
def test_crop(kind):
    got, want, calls = both(kind, region_compute="crop", crop_context=0)
    assert relative(got, want) < 1e-5
    assert len(calls) <= 2 * STEPS and {device for device, _, _ in calls} == {torch.device("cpu"), SECOND}


@pytest.mark.parametrize("others", ["dpmpp_2m", "euler_ancestral", "heun"])
@pytest.mark.parametrize("kind", ["one model", "a LoRA in each region"])
def test_unlike_samplers(kind, others):
    got, want, calls = both(kind, others=others)
    assert relative(got, want) < 1e-5
    evaluations = STEPS if others != "heun" else 2 * STEPS - 1
    assert len(calls) == 2 * evaluations


@pytest.mark.parametrize("kind", ["oft", "diff"])
def test_what_cannot_be_added_is_hooked_on_both(kind, caplog):
    pictures = []
    for make in (lambda: on_two_devices(random_unet), random_unet):
        model = make()
        clones = [with_lora(model, UNET_LAYERS, 0.8, seed=n, kind=kind) for n in range(3)]
        pictures.append(sampled([model, *clones], random_cond, 4))
    assert relative(*pictures) < 1e-5
    assert caplog.text.count("its weights are patched by hooks at every step") == 6


def test_switched_models(monkeypatch):
    """Where nothing else is left each model is loaded on both devices in turn."""
    from pack.regional.guider import Guider_Regional
    from pack.regional.models.serving import LoraMethod

    routed, _, _ = both("a LoRA in each region")
    monkeypatch.setattr(Guider_Regional, "methods", [LoraMethod.SWITCH])
    got, want, _ = both("a LoRA in each region")
    assert relative(got, want) < 1e-5
    assert relative(got, routed) < 1e-4


def test_hooks_on_models_that_take_turns(monkeypatch):
    """A switched model's hooks are put on its own weights, on both devices."""
    from comfy.hooks import create_hook_lora, set_hooks_for_conditioning
    from loras import lora_file

    pictures = []
    for make in (lambda: on_two_devices(random_unet), random_unet):
        one, other = make(), random_unet(seed=3)
        hooks = [create_hook_lora(lora_file(one, UNET_LAYERS, seed=seed), 0.8, 0.0) for seed in (1, 2)]

        def cond(n, hooks=hooks):
            return set_hooks_for_conditioning(random_cond(n), hooks[n - 1]) if n in (1, 2) else random_cond(n)

        pictures.append(sampled([one, one, other, one], cond, 4))
    assert relative(*pictures) < 1e-5


def test_again_with_other_patches():
    """A run leaves twins on the model that have its patches; the next run's clones are recognised all the same."""
    model, calls = watched(on_two_devices(random_unet))
    for seed in (1, 2):
        with torch.inference_mode():  # as ComfyUI runs LoraLoader
            clones = [with_lora(model, UNET_LAYERS, 0.8, seed=seed)] * 3
        calls.clear()
        got = sampled([model, *clones], random_cond, 4)
        alone = random_unet()
        want = sampled([alone, *[with_lora(alone, UNET_LAYERS, 0.8, seed=seed)] * 3], random_cond, 4)
        assert relative(got, want) < 1e-5
        assert len(calls) == 2 * STEPS


def test_a_patch_that_asks_the_model_itself():
    from comfy_extras.nodes_pag import PerturbedAttentionGuidance

    pictures = []
    for make in (lambda: on_two_devices(random_unet), random_unet):
        model = PerturbedAttentionGuidance.execute(make(), 3.0).result[0]
        clones = [with_lora(model, UNET_LAYERS, 0.8, seed=n) for n in range(3)]
        pictures.append(sampled([model, *clones], random_cond, 4))
    assert relative(*pictures) < 1e-5


def test_regional_guider():
    from comfy_extras.nodes_custom_sampler import BasicScheduler, KSamplerSelect, RandomNoise, SamplerCustomAdvanced

    pictures, counts = [], []
    for make in (lambda: on_two_devices(random_unet), random_unet):
        model, calls = watched(make())
        clone = with_lora(model, UNET_LAYERS)
        prompts = use(
            "RegionalPromptFromConditioning",
            mask=MASKS[0],
            model=clone,
            positive=random_cond(1),
            negative=random_cond(9),
            cfg=2.0,
        )
        inputs = {"model": model, "positive": random_cond(0), "negative": random_cond(9), "regional_prompts": prompts}
        guider = use("RegionalGuider", cfg=2.0, overlap_factor=0, **inputs)
        sampler, noise = KSamplerSelect.execute("euler").result[0], RandomNoise.execute(5).result[0]
        sigmas = BasicScheduler.execute(model, "normal", STEPS, 1.0).result[0]
        latent = {"samples": torch.zeros(1, 4, 16, 32)}
        with torch.inference_mode():
            pictures.append(SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).result[0]["samples"])
        counts.append(len(calls))
    assert relative(*pictures) < 1e-5
    assert counts == [2 * STEPS, STEPS]


@pytest.mark.parametrize("others", ["euler", "dpmpp_2m"])
@pytest.mark.parametrize("device", [torch.device("cpu"), SECOND], ids=str)
@pytest.mark.parametrize("failure", ["error", "interrupt", "memory"])
def test_a_failure_on_one_device_ends_all(failure, device, others):
    model = on_two_devices(random_unet)
    errors = {
        "error": RuntimeError("broken"),
        "interrupt": comfy.model_management.InterruptProcessingException(),
        "memory": comfy.model_management.OOM_EXCEPTION("no memory left"),
    }
    state = {"broken": True, "calls": 0}

    def wrapper(apply_model, args):
        here = args["c"]["transformer_options"]["multigpu_thread_device"] == device
        state["calls"] += here
        if here and state["calls"] == 2 and state["broken"]:
            raise errors[failure]
        return apply_model(args["input"], args["timestep"], **args["c"])

    model.set_model_unet_function_wrapper(wrapper)
    models = models_for("a LoRA in each region", model, UNET_LAYERS)
    before = running_threads()
    with pytest.raises(type(errors[failure])) as raised:
        sampled(models, random_cond, 4, others)
    assert raised.value is errors[failure]
    left_as_it_was(model)
    assert_threads_ended(before)
    state["broken"] = False
    alone = random_unet()
    want = sampled(models_for("a LoRA in each region", alone, UNET_LAYERS), random_cond, 4, others)
    assert relative(sampled(models, random_cond, 4, others), want) < 1e-5


def test_an_interrupt_from_outside_ends_all():
    model = on_two_devices(random_unet)

    def wrapper(apply_model, args):
        if args["c"]["transformer_options"]["multigpu_thread_device"] == SECOND:
            comfy.model_management.interrupt_current_processing()
        return apply_model(args["input"], args["timestep"], **args["c"])

    model.set_model_unet_function_wrapper(wrapper)
    before = running_threads()
    try:
        with pytest.raises(comfy.model_management.InterruptProcessingException):
            sampled(models_for("a LoRA in each region", model, UNET_LAYERS), random_cond, 4)
    finally:
        comfy.model_management.interrupt_current_processing(False)
    left_as_it_was(model)
    assert_threads_ended(before)


def test_a_layer_that_is_not_called_on_the_second_device_is_noticed(caplog):
    """What goes wrong in the host's thread begins the run again, with weight hooks."""
    model = on_two_devices(random_unet)
    (twin,) = model.get_additional_models_with_key("multigpu")
    layer = twin.model.get_submodule(UNET_LAYERS[0])
    # By its forward alone, so that the hooks on it are passed by.
    parent = twin.model.get_submodule(UNET_LAYERS[0].rpartition(".")[0])
    parent.forward = without_calling(parent, layer, parent.forward)
    clones = [with_lora(model, UNET_LAYERS, 0.8, seed=n) for n in range(3)]
    got = sampled([model, *clones], random_cond, 4)
    alone = random_unet()
    want = sampled([alone, *(with_lora(alone, UNET_LAYERS, 0.8, seed=n) for n in range(3))], random_cond, 4)
    assert relative(got, want) < 1e-5
    assert "does not call its layer" in caplog.text


def without_calling(parent, layer, forward):
    def passing(*args, **kwargs):
        del parent._modules["to_q"]
        object.__setattr__(parent, "to_q", layer.forward)
        try:
            return forward(*args, **kwargs)
        finally:
            object.__delattr__(parent, "to_q")
            parent._modules["to_q"] = layer

    return passing

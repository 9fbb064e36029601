"""The private seams of ComfyUI that this pack depends on, and nothing else.

Each function stands for one thing that the host does not offer as a function of its own, or names in no public place.
tests/test_host_seams.py asserts the signature and the behaviour behind each of them, so that a change of the host fails
there, by name. Functions that the host offers to everybody are called where they are used.
"""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import comfy.hooks
import comfy.model_base
import comfy.model_management
import comfy.model_patcher
import comfy.patcher_extension
import comfy.samplers
import torch
from comfy.weight_adapter import LoHaAdapter, LoKrAdapter, LoRAAdapter
from comfy.weight_adapter.bypass import get_module_type_info

# The dict that the host passes to samplers, wrappers and cfg functions.
ModelOptions = dict[str, Any]
# Prepared or converted CONDITIONING: one dict for each entry, with `model_conds`.
Conds = list[dict[str, Any]]

# Keys of ModelOptions.
PRE_CFG, POST_CFG, CFG = "sampler_pre_cfg_function", "sampler_post_cfg_function", "sampler_cfg_function"
CALC_COND_BATCH, WRAPPER = "sampler_calc_cond_batch_function", "model_function_wrapper"
ALWAYS_UNCOND = "disable_cfg1_optimization"


# Sampling


def guided(
    model: Any,
    conds: Sequence[Any],
    out: list[torch.Tensor],
    scale: float,
    x: torch.Tensor,
    timestep: torch.Tensor,
    options: ModelOptions,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """(cond, uncond, denoised) from the predictions `out` of calc_cond_batch, all (B, C, ..., h, w).

    This is the second half of comfy.samplers.sampling_function. `conds` are the processed conds behind both
    predictions, or None; cfg functions may ask the model with them.
    """
    for function in options.get(PRE_CFG, []):
        out = function(
            {
                "conds": list(conds),
                "conds_out": out,
                "cond_scale": scale,
                "timestep": timestep,
                "input": x,
                "sigma": timestep,
                "model": model,
                "model_options": options,
            }
        )
    denoised = comfy.samplers.cfg_function(
        model, out[0], out[1], scale, x, timestep, model_options=options, cond=conds[0], uncond=conds[1]
    )
    return out[0], out[1], denoised


def through_predict_noise_wrappers(
    guider: Any,
    predict: Callable[..., torch.Tensor],
    x: torch.Tensor,
    timestep: torch.Tensor,
    options: ModelOptions,
    seed: int | None = None,
    wrapped: ModelOptions | None = None,
) -> tuple[torch.Tensor, bool]:
    """`predict(x, timestep, options, seed)` inside the guider's PREDICT_NOISE wrappers, and whether it has any.

    This is comfy.samplers.CFGGuider.outer_predict_noise with another function in the place of predict_noise. `wrapped`:
    the options that hold the wrappers; by default the guider's.
    """
    wrappers = comfy.patcher_extension.get_all_wrappers(
        comfy.patcher_extension.WrappersMP.PREDICT_NOISE,
        guider.model_options if wrapped is None else wrapped,
        is_model_options=True,
    )
    executor = comfy.patcher_extension.WrapperExecutor.new_class_executor(predict, guider, wrappers)
    return executor.execute(x, timestep, options, seed), bool(wrappers)


@contextmanager
def conds_taken_out(guider: Any) -> Iterator[dict[Any, Conds]]:
    """Inside of it, a guider that is being prepared has no conds for CFGGuider.inner_sample to process; yields them."""
    given, guider.conds = guider.conds, {}
    try:
        yield given
    finally:
        guider.conds = given


def processed_conds(
    model: Any,
    conds: Mapping[Any, Conds],
    noise: torch.Tensor,
    latent_image: torch.Tensor,
    device: Any,
    denoise_mask: Any,
    seed: int,
    **shapes: Any,
) -> dict[int, dict[str, Conds]]:
    """For each member the conds by kind that the model takes, from conds by (member, kind).

    comfy.samplers.process_conds copies each cond with an area into all other lists of its dict, so every member gets a
    dict of its own.
    """
    if torch.count_nonzero(latent_image) > 0:  # as CFGGuider.inner_sample, which leaves empty latents alone
        latent_image = model.process_latent_in(latent_image)
    processed = {}
    for member in dict.fromkeys(member for member, _ in conds):
        own = {kind: entries for (owner, kind), entries in conds.items() if owner == member}
        processed[member] = comfy.samplers.process_conds(
            model, noise, own, device, latent_image, denoise_mask, seed, **shapes
        )
    return processed


# Models and patchers


# The key of a patcher's additional models for its twins on further GPUs.
_MULTI_GPU = "multigpu"


def on_each_device(patcher: Any) -> list[Any]:
    """A prepared patcher and its twins on further GPUs, each with a model of its own that has the same weights."""
    twins = patcher.get_additional_models_with_key(_MULTI_GPU)
    return [patcher, *(twin for twin in twins if twin.is_multigpu_base_clone)]


def device_of_call(args: Mapping[str, Any]) -> torch.device | None:
    """From a model function wrapper's arguments the device of a call on one of several GPUs; None for the first one.

    The host makes the calls on several GPUs at the same time, in a thread for each.
    """
    return args["c"].get("transformer_options", {}).get("multigpu_thread_device")  # type: ignore[no-any-return]


def make_active(patcher: Any, previous: Any, others: Sequence[Any], memory: Sequence[float]) -> None:
    """Load the patcher's weights in the place of `previous`, on each device; clones of one model share them.

    `others` are the models of its conds and its twins; `memory` (required, minimum) in bytes is the host's estimate.
    """
    for one in on_each_device(previous):
        one.unpatch_hooks()
    comfy.model_management.load_models_gpu([patcher, *others], *memory[:1], False, *memory[1:])
    for one in on_each_device(patcher):
        if hasattr(one.model, "current_patcher"):
            one.model.current_patcher = one
        # If another model shares hooks with keyframes, its call may have moved these: the host tells only that model.
        for hooks in [group for group in one.cached_hook_patches if _is_scheduled(group)]:
            del one.cached_hook_patches[hooks]


def _is_scheduled(hooks: Any) -> bool:
    return any(len(hook.hook_keyframe.keyframes) > 1 for hook in hooks.hooks)


def is_weight_clone(reference: Any, clone: Any) -> bool:
    """Whether two MODELs are one model and differ in nothing but weight patches, on as many GPUs."""
    if reference is clone:
        return True
    if not reference.is_clone(clone):
        return False
    names = (
        "object_patches",
        "weight_wrapper_patches",
        "force_cast_weights",
        "hook_patches",
        "wrappers",
        "callbacks",
        "injections",
        "attachments",
        "model_options",
    )
    return all(same(getattr(reference, name, None), getattr(clone, name, None)) for name in names) and (
        _same_additional(reference.additional_models, clone.additional_models)
    )


def _same_additional(a: Mapping[str, Sequence[Any]], b: Mapping[str, Sequence[Any]]) -> bool:
    """Whether two patchers have the same additional models. A patcher's clone() has clones of them."""

    def alike(key: str, one: Any, other: Any) -> bool:
        if one is other:
            return True
        if one.load_device != other.load_device:
            return False
        if key == _MULTI_GPU:
            # When the host prepares a patcher its twins get all else from the patcher itself.
            return bool(one.is_clone(other)) and one.is_multigpu_base_clone == other.is_multigpu_base_clone
        return is_weight_clone(one, other) and same(one.patches, other.patches)

    return a.keys() == b.keys() and all(
        len(a[key]) == len(b[key]) and all(alike(key, *pair) for pair in zip(a[key], b[key], strict=True)) for key in a
    )


def same(a: Any, b: Any) -> bool:
    """Whether two structures are equal and hold the same objects, as those of a patcher and of its clone() do."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(same(one, other) for one, other in zip(a, b, strict=True))
    return isinstance(a, str | int | float | bool) and a == b


def is_low_vram(model: Any) -> bool:
    """Whether some weights of a loaded model stay offloaded; the host puts patches on them when they are used."""
    return bool(getattr(model, "model_lowvram", False))


def hook_obstacle(patcher: Any) -> str | None:
    """Why the host cannot patch this model's weights by hooks; None if it can."""
    if patcher.is_dynamic():
        return "hooks would load the model a second time, as dynamic VRAM takes none"
    put_on = getattr(patcher.patch_weight_to_device, "__func__", None)
    if put_on is not comfy.model_patcher.ModelPatcher.patch_weight_to_device:
        # Of another pack, for weights of its own kind (GGUF). The host's hooks read and write weights of the host's.
        return f"{type(patcher).__name__} patches weights in its own way, which takes no hooks"
    if any(type(weight).__name__ == "QuantizedTensor" for weight in patcher.model.parameters()):
        # The host does not find their scales where it takes stock of the weights for a hook.
        return "quantised weights take no hooks"
    return None


class Patch(NamedTuple):
    """One entry of ModelPatcher.patches[key]."""

    strength: float
    value: Any
    strength_model: float
    offset: tuple[int, int, int] | None
    function: Any

    @property
    def diff(self) -> torch.Tensor | None:
        """The tensor that is added as it is, if the patch is one."""
        value = self.value
        if isinstance(value, tuple) and len(value) == 1:
            return value[0]  # type: ignore[no-any-return]
        if isinstance(value, tuple) and value[0] == "diff" and len(value[1]) == 1:
            return value[1][0]  # type: ignore[no-any-return]
        return None


def patches_of(patcher: Any, key: str) -> list[Patch]:
    """The patches of one weight, in the order in which the host puts them on."""
    return [Patch(*patch) for patch in patcher.patches.get(key, [])]


class ClonePatches(comfy.hooks.WeightHook):
    """The host's weight hook with patches that a clone already holds, instead of those of a LoRA file.

    `patches`: (strength, strength_model, {key: value}) as ModelPatcher.add_hook_patches takes them.
    """

    def __init__(self, patches: Sequence[tuple[float, float, dict[Any, Any]]] = ()) -> None:
        super().__init__(strength_model=1.0, strength_clip=0.0)
        self._patches = patches

    def add_hook_patches(self, model: Any, model_options: Any, target_dict: Any, registered: Any) -> bool:
        for strength, strength_model, patches in self._patches:
            model.add_hook_patches(self, patches, strength, strength_model)
        registered.add(self)
        return True

    def clone(self) -> Any:
        copied = super().clone()
        copied._patches = self._patches
        return copied


# Weight adapters


def is_own_layer(module: torch.nn.Module) -> bool:
    """Whether a layer is one of the host's or torch's, or derived from torch's linear layers or convolutions.

    Other packs' layers may hold their weights in another form, and give something else than the product with these.
    """
    torchs = (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Conv2d, torch.nn.Conv3d)
    return isinstance(module, torchs) or type(module).__module__.partition(".")[0] in ("comfy", "torch")


# Adapters whose forward is W x + h(x), with the index of their DoRA scale in `weights`. DoRA is not of that form.
_ADDITIVE = {LoRAAdapter: 4, LoHaAdapter: 7, LoKrAdapter: 8}
_LORA_RESHAPE = 5


def adapter_obstacle(value: Any) -> str | None:
    """Why a patch's value is no term that can be added to a layer's output, as its kind's name; None if it is one."""
    place = _ADDITIVE.get(type(value))
    if place is None:
        return f"({getattr(value, 'name', 'full weights')}) is not additive"
    if value.weights[place] is not None:
        return "(DoRA) is not additive"
    if isinstance(value, LoRAAdapter) and value.weights[_LORA_RESHAPE] is not None:
        return "changes the weight's shape"
    return None


def adapter_on(adapter: Any, device: torch.device) -> Any:
    """A copy of an adapter with its weights on a device."""
    moved = copy.copy(adapter)
    moved.weights = tuple(one.to(device) if isinstance(one, torch.Tensor) else one for one in adapter.weights)
    return moved


def bypass_adapter(value: Any, module: torch.nn.Module, strength: float, device: torch.device) -> Any:
    """A copy of an additive adapter whose h(x, out) can be called for a layer, with its weights on `device`."""
    info = get_module_type_info(module)
    is_conv = info["is_conv"]

    def placed(weight: Any) -> Any:
        if not isinstance(weight, torch.Tensor):
            return weight
        # A LoRA saved for a 1x1 convolution also fits a linear layer.
        return (weight.flatten(1) if not is_conv and weight.ndim > 2 else weight).to(device)

    adapter = copy.copy(value)
    adapter.weights = tuple(placed(weight) for weight in value.weights)
    adapter.multiplier = strength
    for name in ("is_conv", "conv_dim", "kernel_size", "in_channels", "out_channels"):
        setattr(adapter, name, info[name])
    names = ("stride", "padding", "dilation", "groups")
    adapter.kw_dict = {name: info[name] for name in names} if is_conv else {}
    return adapter


# Networks


def patch_size(model: Any) -> int:
    """The latent pixels along one axis that belong together in a BaseModel: its patch, or what a UNet's deepest layer
    holds as one value.
    """
    net = getattr(model, "diffusion_model", None)
    if (levels := getattr(net, "channel_mult", None)) is not None:
        return int(2 ** (len(levels) - 1))
    patch = getattr(net, "patch_size", 1)
    return int(patch[-1]) if isinstance(patch, Sequence) else int(patch)


def has_positions(model: Any) -> bool:
    """Whether the network encodes the position of each patch, so that a crop must be given its own."""
    return hasattr(getattr(model, "diffusion_model", None), "patch_size")


# The host's networks, by name as not every host has all, that take the position of a crop (by rope_options) or need
# none: a UNet has no positions, those of LTXV count only relative to each other. Networks derived from them, such as
# those of WanModel with a camera or poses, are not in the list: they take inputs for the whole canvas.
_CROPPABLE = {"UNetModel", "Flux", "NextDiT", "WanModel", "ErnieImageModel", "LTXVModel"}
# Models that set their own rope_options where there are none.
_OWN_POSITIONS = tuple(getattr(comfy.model_base, name) for name in ("LongCatImage",) if hasattr(comfy.model_base, name))


def takes_crops(model: Any) -> bool:
    """Whether a BaseModel can compute a part of the canvas and be told where the part lies."""
    net = getattr(model, "diffusion_model", None)
    return (net is None or type(net).__name__ in _CROPPABLE) and not isinstance(model, _OWN_POSITIONS)


def with_position(transformer_options: Mapping[str, Any], top: float, left: float) -> dict[str, Any]:
    """transformer_options whose rope_options move all positions by (top, left), in patches."""
    rope = dict(transformer_options.get("rope_options") or {})
    for axis, start in (("y", top), ("x", left)):
        shift, scale = rope.get(f"shift_{axis}", 0.0), rope.get(f"scale_{axis}", 1.0)
        rope[f"shift_{axis}"] = shift + scale * start
    return {**transformer_options, "rope_options": rope}


def has_patched_models(transformer_options: Mapping[str, Any]) -> bool:
    """Whether an attention or block patch brings a model of its own, such as a ControlNet that is a model patch."""
    patches = [patch for one in transformer_options.get("patches", {}).values() for patch in one]
    patches += [patch for one in transformer_options.get("patches_replace", {}).values() for patch in one.values()]
    return any(hasattr(patch, "models") for patch in patches)

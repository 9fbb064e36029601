"""LoRA for each region on one loaded model: what a clone's weight patches add is added to its own rows' outputs.

A patched layer gives (W + dW) x = W x + dW x. So the base's weights stay loaded, and a forward hook on the layer adds
dW x, by the host's own adapter, to the rows of those regions whose clone has the patch. Nothing is patched or unpatched
between regions. Patches that are not additive in the forward pass cannot be routed: the host's weight hooks put them on
for their own rows, which are then evaluated apart.
"""

import copy
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Any

import comfy.hooks
import torch
from comfy.weight_adapter import LoHaAdapter, LoKrAdapter, LoRAAdapter
from comfy.weight_adapter.bypass import get_module_type_info

from ..samplers.guided import Guidance

# Adapters whose forward is W x + h(x), with the place of their DoRA scale, which makes them something else.
_ADDITIVE = {LoRAAdapter: 4, LoHaAdapter: 7, LoKrAdapter: 8}

# What a layer adds: from the rows' input and output, its own part of the output.
Term = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
# The terms by the name of their layer.
Delta = Mapping[str, Sequence[Term]]


class NotRoutable(Exception):
    """Says in its message why a clone's weights cannot be routed."""


@dataclass(frozen=True, eq=False)
class _AdapterTerm:
    """`adapter.h` on rows; into `rows` of the weight alone (a fused projection) when it has an offset."""

    adapter: Any
    channel: int
    offset: tuple[int, int] | None

    def __call__(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        part = out if self.offset is None else out.narrow(self.channel, *self.offset)
        part += self.adapter.h(x, part)
        return out


@dataclass(frozen=True, eq=False)
class _BiasTerm:
    diff: torch.Tensor
    channel: int

    def __call__(self, x: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
        shape = [1] * out.ndim
        shape[self.channel] = -1
        out += self.diff.to(out.dtype).reshape(shape)
        return out


def is_weight_clone(reference: Any, clone: Any) -> bool:
    """Whether two MODELs are one model and differ in nothing but weight patches."""
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
        "additional_models",
    )
    if any(not _same(getattr(reference, name, None), getattr(clone, name, None)) for name in names):
        return False
    return _same(reference.model_options, clone.model_options)


def delta(reference: Any, clone: Any, device: torch.device) -> Delta:
    """What `clone`'s patches add to the layers of `reference`, on `device`; NotRoutable if that cannot be added.

    Patches of the reference that the clone lacks count with the opposite sign.
    """
    terms: dict[str, list[Term]] = {}
    for key in sorted(reference.patches.keys() | clone.patches.keys()):
        ours, theirs = reference.patches.get(key, []), clone.patches.get(key, [])
        for sign, patches, others in ((1.0, theirs, list(ours)), (-1.0, ours, list(theirs))):
            for patch in patches:
                # Each counts once: a clone may hold the same patch twice.
                if (place := next((n for n, other in enumerate(others) if _same(patch, other)), None)) is not None:
                    del others[place]
                    continue
                layer, _, kind = key.rpartition(".")
                terms.setdefault(layer, []).append(_term(reference, layer, kind, patch, sign, device))
    return terms


class ClonePatches(comfy.hooks.WeightHook):
    """The host's weight hook with patches that a clone already holds, instead of a LoRA file's."""

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


def hooks(reference: Any, clone: Any) -> tuple[comfy.hooks.HookGroup, bool]:
    """Hooks that patch the reference's weights as the clone's are, and whether some lie on the reference's own patches.

    Raises NotRoutable if the reference holds patches on which the clone's are not built, or if its weights are
    quantised: the host does not find their scales where it takes stock for a hook.
    """
    if reference.is_dynamic():
        raise NotRoutable("hooks would load the model a second time, as dynamic VRAM takes none")
    if any(type(weight).__name__ == "QuantizedTensor" for weight in reference.model.parameters()):
        raise NotRoutable("quantised weights take no hooks")
    # What stands at one place of the lists is put on in one go, and the places in their order.
    layers: dict[tuple[int, float, float], dict[Any, Any]] = {}
    for key in sorted(reference.patches.keys() | clone.patches.keys()):
        ours, theirs = list(reference.patches.get(key, [])), list(clone.patches.get(key, []))
        if not _same(ours, theirs[: len(ours)]):
            raise NotRoutable("the base's model holds patches that its own does not")
        for place, (strength, value, strength_model, offset, function) in enumerate(theirs[len(ours) :]):
            layers.setdefault((place, strength, strength_model), {})[key, offset, function] = value
    group = comfy.hooks.HookGroup()
    group.add(ClonePatches([(layer[1], layer[2], layers[layer]) for layer in sorted(layers)]))
    on_top = any(key in reference.patches for patches in layers.values() for key, _, _ in patches)
    return group, on_top


def with_hooks(guidance: Guidance, model: Any, group: comfy.hooks.HookGroup) -> Guidance:
    """The guidance on another model, with the hooks on its conds, below those that they have."""

    combine = functools.cache(lambda own: comfy.hooks.HookGroup.combine_all_hooks([group, own]))

    def on(conds: Any) -> Any:
        if not isinstance(conds, list):
            return conds
        return [[tensor, {**options, "hooks": combine(options.get("hooks"))}] for tensor, options in conds]

    return replace(guidance, model=model, positive=on(guidance.positive), negative=on(guidance.negative))


class Router:
    """Adds to each row of a batch what its own member's `Delta` says, in forward hooks on the model's layers."""

    def __init__(self, model: torch.nn.Module, deltas: Mapping[int, Delta]) -> None:
        self._model, self._deltas = model, deltas
        # The member of each chunk of rows in the model call that is under way; empty outside of one.
        self.chunks: Sequence[int] = ()
        self._rows = 0
        self._layers = {layer for one in deltas.values() for layer in one}
        self._met: set[str] = set()

    @contextmanager
    def installed(self) -> Iterator[None]:
        handles = [
            self._model.get_submodule(layer).register_forward_hook(self._hook(layer)) for layer in sorted(self._layers)
        ]
        try:
            yield
        finally:
            self.chunks = ()
            for handle in handles:
                handle.remove()

    @contextmanager
    def rows_of(self, chunks: Sequence[int], rows: int) -> Iterator[None]:
        """A model call on `rows` rows, whose chunks belong to these members.

        NotRoutable after it if a layer was used without being called, so that its terms are missing.
        """
        self.chunks, self._rows = chunks, rows
        try:
            yield
            missed = {layer for member in chunks for layer in self._deltas.get(member, ())} - self._met
            if missed:
                raise NotRoutable(f"the model does not call its layer {min(missed)}")
        finally:
            self.chunks = ()

    def _hook(self, layer: str) -> Callable[[Any, tuple[Any, ...], torch.Tensor], torch.Tensor | None]:
        def add(module: Any, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor | None:
            if not any(layer in self._deltas.get(member, ()) for member in self.chunks):
                return None
            self._met.add(layer)
            x = args[0]
            # One member's rows need no telling apart. Of several, a layer must be given the rows of the call: a
            # multiple of them may be each row's tokens, or the batch twice over (timesteps of reference latents).
            chunks = self.chunks if len(set(self.chunks)) > 1 else self.chunks[:1]
            if len(chunks) > 1 and not x.shape[0] == output.shape[0] == self._rows:
                raise NotRoutable(f"layer {layer} mixes the rows of a batch")
            rows_in, rows_out = x.chunk(len(chunks)), output.chunk(len(chunks))
            for member, inside, outside in zip(chunks, rows_in, rows_out, strict=True):
                for term in self._deltas.get(member, {}).get(layer, ()):
                    term(inside, outside)
            return output

        return add


def _term(model: Any, layer: str, kind: str, patch: tuple[Any, ...], sign: float, device: torch.device) -> Term:
    strength, value, strength_model, offset, function = patch
    try:
        module = model.model.get_submodule(layer)
    except AttributeError:
        raise NotRoutable(f"{layer} is no layer of its own") from None
    if strength_model != 1.0 or function is not None:
        raise NotRoutable(f"the patch of {layer} changes the weight itself")
    info = get_module_type_info(module)
    # The host's linear layers with quantised weights are none of torch's.
    if not info["is_conv"] and not hasattr(module, "in_features"):
        raise NotRoutable(f"{layer} is neither a linear layer nor a convolution")
    channel = 1 if info["is_conv"] else -1
    if kind == "bias" and _is_diff(value) and offset is None:
        diff = value[0] if len(value) == 1 else value[1][0]
        return _BiasTerm(diff.to(device) * (strength * sign), channel)
    place = _ADDITIVE.get(type(value))
    if kind != "weight" or place is None or value.weights[place] is not None or info["groups"] != 1:
        dora = place is not None and value.weights[place] is not None
        name = "DoRA" if dora else getattr(value, "name", "full weights")
        raise NotRoutable(f"the patch of {layer} ({name}) is not additive")
    if isinstance(value, LoRAAdapter) and value.weights[5] is not None:
        raise NotRoutable(f"the patch of {layer} changes the weight's shape")
    if offset is not None and (offset[0] != 0 or info["is_conv"]):
        raise NotRoutable(f"the patch of {layer} is for a part of its input")
    adapter = copy.copy(value)
    adapter.weights = tuple(_placed(weight, device, info["is_conv"]) for weight in value.weights)
    adapter.multiplier = strength * sign
    for name in ("is_conv", "conv_dim", "kernel_size", "in_channels", "out_channels"):
        setattr(adapter, name, info[name])
    names = ("stride", "padding", "dilation", "groups")
    adapter.kw_dict = {name: info[name] for name in names} if info["is_conv"] else {}
    return _AdapterTerm(adapter, channel, None if offset is None else (offset[1], offset[2]))


def _placed(weight: Any, device: torch.device, is_conv: bool) -> Any:
    if not isinstance(weight, torch.Tensor):
        return weight
    # A LoRA saved for a 1x1 convolution also fits a linear layer.
    flat = not is_conv and weight.ndim > 2
    return (weight.flatten(1) if flat else weight).to(device)


def _is_diff(value: Any) -> bool:
    return isinstance(value, tuple) and (len(value) == 1 or (value[0] == "diff" and len(value[1]) == 1))


def _same(a: Any, b: Any) -> bool:
    """Equal structure with the same objects in it: what the host's clone() copies is equal, what it shares is one."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_same(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_same(one, other) for one, other in zip(a, b, strict=True))
    return isinstance(a, str | int | float | bool) and a == b

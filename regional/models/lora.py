"""LoRA for each region on one loaded model: what a clone's weight patches add is added to the outputs of its own rows.

A patched layer gives (W + dW) x = W x + dW x. So the base's weights stay loaded, and a forward hook on the layer adds
dW x, by the host's own adapter, to the rows of those members whose clone has the patch. No weight is patched or
unpatched between regions. Patches that are not additive in the forward pass cannot be served this way: the host's
weight hooks put them on for the member's own rows, which are then evaluated in a call of their own.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from typing import Any, Protocol

import comfy.hooks
import torch
from comfy.weight_adapter.bypass import get_module_type_info

from ...samplers.guided import Guidance
from ..host import (
    ClonePatches,
    Patch,
    adapter_obstacle,
    adapter_on,
    bypass_adapter,
    hook_obstacle,
    is_own_layer,
    patches_of,
    same,
)
from ..host_functions import same_hooks


class Term(Protocol):
    """What a LoRA adds to a layer."""

    def __call__(self, x: torch.Tensor, out: torch.Tensor) -> None:
        """Change a layer's output for some rows, in place, from their input and that output."""

    def to(self, device: torch.device) -> "Term":
        """The term with its tensors on a device."""


# The terms by the name of their layer.
LayerTerms = Mapping[str, Sequence[Term]]


class NotRoutable(Exception):
    """A clone's weights cannot be served in the way that was tried; the message says why."""


@dataclass(frozen=True, eq=False)
class _AdapterTerm:
    """`adapter.h` on rows; with an `offset` (start, length) only on that part of a fused projection's output."""

    adapter: Any
    channel: int
    offset: tuple[int, int] | None

    def __call__(self, x: torch.Tensor, out: torch.Tensor) -> None:
        part = out if self.offset is None else out.narrow(self.channel, *self.offset)
        part += self.adapter.h(x, part)

    def to(self, device: torch.device) -> Term:
        return replace(self, adapter=adapter_on(self.adapter, device))


@dataclass(frozen=True, eq=False)
class _BiasTerm:
    diff: torch.Tensor
    channel: int

    def __call__(self, x: torch.Tensor, out: torch.Tensor) -> None:
        shape = [1] * out.ndim
        shape[self.channel] = -1
        out += self.diff.to(out.dtype).reshape(shape)

    def to(self, device: torch.device) -> Term:
        return replace(self, diff=self.diff.to(device))


def layer_terms(reference: Any, clone: Any, device: torch.device) -> LayerTerms:
    """What `clone`'s patches add to the layers of `reference`, on `device`; NotRoutable if that cannot be added.

    Patches of the reference that the clone lacks count with the opposite sign.
    """
    terms: dict[str, list[Term]] = {}
    for key in sorted(reference.patches.keys() | clone.patches.keys()):
        ours, theirs = patches_of(reference, key), patches_of(clone, key)
        for sign, patches, others in ((1.0, theirs, list(ours)), (-1.0, ours, list(theirs))):
            for patch in patches:
                # Each match counts once: a clone may hold the same patch twice.
                if (place := next((n for n, other in enumerate(others) if same(patch, other)), None)) is not None:
                    del others[place]
                    continue
                layer, _, kind = key.rpartition(".")
                terms.setdefault(layer, []).append(_term(reference, layer, kind, patch, sign, device))
    return terms


def patch_hooks(reference: Any, clone: Any) -> tuple[comfy.hooks.HookGroup, bool]:
    """Hooks that patch the reference's weights as the clone's are, and whether some lie on the reference's own patches.

    Raises NotRoutable if the reference holds patches that the clone lacks, or if the host cannot hook its weights.
    """
    if (obstacle := hook_obstacle(reference)) is not None:
        raise NotRoutable(obstacle)
    # The host puts on in one go what has one index in the lists of patches, and the indices in order.
    layers: dict[tuple[int, float, float], dict[Any, Any]] = {}
    for key in sorted(reference.patches.keys() | clone.patches.keys()):
        ours, theirs = patches_of(reference, key), patches_of(clone, key)
        if not same(ours, theirs[: len(ours)]):
            raise NotRoutable("the base's model holds patches that its own does not")
        for index, patch in enumerate(theirs[len(ours) :]):
            layer = layers.setdefault((index, patch.strength, patch.strength_model), {})
            layer[key, patch.offset, patch.function] = patch.value
    group = comfy.hooks.HookGroup()
    group.add(ClonePatches([(key[1], key[2], layers[key]) for key in sorted(layers)]))
    on_patched = any(key in reference.patches for patches in layers.values() for key, _, _ in patches)
    return group, on_patched


def with_hooks(guidance: Guidance, model: Any, group: comfy.hooks.HookGroup) -> Guidance:
    """The guidance on another model, with the hooks on its conds, applied before the hooks that they already have."""

    # One HookGroup for each that prompts have, as the host tells them apart by identity.
    combine = functools.cache(lambda own: same_hooks([group, own]))

    def on(conds: Any) -> Any:
        if not isinstance(conds, list):
            return conds
        return [[tensor, {**options, "hooks": combine(options.get("hooks"))}] for tensor, options in conds]

    return replace(guidance, model=model, positive=on(guidance.positive), negative=on(guidance.negative))


class LoraRows:
    """Adds to each row of a batch the `terms` of the row's own member, on all `models` of a group, by their device.

    On several GPUs the host calls their models at the same time, so what is known of a call is kept for each device.
    """

    def __init__(
        self, models: Mapping[torch.device, torch.nn.Module], terms: Mapping[int, LayerTerms], first: torch.device
    ) -> None:
        self._first = first
        self._devices = {
            device: _DeviceRows(model, terms if device == first else _on_device(terms, device))
            for device, model in models.items()
        }

    @contextmanager
    def installed(self) -> Iterator[None]:
        with ExitStack() as stack:
            for rows in self._devices.values():
                stack.enter_context(rows.installed())
            yield

    def rows_of(
        self, chunks: Sequence[int], rows: int, device: torch.device | None = None
    ) -> AbstractContextManager[None]:
        """A model call on `rows` rows, whose chunks belong to these members, on a device (None: the first one).

        Raises NotRoutable after the call if the model used a layer without calling it, so that its terms are missing.
        """
        return self._devices[self._first if device is None else device].rows_of(chunks, rows)


def _on_device(terms: Mapping[int, LayerTerms], device: torch.device) -> Mapping[int, LayerTerms]:
    # Members with one clone share their terms.
    moved = {
        id(one): {layer: [term.to(device) for term in own] for layer, own in one.items()} for one in terms.values()
    }
    return {member: moved[id(one)] for member, one in terms.items()}


class _DeviceRows:
    """Forward hooks on the layers of one device's model."""

    def __init__(self, model: torch.nn.Module, terms: Mapping[int, LayerTerms]) -> None:
        self._model, self._terms = model, terms
        # The member of each chunk of rows in the model call that is under way; empty outside of one.
        self.chunks: Sequence[int] = ()
        self._rows = 0
        self._layers = {layer for one in terms.values() for layer in one}
        self._called: set[str] = set()

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
        """As LoraRows.rows_of."""
        self.chunks, self._rows = chunks, rows
        try:
            yield
            missed = {layer for member in chunks for layer in self._terms.get(member, ())} - self._called
            if missed:
                raise NotRoutable(f"the model does not call its layer {min(missed)}")
        finally:
            self.chunks = ()

    def _hook(self, layer: str) -> Callable[[Any, tuple[Any, ...], torch.Tensor], torch.Tensor | None]:
        def add(module: Any, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor | None:
            if not any(layer in self._terms.get(member, ()) for member in self.chunks):
                return None
            self._called.add(layer)
            x = args[0]
            # If all rows are one member's, any batch is right. With several members the layer must get the rows of the
            # call: a multiple of them may be each row's tokens, or the batch twice (timesteps of reference latents).
            chunks = self.chunks if len(set(self.chunks)) > 1 else self.chunks[:1]
            if len(chunks) > 1 and not x.shape[0] == output.shape[0] == self._rows:
                raise NotRoutable(f"layer {layer} mixes the rows of a batch")
            rows_in, rows_out = x.chunk(len(chunks)), output.chunk(len(chunks))
            for member, inside, outside in zip(chunks, rows_in, rows_out, strict=True):
                for term in self._terms.get(member, {}).get(layer, ()):
                    term(inside, outside)
            return output

        return add


def _term(model: Any, layer: str, kind: str, patch: Patch, sign: float, device: torch.device) -> Term:
    try:
        module = model.model.get_submodule(layer)
    except AttributeError:
        raise NotRoutable(f"{layer} is no layer of its own") from None
    if patch.strength_model != 1.0 or patch.function is not None:
        raise NotRoutable(f"the patch of {layer} changes the weight itself")
    if not is_own_layer(module):
        raise NotRoutable(f"{layer} is no layer of ComfyUI's own ({type(module).__name__})")
    info = get_module_type_info(module)
    # The host's linear layers with quantised weights are not torch's own.
    if not info["is_conv"] and not hasattr(module, "in_features"):
        raise NotRoutable(f"{layer} is neither a linear layer nor a convolution")
    channel = 1 if info["is_conv"] else -1
    if kind == "bias" and patch.diff is not None and patch.offset is None:
        return _BiasTerm(patch.diff.to(device) * (patch.strength * sign), channel)
    obstacle = adapter_obstacle(patch.value)
    if kind != "weight" or info["groups"] != 1:
        obstacle = obstacle or f"({getattr(patch.value, 'name', 'full weights')}) is not additive"
    if obstacle is not None:
        raise NotRoutable(f"the patch of {layer} {obstacle}")
    if patch.offset is not None and (patch.offset[0] != 0 or info["is_conv"]):
        raise NotRoutable(f"the patch of {layer} is for a part of its input")
    adapter = bypass_adapter(patch.value, module, patch.strength * sign, device)
    return _AdapterTerm(adapter, channel, None if patch.offset is None else (patch.offset[1], patch.offset[2]))

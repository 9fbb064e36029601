"""A ModelGroup: the members (base and regions, by index) that one loaded model serves."""

import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import comfy.sampler_helpers
import comfy.samplers
import torch

from ...samplers.guided import Guidance, restart_keyframes
from ..host import (
    ALWAYS_UNCOND,
    WRAPPER,
    Conds,
    ModelOptions,
    conds_taken_out,
    device_of_call,
    is_low_vram,
    on_each_device,
    processed_conds,
)
from .lora import LayerTerms, LoraRows, NotRoutable

POSITIVE, NEGATIVE = "positive", "negative"
# What the host's `cond_or_uncond` says about the rows of a cond.
_ROLES = {POSITIVE: 0, NEGATIVE: 1}


@dataclass(frozen=True, eq=False)
class CondRows:
    """Rows of a model call: the conds of one kind of a member, as the host's calc_cond_batch takes them."""

    member: int
    kind: str
    conds: Conds


class ModelGroup(comfy.samplers.CFGGuider):
    """Members that one loaded model serves: those with this model, and those with a clone of it that differs in LoRAs.

    It is one of the host's guiders, so that the host prepares it like any other: hooks, ControlNets, loading, wrappers.
    Its conds are kept by (member, kind). Before a run `conds_of` gives them as converted, in a run as processed for the
    model. A group is made for one run, or for a report, and thrown away after it.
    """

    conds: dict[Any, Any]
    cfg: float
    model_options: ModelOptions

    def __init__(self, member: int, guidance: Guidance, notes: Sequence[str] = ()) -> None:
        super().__init__(guidance.model)
        self.set_cfg(guidance.cfg)
        self._own_cfg = guidance.cfg
        # The model without the LoRAs of its clones.
        self.reference = guidance.model
        self.members: dict[int, Guidance] = {}
        # What the LoRAs of members with a clone add, for those whose rows get it.
        self.lora_terms: dict[int, LayerTerms] = {}
        # Whether hooks patch weights that have patches of the model's own.
        self.hooks_on_patched = False
        # Sentences on what will be slow, and why.
        self.notes = list(notes)
        # The options that the host passes to this group's sampler, in a run.
        self.sampling_options: ModelOptions = self.model_options
        # (memory required, minimum) in bytes, as the host estimates it for its own loading.
        self.memory: tuple[float, float] = (0, 0)
        # (h, w) of the latent for which the conds are processed.
        self.processed_size: tuple[int, int] | None = None
        self._processed: dict[int, dict[str, Conds]] = {}
        self._first_equal: dict[tuple[int, str], tuple[int, str]] = {}
        self._lora_rows: LoraRows | None = None
        self.add(member, guidance)

    def add(self, member: int, guidance: Guidance, terms: LayerTerms | None = None) -> None:
        """Serve another member; `terms` are what its LoRAs add to its rows."""
        self.members[member] = guidance
        # The host may replace the patcher here, by one that can take hooks.
        self.inner_set_conds({(member, kind): conds for kind, conds in guidance.conds().items()})
        if terms is not None:
            self.lora_terms[member] = terms

    @property
    def model(self) -> Any:
        """The BaseModel."""
        return self.model_patcher.model

    def scale(self, member: int) -> float:
        """The member's cfg; a cfg that was set on the guider from outside (CFGOverride) overrides that of all."""
        if self.cfg == self._own_cfg or (member, NEGATIVE) not in self.original_conds:
            return self.members[member].scale
        return self.cfg

    def conds_of(self, member: int) -> dict[str, Conds]:
        """The member's conds by kind."""
        if self._processed:
            return self._processed[member]
        return {kind: conds for (owner, kind), conds in self.original_conds.items() if owner == member}

    def kinds(self, member: int, options: ModelOptions) -> tuple[str, str | None]:
        """The kinds of conds that guidance needs: the positive, and the negative or None."""
        unguided = math.isclose(self.scale(member), 1.0) and not options.get(ALWAYS_UNCOND, False)
        return POSITIVE, None if unguided or NEGATIVE not in self.conds_of(member) else NEGATIVE

    def first_equal(self, member: int, kind: str) -> tuple[int, str]:
        """The first (member, kind) with equal conds and weights, whose rows serve this one too."""
        if not self._first_equal:
            conds = {index: self.conds_of(index) for index in self.members}
            self._first_equal = equal_conds(conds, {index: id(one.model) for index, one in self.members.items()})
        return self._first_equal[member, kind]

    def inner_sample(
        self,
        noise: torch.Tensor,
        latent_image: torch.Tensor,
        device: Any,
        sampler: Any,
        sigmas: torch.Tensor,
        denoise_mask: Any,
        callback: Any,
        disable_pbar: bool,
        seed: int,
        **shapes: Any,
    ) -> Any:
        models = {one.load_device: one.model for one in on_each_device(self.model_patcher)}
        if self.hooks_on_patched and any(is_low_vram(model) for model in models.values()):
            # The host puts the model's own patches on offloaded weights when they are used: above the hooks' patches.
            raise NotRoutable("hooks and the base's own patches are on the same weights, which are offloaded")
        with conds_taken_out(self) as conds:
            self.memory = comfy.sampler_helpers.estimate_memory(self.model_patcher, noise.shape, conds)
            self._processed = processed_conds(
                self.inner_model, conds, noise, latent_image, device, denoise_mask, seed, **shapes
            )
            self._first_equal = {}
            restart_keyframes(cond for entries in conds.values() for cond in entries)
            self.processed_size = (noise.shape[-2], noise.shape[-1])
            if self.lora_terms:
                self._lora_rows = LoraRows(models, self.lora_terms, self.model_patcher.load_device)
            with self._lora_rows.installed() if self._lora_rows else nullcontext():
                return super().inner_sample(
                    noise, latent_image, device, sampler, sigmas, denoise_mask, callback, disable_pbar, seed, **shapes
                )

    def evaluate(
        self, rows: Sequence[CondRows], x: torch.Tensor, timestep: torch.Tensor, options: ModelOptions
    ) -> list[torch.Tensor]:
        """The predictions (B, C, ..., h, w) for each of the rows, by one calc_cond_batch of the host."""
        roles = [_ROLES[one.kind] for one in rows]
        wrapper = _with_roles(roles, options.get(WRAPPER))
        if self._lora_rows is not None:
            # Outside of the roles: `cond_or_uncond` still holds indices into `rows` there.
            members = [one.member for one in rows]
            wrapper = _with_members(self._lora_rows, lambda indices: [members[index] for index in indices], wrapper)
        predictions: list[torch.Tensor] = comfy.samplers.calc_cond_batch(
            self.inner_model, [one.conds for one in rows], x, timestep, {**options, WRAPPER: wrapper}
        )
        return predictions

    def options_for(self, member: int, options: ModelOptions) -> ModelOptions:
        """Options for functions that call the model themselves (PAG, SAG and others): all rows are the member's."""
        if self._lora_rows is None:
            return options
        wrapper = _with_members(self._lora_rows, lambda indices: [member] * len(indices), options.get(WRAPPER))
        return {**options, WRAPPER: wrapper}


def call_through(wrapper: Callable[..., Any] | None) -> Callable[..., Any]:
    """The model function wrapper, or what the host does without one."""
    return wrapper or (lambda apply_model, args: apply_model(args["input"], args["timestep"], **args["c"]))


def _with_roles(roles: Sequence[int], inner: Callable[..., Any] | None) -> Callable[..., Any]:
    """A model function wrapper under which patches see 0 (cond) or 1 (uncond), and no index into our list of rows."""

    def wrapper(apply_model: Callable[..., Any], args: dict[str, Any]) -> Any:
        here = [roles[index] for index in args["cond_or_uncond"]]
        transformer_options = {**args["c"].get("transformer_options", {}), "cond_or_uncond": here}
        told = {**args, "c": {**args["c"], "transformer_options": transformer_options}, "cond_or_uncond": here}
        return call_through(inner)(apply_model, told)

    return wrapper


def _with_members(
    lora_rows: LoraRows, members: Callable[[Sequence[int]], list[int]], inner: Callable[..., Any] | None
) -> Callable[..., Any]:
    """A model function wrapper that tells `lora_rows` to which member each chunk of rows belongs."""

    def wrapper(apply_model: Callable[..., Any], args: dict[str, Any]) -> Any:
        with lora_rows.rows_of(members(args["cond_or_uncond"]), args["input"].shape[0], device_of_call(args)):
            return call_through(inner)(apply_model, args)

    return wrapper


def equal_conds(conds: dict[int, dict[str, Conds]], variants: dict[int, int]) -> dict[tuple[int, str], tuple[int, str]]:
    """For each (member, kind) the first one of the same kind with equal conds and the same variant of the weights."""
    first: dict[tuple[int, str], tuple[int, str]] = {}
    for member, kinds in conds.items():
        for kind, own in kinds.items():
            equal = (
                (i, k)
                for i, k in first.values()
                if k == kind and variants[i] == variants[member] and _equal(conds[i][k], own)
            )
            first[member, kind] = next(equal, (member, kind))
    return first


def _equal(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)
    if isinstance(a, dict):
        keys = a.keys() - {"uuid"}  # The host draws it anew at every conversion.
        return keys == b.keys() - {"uuid"} and all(_equal(a[key], b[key]) for key in keys)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_equal(one, other) for one, other in zip(a, b, strict=True))
    if hasattr(a, "cond"):  # the host's comfy.conds wrappers around tensors
        return _equal(a.cond, b.cond)
    return isinstance(a, str | int | float | bool) and a == b

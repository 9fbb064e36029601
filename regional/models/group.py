"""A ModelGroup: the members (base and regions, by index) that one loaded model serves."""

import logging
import math
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import comfy.sampler_helpers
import comfy.samplers
import torch

from ...masks.boxes import Box
from ...samplers.guided import Guidance, restart_keyframes
from ..host import (
    ALWAYS_UNCOND,
    POST_CFG,
    WRAPPER,
    Conds,
    ModelOptions,
    conds_taken_out,
    device_of_call,
    is_low_vram,
    on_each_device,
    processed_conds,
    through_predict_noise_wrappers,
)
from ..host_functions import HostFunctions, host_functions
from .equal import equal_conds
from .guests import Memories, reason_for_whole_canvas, reason_to_ask_alone, shared_memories
from .lora import LayerTerms, LoraRows, NotRoutable

log = logging.getLogger(__name__)

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
        # The functions of comfy.samplers for this group: a wrapper of its model may replace them for its run.
        self.functions: HostFunctions = host_functions()
        self._outside: HostFunctions = self.functions
        self._memories: Memories
        self._seed: int | None = None
        self._whole_canvas: str | None = ""  # empty: not looked for yet
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

    @property
    def _is_bases(self) -> bool:
        return 0 in self.members

    def alone(self, member: int) -> str | None:
        """Why the member's cond and uncond are asked in a call that no other member shares; None if they share one.

        Empty if the group has no other member, so that it makes no difference.
        """
        # The base's wrappers around the denoised run around that of all members.
        reason = reason_to_ask_alone(
            self.functions, self.model_options, self.model_patcher.wrappers, self.conds_of(member), self._is_bases
        )
        return "" if reason is not None and len(self.members) == 1 else reason

    def whole_canvas(self) -> str | None:
        """Why the model's patches need the whole canvas; None if they are as right on a part of it."""
        if self._whole_canvas == "":
            frames = self.model.latent_format.latent_dimensions - 2
            self._whole_canvas = reason_for_whole_canvas(self.model_options, self.model_patcher.wrappers, frames)
        return self._whole_canvas

    def sample(self, *args: Any, **kwargs: Any) -> Any:
        self._outside = host_functions()
        try:
            return super().sample(*args, **kwargs)
        finally:
            # They hold this group in their wrappers; without them a run is freed at once, not by garbage collection.
            self.__dict__.pop("_memories", None)

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
        inside = host_functions()
        own = {name: one for name, one in inside.items() if one is not self._outside[name]}
        self.functions, self._seed = {**self.functions, **own}, seed
        self._memories, self._whole_canvas = Memories(self.model_options, min(self.members)), ""
        for sentence in shared_memories(self.model_options) if len(self.members) > 1 else ():
            log.warning(sentence)
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

    def own_options(
        self,
        member: int | None,
        box: Box | None,
        options: ModelOptions,
        wrap: Callable[[Any], Any] = lambda wrapper: wrapper,
    ) -> ModelOptions:
        """The options of a member for all of a run, with what is new in `options`; None: those for calls they share.

        Functions that call the model themselves (PAG, SAG and others) find in them that all rows are the member's.
        `wrap` makes the model function wrapper from the model's own, or from None.
        """

        def outer(wrapper: Any) -> Any:
            inner = wrap(wrapper)
            if member is None or self._lora_rows is None:
                return inner
            return _with_members(self._lora_rows, lambda indices: [member] * len(indices), inner)

        return self._memories.of(member, box).updated(options, outer)

    def ask_alone(
        self,
        member: int,
        box: Box | None,
        conds: dict[str, Conds],
        x: torch.Tensor,
        timestep: torch.Tensor,
        options: ModelOptions,
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """(cond, uncond, denoised) of a member at `x`, each as `x`, as KSampler asks for them.

        `conds` are those for `x`, `options` the member's own for `box`. The model's wrappers around the denoised run
        around the member's, but for those of the base's model, which run around that of all members.
        """
        memory, functions = self._memories.of(member, box), options.get(POST_CFG)

        def remember(args: dict[str, Any]) -> Any:
            memory.predictions = args["cond_denoised"], args["uncond_denoised"]
            return args["denoised"]

        def predict(x: torch.Tensor, timestep: torch.Tensor, options: ModelOptions, seed: int | None) -> torch.Tensor:
            scale = self.scale(member) if self._is_bases else self.cfg
            negative, positive = conds.get(NEGATIVE), conds[POSITIVE]
            denoised: torch.Tensor = self.functions["sampling_function"](
                self.inner_model, x, timestep, negative, positive, scale, model_options=options, seed=seed
            )
            return denoised

        options[POST_CFG] = [*(functions or []), remember]
        cfg, given = self.cfg, self.conds
        try:
            if self._is_bases:
                denoised = predict(x, timestep, options, self._seed)
            else:
                self.cfg, self.conds = self.scale(member), conds
                denoised, _ = through_predict_noise_wrappers(
                    self, predict, x, timestep, options, self._seed, wrapped=options
                )
        finally:
            self.cfg, self.conds = cfg, given
            if functions is None:
                del options[POST_CFG]
            else:
                options[POST_CFG] = functions
        # Where the model was not asked (LazyCache), the last predictions are the latest.
        cond, uncond = memory.predictions or (denoised, denoised)
        return cond, uncond, denoised


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

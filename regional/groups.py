"""Members that one loaded model serves: asked together, in one `calc_cond_batch`."""

import math
from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import comfy.samplers
import torch

from ..samplers.guided import Guidance
from .adapters import Delta, Router

Options = dict[str, Any]
PRE_CFG = "sampler_pre_cfg_function"


@dataclass(frozen=True, eq=False)
class Prediction:
    """What one member answered, each (B, C, ..., h, w) in the model's latent scale."""

    cond: torch.Tensor
    uncond: torch.Tensor
    denoised: torch.Tensor


class ModelGroup(comfy.samplers.CFGGuider):
    """All members (base or regions, by their index) that are painted with one and the same model object.

    The host prepares it like any guider: hooks, ControlNets, loading, and its wrappers.
    """

    conds: dict[Any, Any]

    def __init__(self, guidances: dict[int, Guidance], deltas: dict[int, Delta] | None = None) -> None:
        first = next(iter(guidances.values()))
        super().__init__(first.model)
        self._router = Router(first.model.model, deltas) if deltas else None
        self._variants = {index: id(guidance.model) for index, guidance in guidances.items()}
        self.set_cfg(first.cfg)
        self.scales = {index: guidance.scale for index, guidance in guidances.items()}
        self.inner_set_conds(
            {(index, kind): conds for index, guidance in guidances.items() for kind, conds in guidance.conds().items()}
        )
        self.options: Options = {}
        self._prepared: dict[int, dict[str, Any]] = {}
        self._same: dict[tuple[int, str], tuple[int, str]] = {}

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
        # process_conds copies each cond that has an area into all other lists of its dict: one dict for each member.
        given, self.conds = self.conds, {}
        latent = latent_image
        if torch.count_nonzero(latent) > 0:
            latent = self.inner_model.process_latent_in(latent)
        for index in self.scales:
            own = {kind: conds for (owner, kind), conds in given.items() if owner == index}
            self._prepared[index] = comfy.samplers.process_conds(
                self.inner_model, noise, own, device, latent, denoise_mask, seed, **shapes
            )
        self._same = _equal_conds(self._prepared, self._variants)
        try:
            with self._router.installed() if self._router else nullcontext():
                return super().inner_sample(
                    noise, latent_image, device, sampler, sigmas, denoise_mask, callback, disable_pbar, seed, **shapes
                )
        finally:
            self.conds = given
            self._prepared, self._same, self.options = {}, {}, {}

    def predict(
        self, x: torch.Tensor, timestep: torch.Tensor, members: Collection[int], options: Options
    ) -> dict[int, Prediction]:
        """Ask the model for `members` at `x` (B, C, ..., h, w) and sigma `timestep` (B,), in one `calc_cond_batch`.

        Conds that are equal (a negative that all regions share) are evaluated once.
        """
        pairs = {index: self._pair(index, options) for index in members}
        if "sampler_calc_cond_batch_function" in options:
            function = options["sampler_calc_cond_batch_function"]
            shared = {"input": x, "sigma": timestep, "model": self.inner_model, "model_options": options}
            answers = {index: function({"conds": list(pair), **shared}) for index, pair in pairs.items()}
        else:
            answers = self._batch(x, timestep, pairs, options)
        return {index: self._guide(index, x, timestep, pairs[index], answers[index], options) for index in members}

    def _pair(self, index: int, options: Options) -> tuple[Any, Any]:
        """The member's (positive, negative) conds; None for a negative that guidance at scale 1 does not need."""
        conds = self._prepared[index]
        unguided = math.isclose(self.scales[index], 1.0) and not options.get("disable_cfg1_optimization", False)
        return conds["positive"], None if unguided else conds.get("negative")

    def _batch(
        self, x: torch.Tensor, timestep: torch.Tensor, pairs: dict[int, tuple[Any, Any]], options: Options
    ) -> dict[int, list[torch.Tensor]]:
        slots: dict[tuple[int, str], int] = {}
        lists: list[Any] = []
        roles: list[int] = []
        owners: list[int] = []
        places: dict[int, list[int | None]] = {}
        for index, pair in pairs.items():
            places[index] = []
            for role, (kind, conds) in enumerate(zip(("positive", "negative"), pair, strict=True)):
                if conds is None:
                    places[index].append(None)
                    continue
                slot = slots.setdefault(self._same[index, kind], len(lists))
                if slot == len(lists):
                    lists.append(conds)
                    roles.append(role)
                    owners.append(index)
                places[index].append(slot)
        wrapper = _with_roles(roles, owners, self._router, options.get("model_function_wrapper"))
        options = {**options, "model_function_wrapper": wrapper}
        out = comfy.samplers.calc_cond_batch(self.inner_model, lists, x, timestep, options)
        # The host answers zeros where there is no negative.
        return {
            index: [torch.zeros_like(x) if slot is None else out[slot] for slot in both]
            for index, both in places.items()
        }

    def _guide(
        self,
        index: int,
        x: torch.Tensor,
        timestep: torch.Tensor,
        pair: tuple[Any, Any],
        out: list[torch.Tensor],
        options: Options,
    ) -> Prediction:
        """From cond and uncond to denoised, as the host's sampling_function does it after its calc_cond_batch."""
        scale = self.scales[index]
        for function in options.get(PRE_CFG, []):
            out = function(
                {
                    "conds": list(pair),
                    "conds_out": out,
                    "cond_scale": scale,
                    "timestep": timestep,
                    "input": x,
                    "sigma": timestep,
                    "model": self.inner_model,
                    "model_options": options,
                }
            )
        denoised = comfy.samplers.cfg_function(
            self.inner_model, out[0], out[1], scale, x, timestep, model_options=options, cond=pair[0], uncond=pair[1]
        )
        return Prediction(out[0], out[1], denoised)


class Prepare(comfy.samplers.Sampler):
    """A SAMPLER that samples nothing: it keeps what the host prepared for a group, and goes on while that stands."""

    def __init__(self, group: ModelGroup, go_on: Callable[[], None]) -> None:
        self._group, self._go_on = group, go_on

    def sample(
        self, model_wrap: Any, sigmas: Any, extra_args: Options, callback: Any, noise: torch.Tensor, *_: Any, **__: Any
    ) -> torch.Tensor:
        self._group.options = extra_args["model_options"]
        self._go_on()
        return noise


def _with_roles(
    roles: Sequence[int], owners: Sequence[int], router: Router | None, inner: Callable[..., Any] | None
) -> Callable[..., Any]:
    """A model function wrapper that tells patches 0 (cond) or 1 (uncond), as always, not a place in our batch, and the
    router which member owns which chunk of rows.
    """

    def wrapper(apply_model: Callable[..., Any], args: Options) -> Any:
        places = args["cond_or_uncond"]
        here = [roles[place] for place in places]
        transformer_options = {**args["c"].get("transformer_options", {}), "cond_or_uncond": here}
        args = {**args, "c": {**args["c"], "transformer_options": transformer_options}, "cond_or_uncond": here}
        if router is not None:
            router.chunks = [owners[place] for place in places]
        if inner is not None:
            out = inner(apply_model, args)
        else:
            out = apply_model(args["input"], args["timestep"], **args["c"])
        if router is not None:
            router.check()
            router.chunks = ()
        return out

    return wrapper


def _equal_conds(
    prepared: dict[int, dict[str, Any]], variants: dict[int, int]
) -> dict[tuple[int, str], tuple[int, str]]:
    """For each (member, kind) the first one of the same kind with equal conds and weights."""
    first: dict[tuple[int, str], tuple[int, str]] = {}
    for index, conds in prepared.items():
        for kind, own in conds.items():
            same = (
                (i, k)
                for i, k in first.values()
                if k == kind and variants[i] == variants[index] and _equal(prepared[i][k], own)
            )
            first[index, kind] = next(same, (index, kind))
    return first


def _equal(a: Any, b: Any) -> bool:
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor):
        return a.shape == b.shape and a.dtype == b.dtype and a.device == b.device and torch.equal(a, b)
    if isinstance(a, dict):
        keys = a.keys() - {"uuid"}  # Drawn anew at every conversion.
        return keys == b.keys() - {"uuid"} and all(_equal(a[key], b[key]) for key in keys)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(_equal(one, other) for one, other in zip(a, b, strict=True))
    if hasattr(a, "cond"):  # The host's comfy.conds wrappers around tensors.
        return _equal(a.cond, b.cond)
    return isinstance(a, str | int | float | bool) and a == b

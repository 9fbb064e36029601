"""Members that one loaded model serves: asked together, in one `calc_cond_batch`."""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import comfy.sampler_helpers
import comfy.samplers
import torch

from ..masks.boxes import Box, cheapest, crops
from ..samplers.guided import Guidance
from . import crop
from .adapters import Delta, NotRoutable, Router

Options = dict[str, Any]
PRE_CFG, POST_CFG, WRAPPER = "sampler_pre_cfg_function", "sampler_post_cfg_function", "model_function_wrapper"
CFG_FUNCTIONS = (PRE_CFG, POST_CFG, "sampler_cfg_function")


@dataclass(frozen=True, eq=False)
class Prediction:
    """What one member answered, each (B, C, ..., h, w) of the box, in the model's latent scale."""

    cond: torch.Tensor
    uncond: torch.Tensor
    denoised: torch.Tensor
    # The part of the canvas that it is for; None for all of it.
    box: Box | None = None


class ModelGroup(comfy.samplers.CFGGuider):
    """All members (base or regions, by their index) that one loaded model serves: its own, and clones by their LoRAs.

    The host prepares it like any guider: hooks, ControlNets, loading, and its wrappers.
    """

    conds: dict[Any, Any]
    cfg: float
    model_options: dict[str, Any]

    def __init__(
        self, guidances: dict[int, Guidance], deltas: dict[int, Delta] | None = None, hooks_on_top: bool = False
    ) -> None:
        first = next(iter(guidances.values()))
        super().__init__(first.model)
        self._variants = {index: id(guidance.model) for index, guidance in guidances.items()}
        self.set_cfg(first.cfg)
        self._scales, self._cfg = {index: guidance.scale for index, guidance in guidances.items()}, first.cfg
        self.inner_set_conds(
            {(index, kind): conds for index, guidance in guidances.items() for kind, conds in guidance.conds().items()}
        )
        # The host may have put another patcher in the place of one that cannot take hooks.
        self._router = Router(self.model_patcher.model, deltas) if deltas else None
        self._hooks_on_top = hooks_on_top
        self.options: Options = {}
        # (memory required, minimum), as the host estimates it for its own loading.
        self.memory: tuple[float, float] = (0, 0)
        self._prepared: dict[int, dict[str, Any]] = {}
        self._same: dict[tuple[int, str], tuple[int, str]] = {}
        # Why a member needs the whole canvas, if it does.
        self.obstacles: dict[int, str | None] = {}
        self._crops: dict[tuple[int, str, Box, bool], list[dict[str, Any]]] = {}

    @property
    def scales(self) -> dict[int, float]:
        """Each member's guidance scale. Once somebody sets the guider's cfg (CFGOverride), that is everybody's."""
        if self.cfg == self._cfg:
            return self._scales
        return {i: self.cfg if (i, "negative") in self.original_conds else scale for i, scale in self._scales.items()}

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
        if self._hooks_on_top and getattr(self.model_patcher.model, "model_lowvram", False):
            # Offloaded weights get the model's own patches when they are used: above the hooks', not below.
            raise NotRoutable("hooks and the base's own patches are on the same weights, which are offloaded")
        # process_conds copies each cond that has an area into all other lists of its dict: one dict for each member.
        given, self.conds = self.conds, {}
        latent = latent_image
        if torch.count_nonzero(latent) > 0:
            latent = self.inner_model.process_latent_in(latent)
        self.memory = comfy.sampler_helpers.estimate_memory(self.model_patcher, noise.shape, given)
        for index in self.scales:
            own = {kind: conds for (owner, kind), conds in given.items() if owner == index}
            self._prepared[index] = comfy.samplers.process_conds(
                self.inner_model, noise, own, device, latent, denoise_mask, seed, **shapes
            )
        self._same = equal_conds(self._prepared, self._variants)
        self.obstacles = {
            index: crop.obstacle(self.inner_model, self.model_options, conds, noise.shape)
            for index, conds in self._prepared.items()
        }
        try:
            with self._router.installed() if self._router else nullcontext():
                return super().inner_sample(
                    noise, latent_image, device, sampler, sigmas, denoise_mask, callback, disable_pbar, seed, **shapes
                )
        finally:
            self.conds = given
            self._prepared, self._same, self.options, self.obstacles, self._crops = {}, {}, {}, {}, {}

    def boxes(
        self, extents: Mapping[int, Box], painting: Collection[int], size: tuple[int, int], context: int
    ) -> dict[int, Box]:
        """The boxes, with about `context` latent pixels around, on which members can be computed without the rest of
        a canvas of `size` (h, w); members that cost less on all of it, beside all those `painting`, are left out.
        """
        # A crop that says where it lies shares its call with none that lies elsewhere.
        few = not crop.has_positions(self.inner_model)
        found = crops(extents, size, context, crop.grid(self.inner_model), few)
        return cheapest(found, lambda boxes: self._area({**dict.fromkeys(painting), **boxes}, size))

    def _area(self, members: Mapping[int, Box | None], size: tuple[int, int]) -> int:
        """What one evaluation of the members costs, in rows x height x width."""
        rows = {
            (self._same[index, kind], box)
            for index, box in members.items()
            for kind in self._kinds(index, self.options)
            if kind is not None
        }
        areas = (size[0] * size[1] if box is None else box.area for _, box in rows)
        entries = (len(self._prepared[index][kind]) for (index, kind), _ in rows)
        return sum(area * entry for area, entry in zip(areas, entries, strict=True))

    def predict(
        self, x: torch.Tensor, timestep: torch.Tensor, members: Mapping[int, Box | None], options: Options
    ) -> dict[int, Prediction]:
        """Ask the model for `members`, each on its box of `x` (B, C, ..., h, w) or on all of it, at sigma `timestep`
        (B,), in one `calc_cond_batch`. Conds that are equal (a negative that all regions share) are evaluated once.
        """
        if crop.has_positions(self.inner_model) and any(members.values()):
            options = {**options, WRAPPER: crop.with_positions(self.inner_model, _calling(options.get(WRAPPER)))}
        kinds = {index: self._kinds(index, options) for index in members}
        asking = "sampler_calc_cond_batch_function" in options
        alone = asking or any(options.get(name) for name in CFG_FUNCTIONS)
        answers = {} if asking else self._batch(x, timestep, members, kinds, options, copies=alone)
        predictions = {}
        for index, box in members.items():
            own = x if box is None else box.of(x)
            pair = [self._conds(index, kind, box, x, cut=True) if kind and alone else None for kind in kinds[index]]
            routed = self._routed(index, options)
            if asking:
                function = options["sampler_calc_cond_batch_function"]
                asked = {"conds": list(pair), "input": own, "sigma": timestep, "model": self.inner_model}
                answers[index] = function({**asked, "model_options": routed})
            predictions[index] = self._guide(index, own, timestep, pair, answers[index], routed, box)
        return predictions

    def _routed(self, index: int, options: Options) -> Options:
        """Options for what asks the model on its own (PAG, SAG and their kin): all rows are this member's."""
        if self._router is None:
            return options
        wrapper = _with_owners(self._router, lambda places: [index] * len(places), options.get(WRAPPER))
        return {**options, WRAPPER: wrapper}

    def _kinds(self, index: int, options: Options) -> tuple[str | None, str | None]:
        """The names of the member's conds; None for a negative that guidance at scale 1 does not need."""
        unguided = math.isclose(self.scales[index], 1.0) and not options.get("disable_cfg1_optimization", False)
        return "positive", None if unguided or "negative" not in self._prepared[index] else "negative"

    def _conds(self, index: int, kind: str, box: Box | None, x: torch.Tensor, cut: bool) -> list[dict[str, Any]]:
        """The member's conds for its box: for the whole canvas `x`, or with `cut` for the part cut out of it."""
        conds: list[dict[str, Any]] = self._prepared[index][kind]
        if box is None:
            return conds
        key = (index, kind, box, cut)
        if key not in self._crops:
            placed = crop.has_positions(self.inner_model)
            self._crops[key] = (
                crop.cut(conds, box, x.shape[0], x.ndim - 2, placed) if cut else crop.narrowed(conds, box, placed)
            )
        return self._crops[key]

    def _batch(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor,
        members: Mapping[int, Box | None],
        kinds: Mapping[int, tuple[str | None, str | None]],
        options: Options,
        copies: bool,
    ) -> dict[int, list[torch.Tensor]]:
        slots: dict[tuple[tuple[int, str], Box | None], int] = {}
        lists: list[Any] = []
        roles: list[int] = []
        owners: list[int] = []
        places: dict[int, list[int | None]] = {}
        for index, box in members.items():
            places[index] = []
            for role, kind in enumerate(kinds[index]):
                if kind is None:
                    places[index].append(None)
                    continue
                slot = slots.setdefault((self._same[index, kind], box), len(lists))
                if slot == len(lists):
                    lists.append(self._conds(index, kind, box, x, cut=False))
                    roles.append(role)
                    owners.append(index)
                places[index].append(slot)
        # The router is told first, while the places are still those of this batch.
        wrapper = _with_roles(roles, options.get(WRAPPER))
        if self._router is not None:
            wrapper = _with_owners(self._router, lambda places: [owners[place] for place in places], wrapper)
        out = comfy.samplers.calc_cond_batch(self.inner_model, lists, x, timestep, {**options, WRAPPER: wrapper})
        given: set[int] = set()

        def answer(slot: int | None, box: Box | None) -> torch.Tensor:
            if slot is None:
                # As the host does where there is no negative.
                return torch.zeros_like(x if box is None else box.of(x))
            tensor: torch.Tensor = out[slot] if box is None else box.of(out[slot])
            # Cfg functions may work in place: each member gets a tensor of its own.
            tensor = tensor.clone() if copies and slot in given else tensor
            given.add(slot)
            return tensor

        return {index: [answer(slot, members[index]) for slot in both] for index, both in places.items()}

    def _guide(
        self,
        index: int,
        x: torch.Tensor,
        timestep: torch.Tensor,
        pair: Sequence[Any],
        out: list[torch.Tensor],
        options: Options,
        box: Box | None,
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
        return Prediction(out[0], out[1], denoised, box)


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


def _with_roles(roles: Sequence[int], inner: Callable[..., Any] | None) -> Callable[..., Any]:
    """A model function wrapper that tells patches 0 (cond) or 1 (uncond), as always, not a place in our batch."""

    def wrapper(apply_model: Callable[..., Any], args: Options) -> Any:
        here = [roles[place] for place in args["cond_or_uncond"]]
        transformer_options = {**args["c"].get("transformer_options", {}), "cond_or_uncond": here}
        told = {**args, "c": {**args["c"], "transformer_options": transformer_options}, "cond_or_uncond": here}
        return _calling(inner)(apply_model, told)

    return wrapper


def _with_owners(
    router: Router, owners: Callable[[Sequence[int]], list[int]], inner: Callable[..., Any] | None
) -> Callable[..., Any]:
    """A model function wrapper that tells the router which member owns which chunk of rows."""

    def wrapper(apply_model: Callable[..., Any], args: Options) -> Any:
        with router.rows_of(owners(args["cond_or_uncond"]), args["input"].shape[0]):
            return _calling(inner)(apply_model, args)

    return wrapper


def _calling(inner: Callable[..., Any] | None) -> Callable[..., Any]:
    """The wrapper that is there, or what the host does without one."""
    return inner or (lambda apply_model, args: apply_model(args["input"], args["timestep"], **args["c"]))


def equal_conds(
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

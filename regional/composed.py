"""The composed denoiser: one CFGGuider that asks base and regions at one canvas and blends their answers.

A sampler sees one model whose denoised is D = sum_k w_k D_k. Every model is asked through the host's own
`calc_cond_batch` and `cfg_function`, with its own options, so what is patched into it keeps working.
"""

import logging
import math
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any

import comfy.model_management
import comfy.samplers
import torch

from ..samplers.guided import Guidance
from .adapters import Delta, NotRoutable, Router, delta, is_weight_clone

log = logging.getLogger(__name__)

Options = dict[str, Any]
POST_CFG, PRE_CFG = "sampler_post_cfg_function", "sampler_pre_cfg_function"
# Samplers that work in log sigma come back to a step's sigma with a rounding error.
SIGMA_TOLERANCE = 1e-4


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
        options = {
            **options,
            "model_function_wrapper": _with_roles(roles, owners, self._router, options.get("model_function_wrapper")),
        }
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


class ComposedGuider(ModelGroup):
    """A GUIDER for any core or custom SAMPLER: member 0 is the base, members 1.. are the regions.

    `weigh(size, batch)` gives one weight map (B or 1, h, w) for each member, summing to 1. Above `base_only_sigma`
    the base alone paints. `vary(noise)` may vary the noise that a sampler starts from.
    """

    def __init__(
        self,
        guidances: Sequence[Guidance],
        names: Sequence[str],
        weigh: Callable[[tuple[int, int], int], Sequence[torch.Tensor]],
        base_only_sigma: float | None = None,
        vary: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        super().__init__({0: guidances[0]})
        self.base_only_sigma = base_only_sigma
        self._guidances, self._names = guidances, names
        self._weigh, self._vary = weigh, vary
        self._others: list[ModelGroup] = []
        self._weights: dict[int, torch.Tensor] = {}
        self._last: dict[int, Prediction] = {}
        self._active: ModelGroup = self

    def sample(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """As CFGGuider.sample. If the model turns out not to let its rows be routed, once more with clones switched."""
        try:
            try:
                self._gather(route=True)
                return self._sample(*args, **kwargs)
            except NotRoutable as reason:
                _log_switching("all regions", reason)
                self._gather(route=False)
                return self._sample(*args, **kwargs)
        finally:
            # The host keeps guiders between runs; what was made for this one need not wait with it.
            super().__init__({0: self._guidances[0]})
            self._others, self._active = [], self

    def _gather(self, route: bool) -> None:
        """Group the members that one loaded model can serve: its own, and with `route` those of its weight clones."""
        groups: list[tuple[dict[int, Guidance], dict[int, Delta]]] = []
        for index, guidance in enumerate(self._guidances):
            for members, deltas in groups:
                reference = next(iter(members.values())).model
                known = next((i for i, member in members.items() if member.model is guidance.model), None)
                if known is not None:
                    if known in deltas:
                        deltas[index] = deltas[known]
                elif route and is_weight_clone(reference, guidance.model):
                    try:
                        deltas[index] = delta(reference, guidance.model, reference.load_device)
                    except NotRoutable as reason:
                        _log_switching(self._names[index], reason)
                        continue
                else:
                    continue
                members[index] = guidance
                break
            else:
                groups.append(({index: guidance}, {}))
        (first, deltas), *rest = groups
        super().__init__(first, deltas)
        self._others = [ModelGroup(members, deltas) for members, deltas in rest]

    def _sample(
        self,
        noise: torch.Tensor,
        latent_image: torch.Tensor,
        sampler: Any,
        sigmas: torch.Tensor,
        denoise_mask: Any = None,
        callback: Any = None,
        disable_pbar: bool = False,
        seed: int | None = None,
    ) -> torch.Tensor:
        if getattr(latent_image, "is_nested", False) or latent_image.ndim not in (4, 5):
            raise ValueError(
                "RegionalGuider: a latent of pictures or video was expected, one without height and width (nested, or "
                f"of shape {tuple(latent_image.shape)}) came; sample it with a plain guider."
            )
        if self._vary is not None and torch.count_nonzero(noise) > 0:
            noise = self._vary(noise)
        size = (latent_image.shape[-2], latent_image.shape[-1])
        weights = self._weigh(size, latent_image.shape[0])
        extra_dims = [1] * (latent_image.ndim - 3)
        device = self.model_patcher.load_device
        self._weights = {
            index: weight.reshape(weight.shape[0], *extra_dims, *size).to(device)
            for index, weight in enumerate(weights)
            if bool(weight.any())
        }
        result: torch.Tensor = latent_image

        def run() -> None:
            nonlocal result
            self._active = self
            result = super(ComposedGuider, self).sample(
                noise, latent_image, sampler, sigmas, denoise_mask, callback, disable_pbar, seed
            )

        # Each other group is prepared by the host around the next: innermost is the base, whose sampler runs.
        for group in self._others:
            run = _around(group, run, noise, latent_image, sigmas, denoise_mask, seed)
        try:
            run()
        finally:
            self._weights, self._last = {}, {}
        return result

    def predict_noise(
        self, x: torch.Tensor, timestep: torch.Tensor, model_options: Options | None = None, seed: int | None = None
    ) -> torch.Tensor:
        """The composed denoised (B, C, ..., h, w) at `x` and sigma `timestep` (B,): what a sampler calls its model."""
        return self.compose(x, timestep, self._weights, [model_options or {}])[0]

    def weights_at(self, sigma: float) -> dict[int, torch.Tensor]:
        """The weight maps (B or 1, 1, .., h, w) at a sigma, of those members alone that have any weight."""
        if self.base_only_sigma is not None and sigma > self.base_only_sigma * (1.0 + SIGMA_TOLERANCE):
            return {
                0: torch.ones((1,) * next(iter(self._weights.values())).ndim, device=self.model_patcher.load_device)
            }
        return self._weights

    def compose(
        self, x: torch.Tensor, timestep: torch.Tensor, asked: Collection[int], requests: Sequence[Options]
    ) -> list[torch.Tensor]:
        """Blend the members' answers at canvas `x`; one denoised for each request's model options.

        Members in `asked` are evaluated afresh, and those never evaluated; the rest count with their last answer.
        """
        comfy.model_management.throw_exception_if_processing_interrupted()
        # Reading sigma waits for the device, so only look when it matters.
        weights = self._weights if self.base_only_sigma is None else self.weights_at(float(timestep.max()))
        fresh = [index for index in weights if index in asked or index not in self._last] or list(weights)
        own = self.model_options.get(POST_CFG, [])
        always_negative = any(options.get("disable_cfg1_optimization", False) for options in requests)
        for group in (self, *self._others):
            members = [index for index in fresh if index in group.scales]
            if not members:
                continue
            # The sampler's options are the base's, and what the sampler added: that belongs to the composed answer.
            options = {**requests[0], POST_CFG: own} if group is self else group.options
            if always_negative:
                options = {**options, "disable_cfg1_optimization": True}
            self._activate(group)
            self._last.update(group.predict(x, timestep, members, options))
        denoised = self._blend(weights, "denoised")
        return [
            self._finish(x, timestep, weights, denoised, options, options.get(POST_CFG, [])[len(own) :])
            for options in requests
        ]

    def _blend(self, weights: dict[int, torch.Tensor], field: str) -> torch.Tensor:
        if len(weights) == 1:
            (index,) = weights
            only: torch.Tensor = getattr(self._last[index], field)
            return only
        return sum_of(weight * getattr(self._last[index], field) for index, weight in weights.items())

    def _finish(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor,
        weights: dict[int, torch.Tensor],
        denoised: torch.Tensor,
        options: Options,
        functions: Sequence[Callable[[Options], torch.Tensor]],
    ) -> torch.Tensor:
        """Run the post-cfg functions that a sampler (cfg_pp) added, once, on the composed prediction."""
        if not functions:
            return denoised
        arguments = {
            "cond": self._prepared[0]["positive"],
            "uncond": self._prepared[0].get("negative"),
            "cond_scale": self.scales[0],
            "model": self.inner_model,
            "cond_denoised": self._blend(weights, "cond"),
            "uncond_denoised": self._blend(weights, "uncond"),
            "sigma": timestep,
            "model_options": options,
            "input": x,
        }
        for function in functions:
            denoised = function({"denoised": denoised, **arguments})
        return denoised

    def _activate(self, group: ModelGroup) -> None:
        """Make the group's model the one that is loaded and patched: clones of one model share its weights."""
        if group is self._active:
            return
        self._active.model_patcher.unpatch_hooks()
        patcher = group.model_patcher
        comfy.model_management.load_models_gpu([patcher, *group.loaded_models])
        if hasattr(patcher.model, "current_patcher"):
            patcher.model.current_patcher = patcher
        self._active = group


def _log_switching(who: str, reason: NotRoutable) -> None:
    log.warning(
        "%s: the weights are switched at every step, which is slow, since one loaded model cannot serve them: %s.",
        who,
        reason,
    )


def coefficients(model_sampling: Any, sigma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(a, b) of x = a x0 + b n at a sigma (0-d), from the model's own noise_scaling: EPS and v 1, s; flow 1 - s, s."""
    zero, one = torch.zeros_like(sigma), torch.ones_like(sigma)
    signal = model_sampling.noise_scaling(sigma, zero.clone(), one.clone())
    noise = model_sampling.noise_scaling(sigma, one.clone(), zero.clone())
    return signal, noise


def sum_of(tensors: Iterable[torch.Tensor]) -> torch.Tensor:
    """The sum of at least one tensor. Copies."""
    total, *rest = tensors
    for tensor in rest:
        total = total + tensor
    return total


def _around(
    group: ModelGroup,
    inner: Callable[[], None],
    noise: torch.Tensor,
    latent_image: torch.Tensor,
    sigmas: torch.Tensor,
    denoise_mask: Any,
    seed: int | None,
) -> Callable[[], None]:
    def run() -> None:
        group.sample(noise, latent_image, Prepare(group, inner), sigmas, denoise_mask, None, True, seed)

    return run


def _with_roles(
    roles: Sequence[int], owners: Sequence[int], router: Router | None, inner: Callable[..., Any] | None
) -> Callable[..., Any]:
    """A model function wrapper that tells patches 0 (cond) or 1 (uncond), as always, not a place in our batch, and the
    router which member owns which chunk of rows.
    """

    def wrapper(apply_model: Callable[..., Any], args: Options) -> Any:
        here = [roles[place] for place in args["cond_or_uncond"]]
        chunks = [owners[place] for place in args["cond_or_uncond"]]
        transformer_options = {**args["c"].get("transformer_options", {}), "cond_or_uncond": here}
        args = {**args, "c": {**args["c"], "transformer_options": transformer_options}, "cond_or_uncond": here}
        if router is not None:
            router.chunks = chunks
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

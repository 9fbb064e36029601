"""The composed denoiser: one CFGGuider that asks base and regions at one canvas and blends their answers.

A sampler sees one model whose denoised is D = sum_k w_k D_k. Every model is asked through the host's own
`calc_cond_batch` and `cfg_function`, with its own options, so what is patched into it keeps working.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import comfy.model_management
import torch

from ..samplers.guided import Guidance
from .adapters import Delta, NotRoutable, delta, is_weight_clone
from .groups import POST_CFG, ModelGroup, Options, Prediction, Prepare

log = logging.getLogger(__name__)

# Samplers that work in log sigma come back to a step's sigma with a rounding error.
SIGMA_TOLERANCE = 1e-4


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
        self._with_negatives = False

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
            self._serve({0: self._guidances[0]}, {})
            self._others, self._active = [], self

    def _serve(self, members: dict[int, Guidance], deltas: dict[int, Delta]) -> None:
        """Become the group of `members`, and keep what others changed of this guider."""
        cfg, options = self.cfg, self.model_options
        super().__init__(members, deltas)
        self.cfg, self.model_options = cfg, options

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
        self._serve(first, deltas)
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
        self._weights = self._weights_for(latent_image)
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
            self._weights, self._last, self._with_negatives = {}, {}, False
        return result

    def _weights_for(self, latent: torch.Tensor) -> dict[int, torch.Tensor]:
        """The weight maps (B or 1, 1, .., h, w), on the model's device, of the members that have any weight."""
        size, extra_dims = (latent.shape[-2], latent.shape[-1]), [1] * (latent.ndim - 3)
        return {
            index: weight.reshape(weight.shape[0], *extra_dims, *size).to(self.model_patcher.load_device)
            for index, weight in enumerate(self._weigh(size, latent.shape[0]))
            if bool(weight.any())
        }

    def predict_noise(
        self, x: torch.Tensor, timestep: torch.Tensor, model_options: Options | None = None, seed: int | None = None
    ) -> torch.Tensor:
        """The composed denoised (B, C, ..., h, w) at `x` and sigma `timestep` (B,): what a sampler calls its model."""
        if next(iter(self._weights.values())).shape[-2:] != x.shape[-2:]:
            # Some samplers change the latent's size on the way.
            self._weights, self._last = self._weights_for(x), {}
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
        own = self.model_options.get(POST_CFG, [])
        if not self._with_negatives and any(options.get("disable_cfg1_optimization", False) for options in requests):
            # From now on all answers need their negative, also those that others have already given without.
            self._with_negatives, self._last = True, {}
        fresh = [index for index in weights if index in asked or index not in self._last]
        if not fresh and any(index in self._weights for index in asked):
            # Who asks will paint later, and follows those who paint now.
            fresh = list(weights)
        for group in (self, *self._others):
            members = [index for index in fresh if index in group.scales]
            if not members:
                continue
            # The sampler's options are the base's, and what the sampler added: that belongs to the composed answer.
            options = {**requests[0], POST_CFG: own} if group is self else group.options
            if self._with_negatives:
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
            # Samplers may work on it in place.
            only: torch.Tensor = getattr(self._last[index], field).clone()
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
        comfy.model_management.load_models_gpu(
            [patcher, *group.loaded_models], *group.memory[:1], False, *group.memory[1:]
        )
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

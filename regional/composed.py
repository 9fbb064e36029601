"""The composed denoiser: one CFGGuider that asks base and regions at one canvas and blends their answers.

A sampler sees one model whose denoised is D = sum_k w_k D_k. Every model is asked through the host's own
`calc_cond_batch` and `cfg_function`, with its own options, so what is patched into it keeps working.
"""

import logging
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import comfy.model_management
import torch

from ..masks.boxes import Box, bounds
from ..samplers.guided import Guidance, not_finite
from ..samplers.latents import pixels_per_latent
from .adapters import NotRoutable
from .groups import POST_CFG, ModelGroup, Options, Prediction, Prepare
from .serving import Served, Way, serve
from .shares import SIGMA_TOLERANCE, Phase, Shares

log = logging.getLogger(__name__)


class ComposedGuider(ModelGroup):
    """A GUIDER for any core or custom SAMPLER: member 0 is the base, members 1.. are the regions.

    `shares` says who paints where and when. With a `context`, in pixels of the picture, a member is computed only where
    it has weight, and that far around. `vary(noise)` may vary the noise that a sampler starts from.
    """

    def __init__(
        self,
        guidances: Sequence[Guidance],
        names: Sequence[str],
        shares: Shares,
        context: int | None = None,
        vary: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        super().__init__({0: guidances[0]})
        self._guidances, self._names = guidances, names
        self._shares, self._context, self._vary = shares, context, vary
        self._others: list[ModelGroup] = []
        self._boxes: dict[Phase, dict[int, Box]] = {}
        # Who was said not to be cropped in this run.
        self._told: set[int] = set()
        self._last: dict[int, Prediction] = {}
        self._active: ModelGroup = self
        self._with_negatives = False
        self._picture: torch.Tensor
        self._sigmas: torch.Tensor

    def sample(self, *args: Any, **kwargs: Any) -> torch.Tensor:
        """As CFGGuider.sample. If a model turns out not to be served as it should, once more in the next best way."""
        obstacle: NotRoutable | None = None
        try:
            for best in Way:
                try:
                    self._gather(best, obstacle)
                    return self._sample(*args, **kwargs)
                except NotRoutable as reason:
                    obstacle = reason
            raise RuntimeError(f"Switching models failed: {obstacle}.")
        finally:
            # The host keeps guiders between runs; what was made for this one need not wait with it.
            self._serve(Served(0, self._guidances[0]))
            self._others, self._active = [], self

    def _serve(self, served: Served) -> None:
        """Become the group of these members, and keep what others changed of this guider."""
        cfg, options = self.cfg, self.model_options
        super().__init__(served.members, served.deltas, served.on_top)
        self.cfg, self.model_options = cfg, options

    def _gather(self, best: Way, obstacle: NotRoutable | None) -> None:
        """Group the members by the loaded model that can serve them."""
        first, *rest = serve(self._guidances, self._names, best, obstacle)
        for note in (note for served in (first, *rest) for note in served.notes):
            log.warning(note)
        self._serve(first)
        self._others = [ModelGroup(served.members, served.deltas, served.on_top) for served in rest]

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
        self._shares.prepare(latent_image.shape, self.model_patcher.load_device)
        self._sigmas = sigmas
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
            self._shares.forget()
            self._boxes, self._last, self._told, self._with_negatives = {}, {}, set(), False
        return result

    def inner_sample(self, noise: torch.Tensor, latent_image: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        self._picture = latent_image
        if torch.count_nonzero(latent_image) > 0:
            self._picture = self.inner_model.process_latent_in(latent_image)
        try:
            return super().inner_sample(noise, latent_image, *args, **kwargs)
        finally:
            del self._picture

    def predict_noise(
        self, x: torch.Tensor, timestep: torch.Tensor, model_options: Options | None = None, seed: int | None = None
    ) -> torch.Tensor:
        """The composed denoised (B, C, ..., h, w) at `x` and sigma `timestep` (B,): what a sampler calls its model."""
        # Some samplers change the latent's size on the way.
        self._shares.prepare(x.shape, x.device)
        return self.compose(x, timestep, None, [model_options or {}])[0]

    def phase_at(self, sigma: torch.Tensor | float) -> Phase:
        """Who paints where at a sigma."""
        return self._shares.at(sigma)

    def names_at(self, sigma: float) -> str:
        """Those who paint at a sigma, for people to read."""
        names = [self._names[index] for index in sorted(self._shares.active_at(sigma))]
        return ", ".join(names) if len(names) < 5 else f"{names[0]} and {len(names) - 1} more"

    def compose(
        self, x: torch.Tensor, timestep: torch.Tensor, asked: Collection[int] | None, requests: Sequence[Options]
    ) -> list[torch.Tensor]:
        """Blend the members' answers at canvas `x`; one denoised for each request's model options.

        Members in `asked` (None: all) are evaluated afresh, and those whose last answer is none for this canvas and
        phase; the rest count with their last answer.
        """
        comfy.model_management.throw_exception_if_processing_interrupted()
        phase = self.phase_at(timestep)
        boxes = self._boxes_of(phase, x)
        own = self.model_options.get(POST_CFG, [])
        if not self._with_negatives and any(options.get("disable_cfg1_optimization", False) for options in requests):
            # From now on all answers need their negative, also those that others have already given without.
            self._with_negatives, self._last = True, {}
        painting = [index for index in phase.weights if index not in phase.kept]
        fresh = [
            index
            for index in painting
            if asked is None or index in asked or not self._answered(index, x, boxes.get(index))
        ]
        if not fresh and asked is not None and not (self._shares.later(timestep) - phase.kept).isdisjoint(asked):
            # Who asks will paint later, and follows those who paint now; but not while it keeps the picture.
            fresh = painting
        if phase.kept and self._picture.shape != x.shape:
            raise ValueError(
                f"a region with denoise below 1 keeps the input picture of {tuple(self._picture.shape)}, which the "
                f"sampler has resized to {tuple(x.shape)}; choose another sampler, or denoise 1."
            )
        for index in phase.kept:
            self._last[index] = Prediction(self._picture, self._picture, self._picture)
        for group in self._in_order(fresh):
            members = {index: boxes.get(index) for index in fresh if index in group.scales}
            # The sampler's options are the base's, and what the sampler added: that belongs to the composed answer.
            options = {**requests[0], POST_CFG: own} if group is self else group.options
            if self._with_negatives:
                options = {**options, "disable_cfg1_optimization": True}
            self._activate(group)
            self._last.update(group.predict(x, timestep, members, options))
        denoised = self._blend(phase, x, "denoised")
        # A sum is finite only if all of it is, and much faster than to look at each number.
        if not bool(denoised.sum(dtype=torch.float32).isfinite()):
            self._raise_not_finite(x, timestep, fresh)
        return [
            self._finish(x, timestep, phase, denoised, options, options.get(POST_CFG, [])[len(own) :])
            for options in requests
        ]

    def _boxes_of(self, phase: Phase, x: torch.Tensor) -> dict[int, Box]:
        """The boxes of those members that are computed on a part of the canvas; made once for each phase."""
        if self._context is None:
            return {}
        if phase not in self._boxes:
            size = (x.shape[-2], x.shape[-1])
            context = round(self._context / pixels_per_latent(self.inner_model.latent_format))
            boxes: dict[int, Box] = {}
            for group in (self, *self._others):
                extents = {}
                painting = [index for index in group.scales if index in phase.weights and index not in phase.kept]
                for index in painting:
                    extent = bounds(phase.weights[index])
                    reason = group.obstacles[index]
                    if reason is None:
                        extents[index] = extent
                    elif extent != Box(0, 0, *size) and index not in self._told:
                        self._told.add(index)
                        log.warning("%s is computed on the whole canvas, not cropped: %s.", self._names[index], reason)
                boxes.update(group.boxes(extents, painting, size, context))
            self._boxes[phase] = boxes
        return self._boxes[phase]

    def _answered(self, index: int, x: torch.Tensor, box: Box | None) -> bool:
        """Whether the member's last answer is one for this canvas and box."""
        last = self._last.get(index)
        if last is None or last.box not in (None, box):
            return False
        return last.box is not None or last.denoised.shape == x.shape

    def _in_order(self, fresh: Collection[int]) -> list[ModelGroup]:
        """The groups that have something to do, in the order with the fewest switches: the active one is first."""
        groups = [group for group in (self, *self._others) if any(index in group.scales for index in fresh)]
        return groups[::-1] if groups and groups[-1] is self._active else groups

    def _blend(self, phase: Phase, x: torch.Tensor, field: str) -> torch.Tensor:
        total = torch.zeros_like(x)
        for index, weight in phase.weights.items():
            last = self._last[index]
            part: torch.Tensor = getattr(last, field)
            if last.box is None:
                total += weight * part
            else:
                last.box.of(total).add_(last.box.of(weight) * part)
        return total

    def _raise_not_finite(self, x: torch.Tensor, timestep: torch.Tensor, fresh: Collection[int]) -> None:
        """Say whose answer it is that would make the picture black."""
        sigma = float(timestep.max())
        step = int((self._sigmas > sigma * (1.0 + SIGMA_TOLERANCE)).sum()) + 1
        where = f"at step {step} of {max(len(self._sigmas) - 1, 1)} (sigma {sigma:.4g})"
        if not bool(x.isfinite().all()):
            raise ValueError(
                f"The sampler's picture is not a number (NaN or infinite) {where}, before any model was asked; try "
                "another sampler, scheduler or a lower cfg."
            )
        broken = [index for index in fresh if not bool(self._last[index].denoised.isfinite().all())]
        names = " and ".join(self._names[index] for index in broken) or "a blend of the regions"
        raise not_finite(names, where)

    def _finish(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor,
        phase: Phase,
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
            "cond_denoised": self._blend(phase, x, "cond"),
            "uncond_denoised": self._blend(phase, x, "uncond"),
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

"""The composed denoised of base and regions as one of the host's guiders: weights -> plan -> answers -> blend.

A sampler sees one model whose denoised is D = sum_k w_k D_k. Every model is asked through the host's own
`calc_cond_batch` and `cfg_function`, with its own options, so that patches of each model keep working.
"""

import logging
from collections.abc import Callable, Collection, Sequence
from typing import Any

import comfy.model_management
import comfy.samplers
import torch

from ..samplers.guided import Guidance, not_finite
from .compute import Answer, Ask, Compute
from .compute.crop import naming_misfits
from .compute.planner import Evaluation, Planner
from .host import ALWAYS_UNCOND, POST_CFG, ModelOptions, make_active
from .host_functions import with_host_functions
from .models.group import NEGATIVE, POSITIVE, ModelGroup
from .models.lora import NotRoutable
from .models.serving import LoraMethod, serve
from .timeline import SIGMA_TOLERANCE, Weights, WeightTimeline

log = logging.getLogger(__name__)


class Guider_Regional(comfy.samplers.CFGGuider):
    """A GUIDER for any core or custom SAMPLER: member 0 is the base, members 1.. are the regions.

    `timeline` gives their weights at each sigma, `compute` how their denoised is computed; `names` are for messages.
    `vary(noise)` may vary the noise that a sampler starts from. The host keeps guiders between runs; all that a run
    needs is in a RegionalRun made for it.
    """

    # The ways to serve LoRAs that are tried, in order.
    methods: Sequence[LoraMethod] = tuple(LoraMethod)

    def __init__(
        self,
        guidances: Sequence[Guidance],
        names: Sequence[str],
        timeline: WeightTimeline,
        compute: Compute,
        vary: Callable[[torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        base = guidances[0]
        super().__init__(base.model)
        self.inner_set_conds(base.conds())
        self.set_cfg(base.cfg)
        self.guidances, self.names, self.timeline, self.compute = guidances, names, timeline, compute
        self._vary = vary

    def sample(
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
        """As CFGGuider.sample. If a LoRA cannot be served as planned, the run starts again with the next method."""
        if getattr(latent_image, "is_nested", False) or latent_image.ndim not in (4, 5):
            raise ValueError(
                "RegionalGuider: a latent of pictures or video was expected, one without height and width (nested, or "
                f"of shape {tuple(latent_image.shape)}) came; sample it with a plain guider."
            )
        if self._vary is not None and torch.count_nonzero(noise) > 0:
            noise = self._vary(noise)
        obstacle: NotRoutable | None = None
        for method in self.methods:
            try:
                run = RegionalRun(self, sigmas, method, obstacle)
                return run.run(noise, latent_image, sampler, denoise_mask, callback, disable_pbar, seed)
            except NotRoutable as reason:
                obstacle = reason
        raise RuntimeError(f"Switching models failed: {obstacle}.")


class RegionalRun(ModelGroup):
    """One run of a Guider_Regional. It is the group of the base, on which the sampler runs and whose denoised is the
    blend of all members; the other groups are prepared by the host around it.
    """

    def __init__(
        self, guider: Guider_Regional, sigmas: torch.Tensor, method: LoraMethod, obstacle: NotRoutable | None
    ) -> None:
        super().__init__(0, guider.guidances[0])
        # Others may have changed these of the guider.
        self.cfg, self.model_options = guider.cfg, guider.model_options
        _, *self._others = serve(guider.guidances, guider.names, method, obstacle, first=self)
        for note in (note for group in self._groups for note in group.notes):
            log.warning(note)
        self._names, self._timeline, self._compute = guider.names, guider.timeline, guider.compute
        self._sigmas = sigmas
        self._planner = Planner(guider.compute)
        self._answers: dict[int, Answer] = {}
        self._told: set[str] = set()
        self._active: ModelGroup | None = None  # None: this one
        self._always_uncond = False
        self._latent_image: torch.Tensor

    @property
    def _groups(self) -> list[ModelGroup]:
        return [self, *self._others]

    def run(
        self,
        noise: torch.Tensor,
        latent_image: torch.Tensor,
        sampler: Any,
        denoise_mask: Any,
        callback: Any,
        disable_pbar: bool,
        seed: int | None,
    ) -> torch.Tensor:
        """As CFGGuider.sample."""
        self._maps = self._timeline.maps(latent_image.shape, self.model_patcher.load_device)
        result: torch.Tensor = latent_image

        def innermost() -> None:
            nonlocal result
            result = self.sample(noise, latent_image, sampler, self._sigmas, denoise_mask, callback, disable_pbar, seed)

        run = innermost
        for group in self._others:
            run = self._prepared(group, run, noise, latent_image, denoise_mask, seed)
        run()
        return result

    def _prepared(
        self,
        group: ModelGroup,
        inner: Callable[[], None],
        noise: torch.Tensor,
        latent_image: torch.Tensor,
        denoise_mask: Any,
        seed: int | None,
    ) -> Callable[[], None]:
        """`inner` inside of the host's preparation of another group."""
        # A copy: wrappers of a model may work on its noise in place (FreeNoise of context windows).
        return lambda: group.sample(
            noise.clone(), latent_image, _Prepare(group, inner), self._sigmas, denoise_mask, None, True, seed
        )

    def inner_sample(self, noise: torch.Tensor, latent_image: torch.Tensor, *args: Any, **kwargs: Any) -> Any:
        self._latent_image = latent_image
        if torch.count_nonzero(latent_image) > 0:
            self._latent_image = self.inner_model.process_latent_in(latent_image)
        return super().inner_sample(noise, latent_image, *args, **kwargs)

    def predict_noise(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor,
        model_options: ModelOptions | None = None,
        seed: int | None = None,
    ) -> torch.Tensor:
        """The composed denoised (B, C, ..., h, w) at `x` and sigma `timestep` (B,), as a sampler gets it."""
        if self._maps.shape != x.shape or self._maps.device != x.device:
            # Some samplers change the latent's size in the run.
            self._maps = self._timeline.maps(x.shape, x.device)
            self._planner.forget()
        return self.compose(x, timestep, None, [model_options or {}])[0]

    def weights_at(self, sigma: torch.Tensor | float) -> Weights:
        """The weight maps at a sigma."""
        return self._maps.at(sigma)

    def compose(
        self, x: torch.Tensor, timestep: torch.Tensor, asked: Collection[int] | None, requests: Sequence[ModelOptions]
    ) -> list[torch.Tensor]:
        """The composed denoised at `x` (B, C, ..., h, w) and sigma `timestep` (B,), for the options of each request.

        Members in `asked` (None: all) are evaluated afresh; the others count with their last answer if they have one.
        """
        comfy.model_management.throw_exception_if_processing_interrupted()
        own_post_cfg = self.model_options.get(POST_CFG, [])
        if not self._always_uncond and any(options.get(ALWAYS_UNCOND, False) for options in requests):
            # From now on every answer needs its uncond, also those that were given without.
            self._always_uncond = True
            self._planner.forget_answers()
        evaluation = self._planner.evaluate(self._groups, self._maps, timestep, asked)
        weights = evaluation.weights
        self._say(evaluation)
        self._keep_input(weights, x)
        for group, asks in self._in_loaded_order(evaluation.asks):
            # The sampler's post-cfg functions belong to the composed denoised, not to the base's.
            options = {**requests[0], POST_CFG: own_post_cfg} if group is self else group.sampling_options
            if self._always_uncond:
                options = {**options, ALWAYS_UNCOND: True}
            self._activate(group)
            cropped = [self._names[member] for ask in asks if ask.box is not None for member in ask.members]
            with with_host_functions(group.functions), naming_misfits(cropped):
                answers = self._compute.answer(group, asks, x, timestep, options)
            for answer in answers:
                self._answers.update(dict.fromkeys(answer.ask.members, answer))
        denoised = self._blend(weights, x, lambda answer, member: answer.denoised[member])
        # A sum is finite only if all of it is, and much faster than to look at each number.
        if not bool(denoised.sum(dtype=torch.float32).isfinite()):
            self._raise_not_finite(x, timestep, evaluation)
        return [
            self._after_cfg(x, timestep, weights, denoised, options, options.get(POST_CFG, [])[len(own_post_cfg) :])
            for options in requests
        ]

    def _say(self, evaluation: Evaluation) -> None:
        """Log once what is not computed in the way that was asked for."""
        for ask in evaluation.plan:
            for sentence in (one for n in ask.members for one in self._compute.said(self._names[n], ask)):
                if sentence not in self._told:
                    self._told.add(sentence)
                    log.warning(sentence)

    def _keep_input(self, weights: Weights, x: torch.Tensor) -> None:
        """The answer of members that keep the input picture is that picture."""
        picture = self._latent_image
        if weights.kept and picture.shape != x.shape:
            raise ValueError(
                f"a region with denoise below 1 keeps the input picture of {tuple(picture.shape)}, which the "
                f"sampler has resized to {tuple(x.shape)}; choose another sampler, or denoise 1."
            )
        for member in weights.kept:
            self._answers[member] = Answer(Ask((member,)), picture, picture, {member: picture})

    def _in_loaded_order(self, asks: Sequence[tuple[ModelGroup, list[Ask]]]) -> Sequence[tuple[ModelGroup, list[Ask]]]:
        """The order with the fewest switches between models: the one that is active now is first."""
        return asks[::-1] if asks and asks[-1][0] is (self._active or self) else asks

    def _blend(self, weights: Weights, x: torch.Tensor, part: Callable[[Answer, int], torch.Tensor]) -> torch.Tensor:
        """The sum over the members of their weight times a part of their last answer, (B, C, ..., h, w)."""
        total = torch.zeros_like(x)
        for member, weight in weights.maps.items():
            answer = self._answers[member]
            box, value = answer.ask.box, part(answer, member)
            if box is None:
                total += weight * value
            else:
                box.of(total).add_(box.of(weight) * value)
        return total

    def _raise_not_finite(self, x: torch.Tensor, timestep: torch.Tensor, evaluation: Evaluation) -> None:
        """Name the member whose answer would make the picture black."""
        sigma = float(timestep.max())
        step = int((self._sigmas > sigma * (1.0 + SIGMA_TOLERANCE)).sum()) + 1
        where = f"at step {step} of {max(len(self._sigmas) - 1, 1)} (sigma {sigma:.4g})"
        if not bool(x.isfinite().all()):
            raise ValueError(
                f"The sampler's picture is not a number (NaN or infinite) {where}, before any model was asked; try "
                "another sampler, scheduler or a lower cfg."
            )
        fresh = sorted(member for _, asks in evaluation.asks for ask in asks for member in ask.members)
        broken = [member for member in fresh if not bool(self._answers[member].denoised[member].isfinite().all())]
        names = " and ".join(self._names[member] for member in broken) or "a blend of the regions"
        raise not_finite(names, where)

    def _after_cfg(
        self,
        x: torch.Tensor,
        timestep: torch.Tensor,
        weights: Weights,
        denoised: torch.Tensor,
        options: ModelOptions,
        functions: Sequence[Callable[[ModelOptions], torch.Tensor]],
    ) -> torch.Tensor:
        """The result of the post-cfg functions that a sampler (cfg_pp) added, run once on the composed denoised."""
        if not functions:
            return denoised
        conds = self.conds_of(0)
        arguments = {
            "cond": conds[POSITIVE],
            "uncond": conds.get(NEGATIVE),
            "cond_scale": self.scale(0),
            "model": self.inner_model,
            "cond_denoised": self._blend(weights, x, lambda answer, _: answer.cond),
            "uncond_denoised": self._blend(weights, x, lambda answer, _: answer.uncond),
            "sigma": timestep,
            "model_options": options,
            "input": x,
        }
        for function in functions:
            denoised = function({"denoised": denoised, **arguments})
        return denoised

    def _activate(self, group: ModelGroup) -> None:
        """Make the group's model the one that is loaded and patched."""
        active = self._active or self
        if group is active:
            return
        make_active(group.model_patcher, active.model_patcher, group.loaded_models, group.memory)
        self._active = None if group is self else group


class _Prepare(comfy.samplers.Sampler):
    """No-op SAMPLER: stores the options that the host prepared for a group, then runs what is inside of it."""

    def __init__(self, group: ModelGroup, inner: Callable[[], None]) -> None:
        self._group, self._inner = group, inner

    def sample(
        self,
        model_wrap: Any,
        sigmas: Any,
        extra_args: ModelOptions,
        callback: Any,
        noise: torch.Tensor,
        *_: Any,
        **__: Any,
    ) -> torch.Tensor:
        self._group.sampling_options = extra_args["model_options"]
        self._inner()
        return noise

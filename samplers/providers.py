"""The objects on KSAMPLER and KSAMPLER_ADVANCED sockets. Those of ComfyUI-Impact-Pack have the same methods."""

import math
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch

from . import latents
from . import noise as noises
from .guided import Guidance, sample
from .latents import Latent
from .recovery import FULL_RECOVERY, Recovery, passes
from .schedules import SchedulerFunc, cut
from .session import Session

# The longest schedule that is made: all steps that a node can be asked for, at the lowest denoise of its widget.
MAX_SCHEDULE = 1_000_000


@runtime_checkable
class StepSampler(Protocol):
    """What a KSAMPLER_ADVANCED must have. `params` begins with the model."""

    @property
    def params(self) -> tuple[Any, ...]: ...

    def sample_advanced(
        self,
        add_noise: bool,
        seed: int,
        steps: int,
        latent_image: Latent,
        start_at_step: int,
        end_at_step: int,
        return_with_leftover_noise: bool,
        *,
        recovery_mode: str,
        recovery_sampler: str,
        recovery_sigma_ratio: float,
    ) -> Latent: ...


@runtime_checkable
class FullSampler(Protocol):
    """What a KSAMPLER must have: a whole run on a LATENT."""

    def sample(self, latent_image: Latent) -> Latent: ...


@dataclass(frozen=True, eq=False)
class KSamplerAdvancedObject:
    """A KSAMPLER_ADVANCED: model, prompts, guidance, sampler and schedule, able to sample any stretch of a schedule."""

    guidance: Guidance
    sampler_name: str
    scheduler: str
    sigma_factor: float = 1.0
    sampler_opt: Any = None
    scheduler_func: SchedulerFunc | None = None

    @property
    def params(self) -> tuple[Any, ...]:
        """(model, cfg, sampler_name, scheduler, positive, negative, sigma_factor), the order that other packs read."""
        g = self.guidance
        return g.model, g.cfg, self.sampler_name, self.scheduler, g.positive, g.negative, self.sigma_factor

    def sample_advanced(
        self,
        add_noise: bool,
        seed: int,
        steps: int,
        latent_image: Latent,
        start_at_step: int,
        end_at_step: int,
        return_with_leftover_noise: bool,
        recovery_mode: str = FULL_RECOVERY.mode,
        recovery_sampler: str = FULL_RECOVERY.sampler,
        recovery_sigma_ratio: float = FULL_RECOVERY.ratio,
        noise: torch.Tensor | None = None,
        *,
        hook: Any = None,
        session: Session | None = None,
    ) -> Latent:
        """Sample the steps `start_at_step`..`end_at_step` of the schedule for `steps` steps; returns a new LATENT.

        With `return_with_leftover_noise` its samples are the sampled latent, else the last denoised prediction. A start
        at or past the schedule's end returns the latent as it is. `noise` (shaped like the samples) takes the place
        of the seed's noise when `add_noise` is set. A call over one step only is taken as a part of a run that is cut
        into steps: the noise that its sampler draws then depends on the step as well as on the seed. `hook` is there
        for other packs' calls, and not looked at.
        """
        latent = latents.fit(latent_image, self.guidance.model)
        span = max(end_at_step - start_at_step, 1)
        session = session or Session(span)
        name = "" if self.sampler_opt is not None else self.sampler_name
        recovery = Recovery(recovery_mode, recovery_sampler, recovery_sigma_ratio)
        canvas = latent
        with session.steps(span):
            for one in passes(name, recovery):
                pass_name = one.sampler_name or name
                schedule = self.schedule(session, steps, one.sampler_name)
                sigmas = cut(schedule, start_at_step, end_at_step, return_with_leftover_noise)
                if len(sigmas) < 2:
                    continue
                if one.sampler_name is not None:
                    if "noise_mask" in latent:
                        canvas = latents.paste(latent, canvas, latent["noise_mask"])
                    noise = None  # The second pass draws the seed's own noise, without variation.
                if noise is None and add_noise:
                    noise = noises.initial_noise(canvas, seed)
                sampler = self.sampler_opt if pass_name == "" else noises.sampler_object(pass_name, schedule, seed)
                try:
                    result = sample(
                        self.guidance,
                        sampler,
                        sigmas * (self.sigma_factor * one.ratio),
                        canvas,
                        noise if add_noise else None,
                        self._draw_seed(sampler, seed, start_at_step, end_at_step),
                        session.callback(self.guidance.model, span, latents.mask_of(canvas)),
                    )
                except ValueError as error:
                    if not _refused(pass_name, error):
                        raise
                    continue
                samples = result.samples if return_with_leftover_noise else result.denoised
                canvas = {**canvas, "samples": samples}
        return canvas

    def schedule(self, session: Session, steps: int, other: str | None = None) -> torch.Tensor:
        """The whole schedule for `steps` steps, before sigma_factor; `other` is the sampler of a second pass."""
        name = other or self.sampler_name
        if self.sampler_opt is not None and other is None and self.scheduler_func is None:
            name = ""
        return session.sigmas(self.guidance.model, self.scheduler, name, steps, self.scheduler_func)

    @staticmethod
    def _draw_seed(sampler: Any, seed: int, start: int, end: int) -> int:
        # ddim seeds its inpainting noise with it, which must stay the same noise in all steps.
        keeps: bool = getattr(sampler, "inpaint_options", {}).get("random", False)
        return seed if keeps or end - start != 1 else noises.step_seed(seed, start)


@dataclass(frozen=True, eq=False)
class FollowingSampler:
    """A region's own model and prompts; sampler and schedule are those of whatever base it is sampled with."""

    guidance: Guidance

    @property
    def params(self) -> tuple[Any, ...]:
        """As KSamplerAdvancedObject's, with nothing in the place of sampler and schedule."""
        g = self.guidance
        return g.model, g.cfg, None, None, g.positive, g.negative, 1.0

    def after(self, base: KSamplerAdvancedObject) -> KSamplerAdvancedObject:
        return replace(base, guidance=self.guidance)

    def sample_advanced(self, *_: Any, **__: Any) -> Latent:
        raise TypeError(
            "This region takes its sampler from the base, as those of RegionalPromptFromConditioning do; only this "
            "pack's own sampler nodes know the base: use them, or make the region with RegionalPrompt."
        )


@dataclass(frozen=True, eq=False)
class KSamplerObject:
    """A KSAMPLER: a whole run with its own seed, steps and denoise."""

    advanced: KSamplerAdvancedObject
    seed: int
    steps: int
    denoise: float

    @property
    def params(self) -> tuple[Any, ...]:
        """(model, seed, steps, cfg, sampler_name, scheduler, positive, negative, denoise)."""
        model, cfg, sampler_name, scheduler, positive, negative, _ = self.advanced.params
        return model, self.seed, self.steps, cfg, sampler_name, scheduler, positive, negative, self.denoise

    def sample(self, latent_image: Latent, hook: Any = None, *, session: Session | None = None) -> Latent:
        """Sample the last `steps` of floor(steps / denoise) steps with the seed's noise; returns a new LATENT.

        `hook` comes from other packs: an object whose `pre_ksample` may change the parameters and the latent.
        """
        if hook is not None:
            *params, latent_image, denoise = hook.pre_ksample(*self.params[:-1], latent_image, self.denoise)
            model, seed, steps, cfg, sampler_name, scheduler, positive, negative = params
            guidance = Guidance(model, positive, negative, cfg)
            advanced = replace(self.advanced, guidance=guidance, sampler_name=sampler_name, scheduler=scheduler)
            return KSamplerObject(advanced, seed, steps, denoise).sample(latent_image, session=session)
        total = schedule_steps(self.steps, self.denoise, "KSamplerProvider")
        recovery = Recovery()
        return self.advanced.sample_advanced(
            True,
            self.seed,
            total,
            latent_image,
            total - self.steps,
            total,
            False,
            recovery.mode,
            recovery.sampler,
            recovery.ratio,
            session=session,
        )


def schedule_steps(steps: int, denoise: float, owner: str) -> int:
    """floor(steps / denoise): the length of the schedule of which the last `steps` are run."""
    if not denoise > 0.0:
        raise ValueError(
            f"{owner}: denoise must be above 0, {denoise} came, which leaves no step to sample; raise it (1.0 repaints "
            "everything), or take this node out of the graph."
        )
    if steps / denoise > MAX_SCHEDULE:
        raise ValueError(
            f"{owner}: {steps} steps at denoise {denoise:g} are the end of a schedule of {steps / denoise:.3g} steps, "
            f"at most {MAX_SCHEDULE} can be made; raise denoise."
        )
    return math.floor(steps / denoise)


def check_step_sampler(value: object, owner: str) -> StepSampler:
    """`value` if it is a KSAMPLER_ADVANCED, else TypeError."""
    if not isinstance(value, StepSampler):
        raise TypeError(
            f"{owner}: a KSAMPLER_ADVANCED was expected, {kind_of(value)} came; connect a KSamplerAdvancedProvider."
        )
    return value


def as_own(sampler: StepSampler, owner: str) -> KSamplerAdvancedObject:
    """The sampler as one of this pack's: another pack's is read from its `params`, sampler_opt and scheduler_func."""
    if isinstance(sampler, KSamplerAdvancedObject):
        return sampler
    if len(sampler.params) < 6:
        raise TypeError(
            f"{owner}: the parameters (model, cfg, sampler_name, scheduler, positive, negative) of its sampler were "
            f"expected, {len(sampler.params)} came; connect a KSamplerAdvancedProvider."
        )
    model, cfg, sampler_name, scheduler, positive, negative, *factor = sampler.params
    return KSamplerAdvancedObject(
        Guidance(model, positive, negative, cfg),
        sampler_name,
        scheduler,
        factor[0] if factor else 1.0,
        getattr(sampler, "sampler_opt", None),
        getattr(sampler, "scheduler_func", None),
    )


def check_full_sampler(value: object, owner: str) -> FullSampler:
    """`value` if it is a KSAMPLER, else TypeError."""
    if not isinstance(value, FullSampler):
        raise TypeError(f"{owner}: a KSAMPLER was expected, {kind_of(value)} came; connect a KSamplerProvider.")
    return value


def call(
    sampler: StepSampler,
    session: Session,
    add_noise: bool,
    seed: int,
    steps: int,
    latent: Latent,
    span: tuple[int, int],
    leave_noise: bool,
    recovery: Recovery,
    noise: torch.Tensor | None = None,
) -> Latent:
    """`sampler.sample_advanced` with everything named that other packs name otherwise or not at all."""
    options: dict[str, Any] = {
        "recovery_mode": recovery.mode,
        "recovery_sampler": recovery.sampler,
        "recovery_sigma_ratio": recovery.ratio,
    }
    if noise is not None:
        options["noise"] = noise
    arguments = (add_noise, seed, steps, latent, *span, leave_noise)
    if isinstance(sampler, KSamplerAdvancedObject):
        return sampler.sample_advanced(*arguments, **options, session=session)
    with session.steps(max(span[1] - span[0], 1)):
        return sampler.sample_advanced(*arguments, **options)


def kind_of(value: object) -> str:
    """What to call `value` in an error."""
    return "nothing" if value is None else type(value).__name__


def _refused(sampler_name: str, error: ValueError) -> bool:
    return sampler_name in ("dpm_fast", "dpm_adaptive") and str(error) == "sigma_min and sigma_max must not be 0"

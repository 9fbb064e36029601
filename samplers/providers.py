"""The objects on KSAMPLER and KSAMPLER_ADVANCED sockets. Those of ComfyUI-Impact-Pack have the same methods."""

from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import torch

from . import latents
from . import noise as noises
from .guided import Guidance, sample
from .latents import Latent
from .progress import Progress
from .recovery import FULL_RECOVERY, NO_RECOVERY, Recovery, passes
from .schedules import ScheduleCache, SchedulerFunc, cut, is_whole, schedule_steps


class Session:
    """What the sampling calls of one node run share: its progress, and its schedules."""

    def __init__(self, total_steps: int, node_id: str | None = None) -> None:
        self.progress = Progress(total_steps, node_id)
        self.schedules = ScheduleCache()


@runtime_checkable
class AdvancedSamplerLike(Protocol):
    """The members that a KSAMPLER_ADVANCED must have. `params` begins with the model."""

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
class FullSamplerLike(Protocol):
    """The member that a KSAMPLER must have: a whole run on a LATENT."""

    def sample(self, latent_image: Latent) -> Latent: ...


@dataclass(frozen=True, eq=False)
class AdvancedSampler:
    """A KSAMPLER_ADVANCED: model, prompts, cfg, sampler and schedule. It samples any range of steps of its schedule."""

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
        at or past the schedule's end returns the latent as it is. With `add_noise`, `noise` (shaped like the samples)
        replaces the seed's noise. A call over a single step counts as one step of a run that is sampled step by step:
        the noise that its sampler draws depends on the step as well as on the seed. `hook` is accepted for calls by
        other packs and ignored.
        """
        latent = latents.fit(latent_image, self.guidance.model)
        span = max(end_at_step - start_at_step, 1)
        session = session or Session(span)
        name = self.pass_name
        recovery = Recovery(recovery_mode, recovery_sampler, recovery_sigma_ratio)
        canvas = latent
        with session.progress.steps(span):
            for one in passes(name, recovery):
                pass_name = one.sampler_name or name
                schedule = self.schedule(session.schedules, steps, one.sampler_name)
                sigmas = cut(schedule, start_at_step, end_at_step, return_with_leftover_noise)
                sigmas = sigmas * (self.sigma_factor * one.ratio)
                if len(sigmas) < 2:
                    continue
                if one.sampler_name is not None:
                    if "noise_mask" in latent:
                        canvas = latents.paste(latent, canvas, latent["noise_mask"])
                    noise = None  # The second pass draws the seed's own noise, without variation.
                if _too_short(pass_name, sigmas):
                    continue
                if noise is None and add_noise:
                    noise = noises.initial_noise(canvas, seed)
                sampler = self.sampler_opt if pass_name == "" else noises.sampler_object(pass_name, schedule, seed)
                result = sample(
                    self.guidance,
                    sampler,
                    sigmas,
                    canvas,
                    noise if add_noise else None,
                    self._draw_seed(sampler, seed, start_at_step, end_at_step),
                    session.progress.callback(self.guidance.model, span, latents.mask_of(canvas)),
                )
                samples = result.samples if return_with_leftover_noise else result.denoised
                canvas = {**canvas, "samples": samples}
        return canvas

    @property
    def pass_name(self) -> str:
        """The name of the sampler, by which recovery and noise go; "" for a SAMPLER object."""
        return "" if self.sampler_opt is not None else self.sampler_name

    def schedule(
        self,
        schedules: ScheduleCache,
        steps: int,
        other: str | None = None,
        owner: str = "KSamplerAdvancedProvider",
    ) -> torch.Tensor:
        """The whole schedule for `steps` steps, before sigma_factor; `other` is the sampler of a second pass.

        ValueError that begins with `owner` for one that cannot be sampled.
        """
        name = other or self.sampler_name
        if self.sampler_opt is not None and other is None and self.scheduler_func is None:
            name = ""
        return schedules.sigmas(self.guidance.model, self.scheduler, name, steps, self.scheduler_func, owner)

    @staticmethod
    def _draw_seed(sampler: Any, seed: int, start: int, end: int) -> int:
        # ddim seeds its inpainting noise with it; that noise must be the same in all steps.
        keeps: bool = getattr(sampler, "inpaint_options", {}).get("random", False)
        return seed if keeps or end - start != 1 else noises.step_seed(seed, start)


@dataclass(frozen=True, eq=False)
class InheritedSampler:
    """The sampler of a region that has its own model, prompts and cfg, but the base's sampler and schedule."""

    guidance: Guidance

    @property
    def params(self) -> tuple[Any, ...]:
        """As AdvancedSampler's, with None for sampler and scheduler."""
        g = self.guidance
        return g.model, g.cfg, None, None, g.positive, g.negative, 1.0

    def with_base(self, base: AdvancedSampler) -> AdvancedSampler:
        """The region's guidance with the base's sampler and schedule; see `Guidance.with_embedded`."""
        return replace(base, guidance=self.guidance.with_embedded(base.guidance))

    def sample_advanced(self, *_: Any, **__: Any) -> Latent:
        raise TypeError(
            "This region takes its sampler from the base, and the node that samples it, of another pack, does not tell "
            "it which one that is; connect regional_prompts to RegionalGuider, which works with all regions, or make "
            "the region by RegionalPrompt from its mask and a KSamplerAdvancedProvider."
        )


@dataclass(frozen=True, eq=False)
class FullSampler:
    """A KSAMPLER: a whole run with its own seed, steps and denoise."""

    advanced: AdvancedSampler
    seed: int
    steps: int
    denoise: float

    @property
    def params(self) -> tuple[Any, ...]:
        """(model, seed, steps, cfg, sampler_name, scheduler, positive, negative, denoise)."""
        model, cfg, sampler_name, scheduler, positive, negative, _ = self.advanced.params
        return model, self.seed, self.steps, cfg, sampler_name, scheduler, positive, negative, self.denoise

    def sample(self, latent_image: Latent, hook: Any = None, *, session: Session | None = None) -> Latent:
        """Sample with the seed's noise, over the sigmas of the host's KSampler; returns a new LATENT.

        Its denoise below 1 runs the last `steps` steps of the schedule for floor(steps / denoise) steps.
        `hook` comes from other packs: an object whose `pre_ksample` may change the parameters and the latent.
        """
        if hook is not None:
            *params, latent_image, denoise = hook.pre_ksample(*self.params[:-1], latent_image, self.denoise)
            model, seed, steps, cfg, sampler_name, scheduler, positive, negative = params
            guidance = Guidance(model, positive, negative, cfg)
            advanced = replace(self.advanced, guidance=guidance, sampler_name=sampler_name, scheduler=scheduler)
            return FullSampler(advanced, seed, steps, denoise).sample(latent_image, session=session)
        owner = "KSamplerProvider"
        total = schedule_steps(self.steps, self.denoise, owner)
        session = session or Session(self.steps)
        # Some schedules (ddim_uniform, long ones of beta) have more or fewer steps than asked for.
        end = max(len(self.advanced.schedule(session.schedules, total, owner=owner)) - 1, 0)
        return self.advanced.sample_advanced(
            True,
            self.seed,
            total,
            latent_image,
            0 if is_whole(self.denoise) else max(end - self.steps, 0),
            end,
            False,
            NO_RECOVERY.mode,
            NO_RECOVERY.sampler,
            NO_RECOVERY.ratio,
            session=session,
        )


def check_advanced_sampler(value: object, owner: str) -> AdvancedSamplerLike:
    """`value` if it is a KSAMPLER_ADVANCED, else TypeError."""
    if not isinstance(value, AdvancedSamplerLike):
        raise TypeError(
            f"{owner}: a KSAMPLER_ADVANCED was expected, {kind_of(value)} came; connect a KSamplerAdvancedProvider."
        )
    return value


def model_of(sampler: Any) -> Any:
    """The MODEL of a KSAMPLER_ADVANCED or of this pack's KSAMPLER: the first of its `params`."""
    return sampler.params[0]


def as_own(sampler: AdvancedSamplerLike, owner: str) -> AdvancedSampler:
    """The sampler as one of this pack's: another pack's is read from its `params`, sampler_opt and scheduler_func."""
    if isinstance(sampler, AdvancedSampler):
        return sampler
    if len(sampler.params) < 6:
        raise TypeError(
            f"{owner}: the parameters (model, cfg, sampler_name, scheduler, positive, negative) of its sampler were "
            f"expected, {len(sampler.params)} came; connect a KSamplerAdvancedProvider."
        )
    model, cfg, sampler_name, scheduler, positive, negative, *factor = sampler.params
    return AdvancedSampler(
        Guidance(model, positive, negative, cfg),
        sampler_name,
        scheduler,
        factor[0] if factor else 1.0,
        getattr(sampler, "sampler_opt", None),
        getattr(sampler, "scheduler_func", None),
    )


def check_full_sampler(value: object, owner: str) -> FullSamplerLike:
    """`value` if it is a KSAMPLER, else TypeError."""
    if not isinstance(value, FullSamplerLike):
        raise TypeError(f"{owner}: a KSAMPLER was expected, {kind_of(value)} came; connect a KSamplerProvider.")
    return value


def call(
    sampler: AdvancedSamplerLike,
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
    """`sampler.sample_advanced` with the arguments that this pack's and other packs' samplers both take."""
    options: dict[str, Any] = {
        "recovery_mode": recovery.mode,
        "recovery_sampler": recovery.sampler,
        "recovery_sigma_ratio": recovery.ratio,
    }
    if noise is not None:
        options["noise"] = noise
    arguments = (add_noise, seed, steps, latent, *span, leave_noise)
    if isinstance(sampler, AdvancedSampler):
        return sampler.sample_advanced(*arguments, **options, session=session)
    with session.progress.steps(max(span[1] - span[0], 1)):
        return sampler.sample_advanced(*arguments, **options)


def kind_of(value: object) -> str:
    """How an error names `value`: its type, or "nothing" for None."""
    return "nothing" if value is None else type(value).__name__


def _too_short(sampler_name: str, sigmas: torch.Tensor) -> bool:
    """Whether the sampler refuses these sigmas (steps + 1,): the dpm solvers work in log sigma, so both ends of their
    range, a last 0 left out, must be above 0.
    """
    if sampler_name not in ("dpm_fast", "dpm_adaptive"):
        return False
    low = sigmas[-1] if sigmas[-1] != 0 else sigmas[-2]
    return not (low > 0 and sigmas[0] > 0)

"""Sigma schedules: of the host by name, of nodes of the host, and SCHEDULER_FUNC objects. Unit: sigma, descending."""

import math
from collections.abc import Callable
from typing import Any

import comfy.samplers
import torch
from comfy_extras.nodes_align_your_steps import AlignYourStepsScheduler
from comfy_extras.nodes_gits import GITSScheduler
from comfy_extras.nodes_optimalsteps import OptimalStepsScheduler

SchedulerFunc = Callable[[Any, str, int], torch.Tensor]
# The longest schedule that is made: the largest `steps` at the lowest `denoise` above 0 of the nodes' widgets.
MAX_SCHEDULE = 1_000_000


def gits(coeff: float, steps: int, denoise: float = 1.0) -> torch.Tensor:
    """The host's GITS schedule for `steps` steps, its last round(steps * denoise) of them.

    The host's table has coefficients in steps of 0.05 and begins at 2 steps: the nearest is taken, and for 1 step the
    ends of 2.
    """
    coeff = round(coeff * 20) / 20
    if steps == 1:
        return _only(GITSScheduler.execute(coeff, 2, denoise))[[0, -1]]
    return _only(GITSScheduler.execute(coeff, steps, denoise))


def _align_your_steps(model_type: str, steps: int) -> torch.Tensor:
    return _only(AlignYourStepsScheduler.execute(model_type, steps, 1.0))


def _ltxv(steps: int) -> torch.Tensor:
    """The host's LTXV schedule with the defaults of its node, for a latent of 4096 tokens.

    Its stretching divides by 0 for 1 step, which gets the ends of 2.
    """
    # Imported here: the module loads libraries for video and sound.
    from comfy_extras.nodes_lt import LTXVScheduler

    sigmas = _only(LTXVScheduler.execute(max(steps, 2), max_shift=2.05, base_shift=0.95, stretch=True, terminal=0.1))
    return sigmas[[0, -1]] if steps == 1 else sigmas


def _optimal_steps(model_type: str, steps: int) -> torch.Tensor:
    return _only(OptimalStepsScheduler.execute(model_type, steps, 1.0))


def _only(output: Any) -> torch.Tensor:
    sigmas: torch.Tensor = output.result[0]
    return sigmas


_EXTRA: dict[str, Callable[[int], torch.Tensor]] = {
    "AYS SDXL": lambda steps: _align_your_steps("SDXL", steps),
    "AYS SD1": lambda steps: _align_your_steps("SD1", steps),
    "AYS SVD": lambda steps: _align_your_steps("SVD", steps),
    "GITS[coeff=1.2]": lambda steps: gits(1.2, steps),
    "LTXV[default]": _ltxv,
    "OSS FLUX": lambda steps: _optimal_steps("FLUX", steps),
    "OSS Wan": lambda steps: _optimal_steps("Wan", steps),
    "OSS Chroma": lambda steps: _optimal_steps("Chroma", steps),
}


def scheduler_names() -> list[str]:
    """The names for a scheduler combo: the host's, then the extra ones."""
    return [*comfy.samplers.KSampler.SCHEDULERS, *_EXTRA]


def make_sigmas(
    model: Any,
    scheduler: str,
    sampler_name: str,
    steps: int,
    scheduler_func: SchedulerFunc | None = None,
    owner: str = "schedule",
) -> torch.Tensor:
    """Return the whole schedule for `steps` steps, (steps + 1,) on the CPU for nearly all schedulers.

    Samplers that the host runs without their penultimate sigma (dpm_2, uni_pc, ...) get steps + 1 and lose it;
    `sampler_name` is "" for a SAMPLER object, which has no name. A `scheduler_func` gives its sigmas as they are.
    ValueError that begins with `owner` if a sigma is NaN or infinite, as with kl_optimal for one step.
    """
    if scheduler_func is not None:
        return _finite(scheduler_func(model, sampler_name, steps).to("cpu"), "the custom schedule", steps, owner)
    discard = sampler_name in comfy.samplers.KSampler.DISCARD_PENULTIMATE_SIGMA_SAMPLERS
    steps += discard
    if scheduler in _EXTRA:
        sigmas = _EXTRA[scheduler](steps)
    else:
        sigmas = comfy.samplers.calculate_sigmas(model.get_model_object("model_sampling"), scheduler, steps)
    if discard:
        sigmas = torch.cat([sigmas[:-2], sigmas[-1:]])
    return _finite(sigmas.to("cpu"), scheduler, steps, owner)


def _finite(sigmas: torch.Tensor, scheduler: str, steps: int, owner: str) -> torch.Tensor:
    if not bool(sigmas.isfinite().all()):
        raise ValueError(
            f"{owner}: {scheduler} makes no schedule for {steps} step{'' if steps == 1 else 's'}, its sigmas are NaN "
            "or infinite; take more steps, or another scheduler."
        )
    return sigmas


def cut(sigmas: torch.Tensor, start: int, end: int, leave_noise: bool) -> torch.Tensor:
    """Return a copy of the steps `start`..`end` of a schedule; empty when nothing is left to sample.

    Without `leave_noise` a cut that ends before the schedule does ends in sigma 0 all the same.
    """
    last = min(end, len(sigmas) - 1)
    part = sigmas[: last + 1].clone()
    if not leave_noise and last < len(sigmas) - 1:
        part[-1] = 0.0
    return part[start:] if start < last else part[:0]


def schedule_steps(steps: int, denoise: float, owner: str) -> int:
    """floor(steps / denoise): the steps for which the schedule is made, of which the last `steps` are sampled."""
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


def is_whole(denoise: float) -> bool:
    """Whether a denoise runs a whole schedule, as KSampler judges it; below, its last steps are run."""
    return denoise > 0.9999


class ScheduleCache:
    """The schedules of one node run, each made once. Do not change a schedule that it returns."""

    def __init__(self) -> None:
        # The values keep model and function alive, so that their ids are not given to other objects meanwhile.
        self._schedules: dict[tuple[Any, ...], tuple[torch.Tensor, Any, Any]] = {}

    def sigmas(
        self,
        model: Any,
        scheduler: str,
        sampler_name: str,
        steps: int,
        scheduler_func: SchedulerFunc | None = None,
        owner: str = "schedule",
    ) -> torch.Tensor:
        """`make_sigmas` of the same arguments."""
        key = (id(model), scheduler, sampler_name, steps, id(scheduler_func))
        if key not in self._schedules:
            sigmas = make_sigmas(model, scheduler, sampler_name, steps, scheduler_func, owner)
            self._schedules[key] = (sigmas, model, scheduler_func)
        return self._schedules[key][0]

"""The engines by name. Both take a Job and return a LATENT."""

import logging
from collections.abc import Callable

from ..masks.weights import MIX
from ..samplers import latents
from ..samplers.latents import Latent
from ..samplers.prompts import Presence
from . import lockstep, stepwise
from .job import Job

STEPWISE, LOCKSTEP = "stepwise", "lockstep"
ENGINES: dict[str, Callable[[Job], Latent]] = {STEPWISE: stepwise.run, LOCKSTEP: lockstep.run}

log = logging.getLogger(__name__)


def run(engine: str, job: Job) -> Latent:
    """Run the job with an engine of ENGINES; a LATENT with the given one's other keys, without `noise_mask`.

    Raises ValueError for another engine.
    """
    if engine not in ENGINES:
        raise ValueError(f"{job.owner}: engine {' or '.join(ENGINES)} was expected, {engine!r} came.")
    if engine == STEPWISE and "noise_mask" in job.canvas.latent:
        log.warning(
            "%s: the stepwise engine does not look at the latent's noise_mask and may change all of the picture; "
            "choose the lockstep engine for regional inpainting.",
            job.owner,
        )
    if engine == STEPWISE:
        _warn_of_lockstep_only(job)
    else:
        log.info(
            "%s: lockstep has nothing to repair: what restore_latent and additional_* ask for is not done.", job.owner
        )
    return latents.like(job.canvas.given, ENGINES[engine](job))


def _warn_of_lockstep_only(job: Job) -> None:
    """Say once what was asked for and the stepwise engine does not do."""
    plain = Presence()
    asked = ["region_compute crop"] if job.options.context is not None else []
    asked += [f"blend {job.options.blend}"] if job.options.blend != MIX else []
    for region in job.canvas.regions:
        for name in ("weight", "denoise"):
            if (value := getattr(region.presence, name)) != getattr(plain, name):
                asked.append(f"{name} {value:g} of {region.name}")
    if asked:
        log.warning("%s: the stepwise engine does not do %s; choose the lockstep engine.", job.owner, ", ".join(asked))

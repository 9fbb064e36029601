"""The engines by name. Both take a Job and return a LATENT."""

import logging
from collections.abc import Callable

from ..samplers import latents
from ..samplers.latents import Latent
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
    if engine == LOCKSTEP:
        log.info(
            "%s: lockstep has nothing to repair: what restore_latent and additional_* ask for is not done.", job.owner
        )
    return latents.like(job.canvas.given, ENGINES[engine](job))

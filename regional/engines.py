"""The engines by name. Both take a Job and return a LATENT."""

import logging
from collections.abc import Callable

from ..masks.weights import MIX
from ..samplers import latents
from ..samplers.latents import Latent
from ..samplers.progress import show_text
from ..samplers.prompts import RegionSettings
from . import lockstep, stepwise
from .compute.full import FULL
from .job import Job
from .regions import stretched_note

STEPWISE, LOCKSTEP = "stepwise", "lockstep"
ENGINES: dict[str, Callable[[Job], Latent]] = {STEPWISE: stepwise.run, LOCKSTEP: lockstep.run}

log = logging.getLogger(__name__)


def run(engine: str, job: Job) -> Latent:
    """Run the job with an engine of ENGINES; returns the given LATENT with new samples and without `noise_mask`.

    Raises ValueError for another engine.
    """
    check_engine(engine, job.owner)
    if engine == STEPWISE:
        _warn_of_lockstep_only(job)
    else:
        log.info(
            "%s: lockstep has nothing to repair: what restore_latent and additional_* ask for is not done.", job.owner
        )
    stretched = stretched_note(job.scene.regions, job.scene.size)
    if stretched:
        log.warning("%s, %s", job.owner, stretched)
    result = latents.like(job.scene.given, ENGINES[engine](job))
    if stretched:
        show_text(stretched, job.node_id)  # after the run, whose own texts would cover it
    return result


def check_engine(engine: str, owner: str) -> None:
    """Raise ValueError unless `engine` is one of ENGINES."""
    if engine not in ENGINES:
        raise ValueError(f"{owner}: engine {' or '.join(ENGINES)} was expected, {engine!r} came.")


def lockstep_only(job: Job) -> list[str]:
    """What the job asks for and the stepwise engine does not do."""
    compute, plain = job.lockstep.compute.name, RegionSettings()
    asked = [f"region_compute {compute}"] if compute != FULL else []
    asked += [f"blend {job.lockstep.blend}"] if job.lockstep.blend != MIX else []
    for region in job.scene.regions:
        for name in ("weight", "denoise"):
            if (value := getattr(region.settings, name)) != getattr(plain, name):
                asked.append(f"{name} {value:g} of {region.name}")
    return asked


def _warn_of_lockstep_only(job: Job) -> None:
    if "noise_mask" in job.scene.latent:
        log.warning(
            "%s: the stepwise engine does not look at the latent's noise_mask and may change all of the picture; "
            "choose the lockstep engine for regional inpainting.",
            job.owner,
        )
    if asked := lockstep_only(job):
        log.warning("%s: the stepwise engine does not do %s; choose the lockstep engine.", job.owner, ", ".join(asked))

"""TwoSamplersForMask: two whole runs, one where the mask is not exactly 1, the second on its result in the mask."""

from ..masks.convert import as_mask
from ..masks.shape import check_count, resize
from ..samplers import latents
from ..samplers.latents import Latent
from ..samplers.providers import FullSampler, KSamplerObject, check_full_sampler
from ..samplers.session import Session
from .job import check_latent
from .regions import check_formats


def run(latent: Latent, base: object, inside: object, mask: object, owner: str, node_id: str | None = None) -> Latent:
    """Sample the LATENT with both; returns its other keys without `noise_mask`."""
    base = check_full_sampler(base, f"{owner}, base_sampler")
    inside = check_full_sampler(inside, f"{owner}, mask_sampler")
    given = latent = check_latent(latent, owner)
    # Other packs' samplers may say nothing about their models; then they fit an empty latent themselves.
    if isinstance(base, KSamplerObject):
        latent = latents.fit(latent, base.params[0])
        if isinstance(inside, KSamplerObject):
            check_formats(base.params[0], inside.params[0], f"{owner}, mask_sampler")
    samples = latent["samples"]
    own = as_mask(mask, owner)
    check_count(own, samples.shape, owner)
    size = (samples.shape[-2], samples.shape[-1])
    session = Session(_steps(base) + _steps(inside), node_id)
    latent = _call(base, latents.with_mask(latent, resize((own != 1).float(), size)), session)
    latent = _call(inside, latents.with_mask(latents.without_mask(latent), resize(own, size)), session)
    return latents.like(given, latent)


def _steps(sampler: FullSampler) -> int:
    return sampler.steps if isinstance(sampler, KSamplerObject) else 1


def _call(sampler: FullSampler, latent: Latent, session: Session) -> Latent:
    if isinstance(sampler, KSamplerObject):
        return sampler.sample(latent, session=session)
    with session.steps(1):
        return sampler.sample(latent)

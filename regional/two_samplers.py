"""TwoSamplersForMask: a whole run where the mask is not exactly 1, then a second one on its result inside the mask."""

from ..masks.convert import as_mask
from ..masks.shape import check_count, resize
from ..samplers import latents
from ..samplers.latents import Latent
from ..samplers.providers import FullSampler, FullSamplerLike, Session, check_full_sampler, model_of
from .job import check_latent
from .regions import check_formats


def run(latent: Latent, base: object, inside: object, mask: object, owner: str, node_id: str | None = None) -> Latent:
    """Sample the LATENT with both; returns it with new samples and without `noise_mask`."""
    base = check_full_sampler(base, f"{owner}, base_sampler")
    inside = check_full_sampler(inside, f"{owner}, mask_sampler")
    given = latent = check_latent(latent, owner)
    # The models of other packs' samplers may be unknown; such samplers fit an empty latent themselves.
    if isinstance(base, FullSampler):
        latent = latents.fit(latent, model_of(base))
        if isinstance(inside, FullSampler):
            check_formats(model_of(base), model_of(inside), f"{owner}, mask_sampler")
    samples = latent["samples"]
    own = as_mask(mask, owner)
    check_count(own, samples.shape, owner)
    size = (samples.shape[-2], samples.shape[-1])
    session = Session(_steps(base) + _steps(inside), node_id)
    latent = _call(base, latents.with_mask(latent, resize((own != 1).float(), size)), session)
    latent = _call(inside, latents.with_mask(latents.without_mask(latent), resize(own, size)), session)
    return latents.like(given, latent)


def _steps(sampler: FullSamplerLike) -> int:
    return sampler.steps if isinstance(sampler, FullSampler) else 1


def _call(sampler: FullSamplerLike, latent: Latent, session: Session) -> Latent:
    if isinstance(sampler, FullSampler):
        return sampler.sample(latent, session=session)
    with session.progress.steps(1):
        return sampler.sample(latent)

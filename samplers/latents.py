"""What is done to LATENT dicts (`samples`: (B, C, h, w) or (B, C, frames, h, w)). All of it copies."""

from typing import Any

import comfy.sample
import comfy.sampler_helpers
import torch
from comfy_extras.nodes_mask import LatentCompositeMasked

Latent = dict[str, Any]


# What the host's empty latents say about their scale, so that they can be fitted to a model.
_SCALES = ("downscale_ratio_spacial", "downscale_ratio_temporal")


def fit(latent: Latent, model: Any) -> Latent:
    """A shallow copy whose samples, if empty, have the model's channel count, dimensions and scale.

    The keys about the scale are gone from it: they are no longer true, and it would be fitted again.
    """
    samples = comfy.sample.fix_empty_latent_channels(model, latent["samples"], *(latent.get(key) for key in _SCALES))
    return {**{key: value for key, value in latent.items() if key not in _SCALES}, "samples": samples}


def like(given: Latent, result: Latent) -> Latent:
    """The samples of `result` with the other keys of the LATENT that a node was given, without `noise_mask`."""
    return {**without_mask(given), "samples": result["samples"]}


def without_mask(latent: Latent) -> Latent:
    """A shallow copy without `noise_mask`."""
    return {key: value for key, value in latent.items() if key != "noise_mask"}


def with_mask(latent: Latent, mask: torch.Tensor) -> Latent:
    """A shallow copy with the (B, h, w) mask as its `noise_mask`."""
    # The host reads a 3-D mask of a video latent as frames, so say there that these are pictures of a batch.
    video = latent["samples"].ndim == 5
    return {**latent, "noise_mask": mask[:, None, None] if video else mask}


def mask_of(latent: Latent) -> torch.Tensor | None:
    """The `noise_mask` as the host will use it: shaped like the samples, on their device; None without one."""
    if "noise_mask" not in latent:
        return None
    samples = latent["samples"]
    mask: torch.Tensor = comfy.sampler_helpers.prepare_mask(latent["noise_mask"], samples.shape, samples.device)
    return mask


def paste(destination: Latent, source: Latent, mask: torch.Tensor) -> Latent:
    """`source` over `destination` where the mask is 1, by the core's LatentCompositeMasked; keys of `destination`."""
    out: Latent = LatentCompositeMasked.execute(destination, source, 0, 0, False, mask).result[0]
    return out

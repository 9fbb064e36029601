"""Functions on LATENT dicts (`samples`: (B, C, h, w) or (B, C, frames, h, w)). None changes its arguments."""

from typing import Any

import comfy.sample
import comfy.sampler_helpers
import torch
from comfy_extras.nodes_mask import LatentCompositeMasked

from ..masks.shape import on_latent

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
    """A shallow copy with the (N, h, w) mask as its `noise_mask`."""
    shape = latent["samples"].shape
    # The host reads a 3-D mask of a video latent as frames, so say there what it is.
    return {**latent, "noise_mask": on_latent(mask, shape) if len(shape) == 5 else mask}


def mask_of(latent: Latent) -> torch.Tensor | None:
    """The `noise_mask` as the host will use it: shaped like the samples, on their device; None without one."""
    if "noise_mask" not in latent:
        return None
    samples = latent["samples"]
    mask: torch.Tensor = comfy.sampler_helpers.prepare_mask(latent["noise_mask"], samples.shape, samples.device)
    return mask


def paste(destination: Latent, source: Latent, mask: torch.Tensor) -> Latent:
    """`source` over `destination` where the mask is 1, by the core's LatentCompositeMasked; keys of `destination`."""
    samples = destination["samples"]
    flat = mask.reshape(-1, *mask.shape[-2:])
    if samples.ndim == 5 and len(samples) == 1 and len(flat) > 1:
        # A mask for each frame: the core has masks for the pictures of a batch, so the frames go there and back.
        under, over = ({"samples": one["samples"][0].movedim(1, 0)} for one in (destination, source))
        pasted = paste(under, over, on_latent(flat, samples.shape)[0, 0])
        return {**destination, "samples": pasted["samples"].movedim(0, 1)[None]}
    out: Latent = LatentCompositeMasked.execute(destination, source, 0, 0, False, mask).result[0]
    return out


def pixels_per_latent(latent_format: Any) -> int:
    """How many pixels of the picture one latent pixel is wide, as the model's latent format says."""
    return int(latent_format.spacial_downscale_ratio)

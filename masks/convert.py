"""Bring whatever stands on a MASK socket into one shape."""

import logging

import torch

log = logging.getLogger(__name__)

_TOLERANCE = 1e-3  # how far values may lie outside of 0..1 before anyone is told: half precision and resizing go so far


def as_mask(value: object, owner: str) -> torch.Tensor:
    """Return `value` as a new or borrowed float32 CPU tensor of shape (B, H, W), clamped to 0..1.

    Accepts (H, W), (B, H, W), (B, 1, H, W) and one mask's frames, (1, 1, T, H, W), which become (T, H, W); of any
    device and any real dtype: uint8 counts as 0..255, bool as 0/1. Values outside of 0..1 are clamped with a warning.
    `owner` names the place in errors, e.g. "region 2". Never changes `value`.

    Raises TypeError for something that is no tensor, ValueError for a shape or values that cannot be a mask.
    """
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{owner}: a MASK was expected, {type(value).__name__} came; connect a MASK output.")
    mask = _squeezed(value, owner).detach().to("cpu")
    if mask.dtype == torch.uint8:
        return mask.float() / 255.0
    mask = mask.float()
    low, high = (float(end) for end in mask.aminmax())
    if low != low or high != high:
        raise ValueError(
            f"{owner}: the mask holds NaN (not a number), so nobody can say where the region is; "
            "look at the node that makes this mask."
        )
    if low < -_TOLERANCE or high > 1.0 + _TOLERANCE:
        log.warning(
            "%s: the mask has values from %.4g to %.4g, a mask goes from 0 to 1; what lies outside is clamped.",
            owner,
            low,
            high,
        )
    return mask.clamp(0.0, 1.0)


def _squeezed(value: torch.Tensor, owner: str) -> torch.Tensor:
    """`value` as (B, H, W), a view; ValueError if it cannot be read so."""
    shape = tuple(value.shape)
    mask = value
    if mask.ndim == 2:
        mask = mask.unsqueeze(0)
    elif mask.ndim == 4 and shape[1] == 1:
        mask = mask.squeeze(1)
    elif mask.ndim == 5 and shape[1] == 1:
        if shape[0] > 1 < shape[2]:
            raise ValueError(
                f"{owner}: {shape[0]} masks of {shape[2]} frames each came; give one mask for each picture, or one "
                "mask's frames, but not both."
            )
        mask = mask.flatten(0, 2)
    elif mask.ndim == 4 and shape[-1] in (1, 3, 4):
        raise ValueError(
            f"{owner}: a MASK was expected, an IMAGE of shape {shape} came; put ImageToMask in between, or give a "
            "picture in flat colours to RegionalPromptsFromColorMask."
        )
    if mask.ndim != 3 or mask.numel() == 0:
        raise ValueError(
            f"{owner}: a mask of shape (height, width), (batch, height, width), (batch, 1, height, width) or "
            f"(1, 1, frames, height, width) was expected, {shape} came; for an IMAGE put ImageToMask in between."
        )
    return mask


def check_batch(mask: torch.Tensor, batch: int, owner: str) -> None:
    """Raise ValueError unless `mask` (B, H, W) holds one mask, or one for each of the latent's `batch` pictures."""
    if mask.shape[0] not in (1, batch):
        expected = "1 mask" if batch == 1 else f"1 mask or {batch} (one for each picture of the latent batch)"
        raise ValueError(
            f"{owner}: {expected} expected, {mask.shape[0]} came; give one mask, or a latent batch of {mask.shape[0]}."
        )

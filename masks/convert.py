"""Convert the values of MASK sockets to one shape, dtype and range."""

import logging

import torch

log = logging.getLogger(__name__)

# Values this far outside of 0..1 are clamped without a warning: half precision and resizing produce them.
_TOLERANCE = 1e-3


def as_mask(value: object, owner: str) -> torch.Tensor:
    """Convert `value` to a mask: a new float32 tensor (B, H, W) on the CPU, clamped to 0..1.

    Accepts (H, W), (B, H, W), (B, 1, H, W), (B, 1, 1, H, W) and one mask per frame (1, 1, T, H, W), which becomes
    (T, H, W), on any device and of any real dtype: uint8 is divided by 255, bool becomes 0 or 1. No mask at all,
    (0, H, W), is one empty mask: detectors that find nothing give it. Logs a warning if values lie outside of 0..1.
    `owner` begins warnings and errors, e.g. "region 2". Copies; never changes `value`.

    Raises TypeError if `value` is no tensor, ValueError for any other shape, for an empty tensor and for NaN.
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
    """A view (B, H, W) of `value`; ValueError for a shape that `as_mask` does not accept."""
    shape = tuple(value.shape)
    mask = value
    if mask.ndim in (3, 4) and shape[0] == 0 and (mask.ndim == 3 or shape[1] == 1):
        mask = mask.new_zeros((1, *shape[-2:]))
    elif mask.ndim == 2:
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
    """Raise ValueError, beginning with `owner`, unless `mask` (B, H, W) has B = 1 or B = `batch`, the latent's."""
    if mask.shape[0] not in (1, batch):
        expected = "1 mask" if batch == 1 else f"1 mask or {batch} (one for each picture of the latent batch)"
        raise ValueError(
            f"{owner}: {expected} expected, {mask.shape[0]} came; join them with MaskComposite (operation or), select "
            "one with RegionalMaskFromBatch, make a region of each with RegionalPromptsFromMasks, or give a latent "
            f"batch of {mask.shape[0]}."
        )

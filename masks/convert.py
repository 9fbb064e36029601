"""Bring whatever stands on a MASK socket into one shape."""

import torch


def as_mask(value: object, owner: str) -> torch.Tensor:
    """Return `value` as a new or borrowed float32 CPU tensor of shape (B, H, W), clamped to 0..1.

    Accepts (H, W), (B, H, W) and (B, 1, H, W) of any device and any real dtype; uint8 counts as 0..255, bool as 0/1.
    `owner` names the place in errors, e.g. "region 2". Never changes `value`.

    Raises TypeError for something that is no tensor, ValueError for a shape or values that cannot be a mask.
    """
    if not isinstance(value, torch.Tensor):
        raise TypeError(f"{owner}: a MASK was expected, {type(value).__name__} came; connect a MASK output.")
    mask = value
    if mask.ndim == 2:
        mask = mask.unsqueeze(0)
    elif mask.ndim == 4 and mask.shape[1] == 1:
        mask = mask.squeeze(1)
    if mask.ndim != 3 or mask.numel() == 0:
        raise ValueError(
            f"{owner}: a mask of shape (height, width), (batch, height, width) or (batch, 1, height, width) was "
            f"expected, {tuple(value.shape)} came; for an IMAGE put ImageToMask in between."
        )
    mask = mask.detach().to("cpu")
    if mask.dtype == torch.uint8:
        mask = mask.float() / 255.0
    mask = mask.float()
    if bool(torch.isnan(mask).any()):
        raise ValueError(
            f"{owner}: the mask holds NaN (not a number), so nobody can say where the region is; "
            "look at the node that makes this mask."
        )
    return mask.clamp(0.0, 1.0)


def check_batch(mask: torch.Tensor, batch: int, owner: str) -> None:
    """Raise ValueError unless `mask` (B, H, W) holds one mask, or one for each of the latent's `batch` pictures."""
    if mask.shape[0] not in (1, batch):
        expected = "1 mask" if batch == 1 else f"1 mask or {batch} (one for each picture of the latent batch)"
        raise ValueError(
            f"{owner}: {expected} expected, {mask.shape[0]} came; give one mask, or a latent batch of {mask.shape[0]}."
        )

"""REGIONAL_PROMPTS from masks and prompt texts, for the nodes that make all regions at once."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import nodes as host
import torch

from ..samplers.prompts import RegionalPromptObject, RegionSettings
from ..samplers.providers import InheritedSampler, kind_of
from .data import guidance


@dataclass(frozen=True, eq=False)
class PromptedMask:
    """A region whose prompt is not encoded yet. `mask` is float32 (H, W) in 0..1."""

    mask: torch.Tensor
    prompt: str
    settings: RegionSettings = field(default_factory=RegionSettings)


def check_clip(clip: Any, owner: str) -> None:
    """Raise TypeError, naming `owner`, unless `clip` is a CLIP."""
    if not hasattr(clip, "tokenize"):
        raise TypeError(f"{owner}: clip should be a CLIP, {kind_of(clip)} came; connect a loader's CLIP.")


def encode(clip: Any, text: str) -> Any:
    """The CONDITIONING of a prompt text, by ComfyUI's CLIPTextEncode."""
    return host.CLIPTextEncode().encode(clip, text)[0]


def encode_regions(
    prompted: Iterable[PromptedMask], model: Any, clip: Any, negative: Any, cfg: float, owner: str
) -> list[RegionalPromptObject]:
    """One region for each prompted mask, in their order; model, negative and cfg are shared, the sampler is the base's.

    Raises TypeError, naming `owner`, if the model or a prompt cannot be sampled with.
    """
    found = []
    for item in prompted:
        sampler = InheritedSampler(guidance(model, encode(clip, item.prompt), negative, cfg, owner))
        found.append(RegionalPromptObject(item.mask, sampler, settings=item.settings))
    return found

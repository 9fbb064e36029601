"""LoRA files made in memory and loaded by the host, and a count of the weights that the host patches."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any
from unittest import mock

import comfy.sd
import torch
from comfy.model_patcher import ModelPatcher

UNET_LINEAR = [
    "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn1.to_q",
    "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_k",
    "diffusion_model.middle_block.1.transformer_blocks.0.ff.net.2",
    "diffusion_model.time_embed.0",
]
UNET_CONV = ["diffusion_model.input_blocks.1.0.in_layers.2", "diffusion_model.output_blocks.0.0.out_layers.3"]


def lora_file(
    model: Any, layers: Sequence[str], kind: str = "lora", seed: int = 0, rank: int = 4, scale: float = 0.5
) -> dict[str, torch.Tensor]:
    """A LoRA as it lies in a file: tensors by name, for the host's own loader."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * scale * (shape[-1] ** -0.5 if len(shape) > 1 else 1.0)

    out: dict[str, torch.Tensor] = {}
    weights = model.model_state_dict()
    for layer in layers:
        shape = weights[f"{layer}.weight"].shape
        rows, columns = shape[0], shape[1:].numel()
        if kind in ("lora", "dora"):
            out[f"{layer}.lora_up.weight"] = noise(rows, rank, *[1] * (len(shape) - 2))
            out[f"{layer}.lora_down.weight"] = noise(rank, *shape[1:])
            out[f"{layer}.alpha"] = torch.tensor(rank / 2)
        if kind == "dora":
            out[f"{layer}.dora_scale"] = 1 + noise(rows, *[1] * (len(shape) - 1)).abs()
        if kind == "loha":
            for side in ("hada_w1", "hada_w2"):
                out[f"{layer}.{side}_a"], out[f"{layer}.{side}_b"] = noise(rows, rank) * 3, noise(rank, columns) * 3
            out[f"{layer}.alpha"] = torch.tensor(float(rank))
        if kind == "lokr":
            out[f"{layer}.lokr_w1"] = noise(4, 4)
            out[f"{layer}.lokr_w2"] = noise(rows // 4, shape[1] // 4, *shape[2:])
        if kind == "glora":
            out[f"{layer}.a1.weight"], out[f"{layer}.a2.weight"] = noise(columns, rank), noise(rank, columns)
            out[f"{layer}.b1.weight"], out[f"{layer}.b2.weight"] = noise(rank, columns), noise(rows, rank)
        if kind == "oft":
            out[f"{layer}.oft_blocks"] = noise(4, rows // 4, rows // 4)
        if kind == "diff":
            out[f"{layer}.diff"] = noise(*shape) * 0.3
        if kind == "bias":
            out[f"{layer}.diff_b"] = noise(rows)
    return out


def with_lora(model: Any, layers: Sequence[str], strength: float = 1.0, **options: Any) -> Any:
    """The model with a LoRA, as LoraLoader makes it."""
    return comfy.sd.load_lora_for_models(model, None, lora_file(model, layers, **options), strength, 0.0)[0]


# Each puts one weight's patches on: those of the model, those of a hook, and those of a hook from its cache.
_PATCHES = ("patch_weight_to_device", "patch_hook_weight_to_device", "patch_cached_hook_weights")


class Patching:
    """Counts the host's weight patches while it is open."""

    def __init__(self) -> None:
        self.count = 0
        self._open = ExitStack()

    def __enter__(self) -> Patching:
        for name in _PATCHES:
            self._open.enter_context(mock.patch.object(ModelPatcher, name, self._counting(name)))
        return self

    def __exit__(self, *_: object) -> None:
        self._open.close()

    def _counting(self, name: str) -> Any:
        own = getattr(ModelPatcher, name)

        def count(*args: Any, **kwargs: Any) -> Any:
            self.count += 1
            return own(*args, **kwargs)

        return count


def as_switched(monkeypatch: Any, run: Any) -> Any:
    """The result of `run` when no clone is routed: the host patches the weights at every region of every step."""
    from pack.regional.guider import Guider_Regional
    from pack.regional.models.serving import LoraMethod

    with monkeypatch.context() as patched:
        patched.setattr(Guider_Regional, "methods", [LoraMethod.SWITCH])
        return run()

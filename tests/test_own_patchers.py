"""Models whose patcher puts weights on in its own way, as those of GGUF files do, with a LoRA in a region."""

import comfy.lora
import comfy.model_patcher
import comfy.utils
import pytest
import torch
from loras import UNET_CONV, UNET_LINEAR, Patching, with_lora
from testing_pack.models import random_cond, random_unet
from use import lockstep, plain, regions, relative, step_sampler

LAYERS = UNET_LINEAR + UNET_CONV
LATENT = {"samples": torch.zeros(1, 4, 8, 12)}


class Packed(torch.nn.Linear):
    """Keeps its weight as eighths in 16 bits, and the patches that it puts on whenever it is used."""

    def __init__(self, inner):
        torch.nn.Module.__init__(self)
        self.in_features, self.out_features = inner.in_features, inner.out_features
        self.weight = torch.nn.Parameter((inner.weight * 1024).round().to(torch.int16), requires_grad=False)
        self.bias, self.own_patches = inner.bias, None

    def unpacked(self):
        return self.weight.float() / 1024

    def forward(self, x):
        weight = self.unpacked()
        if self.own_patches:
            weight = comfy.lora.calculate_weight(self.own_patches, weight, "packed.weight")
        return torch.nn.functional.linear(x, weight, self.bias)

    def _save_to_state_dict(self, destination, prefix, keep_vars):
        super()._save_to_state_dict(destination, prefix, keep_vars)
        # What it needs for a moment counts as memory; there is no such attribute.
        destination[f"{prefix}temp.weight"] = torch.empty(1)


class PackedPatcher(comfy.model_patcher.ModelPatcher):
    def patch_weight_to_device(self, key, device_to=None, inplace_update=False, return_weight=False, force_cast=False):
        layer = self.model.get_submodule(key.rpartition(".")[0])
        if not isinstance(layer, Packed) or not key.endswith(".weight"):
            return super().patch_weight_to_device(key, device_to, inplace_update, return_weight, force_cast)
        layer.own_patches = self.patches.get(key)
        return None

    def unpatch_model(self, device_to=None, unpatch_weights=True):
        for layer in self.model.modules():
            if unpatch_weights and isinstance(layer, Packed):
                layer.own_patches = None
        return super().unpatch_model(device_to, unpatch_weights)


def packed_unet():
    """A patcher over packed linear layers."""
    model = random_unet()
    for name in UNET_LINEAR:
        parent, _, own = name.rpartition(".")
        setattr(model.model.get_submodule(parent), own, Packed(model.model.get_submodule(name)))
    return PackedPatcher(model.model, model.load_device, model.offload_device)


def pictures(model, clone):
    base, inside = (step_sampler(one, random_cond(1), random_cond(9)) for one in (model, clone))
    want = plain(inside, LATENT, steps=3)
    assert relative(want, plain(base, LATENT, steps=3)) > 1e-3
    return lockstep(LATENT, base, regions((torch.ones(1, 8, 12), inside)), steps=3), want


@pytest.mark.parametrize("kind", ["dora", "oft", "diff"])
def test_what_cannot_be_added_is_switched_and_said(kind, caplog):
    model = packed_unet()
    got, want = pictures(model, with_lora(model, LAYERS, 0.8, kind=kind))
    assert relative(got, want) < 1e-5
    said = "region 1: the model's weights are switched for it at every step, which is slow: "
    assert caplog.text.count(said) == 1
    assert "PackedPatcher patches weights in its own way, which takes no hooks" in caplog.text


@pytest.mark.parametrize("kind", ["lora", "lokr", "bias"])
def test_what_is_added_needs_no_patcher(kind, caplog):
    """The layers are derived from torch's, so their output is that of a weight, to which a LoRA adds."""
    model = packed_unet()
    layers = [layer for layer in LAYERS if kind != "bias" or "to_" not in layer]
    clone = with_lora(model, layers, 0.8, kind=kind)
    base = step_sampler(model, random_cond(1), random_cond(9))
    plain(base, LATENT, steps=3)
    inside = step_sampler(clone, random_cond(1), random_cond(9))
    with Patching() as patching:
        got = lockstep(LATENT, base, regions((torch.ones(1, 8, 12), inside)), steps=3)
    assert patching.count == 0 and "weights are" not in caplog.text
    assert relative(got, plain(inside, LATENT, steps=3)) < 1e-5


class Rounded(torch.nn.Module):
    """Looks like a linear layer, and rounds what it gives: W x + dW x is not (W + dW) x there."""

    def __init__(self, inner):
        super().__init__()
        self.in_features, self.out_features = inner.in_features, inner.out_features
        self.weight, self.bias = inner.weight, inner.bias

    def forward(self, x):
        return (torch.nn.functional.linear(x, self.weight, self.bias) * 4).round() / 4


def test_a_layer_that_only_looks_like_one_is_not_routed(caplog):
    model = random_unet()
    name = UNET_LINEAR[2]
    parent, _, own = name.rpartition(".")
    model.model.get_submodule(parent)[int(own)] = Rounded(model.model.get_submodule(name))
    got, want = pictures(model, with_lora(model, [name], 3.0))
    assert relative(got, want) < 1e-5
    assert f"{name} is no layer of ComfyUI's own (Rounded)" in caplog.text

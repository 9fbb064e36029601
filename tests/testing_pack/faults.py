"""Nodes that fail on purpose at a chosen call, and nodes that show the server's threads and a latent's finiteness."""

from __future__ import annotations

import threading
from collections.abc import Callable

import comfy.hooks
import comfy.model_management
import comfy.samplers
import torch

from . import models

BROKEN = "broken on purpose"


def _call(tooltip: str):
    return ("INT", {"default": 3, "min": 0, "max": 10000, "tooltip": tooltip})


def _at(call: int, fault: Callable[[], None]) -> Callable[..., None]:
    """A function that counts its calls, from 1, and calls `fault` in call number `call`."""
    count = 0

    def step(*_, **__):
        nonlocal count
        count += 1
        if count == call:
            fault()

    return step


def _fail():
    raise RuntimeError(BROKEN)


def _out_of_memory():
    raise comfy.model_management.OOM_EXCEPTION(f"out of memory, {BROKEN}")


class _NotCached:
    """Base class of nodes that run in every prompt, so that call counts start anew."""

    CATEGORY = "regional/testing"

    @classmethod
    def IS_CHANGED(cls, **_):
        return float("nan")


class RegionalTestingFaultyModel(_NotCached):
    DESCRIPTION = "A model that fails at a call of its own choosing."
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "break_it"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "The model."}),
                "fault": (list(cls.FAULTS), {"tooltip": "What happens."}),
                "call": _call("The call at which it happens, counted from 1; NaN comes from all later ones too."),
            }
        }

    def break_it(self, model, fault, call):
        return (self.FAULTS[fault](model, call),)

    @staticmethod
    def nan(model, call, pixels: slice = slice(None)):
        """A clone whose predictions are NaN from call number `call` on, in the columns `pixels` of the latent."""
        inner, count = model.model_options.get("model_function_wrapper"), 0

        def wrapper(apply_model, args):
            nonlocal count
            count += 1
            if inner is not None:
                out = inner(apply_model, args)
            else:
                out = apply_model(args["input"], args["timestep"], **args["c"])
            if count >= call:
                out = out.clone()
                out[..., pixels] = torch.nan
            return out

        clone = model.clone()
        clone.set_model_unet_function_wrapper(wrapper)
        return clone

    @staticmethod
    def attention_patch(model, call):
        step, clone = _at(call, _fail), model.clone()

        def patch(q, k, v, options):
            step()
            return q, k, v

        clone.set_model_attn1_patch(patch)
        return clone

    @staticmethod
    def cfg_patch(model, call):
        step, clone = _at(call, _fail), model.clone()

        def patch(args):
            step()
            return args["denoised"]

        clone.set_model_sampler_post_cfg_function(patch)
        return clone

    FAULTS = {
        "out of memory": lambda model, call: models.wrapped(model, _at(call, _out_of_memory)),
        "error": lambda model, call: models.wrapped(model, _at(call, _fail)),
        "NaN": nan,
        "attention patch": attention_patch,
        "cfg patch": cfg_patch,
    }


class FaultySampler(comfy.samplers.Sampler):
    """Calls its model `calls` times, then fails."""

    def __init__(self, calls: int) -> None:
        self.calls = calls

    def sample(self, model_wrap, sigmas, extra_args, callback, noise, *_, **__):
        for _ in range(self.calls):
            model_wrap(noise, sigmas[:1], **extra_args)
        _fail()


class RegionalTestingFaultySampler(_NotCached):
    DESCRIPTION = "A sampler that fails after some model calls."
    RETURN_TYPES = ("SAMPLER",)
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"calls": _call("Number of model calls before it fails.")}}

    def make(self, calls):
        return (FaultySampler(calls),)


class FaultyHook(comfy.hooks.TransformerOptionsHook):
    """Fails in its application number `call`, counted from 1; 0: when ComfyUI registers it."""

    def __init__(self, call: int) -> None:
        super().__init__(transformers_dict={})
        self.call, self._step = call, _at(call, _fail)

    def clone(self):
        copy = super().clone()
        copy.call, copy._step = self.call, self._step
        return copy

    def add_hook_patches(self, *args, **kwargs):
        if self.call == 0:
            _fail()
        return super().add_hook_patches(*args, **kwargs)

    def on_apply_hooks(self, model, transformer_options):
        self._step()
        super().on_apply_hooks(model, transformer_options)


class RegionalTestingFaultyHook(_NotCached):
    DESCRIPTION = "A prompt with a hook that fails."
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "hook"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "conditioning": ("CONDITIONING", {"tooltip": "The prompt."}),
                "call": _call("The use at which it fails, counted from 1; 0: when it is registered."),
            }
        }

    def hook(self, conditioning, call):
        hooks = comfy.hooks.HookGroup()
        hooks.add(FaultyHook(call))
        return (comfy.hooks.set_hooks_for_conditioning(conditioning, hooks),)


class RegionalTestingThreads(_NotCached):
    DESCRIPTION = "The names of the threads of the server's process."
    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "show"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def show(self):
        return {"ui": {"threads": sorted(thread.name for thread in threading.enumerate())}}


class RegionalTestingFinite:
    CATEGORY = "regional/testing"
    DESCRIPTION = "Whether all numbers of a latent are numbers, which its picture would not show."
    RETURN_TYPES = ()
    OUTPUT_NODE = True
    FUNCTION = "look"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"samples": ("LATENT", {"tooltip": "The latent."})}}

    def look(self, samples):
        return {"ui": {"finite": [bool(torch.isfinite(samples["samples"]).all())]}}


NODES = (
    RegionalTestingFaultyModel,
    RegionalTestingFaultySampler,
    RegionalTestingFaultyHook,
    RegionalTestingThreads,
    RegionalTestingFinite,
)

"""One sampling call over given sigmas: the host's CFGGuider on a latent, with mask, noise, preview and interrupt."""

import traceback
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import comfy.model_management
import comfy.samplers
import node_helpers
import torch

from .progress import Callback

# The value of a negative for models that take none, such as Flux.
NO_NEGATIVE = "NegativePlaceholder"


class InterruptibleGuider(comfy.samplers.CFGGuider):
    """The host's CFGGuider, which also checks for an interrupt before each model call, not only after each step."""

    def predict_noise(self, *args: Any, **kwargs: Any) -> Any:
        comfy.model_management.throw_exception_if_processing_interrupted()
        return super().predict_noise(*args, **kwargs)


@dataclass(frozen=True, eq=False)
class Guidance:
    """A model with its prompts. `negative` is a CONDITIONING or NO_NEGATIVE: then cfg is the positive's `guidance`."""

    model: Any
    positive: Any
    negative: Any
    cfg: float

    @property
    def _has_negative(self) -> bool:
        return not (isinstance(self.negative, str) and self.negative == NO_NEGATIVE)

    @property
    def scale(self) -> float:
        """The guidance scale of cond against uncond: cfg, or 1 for a model without a negative."""
        return self.cfg if self._has_negative else 1.0

    def conds(self) -> dict[str, Any]:
        """The CONDITIONINGs by the names that the host's guiders know."""
        if not self._has_negative:
            return {"positive": node_helpers.conditioning_set_values(self.positive, {"guidance": self.cfg})}
        return {"positive": self.positive, "negative": self.negative}

    def with_embedded(self, base: "Guidance") -> "Guidance":
        """A copy whose positive has the `guidance` value of the base's positive, where it has none of its own.

        Models such as Flux take this value with the prompt; without it they assume 3.5. A text that a node encodes by
        itself never passed through the FluxGuidance of the base.
        """
        values = [options["guidance"] for _, options in base.conds()["positive"] if "guidance" in options]
        if not values or all("guidance" in options for _, options in self.positive):
            return self
        positive = [[text, {"guidance": values[0], **options}] for text, options in self.positive]
        return replace(self, positive=positive)

    def guider(self) -> Any:
        guider = InterruptibleGuider(self.model)
        guider.inner_set_conds(self.conds())
        guider.set_cfg(self.scale)
        return guider


@dataclass(frozen=True, eq=False)
class Sampled:
    """`samples`: the sampler's result (noisy if the sigmas end above 0); `denoised`: the last denoised prediction.

    Both shaped like the latent, in the latent's own scale, on the host's intermediate device.
    """

    samples: torch.Tensor
    denoised: torch.Tensor


def sample(
    guidance: Guidance,
    sampler: Any,
    sigmas: torch.Tensor,
    latent: dict[str, Any],
    noise: torch.Tensor | None,
    seed: int,
    callback: Callback | None = None,
) -> Sampled:
    """Run `sampler` (a SAMPLER) over `sigmas` on the latent, inside its `noise_mask` if it has one.

    `noise` None adds none. The latent is not changed.
    """
    samples = latent["samples"]
    if len(sigmas) < 2:
        return Sampled(samples, samples)
    if noise is None:
        noise = torch.zeros(samples.shape, dtype=samples.dtype)
    denoised: torch.Tensor | None = None
    guider = guidance.guider()
    restart_keyframes(cond for conds in guider.original_conds.values() for cond in conds)

    def remember(step: int, x0: torch.Tensor, x: torch.Tensor, total_steps: int) -> None:
        nonlocal denoised
        denoised = x0
        if callback is not None:
            callback(step, x0, x, total_steps)

    out = guider.sample(
        noise,
        samples,
        sampler,
        sigmas,
        denoise_mask=latent.get("noise_mask"),
        callback=remember,
        disable_pbar=True,  # The session shows one bar for all calls.
        seed=seed,
    )
    device, dtype = comfy.model_management.intermediate_device(), comfy.model_management.intermediate_dtype()
    out = out.to(device=device, dtype=dtype)
    if denoised is None:
        return Sampled(out, out)
    return Sampled(out, guidance.model.model.process_latent_out(denoised.to(device)).to(dtype=dtype))


def failed_on_its_own(sampler: Any, error: BaseException) -> bool:
    """Whether an error of `sample` comes from the code of its SAMPLER, and not from the model that this asked."""
    codes = [frame.f_code for frame, _ in traceback.walk_tb(error.__traceback__)]
    own = getattr(type(sampler).sample, "__code__", None)
    return own in codes and InterruptibleGuider.predict_noise.__code__ not in codes


def restart_keyframes(conds: Iterable[Mapping[str, Any]]) -> None:
    """Let the scheduled hooks of converted or given conds begin anew at any sigma.

    A seam of the host: HookKeyframeGroup.reset, with which it begins a run, leaves `_curr_t` at the sigma where the
    last run ended. A run that begins at that sigma would stay at the first keyframe: the calls of base and regions
    that share hooks, step by step.
    """
    for cond in conds:
        groups = [cond.get("hooks")]
        if (control := cond.get("control")) is not None:
            groups += control.get_extra_hooks()
        for hook in (hook for group in groups if group is not None for hook in group.hooks):
            hook.hook_keyframe._curr_t = -1.0


def not_finite(name: str, when: str) -> ValueError:
    """The error for a denoised with NaN or infinity, from which the picture would come out black."""
    return ValueError(
        f"{name}: the model answered NaN or infinity {when}, which would make the picture black; try another precision "
        "(such as --fp32-unet), a lower cfg, or without its LoRAs and patches."
    )

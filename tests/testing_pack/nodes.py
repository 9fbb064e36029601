"""The test pack's nodes: a loader without a checkpoint file, prompts in numbers, a LoRA, slow and wrong objects."""

from __future__ import annotations

import time

from . import codec, models
from .texture import KINDS, Texture


def _positive_alone(args):
    """A post-cfg function that ignores the cfg."""
    return args["cond_denoised"]


_positive_alone.regional_any_rows = True  # it takes any rows, so those of several regions may share a call


class RegionalTestingLoader:
    CATEGORY = "regional/testing"
    DESCRIPTION = "Stands in for CheckpointLoaderSimple: a closed-form model of textures, or a UNet of random weights."
    RETURN_TYPES = ("MODEL", "CLIP", "VAE")
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {"kind": (list(models.MODEL_TYPES), {"tooltip": "What the model predicts."})},
            "optional": {
                "model": (
                    ["texture", "unet"],
                    {"tooltip": "The exact model of textures, or a UNet of random weights."},
                ),
                "obey_cfg": (
                    "BOOLEAN",
                    {
                        "default": False,
                        "tooltip": "Off: both predictions are asked for, but only the positive one counts, so that any "
                        "cfg gives the texture of the prompt. On: cfg does what it always does.",
                    },
                ),
            },
        }

    def load(self, kind: str, model: str = "texture", obey_cfg: bool = False):
        texture = model == "texture"
        patcher = models.texture_model(kind) if texture else models.random_unet(kind)
        if not obey_cfg:
            patcher.set_model_sampler_post_cfg_function(_positive_alone)
        return patcher, codec.TextureClip() if texture else codec.RandomClip(), codec.PictureVae()


def _fraction(tooltip: str, default: float = 0.5):
    return ("FLOAT", {"default": default, "min": 0.0, "max": 1.0, "step": 0.001, "tooltip": tooltip})


class RegionalTestingPrompt:
    CATEGORY = "regional/testing"
    DESCRIPTION = "A texture in numbers."
    RETURN_TYPES = ("CONDITIONING",)
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "red": _fraction("Mean red, 0 to 1."),
                "green": _fraction("Mean green, 0 to 1."),
                "blue": _fraction("Mean blue, 0 to 1."),
                "contrast": _fraction("Standard deviation of each colour; 0 is flat.", 0.1),
                "scale": (
                    "FLOAT",
                    {
                        "default": 8.0,
                        "min": 1.0,
                        "max": 1000.0,
                        "tooltip": "Distance of lines or size of features, in latent pixels.",
                    },
                ),
                "direction": (
                    "FLOAT",
                    {
                        "default": 0.0,
                        "min": -360.0,
                        "max": 360.0,
                        "tooltip": "Direction of lines in degrees: 0 horizontal, 45 rising to the right.",
                    },
                ),
                "pattern": (list(KINDS), {"default": "clouds", "tooltip": "What the texture looks like."}),
            }
        }

    def make(self, red, green, blue, contrast, scale, direction, pattern):
        mean = tuple(2 * c - 1 for c in (red, green, blue))
        return (models.texture_cond(Texture(mean, (2 * contrast,) * 3, pattern, scale, direction)),)


class RegionalTestingDecode:
    CATEGORY = "regional/testing"
    DESCRIPTION = "The picture of a texture latent, eight pixels per latent pixel."
    RETURN_TYPES = ("IMAGE",)
    FUNCTION = "decode"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {"samples": ("LATENT", {"tooltip": "Latents of the texture model."})}}

    def decode(self, samples):
        return (codec.decode(samples["samples"]),)


class RegionalTestingSlow:
    CATEGORY = "regional/testing"
    DESCRIPTION = "A model that takes its time, to be interrupted."
    RETURN_TYPES = ("MODEL",)
    FUNCTION = "slow"

    @classmethod
    def INPUT_TYPES(cls):
        seconds = {
            "default": 0.5,
            "min": 0.0,
            "max": 60.0,
            "step": 0.01,
            "tooltip": "Wait before each model call, in s.",
        }
        return {"required": {"model": ("MODEL", {"tooltip": "The model."}), "seconds": ("FLOAT", seconds)}}

    def slow(self, model, seconds):
        return (models.wrapped(model, lambda x, sigma: time.sleep(seconds)),)


class RegionalTestingLora:
    CATEGORY = "regional/testing"
    DESCRIPTION = "Stands in for LoraLoader on the model of textures: a weight patch that turns red, green and blue."
    RETURN_TYPES = ("MODEL", "CLIP")
    FUNCTION = "load"

    @classmethod
    def INPUT_TYPES(cls):
        return {
            "required": {
                "model": ("MODEL", {"tooltip": "The model of textures."}),
                "clip": ("CLIP", {"tooltip": "Passed on."}),
                "turns": ("INT", {"default": 1, "min": 0, "max": 2, "tooltip": "How far the colours are turned."}),
                "strength": ("FLOAT", {"default": 1.0, "min": -2.0, "max": 2.0, "tooltip": "The LoRA's strength."}),
            }
        }

    def load(self, model, clip, turns, strength):
        return models.with_turned_colours(model, turns, strength), clip


class RegionalTestingWrongObject:
    CATEGORY = "regional/testing"
    DESCRIPTION = "Fits every socket and is never what the socket wants."
    RETURN_TYPES = ("*",)
    FUNCTION = "make"

    @classmethod
    def INPUT_TYPES(cls):
        return {"required": {}}

    def make(self):
        return ("not what you think",)


NODES = (
    RegionalTestingLoader,
    RegionalTestingPrompt,
    RegionalTestingDecode,
    RegionalTestingSlow,
    RegionalTestingLora,
    RegionalTestingWrongObject,
)

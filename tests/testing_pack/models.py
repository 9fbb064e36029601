"""Models with a closed-form denoiser, and real architectures with random weights. All are ComfyUI ModelPatchers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import comfy.latent_formats
import comfy.lora
import comfy.model_base
import comfy.model_management
import comfy.ops
import comfy.supported_models
import comfy.supported_models_base
import torch
from comfy.model_base import ModelType
from comfy.model_patcher import ModelPatcher
from torch import Tensor
from torch.nn.functional import avg_pool2d

from . import texture as textures
from .texture import Texture

MODEL_TYPES = {"eps": ModelType.EPS, "v": ModelType.V_PREDICTION, "flow": ModelType.FLOW}
Conditioning = list  # ComfyUI's CONDITIONING: [[embedding (1, tokens, width), options], ...]


class PictureLatents(comfy.latent_formats.LatentFormat):
    """Latents that are the picture at 1/8 of its size: red, green, blue in -1..1, and a fourth, invisible channel."""

    latent_channels = textures.CHANNELS
    latent_rgb_factors = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [0.0, 0.0, 0.0]]


def _config(kind: str, unet_config: dict, latent_format: type) -> comfy.supported_models_base.BASE:
    if kind not in MODEL_TYPES:
        raise ValueError(f"unknown kind {kind!r}, expected one of {', '.join(MODEL_TYPES)}")
    config_type = type(
        "TestingConfig",
        (comfy.supported_models_base.BASE,),
        {
            "unet_extra_config": {},
            "latent_format": latent_format,
            "sampling_settings": {"shift": 3.0} if kind == "flow" else {},
        },
    )
    return config_type(unet_config)


def _patcher(model: comfy.model_base.BaseModel, device: torch.device | str | None) -> ModelPatcher:
    device = torch.device(device) if device is not None else comfy.model_management.get_torch_device()
    return ModelPatcher(model, load_device=device, offload_device=torch.device("cpu"))


class ClosedForm(comfy.model_base.BaseModel):
    """A model without weights. `denoised(x, sigma, row)` is the prediction for one latent (4, h, w) and one prompt.

    `row` (width,) is the first token of the prompt's embedding.
    """

    def __init__(self, kind: str, latent_format: type, denoised: Callable[[Tensor, Tensor, Tensor], Tensor]):
        config = _config(kind, {"disable_unet_model_creation": True, "in_channels": 4}, latent_format)
        super().__init__(config, MODEL_TYPES[kind])
        self._denoised = denoised

    def _apply_model(self, x, t, c_concat=None, c_crossattn=None, *args, **kwargs):
        rows = c_crossattn.to(x)[:, 0]  # (B, width): one prompt per picture of the batch
        return torch.stack(
            [self._denoised(picture, sigma, row) for picture, sigma, row in zip(x, t, rows, strict=True)]
        )

    def get_dtype(self):
        return torch.float32

    def memory_required(self, *args, **kwargs):
        return 0


class TextureModel(ClosedForm):
    """The exact model of textures: its denoised is the posterior mean, see `texture.denoise`.

    Its only weight, `words`, is an identity matrix applied to the prompts, so that LoRAs have a weight to patch.
    """

    def __init__(self, kind: str):
        def denoised(x: Tensor, sigma: Tensor, row: Tensor) -> Tensor:
            a = 1 - sigma if kind == "flow" else 1.0
            return textures.denoise(Texture.from_row(row.tolist()), x, a, sigma)

        super().__init__(kind, PictureLatents, denoised)
        width = len(Texture((), ()).row())
        self.words = comfy.ops.manual_cast.Linear(width, width, bias=False)
        self.words.weight = torch.nn.Parameter(torch.eye(width), requires_grad=False)

    def _apply_model(self, x, t, c_concat=None, c_crossattn=None, *args, **kwargs):
        return super()._apply_model(x, t, c_concat, self.words(c_crossattn.to(x)), *args, **kwargs)


def texture_model(kind: str = "eps", device: torch.device | str | None = None) -> ModelPatcher:
    """A TextureModel; `kind` is its prediction type: "eps", "v" or "flow"."""
    return _patcher(TextureModel(kind), device)


def with_turned_colours(patcher: ModelPatcher, turns: int, strength: float) -> ModelPatcher:
    """A clone of a texture model with a LoRA that rotates colour channels.

    At strength 1 it turns red, green, blue into green, blue, red, `turns` times.
    """
    model = patcher.model
    if not isinstance(model, TextureModel):
        raise TypeError("a texture model was expected: other models have no colours to turn")
    down = torch.eye(model.words.weight.shape[0])
    turned = down.clone()
    for first in (0, textures.CHANNELS):  # the mean and the contrast
        turned[first : first + 3] = down[first : first + 3].roll(-turns, 0)
    file = {"words.lora_up.weight": turned - down, "words.lora_down.weight": down}
    clone = patcher.clone()
    clone.add_patches(comfy.lora.load_lora(file, {"words": "words.weight"}), strength)
    return clone


def texture_cond(texture: Texture) -> Conditioning:
    """The prompt of a texture for a TextureModel."""
    return [[torch.tensor(texture.row())[None, None], {}]]


def pixel_cond(mean: Sequence[float] | float, std: Sequence[float] | float) -> Conditioning:
    """A prompt for independent pixels of this mean and standard deviation, for all four channels or for each one."""
    mean, std = ((v,) * textures.CHANNELS if isinstance(v, (int, float)) else tuple(v) for v in (mean, std))
    return texture_cond(Texture(mean, std, "pixels"))


def reference_model(kind: str = "eps", device: torch.device | str | None = "cpu") -> ModelPatcher:
    """The model of the reference cases: it moves each pixel towards `mu`; a larger `s` moves it less.

    near = 3x3 mean;  gain = s^2 / (s^2 + sigma^2);  denoised = mu + gain * ((x + near) / 2 - mu)
    """

    def denoised(x: Tensor, sigma: Tensor, row: Tensor) -> Tensor:
        mu, s = row[:4, None, None], row[4]
        near = avg_pool2d(x, 3, stride=1, padding=1, count_include_pad=False)
        gain = s**2 / (s**2 + sigma**2)
        return mu + gain * (0.5 * x + 0.5 * near - mu)

    return _patcher(ClosedForm(kind, comfy.latent_formats.SD15, denoised), device)


def reference_cond(values: Sequence[float]) -> Conditioning:
    """A prompt for `reference_model`; `values` are mu of the four channels, then s."""
    row = torch.zeros(1, 1, 8)
    row[0, 0, :5] = torch.tensor(values)
    return [[row, {}]]


def random_unet(
    kind: str = "eps",
    seed: int = 0,
    channels: int = 32,
    context_dim: int = 8,
    in_channels: int = 4,
    device: torch.device | str | None = None,
) -> ModelPatcher:
    """ComfyUI's UNet in the layout of SD1.5, small, with random weights. Its pictures are noise; all its code runs."""
    unet_config = {
        "image_size": 32,
        "in_channels": in_channels,
        "out_channels": in_channels,
        "model_channels": channels,
        "num_res_blocks": [1, 1],
        "channel_mult": (1, 2),
        "transformer_depth": [1, 1],
        "transformer_depth_output": [1, 1, 1, 1],
        "transformer_depth_middle": 1,
        "context_dim": context_dim,
        "num_heads": 4,
        "use_spatial_transformer": True,
        "legacy": False,
        "dtype": torch.float32,
    }
    latent_format = comfy.latent_formats.SD15 if in_channels == 4 else comfy.latent_formats.SD3
    model = comfy.model_base.BaseModel(_config(kind, unet_config, latent_format), MODEL_TYPES[kind])
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.diffusion_model.named_parameters():
            if weight.ndim == 1:
                weight.fill_(0.0 if name.endswith("bias") else 1.0)
            else:
                weight.copy_(torch.randn(weight.shape, generator=generator) * weight[0].numel() ** -0.5)
    return _patcher(model, device)


def random_cond(seed: int = 0, tokens: int = 4, context_dim: int = 8) -> Conditioning:
    """A random prompt for `random_unet`, normal with standard deviation 1."""
    generator = torch.Generator().manual_seed(seed)
    return [[torch.randn(1, tokens, context_dim, generator=generator), {}]]


def random_flux(seed: int = 0, device: torch.device | str | None = "cpu") -> ModelPatcher:
    """ComfyUI's Flux, small, with random weights: 16 latent channels, fused qkv, guidance embedding."""
    config = comfy.supported_models.Flux(
        {
            "image_model": "flux",
            "in_channels": 16,
            "out_channels": 16,
            "vec_in_dim": 8,
            "context_in_dim": 8,
            "hidden_size": 32,
            "mlp_ratio": 2.0,
            "num_heads": 2,
            "depth": 1,
            "depth_single_blocks": 1,
            "axes_dim": [4, 6, 6],
            "theta": 10000,
            "patch_size": 2,
            "qkv_bias": True,
            "guidance_embed": True,
            "txt_ids_dims": [],
            "dtype": torch.float32,
        }
    )
    model = config.get_model({}, "")
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for weight in model.diffusion_model.parameters():
            values = torch.randn(weight.shape, generator=generator)
            weight.copy_(values * weight[0].numel() ** -0.5 if weight.ndim > 1 else 1.0 + 0.1 * values)
    return _patcher(model, device)


def random_flux_cond(seed: int = 0) -> Conditioning:
    """A random prompt for `random_flux`, with guidance 1."""
    generator = torch.Generator().manual_seed(seed)
    text, pooled = (torch.randn(*shape, generator=generator) for shape in ((1, 4, 8), (1, 8)))
    return [[text, {"pooled_output": pooled, "guidance": 1.0}]]


def wrapped(patcher: ModelPatcher, before: Callable[[Tensor, Tensor], Any]) -> ModelPatcher:
    """A clone that calls `before(x, sigma)` before each model call. A wrapper set earlier still runs."""
    inner = patcher.model_options.get("model_function_wrapper")

    def wrapper(apply_model, args):
        before(args["input"], args["timestep"])
        if inner is not None:
            return inner(apply_model, args)
        return apply_model(args["input"], args["timestep"], **args["c"])

    wrapper.regional_any_rows = True  # it takes any rows, so those of several regions may share a call
    clone = patcher.clone()
    clone.set_model_unet_function_wrapper(wrapper)
    return clone


@dataclass(frozen=True)
class Call:
    """One model call: `rows` is the batch size, `height` and `width` are in latent pixels, `sigma` is the largest."""

    rows: int
    height: int
    width: int
    sigma: float


@dataclass
class Counter:
    """The calls, in order, of all models that share this counter."""

    calls: list[Call] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(call.rows for call in self.calls)

    def add(self, x: Tensor, sigma: Tensor) -> None:
        self.calls.append(Call(x.shape[0], x.shape[-2], x.shape[-1], float(sigma.max())))


def counted(patcher: ModelPatcher, counter: Counter | None = None) -> tuple[ModelPatcher, Counter]:
    """A clone that records its calls in `counter`, by default a new one; returns both."""
    counter = counter if counter is not None else Counter()
    return wrapped(patcher, counter.add), counter

"""Stand-ins for a checkpoint's CLIP and VAE, with just what ComfyUI's own CLIPTextEncode, VAEEncode, VAEDecode call."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from . import models, words
from .texture import CHANNELS, Texture


def decode(latent: Tensor) -> Tensor:
    """Latent (batch, 4, h, w) -> picture (batch, 8 h, 8 w, 3) in 0..1, on the CPU."""
    picture = interpolate(latent[:, :3].float().cpu(), scale_factor=8, mode="bicubic", align_corners=False)
    return ((picture + 1) / 2).clamp(0, 1).movedim(1, -1)


def encode(picture: Tensor) -> Tensor:
    """Picture (batch, height, width, 3) in 0..1 -> latent (batch, 4, height // 8, width // 8), on the CPU."""
    size = picture.shape[1] // 8, picture.shape[2] // 8
    latent = interpolate(picture[..., :3].float().cpu().movedim(-1, 1) * 2 - 1, size=size, mode="area")
    return torch.nn.functional.pad(latent, (0, 0, 0, 0, 0, CHANNELS - 3))


class TextureClip:
    """Reads a prompt as a texture."""

    def tokenize(self, text: str, **kwargs) -> Texture:
        return words.texture(text)

    def encode_from_tokens_scheduled(self, tokens: Texture, **kwargs) -> models.Conditioning:
        return models.texture_cond(tokens)


class RandomClip:
    """Reads a prompt as random numbers of its own."""

    def tokenize(self, text: str, **kwargs) -> int:
        return sum((i + 1) * ord(c) for i, c in enumerate(text))

    def encode_from_tokens_scheduled(self, tokens: int, **kwargs) -> models.Conditioning:
        return models.random_cond(tokens)


class PictureVae:
    """The codec of `models.PictureLatents`."""

    decode = staticmethod(decode)
    encode = staticmethod(encode)

    def decode_tiled(self, latent: Tensor, **kwargs) -> Tensor:
        return decode(latent)

    def encode_tiled(self, picture: Tensor, **kwargs) -> Tensor:
        return encode(picture)

    def spacial_compression_decode(self) -> int:
        return 8

    def spacial_compression_encode(self) -> int:
        return 8

    def temporal_compression_decode(self) -> None:
        return None

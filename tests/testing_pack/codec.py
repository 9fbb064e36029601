"""CLIP and VAE objects with the methods that ComfyUI's CLIPTextEncode, VAEEncode and VAEDecode call."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from . import models, words
from .texture import CHANNELS, Texture


def decode(latent: Tensor) -> Tensor:
    """Latent (B, 4, h, w) in -1..1 -> picture (B, 8 h, 8 w, 3), float32 in 0..1 on the CPU. Copies."""
    picture = interpolate(latent[:, :3].float().cpu(), scale_factor=8, mode="bicubic", align_corners=False)
    return ((picture + 1) / 2).clamp(0, 1).movedim(1, -1)


def encode(picture: Tensor) -> Tensor:
    """Picture (B, H, W, 3) in 0..1 -> latent (B, 4, H // 8, W // 8), float32 in -1..1 on the CPU. Copies."""
    size = picture.shape[1] // 8, picture.shape[2] // 8
    latent = interpolate(picture[..., :3].float().cpu().movedim(-1, 1) * 2 - 1, size=size, mode="area")
    return torch.nn.functional.pad(latent, (0, 0, 0, 0, 0, CHANNELS - 3))


class TextureClip:
    """Encodes a prompt as the texture that it describes, see `words`."""

    def tokenize(self, text: str, **kwargs) -> Texture:
        return words.texture(text)

    def encode_from_tokens_scheduled(self, tokens: Texture, **kwargs) -> models.Conditioning:
        return models.texture_cond(tokens)


class RandomClip:
    """Encodes a prompt as random numbers, seeded by its characters."""

    def tokenize(self, text: str, **kwargs) -> int:
        return sum((i + 1) * ord(c) for i, c in enumerate(text))

    def encode_from_tokens_scheduled(self, tokens: int, **kwargs) -> models.Conditioning:
        return models.random_cond(tokens)


class PictureVae:
    """The VAE of `models.PictureLatents`."""

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

"""Stationary Gaussian textures and their exact denoiser.

A texture is `x0 = mean + colour * field`, where `field` is a stationary Gaussian field of unit variance with a given
power spectrum. Given `x = a * x0 + b * noise`, the posterior mean of x0 is the Wiener filter

    E[x0 | x] = mean + colour * F^-1[ a P / (a^2 P + b^2) F( <colour, x - a mean> / |colour| ) ] / |colour|

with `P` the power spectrum of `|colour| * field`. A perfect model of this prompt would predict exactly that, so a
correct sampler must produce pictures with the texture's mean, standard deviation and spectrum. All channels share the
field, so components of x orthogonal to `colour` are noise and are removed. In the pattern "pixels", all pixels of all
channels are independent, and the denoiser acts on each one separately.

Units: lengths are latent pixels, frequencies cycles per latent pixel, colours -1 (black) to 1 (white).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

CHANNELS = 4  # red, green, blue and an invisible one: SD1.5's latents have four channels

# The power at (frequency across the lines, frequency along the lines), in units of 1 / scale. `blur` is the distance of
# frequencies on the grid: bands are at least as wide, so that none falls between two frequencies.
PowerSpectrum = Callable[[Tensor, Tensor, float], Tensor]


def _bump(offset: Tensor, width: float, blur: float) -> Tensor:
    return torch.exp(-offset.square() / (2 * (width**2 + blur**2)))


def _band(across: Tensor, along: Tensor, blur: float, wobble: float) -> Tensor:
    return _bump(across.abs() - 1, 0.15, blur) * _bump(along, wobble, blur)


def _clouds(across: Tensor, along: Tensor, blur: float) -> Tensor:
    # Without the low pass, clouds would have noise at the scale of single pixels.
    radius_sq = across.square() + along.square()
    return (1 + radius_sq).pow(-1.75) * torch.exp(-radius_sq / 18)


PATTERNS: dict[str, PowerSpectrum] = {
    "pixels": lambda across, along, blur: torch.ones_like(across),
    "grain": lambda across, along, blur: torch.ones_like(across),
    "clouds": _clouds,
    "stripes": lambda across, along, blur: _band(across, along, blur, 0.10),
    "waves": lambda across, along, blur: _band(across, along, blur, 0.24),
    "spots": lambda across, along, blur: _bump(torch.hypot(across, along) - 1, 0.12, blur),
    "wood": lambda across, along, blur: (1 + across.square()).pow(-1.25) * _bump(along, 0.12, blur),
    "weave": lambda across, along, blur: _band(across, along, blur, 0.06) + _band(along, across, blur, 0.06),
}
KINDS = tuple(PATTERNS)


@dataclass(frozen=True)
class Texture:
    """One prompt.

    `mean` and `contrast`, the standard deviation, are per channel. `scale` is the distance of lines or the size of
    features in latent pixels. `direction` is that of the lines in degrees: 0 horizontal, 45 rising to the right.
    """

    mean: tuple[float, ...]
    contrast: tuple[float, ...]
    pattern: str = "clouds"
    scale: float = 8.0
    direction: float = 0.0

    def __post_init__(self) -> None:
        if self.pattern not in PATTERNS:
            raise ValueError(f"unknown pattern {self.pattern!r}, expected one of {', '.join(PATTERNS)}")
        for name in ("mean", "contrast"):
            values = tuple(float(v) for v in getattr(self, name))
            object.__setattr__(self, name, values + (0.0,) * (CHANNELS - len(values)))

    def row(self) -> list[float]:
        """The texture as the numbers of a text embedding."""
        return [*self.mean, *self.contrast, float(KINDS.index(self.pattern)), self.scale, self.direction]

    @staticmethod
    def from_row(row: Sequence[float]) -> Texture:
        kind, scale, direction = row[2 * CHANNELS : 2 * CHANNELS + 3]
        return Texture(tuple(row[:CHANNELS]), tuple(row[CHANNELS : 2 * CHANNELS]), KINDS[round(kind)], scale, direction)


@lru_cache(maxsize=256)
def spectrum(
    pattern: str, scale: float, direction: float, height: int, width: int, device: torch.device | str = "cpu"
) -> Tensor:
    """Power spectrum of a unit-variance field: float32 (height, width // 2 + 1), the half plane of `torch.fft.rfft2`.

    Its mean over the whole plane is 1: with the "ortho" transform white noise has power 1 at every frequency, so the
    mean of the spectrum is the variance of a pixel.
    """
    fy = torch.fft.fftfreq(height, dtype=torch.float64)[:, None] * scale
    fx = torch.fft.fftfreq(width, dtype=torch.float64)[None] * scale
    angle = math.radians(direction)
    along = fx * math.cos(angle) - fy * math.sin(angle)  # minus, because rows count downwards
    across = fx * math.sin(angle) + fy * math.cos(angle)
    power = PATTERNS[pattern](across, along, 0.5 * scale / math.sqrt(height * width)) + 1e-12
    # A real field needs P(f) = P(-f). On the grid only the highest frequency, which is its own mirror, violates it.
    power = (power + power.flip(0, 1).roll((1, 1), (0, 1))) / 2
    return (power / power.mean())[:, : width // 2 + 1].float().to(device)


def _filter(x: Tensor, gain: Tensor) -> Tensor:
    return torch.fft.irfft2(gain * torch.fft.rfft2(x, norm="ortho"), s=x.shape[-2:], norm="ortho")


def _column(values: Sequence[float], like: Tensor) -> Tensor:
    return like.new_tensor(values)[:, None, None]


def denoise(texture: Texture, x: Tensor, a: Tensor | float, b: Tensor | float) -> Tensor:
    """The posterior mean of x0 given `x = a * x0 + b * noise`, float (..., 4, h, w). Same shape and dtype; copies."""
    mean, contrast = _column(texture.mean, x), _column(texture.contrast, x)
    y = x - a * mean
    if texture.pattern == "pixels":
        variance = contrast.square()
        return mean + a * variance / (a**2 * variance + b**2) * y
    variance = sum(c * c for c in texture.contrast)
    if variance == 0:
        return mean.expand_as(x).clone()
    axis = contrast / math.sqrt(variance)
    power = variance * spectrum(texture.pattern, texture.scale, texture.direction, *x.shape[-2:], x.device)
    gain = a * power / (a**2 * power + b**2).clamp(min=1e-20)
    return mean + axis * _filter((axis * y).sum(-3, keepdim=True), gain)


def draw(texture: Texture, height: int, width: int, seed: int = 0) -> Tensor:
    """A latent of the texture, drawn from its definition without a model: float32 (4, height, width)."""
    generator = torch.Generator().manual_seed(seed)
    channels = CHANNELS if texture.pattern == "pixels" else 1
    noise = torch.randn(channels, height, width, generator=generator)
    root = spectrum(texture.pattern, texture.scale, texture.direction, height, width).sqrt()
    return _column(texture.mean, noise) + _column(texture.contrast, noise) * _filter(noise, root)

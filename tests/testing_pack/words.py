"""The vocabulary of TextureClip: words of a prompt that describe a texture.

The first colour is the light one, the second the background; a single colour gets a darker shade of itself as
background. Unknown words are ignored, so that prompts for real checkpoints work, too.
"""

from __future__ import annotations

import re

from .texture import Texture

COLOURS = {
    "red": (0.78, 0.13, 0.12),
    "crimson": (0.60, 0.05, 0.15),
    "orange": (0.93, 0.47, 0.10),
    "gold": (0.93, 0.70, 0.20),
    "yellow": (0.97, 0.84, 0.25),
    "green": (0.27, 0.55, 0.26),
    "teal": (0.07, 0.50, 0.50),
    "cyan": (0.35, 0.80, 0.85),
    "blue": (0.22, 0.45, 0.78),
    "navy": (0.07, 0.13, 0.33),
    "violet": (0.47, 0.27, 0.68),
    "pink": (0.93, 0.55, 0.65),
    "brown": (0.42, 0.25, 0.13),
    "sand": (0.85, 0.76, 0.58),
    "cream": (0.97, 0.93, 0.83),
    "white": (0.97, 0.97, 0.97),
    "grey": (0.50, 0.50, 0.50),
    "black": (0.05, 0.05, 0.06),
}
# Pattern, distance of lines or size of features in latent pixels, direction of lines in degrees.
PATTERNS = {
    "clouds": ("clouds", 20.0, 0.0),
    "waves": ("waves", 5.0, 0.0),
    "stripes": ("stripes", 8.0, 45.0),
    "spots": ("spots", 7.0, 0.0),
    "grain": ("grain", 1.0, 0.0),
    "wood": ("wood", 14.0, 0.0),
    "weave": ("weave", 6.0, 45.0),
}
DIRECTIONS = {"horizontal": 0.0, "diagonal": 45.0, "vertical": 90.0}
SIZES = {"fine": 0.6, "small": 0.6, "coarse": 1.7, "large": 1.7, "wide": 1.7}
STRENGTHS = {"soft": 0.6, "gentle": 0.6, "strong": 1.3, "bold": 1.3}
SYNONYMS = {
    "golden": "gold",
    "gray": "grey",
    "purple": "violet",
    "dots": "spots",
    "bubbles": "spots",
    "sky": "clouds",
    "sea": "waves",
    "ripples": "waves",
    "wooden": "wood",
    "planks": "wood",
    "fabric": "weave",
    "noise": "grain",
}


def _known(text: str, table: dict) -> list:
    """The table's values for the words of `text`, in order, also for synonyms and singular forms."""
    found = []
    for word in re.findall(r"[a-z]+", text.lower()):
        names = (SYNONYMS.get(word, word), SYNONYMS.get(f"{word}s", f"{word}s"))
        found += [table[name] for name in names if name in table][:1]
    return found


def texture(text: str) -> Texture:
    """The texture that `text` describes; faint grey clouds if it has no known word."""
    colours = _known(text, COLOURS)
    pattern, scale, direction = (_known(text, PATTERNS) or [PATTERNS["clouds"]])[0]
    strength = 1.0
    for factor in _known(text, SIZES):
        scale *= factor
    for factor in _known(text, STRENGTHS):
        strength *= factor
    direction = (_known(text, DIRECTIONS) or [direction])[0]
    if not colours:
        return Texture((0.0,) * 3, (0.05,) * 3, pattern, scale, direction)
    light = [2 * c - 1 for c in colours[0]]
    ground = [2 * c - 1 for c in colours[1]] if len(colours) > 1 else [0.55 * c - 0.45 for c in light]
    # Both colours are 1.25 standard deviations from the mean: both are visible, and few pixels exceed black or white.
    mean = tuple((hi + lo) / 2 for hi, lo in zip(light, ground, strict=True))
    contrast = tuple(0.4 * strength * (hi - lo) for hi, lo in zip(light, ground, strict=True))
    return Texture(mean, contrast, pattern, scale, direction)

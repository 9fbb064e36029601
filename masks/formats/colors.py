"""Colours written as text, and masks from a picture painted in flat colours.

A picture is a float tensor (H, W, C) in 0..1 whose first three channels are red, green and blue; further channels are
ignored. Distances between colours are in levels, 0..255. A pixel is *flat* if it lies in a box of 2 x 2 pixels of one
colour. The blended pixels between two painted areas are not flat, so they never count as a colour of their own.
"""

import re

import torch
import torch.nn.functional as F

Color = tuple[int, int, int]  # red, green, blue in 0..255

NAMES: dict[str, Color] = {
    "red": (255, 0, 0),
    "green": (0, 255, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 255, 0),
    "cyan": (0, 255, 255),
    "magenta": (255, 0, 255),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "gray": (128, 128, 128),
    "grey": (128, 128, 128),
    "orange": (255, 165, 0),
    "purple": (128, 0, 128),
    "pink": (255, 192, 203),
    "brown": (165, 42, 42),
}
MIN_SHARE = 0.005  # a colour that covers a smaller fraction of the picture is a speck, not a region
MAX_COLORS = 64
_MAX_PASSES = 16  # of `_spread`, each of which extends masks by 2 pixels

_HOW = "write #ff0000, #f00, 255,0,0 or a name (" + ", ".join(NAMES) + ")"


def parse(text: str, owner: str) -> list[Color]:
    """Read a list of colours such as `#ff0000, #0f0; 0,0,255 white`.

    Commas, spaces, semicolons and line breaks separate colours. Raises ValueError, naming `owner` and the entry, for a
    word that is no colour, a colour named twice and an empty list.
    """
    found: list[Color] = []
    for piece in re.split(r"[;\n]", re.sub(r"rgb\(([^()]*)\)", r";\1;", text.lower())):
        numbers: list[int] = []
        for word in re.split(r"[\s,]+", piece.strip(" \t\r,")):
            if re.fullmatch(r"\d{1,3}", word) and int(word) <= 255:
                numbers.append(int(word))
                if len(numbers) == 3:
                    found.append((numbers[0], numbers[1], numbers[2]))
                    numbers = []
            elif word and numbers:
                break
            elif word:
                found.append(_color(word, owner))
        if numbers:
            raise ValueError(f"{owner}: {piece.strip()!r} is no list of colours (3 numbers 0 to 255 each); {_HOW}.")
    if not found:
        raise ValueError(f"{owner}: the list of colours is empty; {_HOW}, or auto for those of the picture.")
    for number, color in enumerate(found):
        if color in found[:number]:
            raise ValueError(f"{owner}: the colour {code(color)} is named twice; name each colour once.")
    return found


def _color(word: str, owner: str) -> Color:
    """The colour of one word, a name or a hex code."""
    if word in NAMES:
        return NAMES[word]
    if re.fullmatch(r"#([0-9a-f]{3}|[0-9a-f]{6})", word):
        digits = word[1:] if len(word) == 7 else "".join(digit * 2 for digit in word[1:])
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
    raise ValueError(f"{owner}: {word!r} is no colour; {_HOW}.")


def code(color: Color) -> str:
    """The colour as `#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def distinct(picture: torch.Tensor, tolerance: int, owner: str) -> list[Color]:
    """The colours that each cover at least MIN_SHARE of the picture (H, W, C), by area, largest first.

    Colours that differ by at most `tolerance` levels in each of red, green and blue count as one, the most frequent of
    them. Raises ValueError, naming `owner`, for more than MAX_COLORS colours: the picture is not painted in flat ones.
    """
    pixels = _levels(picture)
    flat = _flat(pixels, tolerance)
    red, green, blue = pixels.int()
    packed, counts = (red << 16 | green << 8 | blue)[flat].unique(return_counts=True)
    counts, order = counts.sort(descending=True, stable=True)
    values = torch.stack([packed >> 16, packed >> 8 & 255, packed & 255], dim=1)[order]
    min_pixels = MIN_SHARE * flat.numel()
    sizes: list[tuple[int, Color]] = []
    # Each painted colour has a frequent exact value, even with JPEG noise; the values of a gradient are all rare.
    while len(counts) and int(counts[0]) * 8 >= min_pixels:
        near = (values - values[0]).abs().amax(1) <= tolerance
        size = int(counts[near].sum())
        if size >= min_pixels:
            rgb = values[0].tolist()
            sizes.append((size, (rgb[0], rgb[1], rgb[2])))
        values, counts = values[~near], counts[~near]
        if len(sizes) > MAX_COLORS:
            raise ValueError(
                f"{owner}: the picture has more than {MAX_COLORS} colours; give one painted in a few flat colours, "
                "name the colours that count, or raise the tolerance."
            )
    return [color for _, color in sorted(sizes, key=lambda entry: -entry[0])]


def masks(picture: torch.Tensor, colors: list[Color], tolerance: int, owner: str, fill: bool) -> torch.Tensor:
    """The masks of the N `colors` in a picture (H, W, C): float32 (N, H, W) on the CPU, 0 or 1, without overlaps.

    Every pixel is assigned to one of the N colours, to one of the picture's other colours, or to none. A flat pixel
    goes to the nearest colour that differs by at most `tolerance` levels in each of red, green and blue. A blended
    pixel goes to the nearest of the colours assigned near it, so that the edge between red and yellow does not become
    orange. With `fill`, pixels without a colour are assigned like blended ones, and the last ones to the nearest colour
    of all. `owner` begins errors, see `distinct`.
    """
    pixels = _levels(picture)
    others = [color for color in distinct(picture, tolerance, owner) if _differs(color, colors, tolerance)]
    candidates = [*colors, *others]
    flat = _flat(pixels, tolerance)
    assigned = torch.where(flat, _nearest(pixels, candidates, tolerance), -1)
    # An enlarged picture has blended edges many pixels wide: assign them from both sides inwards.
    for _ in range(_MAX_PASSES):
        free = assigned < 0 if fill else (assigned < 0) & ~flat
        extended = _spread(assigned, free, pixels, candidates)
        if torch.equal(extended, assigned):
            break
        assigned = extended
    if fill:
        assigned = torch.where(assigned < 0, _nearest(pixels, candidates, 255), assigned)
    return torch.stack([(assigned == index).float() for index in range(len(colors))])


def _nearest(pixels: torch.Tensor, colors: list[Color], tolerance: int) -> torch.Tensor:
    """For each of the pixels (3, H, W) the index of the nearest colour within `tolerance`, else -1: int16 (H, W)."""
    best = torch.full(pixels.shape[1:], float("inf"))
    found = torch.full(pixels.shape[1:], -1, dtype=torch.int16)
    for index, color in enumerate(colors):
        difference = (pixels - torch.tensor(color, dtype=pixels.dtype)[:, None, None]).abs()
        distance = difference.float().square().sum(0)
        nearer = (difference.amax(0) <= tolerance) & (distance < best)
        best = torch.where(nearer, distance, best)
        found[nearer] = index
    return found


def _spread(assigned: torch.Tensor, free: torch.Tensor, pixels: torch.Tensor, colors: list[Color]) -> torch.Tensor:
    """A copy of `assigned` (H, W), the colour index of each pixel, with the `free` pixels (H, W bool) assigned.

    A free pixel gets the nearest of the colours assigned in the box of 5 x 5 pixels around it, -1 if there is none.
    """
    y, x = free.nonzero(as_tuple=True)
    padded = F.pad(assigned, (2, 2, 2, 2), value=-1)
    around = torch.stack([padded[y + down, x + right] for down in range(5) for right in range(5)])
    values = pixels[:, y, x].float()
    best = torch.full(y.shape, float("inf"))
    found = torch.full(y.shape, -1, dtype=assigned.dtype)
    for index, color in enumerate(colors):
        distance = (values - torch.tensor(color)[:, None]).square().sum(0)
        nearer = (around == index).any(0) & (distance < best)
        best = torch.where(nearer, distance, best)
        found[nearer] = index
    out = assigned.clone()
    out[y, x] = found
    return out


def _differs(color: Color, others: list[Color], tolerance: int) -> bool:
    """Whether the colour differs from each of the others by more than `tolerance` levels of red, green or blue."""
    return all(max(abs(a - b) for a, b in zip(color, other, strict=True)) > tolerance for other in others)


def _levels(picture: torch.Tensor) -> torch.Tensor:
    """The levels of a picture (H, W, C): int16 (3, H, W) on the CPU, 0..255. Copies."""
    return (picture[..., :3].detach().to("cpu").float().clamp(0, 1) * 255).round().short().movedim(-1, 0)


def _flat(pixels: torch.Tensor, tolerance: int) -> torch.Tensor:
    """Which of the pixels (3, H, W) lie in a box of 2 x 2 that differ by at most `tolerance` levels: bool (H, W).

    If no pixel does, all count as flat.
    """
    if min(pixels.shape[1:]) < 2:
        return torch.ones(pixels.shape[1:], dtype=torch.bool)
    levels = pixels.float()
    spread = F.max_pool2d(levels, 2, stride=1) + F.max_pool2d(-levels, 2, stride=1)
    even = (spread.amax(0, keepdim=True) <= tolerance).float()
    flat = F.max_pool2d(even[None], 2, stride=1, padding=1)[0, 0] > 0
    return flat if bool(flat.any()) else torch.ones_like(flat)

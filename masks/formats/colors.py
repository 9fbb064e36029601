"""Masks from a picture painted in flat colours.

A picture is a float tensor (H, W, 3 or more) in 0..1, of which red, green and blue count; distances between colours are
in 0..255. A pixel is *flat* if it lies in a box of 2 x 2 pixels of one colour: the blended pixels between two painted
areas are not, so they never count as a colour of their own.
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
MIN_SHARE = 0.005  # of the picture: what covers less is a speck, not a region
MAX_COLORS = 64
MAX_PASSES = 16  # of 2 pixels each

_HOW = "write #ff0000, #f00, 255,0,0 or a name (" + ", ".join(NAMES) + ")"


def parse(text: str, owner: str) -> list[Color]:
    """The colours of a list such as `#ff0000, #0f0; 0,0,255 white`; commas, spaces, semicolons and new lines part them.

    Raises ValueError, naming `owner` and the entry, for what is no colour, for one named twice, and for an empty list.
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
    if word in NAMES:
        return NAMES[word]
    if re.fullmatch(r"#([0-9a-f]{3}|[0-9a-f]{6})", word):
        digits = word[1:] if len(word) == 7 else "".join(digit * 2 for digit in word[1:])
        return int(digits[:2], 16), int(digits[2:4], 16), int(digits[4:], 16)
    raise ValueError(f"{owner}: {word!r} is no colour; {_HOW}.")


def code(color: Color) -> str:
    """`#rrggbb`."""
    return "#{:02x}{:02x}{:02x}".format(*color)


def distinct(picture: torch.Tensor, tolerance: int, owner: str) -> list[Color]:
    """The colours that each cover at least MIN_SHARE of the picture, largest first.

    Colours that differ by at most `tolerance` in each of red, green and blue are one: the most frequent of them.
    Raises ValueError, naming `owner`, if there are more than MAX_COLORS: that is no picture in flat colours.
    """
    pixels = _levels(picture)
    flat = _flat(pixels, tolerance)
    red, green, blue = pixels.int()
    packed, counts = (red << 16 | green << 8 | blue)[flat].unique(return_counts=True)
    counts, order = counts.sort(descending=True, stable=True)
    values = torch.stack([packed >> 16, packed >> 8 & 255, packed & 255], dim=1)[order]
    least = MIN_SHARE * flat.numel()
    sizes: list[tuple[int, Color]] = []
    # A painted colour is frequent by itself, with the noise of a JPEG too; a gradient's colours are not.
    while len(counts) and int(counts[0]) * 8 >= least:
        near = (values - values[0]).abs().amax(1) <= tolerance
        size = int(counts[near].sum())
        if size >= least:
            first = values[0].tolist()
            sizes.append((size, (first[0], first[1], first[2])))
        values, counts = values[~near], counts[~near]
        if len(sizes) > MAX_COLORS:
            raise ValueError(
                f"{owner}: the picture has more than {MAX_COLORS} colours; give one painted in a few flat colours, "
                "name the colours that count, or raise the tolerance."
            )
    return [color for _, color in sorted(sizes, key=lambda one: -one[0])]


def masks(picture: torch.Tensor, colors: list[Color], tolerance: int, owner: str, fill: bool) -> torch.Tensor:
    """(N, H, W) float32 on the CPU: 1 where the picture has the N colours; no pixel is in two masks.

    A flat pixel belongs to the nearest of the N colours and the picture's other ones, if it differs by at most
    `tolerance` in each of red, green and blue. A blended one belongs to the nearest of those that are beside it, so
    that the rim between red and yellow does not count as orange. What is left belongs to none, or, with `fill`, to
    what is beside it.
    """
    pixels = _levels(picture)
    every = [*colors, *(color for color in distinct(picture, tolerance, owner) if _apart(color, colors, tolerance))]
    flat = _flat(pixels, tolerance)
    owners = torch.where(flat, _nearest(pixels, every, tolerance), -1)
    # An edge that was made larger with its picture is many pixels wide: from both sides inwards.
    for _ in range(MAX_PASSES):
        free = owners < 0 if fill else (owners < 0) & ~flat
        grown = _spread(owners, free, pixels, every)
        if torch.equal(grown, owners):
            break
        owners = grown
    if fill:
        owners = torch.where(owners < 0, _nearest(pixels, every, 255), owners)
    return torch.stack([(owners == number).float() for number in range(len(colors))])


def _nearest(pixels: torch.Tensor, colors: list[Color], tolerance: int) -> torch.Tensor:
    """(H, W) int16: for each pixel of (3, H, W) the number of the nearest colour within `tolerance`, else -1."""
    best = torch.full(pixels.shape[1:], float("inf"))
    found = torch.full(pixels.shape[1:], -1, dtype=torch.int16)
    for number, color in enumerate(colors):
        away = (pixels - torch.tensor(color, dtype=pixels.dtype)[:, None, None]).abs()
        distance = away.float().square().sum(0)
        nearer = (away.amax(0) <= tolerance) & (distance < best)
        best = torch.where(nearer, distance, best)
        found[nearer] = number
    return found


def _spread(owners: torch.Tensor, free: torch.Tensor, pixels: torch.Tensor, colors: list[Color]) -> torch.Tensor:
    """`owners` (H, W), in which each `free` pixel has the nearest of the colours that own a pixel in the box of 5 x 5
    around it. Copies.
    """
    y, x = free.nonzero(as_tuple=True)
    padded = F.pad(owners, (2, 2, 2, 2), value=-1)
    around = torch.stack([padded[y + down, x + right] for down in range(5) for right in range(5)])
    values = pixels[:, y, x].float()
    best = torch.full(y.shape, float("inf"))
    found = torch.full(y.shape, -1, dtype=owners.dtype)
    for number, color in enumerate(colors):
        distance = (values - torch.tensor(color)[:, None]).square().sum(0)
        nearer = (around == number).any(0) & (distance < best)
        best = torch.where(nearer, distance, best)
        found[nearer] = number
    out = owners.clone()
    out[y, x] = found
    return out


def _apart(color: Color, others: list[Color], tolerance: int) -> bool:
    return all(max(abs(a - b) for a, b in zip(color, other, strict=True)) > tolerance for other in others)


def _levels(picture: torch.Tensor) -> torch.Tensor:
    """(3, H, W) whole numbers 0..255 of (H, W, C)."""
    return (picture[..., :3].detach().to("cpu").float().clamp(0, 1) * 255).round().short().movedim(-1, 0)


def _flat(pixels: torch.Tensor, tolerance: int) -> torch.Tensor:
    """(H, W) bool: lies in a 2 x 2 box that differs by at most `tolerance`. All pixels if none does."""
    if min(pixels.shape[1:]) < 2:
        return torch.ones(pixels.shape[1:], dtype=torch.bool)
    levels = pixels.float()
    spread = F.max_pool2d(levels, 2, stride=1) + F.max_pool2d(-levels, 2, stride=1)
    even = (spread.amax(0, keepdim=True) <= tolerance).float()
    flat = F.max_pool2d(even[None], 2, stride=1, padding=1)[0, 0] > 0
    return flat if bool(flat.any()) else torch.ones_like(flat)

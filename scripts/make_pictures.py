"""Makes the pictures of the example workflows and of the docs on a real server, with the demo model:

    .venv/bin/python scripts/make_pictures.py [NAME ...]

NAME is an example workflow, which gets example_workflows/NAME.jpg, or `docs`: docs/demo.jpg is the picture of the demo,
docs/engines.jpg shows the same prompt with other samplers in both engines. Without a NAME it makes all.
"""

from __future__ import annotations

import copy
import io
import json
import sys
import tempfile
from pathlib import Path
from typing import Any

from comfy_server import ComfyServer, images
from dev import PACKS, ROOT, WORKFLOW, find_comfyui
from PIL import Image, ImageDraw, ImageFont
from workflow import to_prompt, use_demo_model

EXAMPLES = ROOT / "example_workflows"
EXAMPLE_WIDTH, EXAMPLE_COLUMNS, EXAMPLE_GAP = 512, 3, 4  # a batch is shown in rows of three; pixels
SAMPLERS, ENGINES = ("euler_ancestral", "dpmpp_2m_sde"), ("stepwise", "lockstep")
WIDTH, GAP, LABEL = 1200, 8, 34  # pixels: of the sheet, between pictures, of the line above each


def main(names: list[str]) -> None:
    examples = {path.stem: path for path in sorted(EXAMPLES.glob("*.json"))}
    if unknown := set(names) - examples.keys() - {"docs"}:
        raise SystemExit(f"there is no {', '.join(sorted(unknown))}; there are docs, {', '.join(examples)}")
    names = names or [*examples, "docs"]
    with tempfile.TemporaryDirectory() as base, ComfyServer(find_comfyui(), base, PACKS) as server:
        for name in names:
            if name == "docs":
                make_docs(server)
            else:
                saved = sample(server, read(server, examples[name]))
                grid(saved, EXAMPLE_WIDTH, EXAMPLE_COLUMNS, EXAMPLE_GAP).save(EXAMPLES / f"{name}.jpg", quality=90)


def make_docs(server: ComfyServer) -> None:
    prompt = read(server, WORKFLOW)
    (picture,) = sample(server, prompt)
    picture.save(ROOT / "docs" / "demo.jpg", quality=88)
    pictures, labels = [], []
    for sampler in SAMPLERS:
        for engine in ENGINES:
            pictures += sample(server, changed(prompt, sampler, engine))
            labels.append(f"{sampler}, {engine}")
    grid(pictures, WIDTH, len(ENGINES), GAP, labels).save(ROOT / "docs" / "engines.jpg", quality=88)


def read(server: ComfyServer, workflow: Path) -> dict[str, Any]:
    """The API prompt of a saved workflow, with the demo model."""
    return use_demo_model(to_prompt(json.loads(workflow.read_text("utf-8")), server.get("/object_info")))


def changed(prompt: dict[str, Any], sampler: str, engine: str) -> dict[str, Any]:
    """A copy of `prompt` with this sampler for the base and all regions, and this engine."""
    prompt = copy.deepcopy(prompt)
    for node in prompt.values():
        if node["class_type"] == "KSamplerAdvancedProvider":
            node["inputs"]["sampler_name"] = sampler
        elif node["class_type"] == "RegionalSampler":
            node["inputs"]["engine"] = engine
    return prompt


def sample(server: ComfyServer, prompt: dict[str, Any]) -> list[Image.Image]:
    """The pictures that the prompt saves."""
    saved = [image for image in images(server.run(prompt)) if image["type"] == "output"]
    return [Image.open(io.BytesIO(server.view(image))).convert("RGB") for image in saved]


def grid(
    pictures: list[Image.Image], width: int, columns: int, gap: int, labels: list[str] | None = None
) -> Image.Image:
    """The pictures row by row on a white sheet `width` pixels wide, each below its label if there are labels."""
    columns, above = min(len(pictures), columns), LABEL if labels else 0
    w = (width - gap * (columns - 1)) // columns
    h = round(w * pictures[0].height / pictures[0].width)
    rows = -(-len(pictures) // columns)
    size = (columns * (w + gap) - gap, rows * (above + h + gap) - gap)
    sheet = Image.new("RGB", size, "white")
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(size=22)
    for number, picture in enumerate(pictures):
        row, column = divmod(number, columns)
        x, y = column * (w + gap), row * (above + h + gap)
        if labels:
            draw.text((x + 2, y + above // 2), labels[number], fill="black", font=font, anchor="lm")
        sheet.paste(picture.resize((w, h)), (x, y + above))
    return sheet


if __name__ == "__main__":
    main(sys.argv[1:])

"""Writes the pictures of the docs, run by the Python of ComfyUI: `.venv/bin/python scripts/make_pictures.py`.

docs/demo.jpg is the demo; docs/engines.jpg is the same prompt with other samplers, in both engines.
"""

from __future__ import annotations

import copy
import io
import json
import os
import tempfile
from pathlib import Path

from comfy_server import ComfyServer, images
from PIL import Image, ImageDraw, ImageFont
from workflow import to_prompt, use_demo_model

ROOT = Path(__file__).resolve().parent.parent
WORKFLOW = ROOT / "example_workflows" / "regional_sampler.json"
SAMPLERS, ENGINES = ("euler_ancestral", "dpmpp_2m_sde"), ("stepwise", "lockstep")
WIDTH, GAP, LABEL = 1200, 8, 34  # pixels: of the sheet, between panels, of the line above each


def main() -> None:
    comfyui = os.environ.get("COMFYUI_PATH") or ROOT / ".host" / "ComfyUI"
    packs = {"regional": ROOT, "testing_pack": ROOT / "tests" / "testing_pack"}
    with tempfile.TemporaryDirectory() as base, ComfyServer(comfyui, base, packs) as server:
        workflow = json.loads(WORKFLOW.read_text(encoding="utf-8"))
        prompt = use_demo_model(to_prompt(workflow, server.get("/object_info")))
        sample(server, prompt).save(ROOT / "docs" / "demo.jpg", quality=88)
        panels = [
            (f"{sampler}, {engine}", sample(server, changed(prompt, sampler, engine)))
            for sampler in SAMPLERS
            for engine in ENGINES
        ]
    sheet(panels, columns=len(ENGINES)).save(ROOT / "docs" / "engines.jpg", quality=88)


def changed(prompt: dict, sampler: str, engine: str) -> dict:
    """A copy of `prompt` with this sampler for the base and all regions, and this engine."""
    prompt = copy.deepcopy(prompt)
    for node in prompt.values():
        if node["class_type"] == "KSamplerAdvancedProvider":
            node["inputs"]["sampler_name"] = sampler
        elif node["class_type"] == "RegionalSampler":
            node["inputs"]["engine"] = engine
    return prompt


def sample(server: ComfyServer, prompt: dict) -> Image.Image:
    (image,) = images(server.run(prompt))
    return Image.open(io.BytesIO(server.view(image))).convert("RGB")


def sheet(panels: list[tuple[str, Image.Image]], columns: int) -> Image.Image:
    """The panels row by row, each below its label."""
    width = (WIDTH - GAP * (columns - 1)) // columns
    height = round(width * panels[0][1].height / panels[0][1].width)
    rows = -(-len(panels) // columns)
    out = Image.new("RGB", (WIDTH, rows * (LABEL + height + GAP) - GAP), "white")
    draw, font = ImageDraw.Draw(out), ImageFont.load_default(size=22)
    for number, (label, picture) in enumerate(panels):
        row, column = divmod(number, columns)
        x, y = column * (width + GAP), row * (LABEL + height + GAP)
        draw.text((x + 2, y + LABEL // 2), label, fill="black", font=font, anchor="lm")
        out.paste(picture.resize((width, height)), (x, y + LABEL))
    return out


if __name__ == "__main__":
    main()

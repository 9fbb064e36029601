"""Writes example_workflows/*.json, which ComfyUI offers as templates.

    python scripts/make_workflows.py [--pictures [NAME ...]]

They are built here, not drawn by hand, so that ids and links are right and a change of a node is one edit. The output
is the same on every run. With `--pictures`, run by the Python of ComfyUI, the picture beside each (or beside those
named) is made too: it runs on a real server with the demo model.
"""

from __future__ import annotations

import io
import json
import os
import sys
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "example_workflows"
FRONTEND = "1.47.12"

SOCKET = object()  # an input without a widget
CONTROL = "fixed"  # what the browser does to a seed after a run; saved as an extra value behind the seed

MODEL = ("model", "MODEL", SOCKET)
POSITIVE, NEGATIVE = ("positive", "CONDITIONING", SOCKET), ("negative", "CONDITIONING", SOCKET)
MASK = ("mask", "MASK", SOCKET)
BASIC_PIPE = ("basic_pipe", "BASIC_PIPE", SOCKET)
CFG, STEPS, DENOISE = ("cfg", "FLOAT", 7.0), ("steps", "INT", 20), ("denoise", "FLOAT", 1.0)
SAMPLER, SCHEDULER = ("sampler_name", "COMBO", "euler"), ("scheduler", "COMBO", "normal")
SEED, NOISE_SEED = ("seed", "INT", 0, CONTROL), ("noise_seed", "INT", 0, CONTROL)
BASE_SAMPLER = ("base_sampler", "KSAMPLER_ADVANCED", SOCKET)
REGIONS = ("regional_prompts", "REGIONAL_PROMPTS", SOCKET)
OVERLAP = ("overlap_factor", "INT", 10)
RESTORE = ("restore_latent", "BOOLEAN", True)
RECOVERY = (
    ("additional_mode", "COMBO", "ratio between"),
    ("additional_sampler", "COMBO", "AUTO"),
    ("additional_sigma_ratio", "FLOAT", 0.3),
)
# The last widgets of nodes that Impact Pack has too, where they are not.
PRESENCE = (
    ("start_percent", "FLOAT", 0.0),
    ("end_percent", "FLOAT", 1.0),
    ("weight", "FLOAT", 1.0),
    ("denoise", "FLOAT", 1.0),
)
CROP = (("region_compute", "COMBO", "full"), ("crop_context", "INT", 128))
BLEND = ("blend", "COMBO", "mix")
ENGINE = (("engine", "COMBO", "stepwise"), *CROP)
LATENT = ("LATENT", "LATENT")
REGIONAL_PROMPTS = ("regional_prompts", "REGIONAL_PROMPTS")
SHAPES = (REGIONAL_PROMPTS, ("masks", "MASK"), ("preview", "IMAGE"))
PARTS = (
    ("model", "MODEL"),
    ("clip", "CLIP"),
    ("vae", "VAE"),
    ("positive", "CONDITIONING"),
    ("negative", "CONDITIONING"),
)
GUIDANCE = (MODEL, ("clip", "CLIP", SOCKET), NEGATIVE, CFG)

# type: (inputs in the order of the node's declaration, outputs, width)
NODES: dict[str, tuple[tuple, tuple, int]] = {
    "CheckpointLoaderSimple": (
        (("ckpt_name", "COMBO", "v1-5-pruned-emaonly-fp16.safetensors"),),
        (("MODEL", "MODEL"), ("CLIP", "CLIP"), ("VAE", "VAE")),
        330,
    ),
    "CLIPTextEncode": ((("text", "STRING", ""), ("clip", "CLIP", SOCKET)), (("CONDITIONING", "CONDITIONING"),), 330),
    "EmptyLatentImage": ((("width", "INT", 512), ("height", "INT", 512), ("batch_size", "INT", 1)), (LATENT,), 330),
    "PrimitiveInt": ((("value", "INT", 0, CONTROL),), (("INT", "INT"),), 330),
    "KSampler": (
        (MODEL, SEED, STEPS, CFG, SAMPLER, SCHEDULER, POSITIVE, NEGATIVE, ("latent_image", "LATENT", SOCKET), DENOISE),
        (LATENT,),
        300,
    ),
    "SolidMask": (
        (("value", "FLOAT", 1.0), ("width", "INT", 512), ("height", "INT", 512)),
        (("MASK", "MASK"),),
        230,
    ),
    "MaskComposite": (
        (
            ("destination", "MASK", SOCKET),
            ("source", "MASK", SOCKET),
            ("x", "INT", 0),
            ("y", "INT", 0),
            ("operation", "COMBO", "add"),
        ),
        (("MASK", "MASK"),),
        230,
    ),
    "MaskToImage": ((MASK,), (("IMAGE", "IMAGE"),), 230),
    "VAEDecode": ((("samples", "LATENT", SOCKET), ("vae", "VAE", SOCKET)), (("IMAGE", "IMAGE"),), 230),
    "VAEEncode": ((("pixels", "IMAGE", SOCKET), ("vae", "VAE", SOCKET)), (LATENT,), 230),
    "SetLatentNoiseMask": ((("samples", "LATENT", SOCKET), MASK), (LATENT,), 230),
    "LoraLoader": (
        (
            MODEL,
            ("clip", "CLIP", SOCKET),
            ("lora_name", "COMBO", ""),
            ("strength_model", "FLOAT", 1.0),
            ("strength_clip", "FLOAT", 1.0),
        ),
        (("MODEL", "MODEL"), ("CLIP", "CLIP")),
        250,
    ),
    "SaveImage": ((("images", "IMAGE", SOCKET), ("filename_prefix", "STRING", "regional")), (), 420),
    "MarkdownNote": ((), (), 330),
    "ToBasicPipe": (
        (MODEL, POSITIVE, NEGATIVE, ("clip", "CLIP", SOCKET), ("vae", "VAE", SOCKET)),
        (("basic_pipe", "BASIC_PIPE"),),
        230,
    ),
    "FromBasicPipe": ((BASIC_PIPE,), PARTS, 230),
    "FromBasicPipe_v2": ((BASIC_PIPE,), (("basic_pipe", "BASIC_PIPE"), *PARTS), 230),
    "EditBasicPipe": (
        (BASIC_PIPE, MODEL, ("clip", "CLIP", SOCKET), ("vae", "VAE", SOCKET), POSITIVE, NEGATIVE),
        (("basic_pipe", "BASIC_PIPE"),),
        230,
    ),
    "GITSSchedulerFuncProvider": (
        (("coeff", "FLOAT", 1.2), DENOISE),
        (("SCHEDULER_FUNC", "SCHEDULER_FUNC"),),
        280,
    ),
    "ImpactNegativeConditioningPlaceholder": ((), (("CONDITIONING", "CONDITIONING"),), 330),
    "KSamplerProvider": (
        (SEED, STEPS, CFG, SAMPLER, SCHEDULER, DENOISE, BASIC_PIPE, ("scheduler_func_opt", "SCHEDULER_FUNC", SOCKET)),
        (("KSAMPLER", "KSAMPLER"),),
        280,
    ),
    "KSamplerAdvancedProvider": (
        (
            CFG,
            SAMPLER,
            SCHEDULER,
            ("sigma_factor", "FLOAT", 1.0),
            BASIC_PIPE,
            ("sampler_opt", "SAMPLER", SOCKET),
            ("scheduler_func_opt", "SCHEDULER_FUNC", SOCKET),
        ),
        (("KSAMPLER_ADVANCED", "KSAMPLER_ADVANCED"),),
        300,
    ),
    "RegionalPrompt": (
        (
            MASK,
            ("advanced_sampler", "KSAMPLER_ADVANCED", SOCKET),
            ("variation_seed", "INT", 0),
            ("variation_strength", "FLOAT", 0.0),
            ("variation_method", "COMBO", "linear"),
            *PRESENCE,
        ),
        (("REGIONAL_PROMPTS", "REGIONAL_PROMPTS"),),
        280,
    ),
    "RegionalPromptFromConditioning": (
        (
            MASK,
            MODEL,
            POSITIVE,
            NEGATIVE,
            CFG,
            *PRESENCE,
        ),
        (("REGIONAL_PROMPTS", "REGIONAL_PROMPTS"),),
        280,
    ),
    "CombineRegionalPrompts": (
        tuple((f"regional_prompts{i}", "REGIONAL_PROMPTS", SOCKET) for i in range(1, 5)),
        (("REGIONAL_PROMPTS", "REGIONAL_PROMPTS"),),
        300,
    ),
    "RegionalSampler": (
        (
            SEED,
            ("seed_2nd", "INT", 0),
            ("seed_2nd_mode", "COMBO", "ignore"),
            STEPS,
            ("base_only_steps", "INT", 2),
            DENOISE,
            ("samples", "LATENT", SOCKET),
            BASE_SAMPLER,
            REGIONS,
            OVERLAP,
            RESTORE,
            *RECOVERY,
            *ENGINE,
            BLEND,
        ),
        (LATENT,),
        320,
    ),
    "RegionalSamplerAdvanced": (
        (
            ("add_noise", "BOOLEAN", True),
            NOISE_SEED,
            STEPS,
            ("start_at_step", "INT", 0),
            ("end_at_step", "INT", 10000),
            OVERLAP,
            RESTORE,
            ("return_with_leftover_noise", "BOOLEAN", False),
            ("latent_image", "LATENT", SOCKET),
            BASE_SAMPLER,
            REGIONS,
            *RECOVERY,
            *ENGINE,
            BLEND,
        ),
        (LATENT,),
        320,
    ),
    "TwoSamplersForMask": (
        (
            ("latent_image", "LATENT", SOCKET),
            ("base_sampler", "KSAMPLER", SOCKET),
            ("mask_sampler", "KSAMPLER", SOCKET),
            MASK,
        ),
        (LATENT,),
        280,
    ),
    "TwoAdvancedSamplersForMask": (
        (
            SEED,
            STEPS,
            DENOISE,
            ("samples", "LATENT", SOCKET),
            BASE_SAMPLER,
            ("mask_sampler", "KSAMPLER_ADVANCED", SOCKET),
            MASK,
            OVERLAP,
            *ENGINE,
        ),
        (LATENT,),
        300,
    ),
    "RegionalGuider": (
        (
            MODEL,
            POSITIVE,
            NEGATIVE,
            CFG,
            REGIONS,
            OVERLAP,
            ("base_only_percent", "FLOAT", 0.0),
            *CROP,
            BLEND,
        ),
        (("GUIDER", "GUIDER"),),
        280,
    ),
    "RegionalPromptsFromColorMask": (
        (
            ("image", "IMAGE", SOCKET),
            ("colors", "STRING", "auto"),
            ("prompts", "STRING", ""),
            ("tolerance", "INT", 24),
            *GUIDANCE,
        ),
        SHAPES,
        400,
    ),
    "RegionalGrid": (
        (
            ("width", "INT", 1024),
            ("height", "INT", 1024),
            ("layout", "STRING", "1,2,1;1,1"),
            ("prompts", "STRING", ""),
            *GUIDANCE,
            ("image", "IMAGE", SOCKET),
        ),
        SHAPES,
        400,
    ),
    "RegionalPreview": (
        (REGIONS, ("image", "IMAGE", SOCKET), ("samples", "LATENT", SOCKET), OVERLAP, BLEND),
        (REGIONAL_PROMPTS, ("preview", "IMAGE")),
        300,
    ),
    "RegionalReport": (
        (
            REGIONS,
            BASE_SAMPLER,
            ("samples", "LATENT", SOCKET),
            STEPS,
            ("base_only_steps", "INT", 2),
            DENOISE,
            OVERLAP,
            ("engine", "COMBO", "lockstep"),
            *CROP,
            BLEND,
        ),
        (REGIONAL_PROMPTS, ("report", "STRING")),
        420,
    ),
    "RegionEditor": (
        (
            MODEL,
            ("clip", "CLIP", SOCKET),
            ("width", "INT", 1024),
            ("height", "INT", 1024),
            ("positive", "STRING", ""),
            ("negative", "STRING", ""),
            CFG,
            ("regions", "STRING", ""),
            ("image", "IMAGE", SOCKET),
        ),
        (
            REGIONAL_PROMPTS,
            ("positive", "CONDITIONING"),
            ("negative", "CONDITIONING"),
            ("masks", "MASK"),
            ("preview", "IMAGE"),
        ),
        820,
    ),
    "RegionalMaskFromBatch": ((("masks", "MASK", SOCKET), ("number", "INT", 1)), (("MASK", "MASK"),), 230),
    "LatentUpscale": (
        (
            ("samples", "LATENT", SOCKET),
            ("upscale_method", "COMBO", "nearest-exact"),
            ("width", "INT", 512),
            ("height", "INT", 512),
            ("crop", "COMBO", "disabled"),
        ),
        (LATENT,),
        280,
    ),
    "EmptyImage": (
        (("width", "INT", 512), ("height", "INT", 512), ("batch_size", "INT", 1), ("color", "INT", 0)),
        (("IMAGE", "IMAGE"),),
        230,
    ),
    "ImageCompositeMasked": (
        (
            ("destination", "IMAGE", SOCKET),
            ("source", "IMAGE", SOCKET),
            ("x", "INT", 0),
            ("y", "INT", 0),
            ("resize_source", "BOOLEAN", False),
            ("mask", "MASK", SOCKET),
        ),
        (("IMAGE", "IMAGE"),),
        230,
    ),
    "RandomNoise": ((NOISE_SEED,), (("NOISE", "NOISE"),), 280),
    "KSamplerSelect": ((SAMPLER,), (("SAMPLER", "SAMPLER"),), 280),
    "BasicScheduler": ((MODEL, SCHEDULER, STEPS, DENOISE), (("SIGMAS", "SIGMAS"),), 280),
    "SamplerCustomAdvanced": (
        (
            ("noise", "NOISE", SOCKET),
            ("guider", "GUIDER", SOCKET),
            ("sampler", "SAMPLER", SOCKET),
            ("sigmas", "SIGMAS", SOCKET),
            ("latent_image", "LATENT", SOCKET),
        ),
        (("output", "LATENT"), ("denoised_output", "LATENT")),
        280,
    ),
    "MaskGrid N KSamplers Advanced": (
        (
            MODEL,
            ("add_noise", "COMBO", "enable"),
            NOISE_SEED,
            STEPS,
            CFG,
            SAMPLER,
            SCHEDULER,
            POSITIVE,
            NEGATIVE,
            ("latent_image", "LATENT", SOCKET),
            ("start_at_step", "INT", 0),
            ("end_at_step", "INT", 10000),
            ("return_with_leftover_noise", "COMBO", "disable"),
            ("mask", "IMAGE", SOCKET),
            ("rows", "INT", 1),
            ("columns", "INT", 3),
            ("mode", "COMBO", "Sample then Fork"),
        ),
        (LATENT,),
        320,
    ),
}

TITLE_HEIGHT, GAP = 30, 30
Output = tuple[dict, int]  # a node and the slot of one of its outputs


@dataclass
class Workflow:
    """A workflow under construction. Positions and sizes are canvas units; y is that of the node's title bar."""

    nodes: list[dict] = field(default_factory=list)
    links: list[list] = field(default_factory=list)
    groups: list[dict] = field(default_factory=list)

    def add(
        self, kind: str, title: str, at: tuple[int, int], size: tuple[int, int] | None = None, **values: Any
    ) -> dict:
        """A node; `values` gives its inputs: an Output to link, or a widget's value. A widget can be linked too."""
        inputs, outputs, width = NODES[kind]
        sockets = [i for i in inputs if i[2] is SOCKET]
        widgets = [i for i in inputs if i[2] is not SOCKET]
        if unknown := values.keys() - {i[0] for i in inputs} - {"note"}:
            raise ValueError(f"{kind} has no input {', '.join(sorted(unknown))}")
        node: dict = {
            "id": len(self.nodes) + 1,
            "type": kind,
            "pos": [at[0], at[1] + TITLE_HEIGHT],
            "size": list(size or (width, 0)),
            "flags": {},
            "order": len(self.nodes),
            "mode": 0,
            "inputs": [],
            "outputs": [{"name": name, "type": type_, "links": []} for name, type_ in outputs],
            "title": title,
            "properties": {"Node name for S&R": kind},
            "widgets_values": [],
        }
        for name, type_, *_ in sockets:
            slot = {"name": name, "type": type_, "link": None}
            node["inputs"].append(slot)
            if name in values:
                slot["link"] = self._link(values[name], node, len(node["inputs"]) - 1, type_)
        for name, type_, default, *control in widgets:
            slot = {"name": name, "type": type_, "widget": {"name": name}, "link": None}
            node["inputs"].append(slot)
            value = values.get(name, default)
            if isinstance(value, tuple):
                slot["link"] = self._link(value, node, len(node["inputs"]) - 1, type_)
                value = value[0]["widgets_values"][0]  # the widget stays, and shows what a run will give it
            node["widgets_values"] += [value, *control]
        if kind == "MarkdownNote":
            node["widgets_values"] = [values["note"]]
        if size is None:
            text = 80 if kind == "CLIPTextEncode" else 420 if kind == "SaveImage" else 0
            rows = max(len(sockets), len(outputs))
            node["size"][1] = 20 * rows + 24 * len(node["widgets_values"]) + 10 + text
        self.nodes.append(node)
        return node

    def _link(self, output: Output, target: dict, slot: int, type_: str) -> int:
        origin, origin_slot = output
        source = origin["outputs"][origin_slot]
        if source["type"] != type_:
            raise ValueError(f"{origin['title']} gives {source['type']}, {target['title']} takes {type_}")
        link = len(self.links) + 1
        self.links.append([link, origin["id"], origin_slot, target["id"], slot, type_])
        source["links"].append(link)
        return link

    def group(self, title: str, nodes: list[dict], colour: str = "#3f789e") -> None:
        """A frame around `nodes`."""
        left = min(n["pos"][0] for n in nodes) - 15
        top = min(n["pos"][1] for n in nodes) - TITLE_HEIGHT - 50
        right = max(n["pos"][0] + n["size"][0] for n in nodes) + 15
        bottom = max(bottom_of(n) for n in nodes) + 15
        box = [left, top, right - left, bottom - top]
        group = {"id": len(self.groups) + 1, "title": title, "bounding": box, "color": colour}
        self.groups.append({**group, "font_size": 24, "flags": {}})

    def save(self, name: str) -> None:
        saved = {
            "id": str(uuid.uuid5(uuid.NAMESPACE_URL, name)),
            "revision": 0,
            "last_node_id": len(self.nodes),
            "last_link_id": len(self.links),
            "nodes": self.nodes,
            "links": self.links,
            "groups": self.groups,
            "config": {},
            "extra": {"ds": {"scale": 0.6, "offset": [60, 120]}, "frontendVersion": FRONTEND},
            "version": 0.4,
        }
        text = json.dumps(saved, indent=2, ensure_ascii=False) + "\n"
        (FOLDER / f"{name}.json").write_text(text, encoding="utf-8", newline="\n")


def bottom_of(node: dict) -> int:
    """Where a node ends at most: Nodes 2.0 needs more room than the classic canvas, and makes the node higher."""
    rows = max(sum("widget" not in slot for slot in node["inputs"]), len(node["outputs"]))
    return node["pos"][1] + max(node["size"][1], 28 * rows + 30 * len(node["widgets_values"]) + 18)


def below(node: dict) -> int:
    """Where the next node of a column goes."""
    return bottom_of(node) + GAP


COLUMNS = (0, 390, 660, 960, 1330, 1600, 1940, 2280, 2640, 3020)
ROW = 400  # height of a region's row


@dataclass
class Sketch:
    """What all the examples share: a checkpoint, a negative prompt and a canvas in the first column."""

    width: int
    height: int
    note: str
    w: Workflow = field(default_factory=Workflow)

    def __post_init__(self) -> None:
        w = self.w
        about = w.add("MarkdownNote", "About this workflow", (0, 0), (330, 230), note=self.note)
        self.loader = w.add("CheckpointLoaderSimple", "Checkpoint", (0, below(about) + 60))
        self.negative = w.add(
            "CLIPTextEncode",
            "Negative prompt",
            (0, below(self.loader)),
            text="blurry, low quality, watermark",
            clip=(self.loader, 1),
        )
        self.canvas = w.add(
            "EmptyLatentImage", "Canvas", (0, below(self.negative)), width=self.width, height=self.height
        )
        w.group("Model and canvas", [self.loader, self.negative, self.canvas])

    def prompt(self, title: str, text: str, at: tuple[int, int], clip: Output | None = None) -> dict:
        return self.w.add("CLIPTextEncode", f"{title}: prompt", at, text=text, clip=clip or (self.loader, 1))

    def pipe(self, title: str, text: str, y: int) -> list[dict]:
        """A prompt and the basic pipe that carries it."""
        prompt = self.prompt(title, text, (COLUMNS[3], y))
        pipe = self.w.add(
            "ToBasicPipe",
            f"{title}: pipe",
            (COLUMNS[4], y),
            model=(self.loader, 0),
            positive=(prompt, 0),
            negative=(self.negative, 0),
        )
        return [prompt, pipe]

    def sampler(self, kind: str, title: str, text: str, y: int, **widgets: Any) -> list[dict]:
        """The nodes from a prompt to its sampler, the sampler last."""
        nodes = self.pipe(title, text, y)
        name = f"{title}: sampler"
        return [*nodes, self.w.add(kind, name, (COLUMNS[5], y), basic_pipe=(nodes[-1], 0), **widgets)]

    def empty_mask(self, title: str, y: int, width: int = 0, height: int = 0) -> dict:
        size = {"width": width or self.width, "height": height or self.height}
        return self.w.add("SolidMask", title, (COLUMNS[1], y), value=0.0, **size)

    def mask(self, title: str, empty: dict, box: tuple[int, int, int, int], y: int) -> list[dict]:
        """A white rectangle `box` (x, y, width, height in pixels) on `empty`; the mask's node last."""
        left, top, width, height = box
        shape = self.w.add("SolidMask", f"{title}: size", (COLUMNS[1], y), width=width, height=height)
        placed = self.w.add(
            "MaskComposite",
            f"{title}: place",
            (COLUMNS[2], y),
            destination=(empty, 0),
            source=(shape, 0),
            x=left,
            y=top,
        )
        return [shape, placed]

    def region(
        self,
        number: int,
        text: str,
        box: tuple[int, int, int, int],
        empty: dict,
        y: int,
        sampler_name: str = "euler",
        **prompt: Any,
    ) -> dict:
        title = f"Region {number}"
        masks = self.mask(title, empty, box, y)
        samplers = self.sampler("KSamplerAdvancedProvider", title, text, y, sampler_name=sampler_name)
        region = self.w.add(
            "RegionalPrompt", title, (COLUMNS[6], y), mask=(masks[-1], 0), advanced_sampler=(samplers[-1], 0), **prompt
        )
        self.region_group(number, text, [*masks, *samplers, region])
        return region

    def light_region(
        self,
        number: int,
        text: str,
        box: tuple[int, int, int, int],
        empty: dict,
        y: int,
        lora: str = "",
        **widgets: Any,
    ) -> dict:
        """A region with the base's sampler, and with a LoRA of its own if one is named."""
        title = f"Region {number}"
        masks = self.mask(title, empty, box, y)
        model, clip = (self.loader, 0), (self.loader, 1)
        loaded = []
        if lora:
            at = (COLUMNS[1], below(masks[0]))
            loaded = [self.w.add("LoraLoader", f"{title}: LoRA", at, model=model, clip=clip, lora_name=lora)]
            model, clip = (loaded[0], 0), (loaded[0], 1)
        prompt = self.prompt(title, text, (COLUMNS[3], y), clip)
        links = {"mask": (masks[-1], 0), "model": model, "positive": (prompt, 0), "negative": (self.negative, 0)}
        region = self.w.add("RegionalPromptFromConditioning", title, (COLUMNS[4], y), **links, **widgets)
        self.region_group(number, text, [*masks, *loaded, prompt, region])
        return region

    def region_group(self, number: int, text: str, nodes: list[dict]) -> None:
        self.w.group(f"Region {number}: {text}", nodes, ("#8A8", "#88A", "#b58b2a")[(number - 1) % 3])

    def all_regions(self, regions: list[dict], at: tuple[int, int]) -> dict:
        links = {f"regional_prompts{i}": (region, 0) for i, region in enumerate(regions, 1)}
        return self.w.add("CombineRegionalPrompts", "All regions", at, **links)

    def finish(self, sampler: dict, name: str) -> None:
        """Decode, save the picture, write the file."""
        x = sampler["pos"][0] + sampler["size"][0] + 60
        decode = self.w.add("VAEDecode", "Decode", (x, 80), samples=(sampler, 0), vae=(self.loader, 2))
        self.w.add("SaveImage", "Picture", (x, below(decode)), images=(decode, 0), filename_prefix=name)
        self.w.save(name)


def regional(
    name: str,
    kind: str,
    size: tuple[int, int],
    base: str,
    regions: list[dict],
    note: str,
    base_sampler: str = "euler",
    **widgets: Any,
) -> None:
    """A base and its regions: the workflows of RegionalSampler and RegionalSamplerAdvanced."""
    s = Sketch(*size, note)
    empty = s.empty_mask("Empty mask", 80)
    samplers = s.sampler("KSamplerAdvancedProvider", "Base", base, 80, sampler_name=base_sampler)
    s.w.group(f"Base: {base}", [empty, *samplers])
    made = [s.region(i, empty=empty, y=80 + i * ROW, **region) for i, region in enumerate(regions, 1)]
    combined = s.all_regions(made, (COLUMNS[7], 80 + ROW))
    canvas = {"samples" if kind == "RegionalSampler" else "latent_image": (s.canvas, 0)}
    outlets = {"base_sampler": (samplers[-1], 0), "regional_prompts": (combined, 0)}
    sampler = s.w.add(kind, "Sample base and regions", (COLUMNS[8], 80), **canvas, **outlets, **widgets)
    s.finish(sampler, name)


def guider(name: str, size: tuple[int, int], base: str, regions: list[dict], note: str, sampler_name: str) -> None:
    """A base and its regions for the core's SamplerCustomAdvanced: the workflow of RegionalGuider."""
    s = Sketch(*size, note)
    empty = s.empty_mask("Empty mask", 80)
    prompt = s.prompt("Base", base, (COLUMNS[3], 80))
    s.w.group(f"Base: {base}", [empty, prompt])
    made = [s.light_region(i, empty=empty, y=80 + i * ROW, **region) for i, region in enumerate(regions, 1)]
    combined = s.all_regions(made, (COLUMNS[5] + 60, 80 + ROW))

    custom_sampling(s, name, prompt, (combined, 0), COLUMNS[6] + 60, sampler_name)


def lockstep(s: Sketch, name: str, base: str, regions: list[dict], y: int, latent: Output, **widgets: Any) -> None:
    """Light regions below a base from `y` on, sampled in lockstep from `latent`, and what follows."""
    empty = s.empty_mask("Empty mask", y)
    samplers = s.sampler("KSamplerAdvancedProvider", "Base", base, y, sampler_name="dpmpp_2m", scheduler="karras")
    s.w.group(f"Base: {base}", [empty, *samplers])
    row = ROW + 70  # a LoRA makes it higher
    made = [s.light_region(i, empty=empty, y=y + i * row, **region) for i, region in enumerate(regions, 1)]
    combined = s.all_regions(made, (COLUMNS[5] + 40, y + row))
    links = {"samples": latent, "base_sampler": (samplers[-1], 0), "regional_prompts": (combined, 0)}
    at = (COLUMNS[6] + 60, y)
    s.finish(s.w.add("RegionalSampler", "Sample base and regions", at, engine="lockstep", **links, **widgets), name)


def first_picture(s: Sketch, text: str) -> dict:
    """What image to image begins with, in a row of its own: a picture, saved, and its latent, which is returned."""
    w, model = s.w, {"model": (s.loader, 0), "negative": (s.negative, 0)}
    prompt = s.prompt("First picture", text, (COLUMNS[1], 80))
    x, links = COLUMNS[1] + 360, {"positive": (prompt, 0), "latent_image": (s.canvas, 0)}
    drawn = w.add("KSampler", "First picture: sample", (x, 80), seed=1, **model, **links)
    decoded = w.add("VAEDecode", "First picture: decode", (x + 330, 80), samples=(drawn, 0), vae=(s.loader, 2))
    at = (x + 330, below(decoded))
    encoded = w.add("VAEEncode", "Encode: your picture fits here", at, pixels=(decoded, 0), vae=(s.loader, 2))
    shown = w.add("SaveImage", "First picture", (x + 590, 80), (300, 270), images=(decoded, 0), filename_prefix="first")
    w.group(f"First picture: {text}", [prompt, drawn, decoded, encoded, shown], "#b58b2a")
    return encoded


def two_loras() -> None:
    s = Sketch(
        896,
        640,
        "## Two LoRAs, two characters\n\nEach region has a LoRA of its own, which the other does not see: model and "
        "CLIP go through the region's LoraLoader. The prompts are the same here; give each its LoRA's trigger words."
        "\n\nIn lockstep all are asked in one model call, and the weights are not patched back and forth.",
    )
    text = "{} character, bold orange waves on cream, vertical"
    regions = [
        {"text": text.format(which), "box": (left, 96, 320, 512), "lora": f"{which}_character.safetensors"}
        for which, left in (("first", 64), ("second", 512))
    ]
    lockstep(s, "two_loras", "soft white clouds in a blue sky", regions, 80, (s.canvas, 0), seed=4)


def image_to_image() -> None:
    s = Sketch(
        896,
        640,
        "## Image to image, a denoise for each region\n\nThe sampler repaints the picture at `denoise` 0.8, region 1 "
        "only at 0.4, and region 2, at 0, keeps it as it is. A region can be repainted less than the sampler's "
        "`denoise`, not more.\n\nYour own picture: LoadImage into the VAEEncode.",
    )
    first = first_picture(s, "bold brown wood on cream, wide, horizontal")
    regions = [
        {"text": "teal wood on navy, wide, horizontal", "box": (64, 96, 352, 448), "denoise": 0.4},
        {"text": "kept as it is", "box": (512, 128, 304, 384), "denoise": 0.0},
    ]
    links = {"seed": 2, "denoise": 0.8, "base_only_steps": 0}
    lockstep(s, "image_to_image", "soft violet clouds on pink", regions, 80 + ROW + 40, (first, 0), **links)


def regional_inpainting() -> None:
    s = Sketch(
        896,
        640,
        "## Regional inpainting\n\nThe mask on the latent says what is painted anew; the rest of the picture stays. "
        "Inside of it base and regions share as ever: the base fills what the two regions leave.\n\nLockstep only. "
        "Your own picture: LoadImage, its IMAGE into the VAEEncode, its MASK into SetLatentNoiseMask.",
    )
    first = first_picture(s, "soft white clouds in a blue sky")
    y = 80 + ROW + 40
    at = (COLUMNS[4] + 380, 80)
    shape = s.w.add("SolidMask", "Painted anew: size", at, width=640, height=320)
    background = s.w.add("SolidMask", "Kept", (at[0], below(shape)), value=0.0, width=896, height=640)
    links = {"destination": (background, 0), "source": (shape, 0), "x": 128, "y": 240}
    hole = s.w.add("MaskComposite", "Painted anew: place", (at[0] + 260, 80), **links)
    links = {"samples": (first, 0), "mask": (hole, 0)}
    masked = s.w.add("SetLatentNoiseMask", "Paint only there", (at[0] + 260, below(hole)), **links)
    s.w.group("What is painted anew", [shape, background, hole, masked], "#A88")
    regions = [
        {"text": "golden diagonal stripes on brown", "box": (160, 272, 208, 256)},
        {"text": "orange spots on cream", "box": (528, 272, 208, 256)},
    ]
    lockstep(s, "regional_inpainting", "bold teal waves on navy", regions, y, (masked, 0), seed=2, base_only_steps=0)


def from_impact_pack() -> None:
    s = Sketch(
        896,
        640,
        "## Coming from Impact Pack\n\n**Above: as saved there.** Every node of a shared id stays where it is, and the "
        "picture is the same: without a value for `engine` it is stepwise.\n\n**Below: the same in lockstep**, where "
        "dpmpp_2m keeps what it learned in the steps before.",
    )
    empty = s.empty_mask("Empty mask", 80)
    base, sampler = "soft sand weave on cream", {"sampler_name": "dpmpp_2m"}
    samplers = s.sampler("KSamplerAdvancedProvider", "Base", base, 80, **sampler)
    s.w.group(f"Base: {base}", [empty, *samplers])
    texts = ("bold navy and cyan waves", "crimson spots on pink")
    boxes = ((64, 80, 352, 480), (496, 144, 336, 352))
    made = [
        s.region(i, text, box, empty, 80 + i * ROW, **sampler)
        for i, (text, box) in enumerate(zip(texts, boxes, strict=True), 1)
    ]
    y = 80 + 3 * ROW

    def sampled(title: str, regions: list[dict], y: int, prefix: str, **widgets: Any) -> dict:
        combined = s.all_regions(regions, (COLUMNS[7], y))
        links = {"base_sampler": (samplers[-1], 0), "regional_prompts": (combined, 0), "samples": (s.canvas, 0)}
        regional = s.w.add("RegionalSampler", title, (COLUMNS[8], y), seed=3, **links, **widgets)
        decode = s.w.add("VAEDecode", "Decode", (COLUMNS[9], y), samples=(regional, 0), vae=(s.loader, 2))
        at = (COLUMNS[9], below(decode))
        picture = s.w.add("SaveImage", "Picture", at, (330, 330), images=(decode, 0), filename_prefix=prefix)
        s.w.group(title, [combined, regional, decode, picture], "#b58b2a")
        return regional

    saved = sampled("As saved with Impact Pack", made, 80, "impact_stepwise")
    for node, later in ((saved, (*ENGINE, BLEND)), *((region, PRESENCE) for region in made)):
        for values in (node["inputs"], node["widgets_values"]):
            del values[-len(later) :]  # Impact Pack's node does not have them; the room for them stays
    s.w.add(
        "MarkdownNote",
        "What to swap",
        (COLUMNS[3], y),
        (330, 380),
        note="## What to swap\n\n- `engine`: lockstep, unless the picture must stay the same.\n- A region with the "
        "base's sampler: one RegionalPromptFromConditioning in place of ToBasicPipe, KSamplerAdvancedProvider and "
        "RegionalPrompt.\n- Detectors, detailers, tiled and upscaling providers are Impact Pack's alone: keep it for "
        "them. What they hand on fits here.\n- With both packs installed, one of them provides all nodes of shared "
        'ids. This pack\'s are in the category "regional sampling".',
    )
    light, below_last = [], y
    for i, region in enumerate(made, 1):
        mask, prompt = (
            next(n for n in s.w.nodes if n["title"] == f"Region {i}: {what}") for what in ("place", "prompt")
        )
        links = {"mask": (mask, 0), "positive": (prompt, 0), "negative": (s.negative, 0), "model": (s.loader, 0)}
        at = (COLUMNS[4], below_last)
        light.append(s.w.add("RegionalPromptFromConditioning", f"{region['title']}, lighter", at, **links))
        below_last = below(light[-1]) + 40
    s.w.group("The same regions with fewer nodes", light, "#8A8")
    sampled("The same in lockstep", light, y, "impact_lockstep", engine="lockstep")
    s.w.save("from_impact_pack")


def custom_sampling(s: Sketch, name: str, prompt: dict, regions: Output, x: int, sampler_name: str) -> None:
    """RegionalGuider in the core's SamplerCustomAdvanced, and what follows it."""
    links = {"model": (s.loader, 0), "negative": (s.negative, 0), "positive": (prompt, 0), "regional_prompts": regions}
    regional = s.w.add("RegionalGuider", "Base and regions", (x, 80), base_only_percent=0.1, **links)
    noise = s.w.add("RandomNoise", "Noise", (x, below(regional) + 60), noise_seed=7)
    sampler = s.w.add("KSamplerSelect", "Sampler", (x, below(noise)), sampler_name=sampler_name)
    sigmas = s.w.add("BasicScheduler", "Schedule", (x, below(sampler)), model=(s.loader, 0), scheduler="karras")
    s.w.group("Any sampler, any schedule", [noise, sampler, sigmas])
    inputs = {"noise": noise, "guider": regional, "sampler": sampler, "sigmas": sigmas, "latent_image": s.canvas}
    outlets = {input_name: (node, 0) for input_name, node in inputs.items()}
    s.finish(s.w.add("SamplerCustomAdvanced", "Sample base and regions", (x + 340, 80), **outlets), name)


def color_mask() -> None:
    s = Sketch(
        896,
        640,
        "## RegionalPromptsFromColorMask\n\nOne picture in flat colours, one line of text for each colour, the largest "
        "first: the node shows their numbers after a run. Lines 1 and 4 are empty: colour 1, white, is the base's, and "
        "colour 4, red, has a sampler of its own.\n\nThe painting is put together from boxes here; take out its nodes "
        "and connect a LoadImage with one that you painted.",
    )
    painting = s.w.add("EmptyImage", "White", (COLUMNS[1], 80), width=896, height=640, color=0xFFFFFF)
    nodes = [painting]
    for title, color, (x, y, width, height) in (
        ("Green", 0x00C000, (0, 416, 896, 224)),
        ("Blue", 0x2040FF, (96, 128, 240, 384)),
        ("Red", 0xFF2020, (448, 64, 352, 256)),
        ("Orange", 0xFFA500, (640, 208, 176, 304)),
    ):
        at = below(nodes[-1])
        box = s.w.add("EmptyImage", f"{title}: size", (COLUMNS[1], at), width=width, height=height, color=color)
        links = {"destination": (painting, 0), "source": (box, 0)}
        painting = s.w.add("ImageCompositeMasked", f"{title}: place", (COLUMNS[2], at), x=x, y=y, **links)
        nodes += [box, painting]
    s.w.group("A painting in flat colours", nodes, "#b58b2a")

    shared = {"model": (s.loader, 0), "clip": (s.loader, 1), "negative": (s.negative, 0)}
    lines = "\ngreen weave on sand\nbold navy and cyan waves\n\ngolden diagonal stripes on brown"
    base = s.sampler("KSamplerAdvancedProvider", "Base", "soft white clouds in a blue sky", 80, sampler_name="dpmpp_2m")
    s.w.group("Base: soft white clouds in a blue sky", base)
    y = 80 + ROW
    painted = s.w.add(
        "RegionalPromptsFromColorMask",
        "Regions from the painting",
        (COLUMNS[3], y),
        (400, 560),
        image=(painting, 0),
        prompts=lines,
        **shared,
    )
    y = below(painted) + 60
    text = "crimson spots on pink"
    own = s.sampler("KSamplerAdvancedProvider", "Region 4", text, y, sampler_name="euler_ancestral")
    mask = s.w.add("RegionalMaskFromBatch", "Region 4: mask", (COLUMNS[4], below(own[1])), masks=(painted, 1), number=4)
    region = s.w.add("RegionalPrompt", "Region 4", (COLUMNS[6], y), mask=(mask, 0), advanced_sampler=(own[-1], 0))
    s.region_group(4, text, [*own, mask, region])
    both = s.all_regions([painted, region], (COLUMNS[6], 80 + ROW))
    sampler = s.w.add(
        "RegionalSampler",
        "Sample base and regions",
        (COLUMNS[7], 80),
        samples=(s.canvas, 0),
        base_sampler=(base[-1], 0),
        regional_prompts=(both, 0),
        seed=2,
        engine="lockstep",
    )
    s.finish(sampler, "color_mask")


def grid() -> None:
    s = Sketch(
        896,
        640,
        "## RegionalGrid\n\nRows and columns by their ratios, one line of text for each cell: a row of three cells "
        "above a row of two that is lower, 3 to 2. Line 2 is empty, so that cell is the base's.\n\nThe node shows the "
        "cells and their numbers after a run.",
    )
    prompt = s.prompt("Base", "soft sand weave on cream", (COLUMNS[1], 80))
    cells = s.w.add(
        "RegionalGrid",
        "Regions in a grid",
        (COLUMNS[1], below(prompt) + 60),
        (400, 560),
        width=896,
        height=640,
        layout="3:1,2,1;2:3,2",
        prompts="green stripes on sand, vertical\n\ncrimson spots on pink\nbold teal waves on navy\n"
        "large violet clouds on navy",
        model=(s.loader, 0),
        clip=(s.loader, 1),
        negative=(s.negative, 0),
    )
    custom_sampling(s, "grid", prompt, (cells, 0), COLUMNS[1] + 460, "dpmpp_2m_sde")


def region_editor() -> None:
    w, (width, height) = Workflow(), (1024, 704)
    about = w.add(
        "MarkdownNote",
        "About this workflow",
        (0, 0),
        (330, 260),
        note="## RegionEditor\n\nA whole regional picture: draw regions on the canvas, write what each shows, queue. "
        "The editor encodes all prompts, those of the base too.\n\nRegions are rectangles, ellipses, freehand shapes "
        "and what a brush paints; drag a card by its handle to change the order. `blend` is stack, so later ones lie "
        "on top.\n\nWidth and height, below, are both the canvas's and the editor's.",
    )
    loader = w.add("CheckpointLoaderSimple", "Checkpoint", (0, below(about) + 60))
    across = w.add("PrimitiveInt", "Width", (0, below(loader)), value=width)
    down = w.add("PrimitiveInt", "Height", (0, below(across)), value=height)
    size = {"width": (across, 0), "height": (down, 0)}
    canvas = w.add("EmptyLatentImage", "Canvas", (0, below(down)), **size)
    hill = [(0, 1), (0, 0.74), (0.14, 0.6), (0.3, 0.55), (0.46, 0.64), (0.6, 0.78), (0.78, 0.7), (1, 0.86), (1, 1)]
    drawn = [
        ("Sea", "#0072b2", "bold teal waves on navy", {"type": "rect", "x": 0, "y": 0.5, "w": 1, "h": 0.5}),
        (
            "Sun",
            "#e69f00",
            "orange spots on cream",
            {"type": "ellipse", "x": 0.62, "y": 0.08, "w": 0.25, "h": 0.363636},
        ),
        ("Hill", "#009e73", "green weave on sand", {"type": "freehand", "points": hill}),
    ]
    rest = {"weight": 1, "start": 0, "end": 1, "denoise": 1, "enabled": True}
    regions = [
        {"name": name, "color": color, "prompt": prompt, **rest, "shape": shape} for name, color, prompt, shape in drawn
    ]
    shared = {"model": (loader, 0)}
    editor = w.add(
        "RegionEditor",
        "Regions",
        (COLUMNS[1], 80),
        (900, 940),
        clip=(loader, 1),
        positive="soft white clouds in a blue sky",
        negative="blurry, low quality, watermark",
        regions=json.dumps({"version": 1, "regions": regions}, separators=(",", ":")),
        **size,
        **shared,
    )
    beside = COLUMNS[1] + 960
    x = beside + 720
    prompts = {"positive": (editor, 1), "negative": (editor, 2), "regional_prompts": (editor, 0)}
    guider = w.add("RegionalGuider", "Base and regions", (x, 80), blend="stack", **prompts, **shared)
    noise = w.add("RandomNoise", "Noise", (x, below(guider) + 60), noise_seed=7)
    sampler = w.add("KSamplerSelect", "Sampler", (x, below(noise)), sampler_name="dpmpp_2m")
    sigmas = w.add("BasicScheduler", "Schedule", (x, below(sampler)), scheduler="karras", **shared)
    inputs = {"noise": noise, "guider": guider, "sampler": sampler, "sigmas": sigmas, "latent_image": canvas}
    outlets = {name: (node, 0) for name, node in inputs.items()}
    sampled = w.add("SamplerCustomAdvanced", "Sample base and regions", (x + 340, 80), **outlets)
    decode = w.add("VAEDecode", "Decode", (x + 340, below(sampled) + 60), samples=(sampled, 0), vae=(loader, 2))
    # Where the eye is: what was drawn and what came of it, side by side.
    w.add("SaveImage", "Picture", (beside, 80), (660, 560), images=(decode, 0), filename_prefix="region_editor")
    w.save("region_editor")


def check_regions() -> None:
    s = Sketch(
        896,
        640,
        "## RegionalPreview and RegionalReport\n\nBoth sit in the wire of the regional prompts. The first shows where "
        "each region will paint, with its overlap and the gaps; the second says what the run will do and cost."
        "\n\nTo look at them before anything is sampled, mute the sampler (Ctrl+M) and queue.",
    )
    empty = s.empty_mask("Empty mask", 80)
    base = s.sampler("KSamplerAdvancedProvider", "Base", "soft pink clouds on violet", 80, sampler_name="dpmpp_2m")
    s.w.group("Base: soft pink clouds on violet", [empty, *base])
    regions = (
        {"text": "bold navy and cyan waves", "box": (48, 64, 448, 320)},
        {"text": "golden diagonal stripes on brown", "box": (400, 256, 432, 320)},
        {"text": "cream spots on green", "box": (624, 48, 224, 176), "start_percent": 0.2},
    )
    made = [s.light_region(i, empty=empty, y=80 + i * ROW, **region) for i, region in enumerate(regions, 1)]
    combined = s.all_regions(made, (COLUMNS[5] + 60, 80 + ROW))
    at, canvas = COLUMNS[6] + 60, {"samples": (s.canvas, 0)}
    shown = s.w.add("RegionalPreview", "Where", (at, 80), (420, 480), regional_prompts=(combined, 0), **canvas)
    regional = {"base_sampler": (base[-1], 0), **canvas}
    said = s.w.add(
        "RegionalReport",
        "What, and at what cost",
        (at, below(shown)),
        (420, 560),
        regional_prompts=(shown, 0),
        **regional,
    )
    s.w.group("Before it is paid for", [shown, said])
    sampler = s.w.add(
        "RegionalSampler",
        "Sample base and regions",
        (at + 480, 80),
        regional_prompts=(said, 0),
        seed=6,
        engine="lockstep",
        **regional,
    )
    s.finish(sampler, "check_regions")


def basic_pipes() -> None:
    width, height = 896, 640
    w = Workflow()
    about = w.add(
        "MarkdownNote",
        "About this workflow",
        (0, 0),
        (330, 300),
        note="## One pipe for all\n\nModel, CLIP, VAE and prompts go through the graph in one wire. EditBasicPipe "
        "changes a region's prompt and keeps the rest; FromBasicPipe takes out what other nodes want.\n\nThis is for a "
        "model without a negative, such as Flux: the placeholder stands in for it, and cfg is Flux's guidance. For "
        "another model put a negative prompt there. The schedule is GITS, in place of the providers' own.",
    )
    loader = w.add("CheckpointLoaderSimple", "Checkpoint", (0, below(about) + 60))
    none = w.add("ImpactNegativeConditioningPlaceholder", "No negative", (0, below(loader)))
    canvas = w.add("EmptyLatentImage", "Canvas", (0, below(none)), width=width, height=height)
    w.group("Model and canvas", [loader, none, canvas])

    def prompt(title: str, text: str, at: tuple[int, int]) -> dict:
        return w.add("CLIPTextEncode", f"{title}: prompt", at, text=text, clip=(loader, 1))

    def sampler(title: str, pipe: Output, at: tuple[int, int]) -> dict:
        links = {"basic_pipe": pipe, "scheduler_func_opt": (gits, 0)}
        return w.add("KSamplerAdvancedProvider", f"{title}: sampler", at, cfg=3.5, sampler_name="dpmpp_2m", **links)

    def mask(title: str, left: int, top: int, side: tuple[int, int], y: int) -> list[dict]:
        shape = w.add("SolidMask", f"{title}: size", (COLUMNS[1], y), width=side[0], height=side[1])
        links = {"destination": (empty, 0), "source": (shape, 0), "x": left, "y": top}
        return [shape, w.add("MaskComposite", f"{title}: place", (COLUMNS[2], y), **links)]

    gits = w.add("GITSSchedulerFuncProvider", "Schedule", (COLUMNS[4], -150))
    empty = w.add("SolidMask", "Empty mask", (COLUMNS[1], 80), value=0.0, width=width, height=height)
    base = prompt("Base", "soft white clouds in a blue sky", (COLUMNS[2], 80))
    parts = {"model": (loader, 0), "clip": (loader, 1), "vae": (loader, 2)}
    pipe = w.add("ToBasicPipe", "Pipe", (COLUMNS[3] + 60, 80), positive=(base, 0), negative=(none, 0), **parts)
    unpacked = w.add("FromBasicPipe_v2", "Base: unpack", (COLUMNS[4], 80), basic_pipe=(pipe, 0))
    base_sampler = sampler("Base", (unpacked, 0), (COLUMNS[5] + 40, 80))
    w.group("Base: soft white clouds in a blue sky", [empty, base, pipe, unpacked, base_sampler])

    first = "golden diagonal stripes on brown"
    y = 80 + ROW
    masks = mask("Region 1", 96, 96, (320, 448), y)
    own = prompt("Region 1", first, (COLUMNS[3], y))
    edited = w.add(
        "EditBasicPipe", "Region 1: its own prompt", (COLUMNS[4], y), basic_pipe=(pipe, 0), positive=(own, 0)
    )
    own_sampler = sampler("Region 1", (edited, 0), (COLUMNS[5] + 40, y))
    links = {"mask": (masks[-1], 0), "advanced_sampler": (own_sampler, 0)}
    region = w.add("RegionalPrompt", "Region 1", (COLUMNS[6] + 40, y), **links)
    w.group(f"Region 1: {first}", [*masks, own, edited, own_sampler, region], "#8A8")

    second = "crimson spots on pink"
    y += ROW
    masks = mask("Region 2", 512, 160, (288, 320), y)
    own = prompt("Region 2", second, (COLUMNS[3], y))
    taken = w.add("FromBasicPipe", "Region 2: unpack", (COLUMNS[4], y), basic_pipe=(pipe, 0))
    links = {"mask": (masks[-1], 0), "model": (taken, 0), "positive": (own, 0), "negative": (taken, 4)}
    light = w.add("RegionalPromptFromConditioning", "Region 2", (COLUMNS[5] + 40, y), cfg=3.5, **links)
    w.group(f"Region 2: {second}", [*masks, own, taken, light], "#88A")

    at = (COLUMNS[7] + 40, 80 + ROW)
    combined = w.add(
        "CombineRegionalPrompts", "All regions", at, regional_prompts1=(region, 0), regional_prompts2=(light, 0)
    )
    links = {"samples": (canvas, 0), "base_sampler": (base_sampler, 0), "regional_prompts": (combined, 0)}
    at = (COLUMNS[8] + 40, 80)
    sampled = w.add("RegionalSampler", "Sample base and regions", at, seed=5, engine="lockstep", **links)
    x = COLUMNS[9] + 60
    decode = w.add("VAEDecode", "Decode", (x, 80), samples=(sampled, 0), vae=(unpacked, 3))
    w.add("SaveImage", "Picture", (x, below(decode)), images=(decode, 0), filename_prefix="basic_pipes")
    w.save("basic_pipes")


def hires() -> None:
    s = Sketch(
        512,
        384,
        "## Hires: two passes with the same regions\n\nThe first pass paints a small picture. Its latent is upscaled "
        "to twice the size and sampled once more with denoise 0.5, by the same base and the same regional prompts: "
        "masks are fitted to each latent, and the overlap with them.",
    )
    empty = s.empty_mask("Empty mask", 80)
    base = s.sampler("KSamplerAdvancedProvider", "Base", "soft white clouds in a blue sky", 80)
    s.w.group("Base: soft white clouds in a blue sky", [empty, *base])
    made = [
        s.region(1, "green weave on sand", (0, 240, 512, 144), empty, 80 + ROW),
        s.region(2, "crimson spots on pink", (288, 24, 160, 192), empty, 80 + 2 * ROW),
    ]
    combined = s.all_regions(made, (COLUMNS[7], 80 + ROW))
    regional = {"base_sampler": (base[-1], 0), "regional_prompts": (combined, 0), "engine": "lockstep"}
    first = s.w.add("RegionalSampler", "First pass", (COLUMNS[8], 80), samples=(s.canvas, 0), seed=3, **regional)
    larger = s.w.add(
        "LatentUpscale",
        "Twice the size",
        (COLUMNS[8] + 360, 80),
        samples=(first, 0),
        upscale_method="bislerp",
        width=1024,
        height=768,
    )
    second = s.w.add(
        "RegionalSampler",
        "Second pass",
        (COLUMNS[8] + 700, 80),
        samples=(larger, 0),
        seed=4,
        base_only_steps=0,
        denoise=0.5,
        **regional,
    )
    s.finish(second, "hires")


def two_samplers(name: str, kind: str, provider: str, note: str, base: dict, masked: dict, **widgets: Any) -> None:
    """A base and one masked sampler: the workflows of TwoSamplersForMask and TwoAdvancedSamplersForMask."""
    s = Sketch(640, 512, note)
    empty = s.empty_mask("Empty mask", 80)
    first = s.sampler(provider, "Base", y=80, **base)
    s.w.group("Base: where the mask is black", [empty, *first])
    masks = s.mask("Mask", empty, (192, 96, 256, 320), 80 + ROW)
    second = s.sampler(provider, "Mask", y=80 + ROW, **masked)
    s.w.group("Mask: where it is white", [*masks, *second], "#8A8")
    inputs = {"base_sampler": (first[-1], 0), "mask_sampler": (second[-1], 0), "mask": (masks[-1], 0)}
    canvas = {"latent_image" if kind == "TwoSamplersForMask" else "samples": (s.canvas, 0)}
    sampler = s.w.add(kind, "Sample inside and outside", (COLUMNS[6], 80), **canvas, **inputs, **widgets)
    s.finish(sampler, name)


def mask_grid() -> None:
    s = Sketch(
        768,
        512,
        "## MaskGrid N KSamplers Advanced\n\nThe mask is a tile, repeated over the canvas in 2 rows and 3 columns; the "
        "tile times the grid must be the canvas exactly (256 x 2 = 512, 256 x 3 = 768). The result is a batch of 6 "
        "pictures: each is the first picture with one cell painted anew.",
    )
    empty = s.empty_mask("Tile: background", 80, 256, 256)
    tile = s.mask("Tile", empty, (32, 32, 192, 192), 80 + 200)
    image = s.w.add("MaskToImage", "Tile as image", (COLUMNS[2], below(tile[-1])), mask=(tile[-1], 0))
    s.w.group("Tile: 256 x 256", [empty, *tile, image], "#8A8")
    canvas, steps = (s.canvas, 0), []
    for y, title, text, kind, seed, grid in (
        (80, "First picture", "brown wood, horizontal", "KSampler", {"seed": 1}, {}),
        (
            80 + ROW + 60,
            "Cells",
            "orange spots on cream",
            "MaskGrid N KSamplers Advanced",
            {"noise_seed": 2},
            {"mask": (image, 0), "rows": 2, "columns": 3},
        ),
    ):
        prompt = s.prompt(title, text, (COLUMNS[3], y))
        links = {"model": (s.loader, 0), "positive": (prompt, 0), "negative": (s.negative, 0), "latent_image": canvas}
        steps.append(s.w.add(kind, title, (COLUMNS[4], y), **links, **seed, **grid))
        canvas = (steps[-1], 0)
        s.w.group(f"{title}: {text}", [prompt, steps[-1]])
    s.finish(steps[-1], "mask_grid")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    regional(
        "regional_sampler",
        "RegionalSampler",
        (1024, 768),
        "soft white clouds in a blue sky",
        [
            {"text": "golden diagonal stripes on brown", "box": (64, 288, 320, 416)},
            {"text": "bold teal waves on navy", "box": (448, 464, 512, 240)},
            {"text": "orange spots on cream", "box": (616, 72, 304, 304)},
        ],
        "## RegionalSampler\n\nOne picture, four prompts: a base and three regions, each with a mask, a prompt and a "
        "sampler of its own. The base alone makes the first 2 steps; from then on base and regions paint side by side, "
        "in one run (`engine` lockstep).\n\nRegions are rectangles here; any mask will do.",
        seed=3,
        engine="lockstep",
    )
    regional(
        "regional_sampler_advanced",
        "RegionalSamplerAdvanced",
        (768, 512),
        "green weave on sand",
        [
            {"text": "wide crimson waves, vertical", "box": (64, 64, 256, 384)},
            {
                "text": "bold violet clouds on pink",
                "box": (400, 128, 304, 256),
                "variation_seed": 11,
                "variation_strength": 0.5,
            },
        ],
        "## RegionalSamplerAdvanced\n\nAs RegionalSampler, with the switches of KSamplerAdvanced: where to start and "
        "end, and whether noise is added and left. `restore_latent` is off, or the last step, which the base takes "
        "alone, would be dropped.\n\nRegion 2 varies its noise: turn its `variation_seed` for another "
        "version of that region alone.",
        noise_seed=5,
        restore_latent=False,
    )
    two_samplers(
        "two_samplers_for_mask",
        "TwoSamplersForMask",
        "KSamplerProvider",
        "## TwoSamplersForMask\n\nTwo whole runs, one after the other: the first makes what lies outside of the mask, "
        "the second what lies inside. Each has its own seed, steps and denoise.",
        base={"text": "soft pink clouds on violet", "seed": 1},
        masked={"text": "yellow spots on teal", "seed": 2},
    )
    two_samplers(
        "two_advanced_samplers_for_mask",
        "TwoAdvancedSamplersForMask",
        "KSamplerAdvancedProvider",
        "## TwoAdvancedSamplersForMask\n\nTwo samplers that take turns at every step, one outside of the mask and one "
        "inside, so that both see each other's progress. `overlap_factor` widens the mask.",
        base={"text": "soft grey grain"},
        masked={"text": "bold red diagonal stripes on cream"},
        seed=4,
    )
    mask_grid()
    two_loras()
    image_to_image()
    regional_inpainting()
    from_impact_pack()
    basic_pipes()
    color_mask()
    grid()
    region_editor()
    check_regions()
    hires()
    guider(
        "regional_guider",
        (1024, 640),
        "soft sand weave on cream",
        [
            {"text": "bold navy and cyan waves", "box": (64, 64, 400, 512)},
            {"text": "crimson spots on pink", "box": (560, 64, 400, 240)},
            {"text": "green stripes on sand, vertical", "box": (560, 336, 400, 240)},
        ],
        "## RegionalGuider\n\nRegions in ComfyUI's own SamplerCustomAdvanced: one run, with any sampler and any "
        "schedule. A region needs a mask, a model, prompts and cfg, and no sampler of its own.\n\nThe base paints the "
        "first tenth of the progress alone (`base_only_percent`). `overlap_factor` is the width of the blend around "
        "each region.",
        "dpmpp_2m_sde",
    )
    regional(
        "lockstep_samplers",
        "RegionalSampler",
        (896, 640),
        "large violet clouds on navy",
        [
            {"text": "gold weave on brown", "box": (48, 48, 256, 528), "sampler_name": "euler_ancestral"},
            {"text": "cream spots on green", "box": (400, 64, 432, 192), "sampler_name": "dpmpp_2m_sde"},
            {"text": "white diagonal stripes on red", "box": (368, 336, 496, 240), "sampler_name": "uni_pc"},
        ],
        "## RegionalSampler in lockstep\n\n`engine` is lockstep: all samplers run side by side over one canvas, so "
        "each may be another one. Here the base has dpmpp_2m, the regions euler_ancestral, dpmpp_2m_sde and uni_pc: "
        "samplers to which the stepwise engine does no justice.\n\nWith one sampler for all it is one run, and faster.",
        base_sampler="dpmpp_2m",
        seed=8,
        engine="lockstep",
    )


def pictures(names: Sequence[str] = (), width: int = 512) -> None:
    """X.jpg beside each X.json, or those named: what it makes of the demo model; a batch is in rows of three."""
    from comfy_server import ComfyServer, images
    from PIL import Image
    from workflow import to_prompt, use_demo_model

    comfyui = os.environ.get("COMFYUI_PATH") or ROOT / ".host" / "ComfyUI"
    packs = {"regional": ROOT, "testing_pack": ROOT / "tests" / "testing_pack"}
    with tempfile.TemporaryDirectory() as base, ComfyServer(comfyui, base, packs) as server:
        info = server.get("/object_info")
        for path in sorted(FOLDER.glob("*.json")):
            if names and path.stem not in names:
                continue
            prompt = use_demo_model(to_prompt(json.loads(path.read_text(encoding="utf-8")), info))
            saved = [image for image in images(server.run(prompt)) if image["type"] == "output"]
            made = [Image.open(io.BytesIO(server.view(image))) for image in saved]
            columns, gap = min(len(made), 3), 4
            w = (width - gap * (columns - 1)) // columns
            h = round(w * made[0].height / made[0].width)
            rows = -(-len(made) // columns)
            sheet = Image.new("RGB", (columns * (w + gap) - gap, rows * (h + gap) - gap), "white")
            for i, picture in enumerate(made):
                sheet.paste(picture.convert("RGB").resize((w, h)), (i % columns * (w + gap), i // columns * (h + gap)))
            sheet.save(path.with_suffix(".jpg"), quality=90)


if __name__ == "__main__":
    main()
    if "--pictures" in sys.argv:
        pictures(sys.argv[sys.argv.index("--pictures") + 1 :])

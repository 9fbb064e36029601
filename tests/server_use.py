"""API prompts for a real server: a graph, a scene with two regions whose right answer is known, and a run's record."""

from __future__ import annotations

import io
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import comfy.samplers
import torch
from comfy_server import ComfyServer, Event, images
from PIL import Image
from testing_pack import models
from torch import Tensor

SEEDS = itertools.count(1000)  # next(SEEDS): one that no prompt before had, so that the server has no result of it

Link = list  # [node id, output slot]
Box = tuple[int, int, int, int]  # left, top, right, bottom

PIXELS = 8  # of the picture for one of the latent
STEPS, BASE_ONLY = 12, 2
CONTRAST = 0.04  # all prompts' standard deviation
WIDTH, HEIGHT = 512, 320  # not square, as the masks are not: nothing may be transposed
COLOURS = {"base": (0.30, 0.62, 0.42), "a": (0.70, 0.33, 0.50), "b": (0.45, 0.42, 0.74)}
MASKS = {"a": (32, 24, 208, 152), "b": (272, 144, 464, 288)}
# Latent pixels three inside of the regions, and three outside: the overlap (10 pixels) and decoding do not reach there.
INNER: dict[str, list[Box]] = {
    "base": [(30, 0, 64, 15), (0, 23, 30, 40)],
    "a": [(7, 6, 23, 16)],
    "b": [(37, 21, 55, 33)],
}


class Graph:
    """An API prompt under construction."""

    def __init__(self) -> None:
        self.prompt: dict[str, dict[str, Any]] = {}

    def add(self, kind: str, /, **inputs: Any) -> Link:
        """A node; returns its first output."""
        name = str(len(self.prompt) + 1)
        self.prompt[name] = {"class_type": kind, "inputs": inputs}
        return [name, 0]

    def only(self, kind: str) -> str:
        """The id of the only node of this type."""
        (name,) = (name for name, node in self.prompt.items() if node["class_type"] == kind)
        return name

    def inputs(self, kind: str) -> dict[str, Any]:
        """The inputs of the only node of this type, to be changed."""
        inputs: dict[str, Any] = self.prompt[self.only(kind)]["inputs"]
        return inputs


class Scene(Graph):
    """A graph with a closed-form model and a canvas, to which the nodes under test are added.

    Every latent pixel is independent in these prompts, for the model too, so what becomes of one is known from the
    prompts that painted it at each step (`predicted`), wherever it lies. `slow` is the wait before a model call.
    """

    def __init__(self, slow: float | None = None) -> None:
        super().__init__()
        loader = self.add("RegionalTestingLoader", kind="eps")
        self.vae = [loader[0], 2]
        self.model = loader if slow is None else self.add("RegionalTestingSlow", model=loader, seconds=slow)
        self.canvas = self.add("EmptyLatentImage", width=WIDTH, height=HEIGHT, batch_size=1)

    def prompt_of(self, name: str) -> Link:
        colour = dict(zip(("red", "green", "blue"), COLOURS[name], strict=True))
        return self.add(
            "RegionalTestingPrompt", **colour, contrast=CONTRAST, scale=8.0, direction=0.0, pattern="pixels"
        )

    def pipe(self, name: str) -> Link:
        prompt = self.prompt_of(name)
        return self.add("ToBasicPipe", model=self.model, positive=prompt, negative=prompt)

    def step_sampler(self, name: str, **inputs: Any) -> Link:
        defaults = {"cfg": 7.0, "sampler_name": "euler", "scheduler": "normal", "sigma_factor": 1.0}
        return self.add("KSamplerAdvancedProvider", **{**defaults, "basic_pipe": self.pipe(name), **inputs})

    def full_sampler(self, name: str, seed: int) -> Link:
        settings = {"cfg": 7.0, "sampler_name": "euler", "scheduler": "normal", "denoise": 1.0}
        return self.add("KSamplerProvider", seed=seed, steps=STEPS, basic_pipe=self.pipe(name), **settings)

    def mask(self, box: Box, width: int = WIDTH, height: int = HEIGHT) -> Link:
        left, top, right, bottom = box
        empty = self.add("SolidMask", value=0.0, width=width, height=height)
        shape = self.add("SolidMask", value=1.0, width=right - left, height=bottom - top)
        return self.add("MaskComposite", destination=empty, source=shape, x=left, y=top, operation="add")

    def regions(self, samplers: tuple[str, str] = ("euler", "euler")) -> Link:
        """The regions a and b, each with its sampler."""
        both = {}
        for i, name in enumerate("ab"):
            sampler = self.step_sampler(name, sampler_name=samplers[i])
            region = self.add("RegionalPrompt", mask=self.mask(MASKS[name]), advanced_sampler=sampler)
            both[f"regional_prompts{i + 1}"] = region
        return self.add("CombineRegionalPrompts", **both)

    def save(self, latent: Link) -> None:
        picture = self.add("VAEDecode", samples=latent, vae=self.vae)
        self.add("SaveImage", images=picture, filename_prefix="test")


MASK_GRID = "MaskGrid N KSamplers Advanced"
ROWS, COLUMNS = 2, 4
TILE = (WIDTH // COLUMNS, HEIGHT // ROWS)
TILE_MASK: Box = (16, 24, 120, 136)

RECOVERY = {"additional_mode": "ratio between", "additional_sampler": "AUTO", "additional_sigma_ratio": 0.3}


# Whole prompts, one for each sampler node. `inputs` are those of that node.


def regional_sampler(seed: int, slow: float | None = None, scene: Scene | None = None, **inputs: Any) -> Scene:
    scene = scene or Scene(slow)
    defaults: dict[str, Any] = {
        "seed": seed,
        "seed_2nd": 0,
        "seed_2nd_mode": "ignore",
        "steps": STEPS,
        "base_only_steps": BASE_ONLY,
        "denoise": 1.0,
        "samples": scene.canvas,
        "overlap_factor": 10,
        "restore_latent": True,
        **RECOVERY,
    }
    if "base_sampler" not in inputs:
        defaults |= {"base_sampler": scene.step_sampler("base"), "regional_prompts": scene.regions()}
    scene.save(scene.add("RegionalSampler", **{**defaults, **inputs}))
    return scene


def regional_sampler_advanced(seed: int, **inputs: Any) -> Scene:
    scene = Scene()
    defaults = {
        "add_noise": True,
        "noise_seed": seed,
        "steps": STEPS,
        "start_at_step": 0,
        "end_at_step": 10000,
        "overlap_factor": 10,
        "restore_latent": False,  # else the last step is dropped
        "return_with_leftover_noise": False,
        "latent_image": scene.canvas,
        "base_sampler": scene.step_sampler("base"),
        "regional_prompts": scene.regions(),
        **RECOVERY,
    }
    scene.save(scene.add("RegionalSamplerAdvanced", **{**defaults, **inputs}))
    return scene


def two_advanced_samplers(seed: int, **inputs: Any) -> Scene:
    scene = Scene()
    defaults = {
        "seed": seed,
        "steps": STEPS,
        "denoise": 1.0,
        "samples": scene.canvas,
        "base_sampler": scene.step_sampler("base"),
        "mask_sampler": scene.step_sampler("a"),
        "mask": scene.mask(MASKS["a"]),
        "overlap_factor": 1,  # in latent pixels
    }
    scene.save(scene.add("TwoAdvancedSamplersForMask", **{**defaults, **inputs}))
    return scene


def two_samplers(seed: int, **inputs: Any) -> Scene:
    scene = Scene()
    defaults = {
        "latent_image": scene.canvas,
        "base_sampler": scene.full_sampler("base", seed),
        "mask_sampler": scene.full_sampler("a", seed + 1),
        "mask": scene.mask(MASKS["a"]),
    }
    scene.save(scene.add("TwoSamplersForMask", **{**defaults, **inputs}))
    return scene


def mask_grid(seed: int, mode: str = "Sample then Fork", kind: str = MASK_GRID) -> Scene:
    scene = Scene()
    prompt = scene.prompt_of("a")
    inputs = {
        "model": scene.model,
        "add_noise": "enable",
        "noise_seed": seed,
        "steps": STEPS,
        "cfg": 7.0,
        "sampler_name": "euler",
        "scheduler": "normal",
        "positive": prompt,
        "negative": prompt,
        "latent_image": scene.canvas,
        "start_at_step": 0,
        "end_at_step": 10000,
        "return_with_leftover_noise": "disable",
        "mask": scene.add("MaskToImage", mask=scene.mask(TILE_MASK, *TILE)),
        "rows": ROWS,
        "columns": COLUMNS,
        "mode": mode,
    }
    scene.save(scene.add(kind, **inputs))
    return scene


def regional_guider(seed: int) -> Scene:
    """RegionalGuider in the host's SamplerCustomAdvanced."""
    scene = Scene()
    prompt = scene.prompt_of("base")
    guider = scene.add(
        "RegionalGuider",
        model=scene.model,
        positive=prompt,
        negative=prompt,
        cfg=7.0,
        regional_prompts=scene.regions(),
    )
    latent = scene.add(
        "SamplerCustomAdvanced",
        noise=scene.add("RandomNoise", noise_seed=seed),
        guider=guider,
        sampler=scene.add("KSamplerSelect", sampler_name="euler"),
        sigmas=scene.add("BasicScheduler", model=scene.model, scheduler="normal", steps=STEPS, denoise=1.0),
        latent_image=scene.canvas,
    )
    scene.save(latent)
    return scene


@dataclass
class Run:
    """What came of a prompt: its pictures as floats (height, width, 3) in 0..1, and all its messages."""

    pictures: list[Tensor]
    events: list[Event]

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [event.data for event in self.events if event.kind == kind]

    @property
    def executed(self) -> set[str]:
        """The ids of the nodes that ran, as against those whose result was cached."""
        return {data["node"] for data in self.of("executing")} - {None}


@dataclass
class Client:
    """Runs prompts on a server and keeps all messages of the last one, of one that failed too."""

    server: ComfyServer
    events: list[Event] = field(default_factory=list)

    def run(self, graph: Graph | dict[str, Any], on_progress: Callable[[Event], None] | None = None) -> Run:
        self.events = []

        def record(event: Event) -> None:
            self.events.append(event)
            if on_progress:
                on_progress(event)

        prompt = graph.prompt if isinstance(graph, Graph) else graph
        return Run(self.pictures(self.server.run(prompt, record, timeout=240)), self.events)

    def pictures(self, entry: dict[str, Any]) -> list[Tensor]:
        return [to_tensor(self.server.view(image)) for image in images(entry)]


def to_tensor(data: bytes) -> Tensor:
    """An encoded picture as floats (height, width, 3) in 0..1: the middle of what each of its 256 levels stands for."""
    with Image.open(io.BytesIO(data)) as picture:
        rgb = picture.convert("RGB")
    values = torch.frombuffer(bytearray(rgb.tobytes()), dtype=torch.uint8)
    return (values.float().reshape(rgb.height, rgb.width, 3) + 0.5) / 256


Painters = Sequence[tuple[int, str | None]]


def steps(painter: str, first: int = 0, last: int = STEPS) -> list[tuple[int, str | None]]:
    """The steps `first`..`last`, all by one prompt, for `predicted`."""
    return [(step, painter) for step in range(first, last)]


# What the step-wise engine does to a region without base-only steps: the first call is the base's, which adds the noise
# and keeps the region's pixels, of which it knows no more than the empty latent; the region then makes that step again.
KEPT: list[tuple[int, str | None]] = [(0, None)]


def predicted(painters: Painters, sigmas: Sequence[float] | None = None) -> tuple[Tensor, float]:
    """Mean (3,) and standard deviation of a latent pixel, in the picture's units, which Euler's steps lead from noise
    through the denoiser of these prompts. `painters`: step and prompt of each model call, in order; None for a call
    that answers the empty latent. `sigmas`: by default the `normal` schedule.

    A pixel is `mean + spread z` with one z for the whole run, and denoised is linear: mu + c^2 / (c^2 + s^2) (x - mu).
    """
    if sigmas is None:
        sampling = models.texture_model().get_model_object("model_sampling")
        sigmas = comfy.samplers.calculate_sigmas(sampling, "normal", STEPS).tolist()
    mean, spread = torch.zeros(3), sigmas[0]
    for step, painter in painters:
        s, ratio = sigmas[step], sigmas[step + 1] / sigmas[step]
        mu = torch.zeros(3) if painter is None else 2 * torch.tensor(COLOURS[painter]) - 1
        c = 0.0 if painter is None else 2 * CONTRAST
        gain = c**2 / (c**2 + s**2)
        denoised = mu + gain * (mean - mu)
        mean = denoised + ratio * (mean - denoised)
        spread *= gain + ratio * (1 - gain)
    return (mean + 1) / 2, spread / 2


def cells(picture: Tensor, boxes: Sequence[Box]) -> Tensor:
    """One pixel (n, 3) for each latent pixel in the boxes, next to its centre: there 99 % of it is that one's own."""
    middle = PIXELS // 2 - 1
    small = picture[middle::PIXELS, middle::PIXELS]
    return torch.cat([small[top:bottom, left:right].reshape(-1, 3) for left, top, right, bottom in boxes])


def assert_painted(
    picture: Tensor, boxes: Sequence[Box], painters: Painters, sigmas: Sequence[float] | None = None
) -> None:
    """The latent pixels in `boxes` have the mean and the spread that `predicted` says."""
    mean, spread = predicted(painters, sigmas)
    pixels = cells(picture, boxes)
    # Seven standard errors of a mean over n pixels, five of a deviation over 3 n values. Then, half of one of the 256
    # levels; and that decoding leaves 98.8 % of the spread next to the centre, while noise starts with 100.2 % of it.
    n = len(pixels)
    torch.testing.assert_close(pixels.mean(0), mean, atol=7 * spread / n**0.5 + 0.5 / 256, rtol=0)
    deviation = (pixels - pixels.mean(0)).square().mean().sqrt()
    torch.testing.assert_close(deviation, torch.tensor(spread), atol=0, rtol=5 / (6 * n) ** 0.5 + 0.02)


def thread_names(server: ComfyServer) -> list[str]:
    """The names of the Python threads of the server's process."""
    graph = Graph()
    graph.add("RegionalTestingThreads")
    (output,) = server.run(graph.prompt)["outputs"].values()
    names: list[str] = output["threads"]
    assert "MainThread" in names
    return names


def assert_regions_painted(picture: Tensor) -> None:
    """The picture of `regional_sampler`, whatever its seed."""
    assert picture.shape == (HEIGHT, WIDTH, 3)
    for name, boxes in INNER.items():
        assert_painted(picture, boxes, steps("base", 0, BASE_ONLY) + steps(name, BASE_ONLY))

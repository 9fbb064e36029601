"""Measures what a run costs: model calls, rows, area, weight patches, memory, and seconds as ratios to plain sampling.

`scripts/dev.py bench` runs this; `--plot FILE` also draws the first table.
"""

from __future__ import annotations

import argparse
import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
# ruff: noqa: E402  ComfyUI and the pack can be imported after host.boot() only.

import host

host.boot()

import comfy.latent_formats
import comfy.model_base
import comfy.sample
import comfy.supported_models
import torch
from comfy.model_patcher import ModelPatcher
from loras import Patching, with_lora
from pack.regional.guider import Guider_Regional
from pack.regional.models.serving import LoraMethod
from testing_pack import texture
from testing_pack.models import (
    ClosedForm,
    counted,
    random_cond,
    random_unet,
    reference_cond,
    texture_cond,
    texture_model,
)
from use import regional_sampler, regions, relative, step_sampler

CFG, SEED = 5.0, 5
CONTEXT = 64  # pixels
CUDA = torch.cuda.is_available()
DEVICE = torch.device("cuda" if CUDA else "cpu")
REPEATS = 3
KINDS = ("stepwise", "lockstep", "lockstep, crop")


@dataclass(frozen=True)
class Size:
    """The size of a UNet of SDXL's architecture, of its canvas (`latent`, in latent pixels, square), and how many steps
    and which numbers of regions are measured with it.
    """

    channels: int
    depths: tuple[int, int]
    context: int
    pooled: int
    dtype: torch.dtype
    latent: int
    steps: int
    counts: tuple[int, ...] = (1, 2, 4, 8, 16)


SMALL = Size(32, (1, 1), 64, 64, torch.float32, 64, 2)
SDXL = Size(320, (2, 10), 2048, 1280, torch.float16, 128, 4)


def sdxl(size: Size, free: bool = False) -> ModelPatcher:
    """ComfyUI's own SDXL with random weights; with `free` its forward pass is skipped, to count its calls only."""
    two, ten = size.depths
    unet = {
        "image_size": 32,
        "in_channels": 4,
        "out_channels": 4,
        "model_channels": size.channels,
        "num_res_blocks": [2, 2, 2],
        "channel_mult": (1, 2, 4),
        "transformer_depth": [0, 0, two, two, ten, ten],
        "transformer_depth_output": [0, 0, 0, two, two, two, ten, ten, ten],
        "transformer_depth_middle": ten,
        "context_dim": size.context,
        "num_head_channels": 64,
        "use_spatial_transformer": True,
        "use_linear_in_transformer": True,
        "legacy": False,
        "num_classes": "sequential",
        "adm_in_channels": size.pooled + 6 * 256,
        "dtype": size.dtype,
    }
    config = comfy.supported_models.SDXL(unet)
    model = config.get_model({}, "", device=DEVICE)
    generator = torch.Generator(DEVICE).manual_seed(0)
    with torch.no_grad():
        for name, weight in model.diffusion_model.named_parameters():
            if weight.ndim == 1:
                weight.fill_(0.0 if name.endswith("bias") else 1.0)
            else:
                weight.normal_(0.0, weight[0].numel() ** -0.5, generator=generator)
    if free:
        model._apply_model = lambda x, t, *_, **__: x * 0.5
    return ModelPatcher(model, load_device=DEVICE, offload_device=torch.device("cpu"))


def sdxl_cond(size: Size, seed: int) -> Any:
    generator = torch.Generator().manual_seed(seed)
    text = torch.randn(1, 77, size.context, generator=generator)
    return [[text, {"pooled_output": torch.randn(1, size.pooled, generator=generator)}]]


def attention_layers(model: ModelPatcher) -> list[str]:
    """The names of the attention layers, which LoRAs usually change."""
    names = (".to_q", ".to_k", ".to_v", ".to_out.0")
    return [name for name, _ in model.model.named_modules() if name.endswith(names)]


def columns(count: int, height: int, width: int) -> list[torch.Tensor]:
    """Masks (1, 8 height, 8 width) of `count` equal columns; one more, the first, is left to the base."""
    masks = []
    for number in range(count):
        mask = torch.zeros(1, height * 8, width * 8)
        left, right = (round(width * 8 * (number + place) / (count + 1)) for place in (1, 2))
        mask[..., left:right] = 1.0
        masks.append(mask)
    return masks or [torch.zeros(1, 8, 8)]


def region_run(
    kind: str,
    models: Sequence[Any],
    conds: Callable[[int], Any],
    latent: dict[str, Any],
    steps: int,
    context: int = CONTEXT,
    **inputs: Any,
) -> Callable[[], torch.Tensor]:
    """A run of one of KINDS. The first of `models` is the base's, each other one a region's; all have one negative."""
    samplers = [step_sampler(model, conds(n), conds(99), cfg=CFG) for n, model in enumerate(models)]
    masks = columns(len(models) - 1, *latent["samples"].shape[-2:])
    prompts = regions(*zip(masks, samplers[1:] or samplers, strict=True))
    engine, _, crop = kind.partition(", ")
    options = {"base_only_steps": 0, "overlap_factor": 0, "steps": steps, "seed": SEED, "crop_context": context}
    options |= {"engine": engine, "region_compute": crop or "full", **inputs}
    return lambda: regional_sampler(latent, samplers[0], prompts, **options)["samples"]


def plain_run(model: Any, conds: Callable[[int], Any], latent: dict[str, Any], steps: int) -> Callable[[], Any]:
    samples = latent["samples"]
    return lambda: comfy.sample.sample(
        model,
        comfy.sample.prepare_noise(samples, SEED),
        steps,
        CFG,
        "euler",
        "normal",
        conds(0),
        conds(99),
        samples,
        seed=SEED,
        disable_pbar=True,
    )


def seconds(run: Callable[[], Any], repeats: int = REPEATS) -> float:
    """The time of the fastest of a few runs: other work on the machine can only make a run slower."""
    times = []
    for _ in range(repeats):
        start = time.perf_counter()
        run()
        if CUDA:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def peak_memory(run: Callable[[], Any]) -> float:
    """The most memory that a run holds at once, beyond what was held before it, in MiB."""
    if CUDA:
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        run()
        return (torch.cuda.max_memory_allocated() - before) / 2**20
    from torch.profiler import ProfilerActivity, profile

    with warnings.catch_warnings(), profile(activities=[ProfilerActivity.CPU], profile_memory=True) as record:
        warnings.simplefilter("ignore")
        run()
    events = record.profiler.kineto_results.events()
    held = top = 0
    for _, change in sorted((event.start_ns(), event.nbytes()) for event in events if event.name() == "[memory]"):
        held += change
        top = max(top, held)
    return top / 2**20


def table(title: str, header: list[str], lines: Iterable[list[str]]) -> None:
    """Prints a Markdown table, each line as soon as it is computed."""
    print(f"\n{title}\n")
    print(f"| {' | '.join(header)} |")
    print(f"|{'---|' * len(header)}")
    for line in lines:
        print(f"| {' | '.join(line)} |", flush=True)


@dataclass(frozen=True)
class Cost:
    """The cost of one run: numbers per step, `memory` in MiB, `ratio` of its seconds to those of plain sampling."""

    calls: float
    rows: float
    area: float
    patches: float
    memory: float
    ratio: float

    def cells(self) -> list[str]:
        patches = f"{self.patches:.0f}"
        return [
            f"{self.calls:g}",
            f"{self.rows:g}",
            f"{self.area:.2f}",
            patches,
            f"{self.memory:.0f}",
            f"{self.ratio:.1f}",
        ]


COST = ["calls", "rows", "area", "patches", "peak MB", "s"]


def cost(run: Callable[[], Any], counter: Any, size: Size, unit: float) -> Cost:
    """The cost of a second run, when the models are loaded; `unit` is the seconds of plain sampling."""
    run()
    counter.calls.clear()
    with Patching() as patching:
        took = seconds(run, 1)
    calls = list(counter.calls)
    area = sum(call.rows * call.height * call.width for call in calls) / size.latent**2
    counts = (len(calls), counter.rows, area, patching.count)
    return Cost(*(count / size.steps for count in counts), peak_memory(run), took / unit)


@contextmanager
def mechanism(name: str) -> Iterator[None]:
    """How clones with LoRAs are served in lockstep: the best method, or one of the fallbacks."""
    method = {"routed": LoraMethod.ROWS, "hooks": LoraMethod.HOOKS, "switched": LoraMethod.SWITCH}[name]
    with mock.patch.object(Guider_Regional, "methods", [method]):
        yield


def costs(size: Size) -> dict[tuple[str, bool], list[Cost]]:
    """Prints the costs of base and regions, with and without a LoRA for each region, and returns them by kind."""
    made: dict[tuple[str, bool], list[Cost]] = {(kind, lora): [] for kind in KINDS for lora in (False, True)}
    latent = {"samples": torch.zeros(1, 4, size.latent, size.latent)}
    conds = lambda n: sdxl_cond(size, n)  # noqa: E731
    model, counter = counted(sdxl(size))
    layers = attention_layers(model)
    clones = [with_lora(model, layers, 0.5, seed=n, rank=16) for n in range(max(size.counts))]
    plain = plain_run(model, conds, latent, size.steps)
    one = cost(plain, counter, size, 1.0)
    unit = seconds(plain)

    def lines() -> Iterator[list[str]]:
        yield ["0", "plain", "", *replace(one, ratio=1.0).cells()]
        for count in size.counts:
            for lora in (False, True):
                models = [model, *(clones[:count] if lora else [model] * count)]
                for kind in KINDS:
                    run = region_run(kind, models, conds, latent, size.steps)
                    made[kind, lora].append(cost(run, counter, size, unit))
                    yield [str(count), kind, "each its own" if lora else "", *made[kind, lora][-1].cells()]

    pixels = size.latent * 8
    title = f"Per step, {pixels} x {pixels}, euler, {size.steps} steps, context {CONTEXT}; s: plain = 1"
    table(title, ["N", "engine", "LoRA", *COST], lines())

    def ways() -> Iterator[list[str]]:
        for count in (0, 1, 2, 4, 8):
            models = [model, *clones[:count], *[model] * (8 - count)]
            for way in ("routed", "hooks", "switched")[: 3 if count else 1]:
                with mechanism(way):
                    run = region_run("lockstep", models, conds, latent, size.steps)
                    yield [str(count), way, *cost(run, counter, size, unit).cells()]

    title = "Eight regions, some with a LoRA of their own (rank 16 on all attention), by mechanism"
    table(title, ["LoRAs", "way", *COST], ways())
    return made


def areas() -> None:
    """Prints the area and calls of one step at 1024 x 1024, counted on SDXL's architecture without computing it."""
    size = Size(**{**vars(SMALL), "latent": 128})
    model, counter = counted(sdxl(size, free=True))
    latent = {"samples": torch.zeros(1, 4, 128, 128)}
    conds = lambda n: sdxl_cond(size, n)  # noqa: E731
    lines = []
    for count in size.counts:
        line = [str(count)]
        for kind, context in (("lockstep", 0), ("lockstep, crop", 64), ("lockstep, crop", 128)):
            counter.calls.clear()
            region_run(kind, [model] * (count + 1), conds, latent, 1, context)()
            area = sum(call.rows * call.height * call.width for call in counter.calls) / 128**2
            line.append(f"{area:.2f} in {len(counter.calls)}")
        lines.append(line)
    header = ["N", "full", "crop, context 64", "crop, context 128"]
    table("Area and calls of one step at 1024 x 1024, N equal columns beside a base column", header, lines)


def deviations() -> None:
    """Prints how far crop's result is from full's, by context."""
    contexts = (0, 32, 64, 128, 256)
    latent = {"samples": torch.zeros(1, 4, 32, 192)}
    kinds = [texture.Texture((0.3 * n - 0.3,) * 4, (0.5,) * 4, "clouds", scale=4.0) for n in range(3)]

    def lines() -> Iterator[list[str]]:
        for name, model, conds in (
            ("random UNet", sdxl(SMALL), lambda n: sdxl_cond(SMALL, n)),
            ("clouds of 32 pixels, exact model", texture_model(), lambda n: texture_cond(kinds[n % 3])),
        ):
            full = region_run("lockstep", [model] * 3, conds, latent, 4)()
            crops = (region_run("lockstep, crop", [model] * 3, conds, latent, 4, context)() for context in contexts)
            yield [name, *(f"{relative(crop, full):.1e}" for crop in crops)]

    header = ["context, pixels", *map(str, contexts)]
    table("How far crop is from full (norm of the difference over norm), 1536 x 256, two regions", header, lines())


def overhead() -> None:
    """Prints the time of all work outside of the model, with a model that takes no time."""
    steps, base_only = 20, 2

    class Free(ClosedForm):
        def _apply_model(self, x: Any, t: Any, *_: Any, **__: Any) -> Any:
            return x * 0.5

    model = ModelPatcher(
        Free("eps", comfy.latent_formats.SD15, lambda x, sigma, row: x),
        load_device=DEVICE,
        offload_device=torch.device("cpu"),
    )
    conds = lambda n: reference_cond([float(n)])  # noqa: E731
    latent = {"samples": torch.zeros(1, 4, 64, 64)}
    lines = []
    for count in (0, 1, 2, 4, 8, 16):
        times = {"plain": plain_run(model, conds, latent, steps)}
        for kind in ("stepwise", "lockstep"):
            more = {"base_only_steps": base_only, "overlap_factor": 10}
            times[kind] = region_run(kind, [model] * (count + 1), conds, latent, steps, **more)
        took = {}
        for kind, run in times.items():
            run()
            took[kind] = seconds(run)
        ms = [f"{1000 * took[kind] / steps:.2f}" for kind in took]
        beyond = (took["stepwise"] - took["plain"]) / (took["lockstep"] - took["plain"])
        lines.append([str(count), *ms, f"1/{took['stepwise'] / took['lockstep']:.1f}", f"1/{beyond:.1f}"])
    header = ["N", "plain ms", "stepwise ms", "lockstep ms", "lockstep / stepwise", "the same, beyond plain"]
    table("Work per step outside the model, 512 x 512, 20 steps, 2 of the base alone", header, lines)


def whole_runs() -> None:
    """Prints calls, rows and seconds of 20 steps, the first 2 without regions, on a small UNet."""
    steps, base_only = 20, 2
    latent = {"samples": torch.zeros(1, 4, 16, 24)}
    lines = []
    for count in (0, 1, 2, 4, 8, 16):
        model, counter = counted(random_unet())
        runs = {"plain": plain_run(model, random_cond, latent, steps)}
        for kind in ("stepwise", "lockstep"):
            more = {"base_only_steps": base_only, "overlap_factor": 10}
            runs[kind] = region_run(kind, [model] * (count + 1), random_cond, latent, steps, **more)
        line, unit = [str(count)], None
        for run in runs.values():
            counter.calls.clear()
            run()
            calls, rows = len(counter.calls), counter.rows
            took = seconds(run)
            unit = unit or took
            line += [str(calls), str(rows), f"{took / unit:.1f}"]
        lines.append(line)
    header = ["N", *(f"{kind} {what}" for kind in ("plain", "stepwise", "lockstep") for what in ("calls", "rows", "s"))]
    table("Whole runs: 20 steps, 2 of the base alone, 128 x 192, a small UNet; s: plain = 1", header, lines)


def plot(made: dict[tuple[str, bool], list[Cost]], size: Size, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, 2, figsize=(9, 3.4), sharex=True)
    colours = dict(zip(KINDS, ("#d55e00", "#0072b2", "#009e73"), strict=True))
    measures: dict[str, Callable[[Cost], float]] = {
        "Pictures computed per step (plain KSampler = 2)": lambda one: one.area,
        "Weight patch operations per step": lambda one: one.patches,
    }
    for axis, (title, of) in zip(axes, measures.items(), strict=True):
        for (kind, lora), line in made.items():
            name = f"{kind}{', a LoRA each' if lora else ''}"
            axis.plot(size.counts, [of(one) for one in line], "o--" if lora else "o-", color=colours[kind], label=name)
        axis.set_title(title, fontsize=9)
        axis.set_xlabel("regions")
        axis.set_ylim(bottom=0)
        axis.grid(alpha=0.3)
    axes[0].legend(fontsize=7)
    figure.tight_layout()
    figure.savefig(path, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--plot", type=Path, metavar="FILE", help="draw the costs by number of regions")
    args = parser.parse_args()
    logging.disable(logging.WARNING)
    device = torch.cuda.get_device_name() if CUDA else f"CPU, {torch.get_num_threads()} thread(s)"
    print(f"{device}; torch {torch.__version__}; cfg {CFG}, one negative for all.")
    with torch.inference_mode():
        size = SDXL if CUDA else SMALL
        made = costs(size)
        areas()
        deviations()
        overhead()
        whole_runs()
    if args.plot:
        plot(made, size, args.plot)


if __name__ == "__main__":
    main()

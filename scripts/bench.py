"""What a run costs: model calls, rows, and seconds as ratios within one run. `scripts/dev.py bench` calls this."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))
# ruff: noqa: E402  ComfyUI is there once the host has booted.

import host

host.boot()

import comfy.latent_formats
import comfy.model_base
import comfy.sample
import torch
from comfy.model_patcher import ModelPatcher
from testing_pack.models import ClosedForm, counted, random_cond, random_unet, reference_cond
from use import regional_sampler, regions, step_sampler

STEPS, BASE_ONLY, CFG = 20, 2, 5.0
COUNTS = (0, 1, 2, 4, 8, 16)
REPEATS = 3


class Free(ClosedForm):
    """A model that costs next to nothing, so that what is measured is the host's and our own work around it."""

    def _apply_model(self, x: Any, t: Any, *_: Any, **__: Any) -> Any:
        return x * 0.5


def free_model() -> ModelPatcher:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = Free("eps", comfy.latent_formats.SD15, lambda x, sigma, row: x)
    return ModelPatcher(model, load_device=device, offload_device=torch.device("cpu"))


def columns(count: int, height: int, width: int) -> list[torch.Tensor]:
    """`count` equal columns beside a base column, as masks of (1, 8 height, 8 width) pixels."""
    masks = []
    for number in range(count):
        mask = torch.zeros(1, height * 8, width * 8)
        left, right = (round(width * 8 * (number + place) / (count + 1)) for place in (1, 2))
        mask[..., left:right] = 1.0
        masks.append(mask)
    return masks or [torch.zeros(1, 8, 8)]


def runs(model: Any, conds: Callable[[int], Any], count: int, size: tuple[int, int]) -> dict[str, Callable[[], Any]]:
    """One run of each kind, with `count` regions that share the negative."""
    latent = {"samples": torch.zeros(1, 4, *size)}
    samplers = [step_sampler(model, conds(n), conds(99), cfg=CFG) for n in range(count + 1)]
    prompts = regions(*zip(columns(count, *size), samplers[1:] or samplers, strict=True))

    def sampled(engine: str) -> Callable[[], Any]:
        return lambda: regional_sampler(
            latent, samplers[0], prompts, steps=STEPS, base_only_steps=BASE_ONLY, overlap_factor=10, engine=engine
        )

    def plain() -> Any:
        noise = comfy.sample.prepare_noise(latent["samples"], 5)
        return comfy.sample.sample(
            model, noise, STEPS, CFG, "euler", "normal", conds(0), conds(99), latent["samples"], disable_pbar=True
        )

    return {"plain": plain, "stepwise": sampled("stepwise"), "lockstep": sampled("lockstep")}


def seconds(run: Callable[[], Any]) -> float:
    """The fastest of a few runs: noise only adds."""
    run()
    times = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        run()
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return min(times)


def table(title: str, header: list[str], lines: list[list[str]]) -> None:
    print(f"\n{title}\n")
    print(f"| {' | '.join(header)} |")
    print(f"|{'---|' * len(header)}")
    for line in lines:
        print(f"| {' | '.join(line)} |")


def main() -> None:
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else f"CPU, {torch.get_num_threads()} thread(s)"
    print(f"{STEPS} steps, {BASE_ONLY} of the base alone, euler, cfg {CFG}, one negative for all; {device}.")
    kinds = ("plain", "stepwise", "lockstep")
    with torch.inference_mode():
        lines = []
        for count in COUNTS:
            line = [str(count)]
            unit = None
            for kind in kinds:
                model, counter = counted(random_unet())
                run = runs(model, random_cond, count, (16, 24))[kind]
                run()
                calls, rows = len(counter.calls), counter.rows
                took = seconds(run)
                unit = unit or took
                line += [str(calls), str(rows), f"{took / unit:.1f}"]
            lines.append(line)
        header = ["N", *(f"{kind} {what}" for kind in kinds for what in ("calls", "rows", "s"))]
        table("Model calls, rows and seconds (plain = 1) on a random UNet, by number of regions", header, lines)

        lines = []
        model = free_model()
        for count in COUNTS:
            times = {
                kind: seconds(run)
                for kind, run in runs(model, lambda n: reference_cond([float(n)]), count, (64, 64)).items()
            }
            ms = [f"{1000 * times[kind] / STEPS:.2f}" for kind in kinds]
            ratio = times["stepwise"] / times["lockstep"]
            beyond = (times["stepwise"] - times["plain"]) / (times["lockstep"] - times["plain"])
            lines.append([str(count), *ms, f"1/{ratio:.1f}", f"1/{beyond:.1f}"])
        header = ["N", *(f"{kind} ms" for kind in kinds), "lockstep / stepwise", "the same, beyond plain"]
        table("Work per step outside the model, 512 x 512 (a model that costs nothing)", header, lines)


if __name__ == "__main__":
    main()

"""MaskGrid: one latent, sampled through a mask tile in each cell of a grid of rows x columns."""

from dataclasses import dataclass

import comfy.samplers
import torch

from ..masks.convert import as_mask
from ..masks.shape import cells, resize
from ..samplers import latents
from ..samplers.guided import Guidance, sample
from ..samplers.latents import Latent
from ..samplers.noise import initial_noise
from ..samplers.progress import Progress
from ..samplers.schedules import cut, make_sigmas
from .job import check_latent

PIXELS_PER_LATENT = 8
SAMPLE_THEN_FORK, FORK_THEN_SAMPLE = "Sample then Fork", "Fork then Sample"
MODES = [SAMPLE_THEN_FORK, FORK_THEN_SAMPLE]


@dataclass(frozen=True, eq=False)
class GridRun:
    """The inputs of the host's KSamplerAdvanced, and the layout of the grid."""

    guidance: Guidance
    sampler_name: str
    scheduler: str
    steps: int
    start: int
    end: int
    add_noise: bool
    seed: int
    leave_noise: bool
    rows: int
    columns: int
    mode: str
    node_id: str | None = None


def run(latent: Latent, image: object, grid: GridRun, owner: str) -> Latent:
    """One latent for each cell of the grid, row by row, as one batch of rows * columns times the latent's batch.

    Sample then Fork: one run with the tile in every cell; each output equals the input except in its own cell. Fork
    then Sample: one run for each cell, with the tile in that cell alone.
    """
    latent = latents.without_mask(latents.fit(check_latent(latent, owner), grid.guidance.model))
    samples = latent["samples"]
    tile = _tile(image, samples, grid, owner)
    height, width = samples.shape[-2:]
    places = cells(grid.rows, grid.columns, height * PIXELS_PER_LATENT, width * PIXELS_PER_LATENT)
    latent_places = cells(grid.rows, grid.columns, height, width)
    runs = 1 if grid.mode == SAMPLE_THEN_FORK else len(places)
    span = max(min(grid.end, grid.steps) - grid.start, 1)
    progress = Progress(span * runs, grid.node_id)
    schedule = make_sigmas(grid.guidance.model, grid.scheduler, grid.sampler_name, grid.steps, owner=owner)

    if grid.mode == SAMPLE_THEN_FORK:
        sampled = _sample(latent, tile.repeat(1, grid.rows, grid.columns), grid, schedule, progress, span)
        forks = []
        for where in latent_places:
            fork = samples.to(sampled.device, sampled.dtype).clone()
            fork[(..., *where)] = sampled[(..., *where)]
            forks.append(fork)
    else:
        forks = []
        for where in places:
            mask = torch.zeros((1, height * PIXELS_PER_LATENT, width * PIXELS_PER_LATENT))
            mask[(..., *where)] = tile
            forks.append(_sample(latent, mask, grid, schedule, progress, span))
    return {"samples": torch.cat(forks)}


def _tile(image: object, samples: torch.Tensor, grid: GridRun, owner: str) -> torch.Tensor:
    """The first channel of the IMAGE's first picture as a (1, H, W) mask that fills the canvas rows x columns times."""
    if not isinstance(image, torch.Tensor) or image.ndim != 4:
        came = tuple(image.shape) if isinstance(image, torch.Tensor) else type(image).__name__
        raise TypeError(
            f"{owner}: mask expects an IMAGE (batch, height, width, channels), {came} came; for a MASK put "
            "MaskToImage in between."
        )
    tile = as_mask(image[:1, ..., 0], owner)
    height, width = (size * PIXELS_PER_LATENT for size in samples.shape[-2:])
    filled = (tile.shape[-2] * grid.rows, tile.shape[-1] * grid.columns)
    if filled != (height, width):
        raise ValueError(
            f"{owner}: the mask of {tile.shape[-1]} x {tile.shape[-2]} pixels in {grid.columns} column(s) and "
            f"{grid.rows} row(s) makes {filled[1]} x {filled[0]}, but the latent is {width} x {height} pixels (width x "
            "height); choose mask size, rows and columns so that both are equal."
        )
    if samples.shape[-2] % grid.rows or samples.shape[-1] % grid.columns:
        raise ValueError(
            f"{owner}: {grid.columns} column(s) and {grid.rows} row(s) do not divide the latent of "
            f"{samples.shape[-1]} x {samples.shape[-2]} latent pixels evenly; choose a size whose eighth they divide."
        )
    return tile


def _sample(
    latent: Latent, mask: torch.Tensor, grid: GridRun, schedule: torch.Tensor, progress: Progress, span: int
) -> torch.Tensor:
    samples = latent["samples"]
    masked = latents.with_mask(latent, resize(mask, (samples.shape[-2], samples.shape[-1])))
    with progress.steps(span):
        return sample(
            grid.guidance,
            comfy.samplers.sampler_object(grid.sampler_name),
            cut(schedule, grid.start, grid.end, grid.leave_noise),
            masked,
            initial_noise(masked, grid.seed) if grid.add_noise else None,
            grid.seed,
            progress.callback(grid.guidance.model, span, latents.mask_of(masked)),
        ).samples

"""The five sampler nodes. Each builds a job and hands it to an engine.

Class ids, input names and their order must never change: saved workflows refer to them.
"""

import logging
from typing import Any

import nodes as host

from ..masks.weights import MIX
from ..regional import engines, mask_grid, two_samplers
from ..regional.compute import Compute
from ..regional.job import Job, LockstepOptions, Scene, StepPlan, StepwiseOptions, regional_scene, two_sampler_scene
from ..samplers.noise import MAX_SEED
from ..samplers.recovery import FULL_RECOVERY, Recovery
from ..samplers.schedules import is_whole, schedule_steps
from ..samplers.separated import separated_sample
from . import inputs
from .data import guidance

log = logging.getLogger(__name__)

SECOND_SEED_MODES = ["ignore", "fixed", "seed+seed_2nd", "seed-seed_2nd", "increment", "decrement", "randomize"]
# Sums of two seeds wrap at this value, where other packs' seeds end: saved workflows rely on it.
SEED_WRAP = 1125899906842624


class RegionalSampler(inputs.SharedNode):
    CATEGORY = inputs.CATEGORY
    DESCRIPTION = (
        "Samples one picture with a base and any number of regions, each with its own prompt, model, guidance and "
        "sampler. The base may paint the first steps alone, to lay out the whole picture."
    )
    SEARCH_ALIASES = [
        "regional prompt",
        "region",
        "area prompt",
        "attention couple",
        "latent couple",
        "masked sampling",
        "multi prompt",
        "split prompt",
        "two characters",
        "regional inpaint",
    ]
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The sampled latent, without noise_mask.",)
    FUNCTION = "sample"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "seed": inputs.seed("Seed of the noise that the picture starts from.", control=True),
                "seed_2nd": inputs.seed("Second seed; seed_2nd_mode sets how it is used."),
                "seed_2nd_mode": (
                    SECOND_SEED_MODES,
                    {
                        "tooltip": "Which noise is used after the base-only steps. ignore: the same noise. "
                        "seed+seed_2nd and seed-seed_2nd: new noise from the sum or difference. fixed, increment, "
                        "decrement, randomize: new noise from seed_2nd, which the last three change after each run."
                    },
                ),
                "steps": inputs.steps(),
                "base_only_steps": (
                    "INT",
                    {
                        "default": 2,
                        "min": 0,
                        "max": 10000,
                        "tooltip": "Number of first steps that the base samples alone, without regions, to lay out the "
                        "picture. 0 turns this off; a value of steps or more leaves none for the regions.",
                    },
                ),
                "denoise": inputs.denoise(),
                "samples": inputs.latent("The latent to sample."),
                "base_sampler": inputs.step_sampler("Samples what no region covers, and the base-only steps."),
                "regional_prompts": inputs.regional_prompts(),
                "overlap_factor": inputs.overlap("mask pixels"),
                "restore_latent": inputs.restore_latent(),
                **inputs.recovery_inputs(),
            },
            "optional": {**inputs.engine_inputs(), "blend": inputs.blend()},
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def sample(
        self,
        seed: int,
        seed_2nd: int,
        seed_2nd_mode: str,
        steps: int,
        base_only_steps: int,
        denoise: float,
        samples: dict[str, Any],
        base_sampler: Any,
        regional_prompts: Any,
        overlap_factor: int,
        restore_latent: bool,
        additional_mode: str,
        additional_sampler: str,
        additional_sigma_ratio: float,
        engine: str = engines.STEPWISE,
        region_compute: str = inputs.FULL,
        crop_context: int = 128,
        blend: str = MIX,
        unique_id: str | None = None,
    ) -> tuple[dict[str, Any]]:
        owner = type(self).__name__
        total = schedule_steps(steps, denoise, owner)
        start = total - steps
        if base_only_steps >= steps:
            log.warning(
                "%s: base_only_steps is %d of %d steps, so the base samples all of them and no region is painted; "
                "lower it to leave steps for the regions.",
                owner,
                base_only_steps,
                steps,
            )
        plan = StepPlan(
            total=total,
            start=start,
            regional=min(start + base_only_steps, total),
            alone=total,
            end=total,
            base_seed=seed,
            seed=second_seed(seed, seed_2nd, seed_2nd_mode),
            add_noise=True,
            renoise=seed_2nd_mode != "ignore",
            from_end=not is_whole(denoise),
        )
        scene = regional_scene(samples, base_sampler, regional_prompts, overlap_factor, owner)
        recovery = Recovery(additional_mode, additional_sampler, additional_sigma_ratio)
        compute = inputs.compute(region_compute, crop_context, owner)
        return _sample_regions(engine, owner, scene, plan, recovery, restore_latent, compute, blend, unique_id)

    @staticmethod
    def separated_sample(
        model: Any,
        add_noise: bool,
        seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        positive: Any,
        negative: Any,
        latent_image: dict[str, Any],
        start_at_step: int | None,
        end_at_step: int | None,
        return_with_leftover_noise: bool,
        sigma_ratio: float = 1.0,
        sampler_opt: Any = None,
        noise: Any = None,
        callback: Any = None,
        scheduler_func: Any = None,
    ) -> dict[str, Any]:
        """Not used here: samplers of other packs (KSampler //Inspire) call it. See `samplers.separated`."""
        return separated_sample(
            guidance(model, positive, negative, cfg, "separated_sample"),
            add_noise,
            seed,
            steps,
            sampler_name,
            scheduler,
            latent_image,
            start_at_step,
            end_at_step,
            return_with_leftover_noise,
            sigma_ratio,
            sampler_opt,
            noise,
            callback,
            scheduler_func,
        )


class RegionalSamplerAdvanced(inputs.SharedNode):
    CATEGORY = inputs.CATEGORY
    DESCRIPTION = (
        "RegionalSampler with KSamplerAdvanced's controls: which steps of the schedule are run, whether noise is added "
        "at the start, and whether noise is left at the end."
    )
    SEARCH_ALIASES = ["regional prompt", "region", "area prompt", "masked sampling", "start at step", "leftover noise"]
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The sampled latent, without noise_mask.",)
    FUNCTION = "sample"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "add_noise": inputs.switch(
                    True,
                    "Add the seed's noise before the first step. Disable it for a latent "
                    "that comes with leftover noise.",
                ),
                "noise_seed": inputs.seed("Seed of the noise.", control=True),
                "steps": inputs.steps(),
                "start_at_step": (
                    "INT",
                    {
                        "default": 0,
                        "min": 0,
                        "max": 10000,
                        "tooltip": "First step of the schedule that is run; 0 is the start. With a value of steps or "
                        "more, nothing is sampled and the latent is returned as it came.",
                    },
                ),
                "end_at_step": (
                    "INT",
                    {
                        "default": 10000,
                        "min": 0,
                        "max": 10000,
                        "tooltip": "The run ends before this step. A value of steps or more is the end of the "
                        "schedule.",
                    },
                ),
                "overlap_factor": inputs.overlap("mask pixels"),
                "restore_latent": inputs.restore_latent(),
                "return_with_leftover_noise": inputs.switch(
                    False,
                    "Leave the remaining noise in the result, so that another sampler can continue at end_at_step. In "
                    "stepwise with restore_latent enabled, the latent before the last step is always returned, with "
                    "its noise: continue at end_at_step - 1.",
                ),
                "latent_image": inputs.latent("The latent to sample."),
                "base_sampler": inputs.step_sampler("Samples what no region covers."),
                "regional_prompts": inputs.regional_prompts(),
                **inputs.recovery_inputs(),
            },
            "optional": {**inputs.engine_inputs(), "blend": inputs.blend()},
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def sample(
        self,
        add_noise: bool,
        noise_seed: int,
        steps: int,
        start_at_step: int,
        end_at_step: int,
        overlap_factor: int,
        restore_latent: bool,
        return_with_leftover_noise: bool,
        latent_image: dict[str, Any],
        base_sampler: Any,
        regional_prompts: Any,
        additional_mode: str,
        additional_sampler: str,
        additional_sigma_ratio: float,
        engine: str = engines.STEPWISE,
        region_compute: str = inputs.FULL,
        crop_context: int = 128,
        blend: str = MIX,
        unique_id: str | None = None,
    ) -> tuple[dict[str, Any]]:
        owner = type(self).__name__
        end = min(steps, end_at_step)
        if start_at_step >= steps:
            log.warning(
                "%s: start_at_step is %d of %d steps, so nothing is left to sample and the latent is returned as it "
                "came; lower start_at_step.",
                owner,
                start_at_step,
                steps,
            )
            end = start_at_step
        elif start_at_step >= end:
            raise ValueError(
                f"{owner}: start_at_step ({start_at_step}) must be below end_at_step ({end_at_step}); "
                "lower the first or raise the second."
            )
        plan = StepPlan(
            total=steps,
            start=start_at_step,
            regional=start_at_step,
            alone=max(end - 1, start_at_step),
            end=end,
            base_seed=noise_seed,
            seed=noise_seed,
            add_noise=add_noise,
            leave_noise=return_with_leftover_noise,
        )
        scene = regional_scene(latent_image, base_sampler, regional_prompts, overlap_factor, owner)
        recovery = Recovery(additional_mode, additional_sampler, additional_sigma_ratio)
        compute = inputs.compute(region_compute, crop_context, owner)
        return _sample_regions(engine, owner, scene, plan, recovery, restore_latent, compute, blend, unique_id)


def _sample_regions(
    engine: str,
    owner: str,
    scene: Scene,
    plan: StepPlan,
    recovery: Recovery,
    restore_latent: bool,
    compute: Compute,
    blend: str,
    node_id: str | None,
) -> tuple[dict[str, Any]]:
    """Run the engine, as RegionalSampler and RegionalSamplerAdvanced do it alike."""
    stepwise = StepwiseOptions(recovery, paste=restore_latent)
    return (engines.run(engine, Job(owner, scene, plan, stepwise, LockstepOptions(blend, compute), node_id)),)


class TwoAdvancedSamplersForMask(inputs.SharedNode):
    CATEGORY = inputs.CATEGORY
    DESCRIPTION = "Samples one picture with two samplers, step by step: one inside the mask, the other outside of it."
    SEARCH_ALIASES = ["regional prompt", "masked sampling", "inpaint", "inside and outside of a mask"]
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The sampled latent, without noise_mask.",)
    FUNCTION = "sample"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "seed": inputs.seed("Seed of the noise that the picture starts from.", control=True),
                "steps": inputs.steps(),
                "denoise": inputs.denoise(),
                "samples": inputs.latent("The latent to sample."),
                "base_sampler": inputs.step_sampler("Samples what is outside the mask."),
                "mask_sampler": inputs.step_sampler("Samples what is inside the mask."),
                "mask": ("MASK", {"tooltip": "Mask of mask_sampler's area, of any size; it is resized to the latent."}),
                "overlap_factor": inputs.overlap("latent pixels"),
            },
            "optional": inputs.engine_inputs(),
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def sample(
        self,
        seed: int,
        steps: int,
        denoise: float,
        samples: dict[str, Any],
        base_sampler: Any,
        mask_sampler: Any,
        mask: Any,
        overlap_factor: int,
        engine: str = engines.STEPWISE,
        region_compute: str = inputs.FULL,
        crop_context: int = 128,
        unique_id: str | None = None,
    ) -> tuple[dict[str, Any]]:
        owner = type(self).__name__
        total = schedule_steps(steps, denoise, owner)
        start = total - steps
        plan = StepPlan(
            total=total,
            start=start,
            regional=start,
            alone=total,
            end=total,
            base_seed=seed,
            seed=seed,
            add_noise=True,
            from_end=not is_whole(denoise),
        )
        job = Job(
            owner,
            two_sampler_scene(samples, base_sampler, mask_sampler, mask, overlap_factor, owner),
            plan,
            StepwiseOptions(FULL_RECOVERY, paste=False, finish_regions=True),
            LockstepOptions(compute=inputs.compute(region_compute, crop_context, owner)),
            unique_id,
        )
        return (engines.run(engine, job),)


class TwoSamplersForMask(inputs.SharedNode):
    CATEGORY = inputs.CATEGORY
    DESCRIPTION = (
        "Samples one picture in two complete runs: first outside the mask, then, on that result, inside the mask."
    )
    SEARCH_ALIASES = ["regional prompt", "masked sampling", "inpaint", "inside and outside of a mask"]
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = ("The sampled latent, without noise_mask.",)
    FUNCTION = "sample"

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        return {
            "required": {
                "latent_image": inputs.latent("The latent to sample."),
                "base_sampler": inputs.full_sampler("Samples what is outside the mask."),
                "mask_sampler": inputs.full_sampler(
                    "Samples what is inside the mask, after base_sampler has finished."
                ),
                "mask": ("MASK", {"tooltip": "Mask of mask_sampler's area, of any size; it is resized to the latent."}),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def sample(
        self,
        latent_image: dict[str, Any],
        base_sampler: Any,
        mask_sampler: Any,
        mask: Any,
        unique_id: str | None = None,
    ) -> tuple[dict[str, Any]]:
        return (two_samplers.run(latent_image, base_sampler, mask_sampler, mask, type(self).__name__, unique_id),)


class MaskGridNKSamplersAdvanced:
    CATEGORY = inputs.CATEGORY
    DESCRIPTION = (
        "KSamplerAdvanced on a grid: a mask tile is repeated rows x columns times over the canvas, and each cell gives "
        "one latent of the output batch. 8 mask pixels are one latent pixel."
    )
    SEARCH_ALIASES = ["mask grid", "grid sampler", "variations"]
    RETURN_TYPES = ("LATENT",)
    OUTPUT_TOOLTIPS = (
        "rows x columns latents as one batch, row by row. From an input batch, all pictures of a cell come together.",
    )
    FUNCTION = "sample"

    _NAME = "MaskGrid N KSamplers Advanced"
    # ComfyUI's KSamplerAdvanced has no tooltips for these inputs.
    _TOOLTIPS = {
        "model": "The model used for denoising the latent.",
        "add_noise": "Add the seed's noise before the first step. Disable it for a latent with leftover noise.",
        "noise_seed": "Seed of the noise. In 'Fork then Sample' every cell starts from the same noise.",
        "steps": "Number of steps in the schedule.",
        "cfg": "Guidance scale: how strongly the positive prompt is preferred to the negative. 1 turns it off.",
        "sampler_name": "The sampling algorithm.",
        "scheduler": "How sigma falls over the steps.",
        "positive": "What should be in the picture.",
        "negative": "What should not be in the picture.",
        "latent_image": "The latent to sample. In pixels, it is the mask's width times columns by the mask's height "
        "times rows.",
        "start_at_step": "First step of the schedule that is run. 0 is the start.",
        "end_at_step": "The run ends before this step. A value of steps or more is the end of the schedule.",
        "return_with_leftover_noise": "Leave the remaining noise in the result, so that another sampler can continue.",
    }

    @classmethod
    def INPUT_TYPES(cls) -> dict[str, Any]:
        declared = host.KSamplerAdvanced.INPUT_TYPES()["required"]
        copied = {
            name: (kind, {"tooltip": cls._TOOLTIPS.get(name, name), **(options[0] if options else {})})
            for name, (kind, *options) in declared.items()
        }
        return {
            "required": {
                **copied,
                "mask": (
                    "IMAGE",
                    {
                        "tooltip": "The mask tile: white is sampled; only the first channel of the first picture is "
                        "used. Its width times columns and height times rows must be the latent's size in pixels."
                    },
                ),
                "rows": ("INT", {"default": 1, "min": 1, "max": 16, "tooltip": "Number of rows of the grid."}),
                "columns": ("INT", {"default": 3, "min": 1, "max": 16, "tooltip": "Number of columns of the grid."}),
                "mode": (
                    mask_grid.MODES,
                    {
                        "tooltip": "Sample then Fork: one run with the tile in every cell; each output keeps one cell "
                        "of it. Fork then Sample: one run for each cell, with the tile in that cell alone."
                    },
                ),
            },
            "hidden": {"unique_id": "UNIQUE_ID"},
        }

    def sample(
        self,
        model: Any,
        add_noise: str,
        noise_seed: int,
        steps: int,
        cfg: float,
        sampler_name: str,
        scheduler: str,
        positive: Any,
        negative: Any,
        latent_image: dict[str, Any],
        start_at_step: int,
        end_at_step: int,
        return_with_leftover_noise: str,
        mask: Any,
        rows: int,
        columns: int,
        mode: str,
        unique_id: str | None = None,
    ) -> tuple[dict[str, Any]]:
        run = mask_grid.GridRun(
            guidance(model, positive, negative, cfg, self._NAME),
            sampler_name,
            scheduler,
            steps,
            start_at_step,
            end_at_step,
            add_noise == "enable",
            noise_seed,
            return_with_leftover_noise == "enable",
            rows,
            columns,
            mode,
            unique_id,
        )
        return (mask_grid.run(latent_image, mask, run, self._NAME),)


class DeprecatedMaskGridNKSamplersAdvanced(MaskGridNKSamplersAdvanced):
    DEPRECATED = True
    DESCRIPTION = f"The old name of MaskGrid N KSamplers Advanced. {MaskGridNKSamplersAdvanced.DESCRIPTION}"


def second_seed(seed: int, second: int, mode: str) -> int:
    """The seed of the regional steps. Sums and differences wrap at SEED_WRAP, as saved workflows rely on."""
    if mode == "ignore":
        return seed
    if mode == "seed+seed_2nd":
        total = seed + second
        return (total - SEED_WRAP if total > SEED_WRAP else total) % (MAX_SEED + 1)
    if mode == "seed-seed_2nd":
        total = seed - second
        return (total + SEED_WRAP if total < 0 else total) % (MAX_SEED + 1)
    return second


NODES = [
    ("RegionalSampler", "Regional Sampler", RegionalSampler),
    ("RegionalSamplerAdvanced", "Regional Sampler (Advanced)", RegionalSamplerAdvanced),
    ("TwoSamplersForMask", "Two Samplers for Mask (one after the other)", TwoSamplersForMask),
    ("TwoAdvancedSamplersForMask", "Two Advanced Samplers for Mask (at once)", TwoAdvancedSamplersForMask),
    ("MaskGrid N KSamplers Advanced", "MaskGrid N KSamplers Advanced", MaskGridNKSamplersAdvanced),
    (
        "MaskGridNKSamplersAdvanced",
        "MaskGrid N KSamplers Advanced (old name)",
        DeprecatedMaskGridNKSamplersAdvanced,
    ),
]

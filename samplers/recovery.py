"""Recovery: a second, deterministic pass over a step, for samplers that lose detail when restarted at every step."""

from dataclasses import dataclass

from .noise import NOISE_PATH_SAMPLERS

DISABLE, ADDITIONAL, BETWEEN = "DISABLE", "ratio additional", "ratio between"
MODES = [DISABLE, ADDITIONAL, BETWEEN]
AUTO = "AUTO"
SAMPLERS = [AUTO, "euler", "heun", "heunpp2", "dpm_2", "dpm_fast", "dpmpp_2m", "ddpm"]

_UNI_PC = frozenset({"uni_pc", "uni_pc_bh2"})


@dataclass(frozen=True)
class Recovery:
    """The additional_* inputs: one of MODES, one of SAMPLERS, and the second pass's share of sigma (0..1)."""

    mode: str = DISABLE
    sampler: str = AUTO
    ratio: float = 0.0


@dataclass(frozen=True)
class Pass:
    """One sampling pass over a step: with which sampler (None: the provider's own), and sigma's multiplier."""

    sampler_name: str | None
    ratio: float


NO_RECOVERY = Recovery()
# TwoAdvancedSamplersForMask's recovery, and the default of a KSAMPLER_ADVANCED.
FULL_RECOVERY = Recovery(ADDITIONAL, AUTO, 1.0)


def passes(sampler_name: str, recovery: Recovery) -> list[Pass]:
    """The passes of one step; `sampler_name` is "" for a SAMPLER object, which has no name and is never recovered."""
    if recovery.mode == DISABLE or sampler_name not in _UNI_PC | NOISE_PATH_SAMPLERS:
        return [Pass(None, 1.0)]
    main = 1.0 - recovery.ratio if recovery.mode == BETWEEN else 1.0
    second = recovery.sampler
    if second == AUTO:
        fast = sampler_name in _UNI_PC or sampler_name.startswith("dpmpp_sde")
        second = "dpm_fast" if fast else "dpmpp_2m"
    planned = [Pass(None, main), Pass(second, recovery.ratio)]
    return [one for one in planned if one.ratio > 0]

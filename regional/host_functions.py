"""Functions that patches give to ComfyUI: where they lie, and which of them the host made itself.

These are private seams of the host, as those in host.py. What a function of another pack expects is not known, so it is
asked as the host's KSampler asks it; the host's own functions are known by the file and the node that made them.
"""

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import comfy.controlnet
import comfy.hooks
import comfy.patcher_extension
import comfy.samplers

from .host import CALC_COND_BATCH, CFG, POST_CFG, PRE_CFG, WRAPPER, Conds, ModelOptions

_ROOT = Path(comfy.samplers.__file__).parent.parent
_MP = comfy.patcher_extension.WrappersMP

# A function with this attribute (True) says of itself that it takes any rows, of any size, and remembers none of them.
ANY_ROWS = "regional_any_rows"

# Keys of transformer_options that hold functions.
ATTENTION_OVERRIDE = "optimized_attention_override"
FUNCTION_KEYS = ("patches", "patches_replace", ATTENTION_OVERRIDE, "wrappers")
PREDICT_NOISE = _MP.PREDICT_NOISE
# The wrappers that see the rows of a model call. The others run once around a run.
_ROW_WRAPPERS = (_MP.CALC_COND_BATCH, _MP.APPLY_MODEL, _MP.DIFFUSION_MODEL, PREDICT_NOISE)
INPUT_BLOCKS = ("input_block_patch", "input_block_patch_after_skip")

# The host's nodes whose functions treat every row alike, whatever rows stand beside it, by file. Each was read, and is
# tested against plain sampling in tests/test_guests.py. A node that is not here is asked as KSampler asks it.
_INDIFFERENT = {
    "comfy_api/torch_helpers/torch_compile.py": {"apply_torch_compile_factory"},
    "comfy_extras/nodes_apg.py": {"APG"},
    "comfy_extras/nodes_cfg.py": {"CFGZeroStar", "CFGNorm"},
    "comfy_extras/nodes_chroma_radiance.py": {"ChromaRadianceOptions"},
    "comfy_extras/nodes_eps.py": {"EpsilonScaling", "TemporalScoreRescaling"},
    "comfy_extras/nodes_freelunch.py": {"FreeU", "FreeU_V2"},
    "comfy_extras/nodes_fresca.py": {"FreSca"},
    "comfy_extras/nodes_hidream_o1.py": {"HiDreamO1PatchSeamSmoothing"},
    "comfy_extras/nodes_hypernetwork.py": {"load_hypernetwork_patch"},
    "comfy_extras/nodes_hypertile.py": {"HyperTile"},
    "comfy_extras/nodes_latent.py": {"LatentApplyOperationCFG"},
    "comfy_extras/nodes_lumina2.py": {"RenormCFG"},
    "comfy_extras/nodes_mahiro.py": {"Mahiro"},
    "comfy_extras/nodes_model_advanced.py": {"RescaleCFG"},
    "comfy_extras/nodes_model_downscale.py": {"PatchModelAddDownscale"},
    "comfy_extras/nodes_model_patch.py": {
        "DiffSynthCnetPatch",
        "SUPIRApply",
        "UsoStyleProjectorPatch",
        "WanUni3CCnetPatch",
        "ZImageControlPatch",
    },
    "comfy_extras/nodes_pag.py": {"PerturbedAttentionGuidance"},
    "comfy_extras/nodes_perpneg.py": {"PerpNeg"},
    "comfy_extras/nodes_slg.py": {"SkipLayerGuidanceDiT", "SkipLayerGuidanceDiTSimple"},
    "comfy_extras/nodes_tcfg.py": {"TCFG"},
    "comfy_extras/nodes_tomesd.py": {"TomePatchModel"},
    "comfy_extras/nodes_video_model.py": {"VideoLinearCFGGuidance", "VideoTriangleCFGGuidance"},
}


class Placed(NamedTuple):
    """A function of a model, and the host's name of the place where it lies."""

    place: str
    function: Any


def functions_in(options: ModelOptions, wrappers: Mapping[str, Any]) -> Iterator[Placed]:
    """The functions of a model that see the rows of a model call, or what comes of them.

    `wrappers`: those of the patcher, which the host adds to the options in a run.
    """
    for place in (PRE_CFG, POST_CFG):
        yield from (Placed(place, function) for function in options.get(place, []))
    yield from (Placed(place, options[place]) for place in (CFG, CALC_COND_BATCH, WRAPPER) if options.get(place))
    transformer = options.get("transformer_options", {})
    for place, functions in transformer.get("patches", {}).items():
        yield from (Placed(place, function) for function in functions)
    for place, functions in transformer.get("patches_replace", {}).items():
        yield from (Placed(place, function) for function in functions.values())
    if transformer.get(ATTENTION_OVERRIDE) is not None:
        yield Placed(ATTENTION_OVERRIDE, transformer[ATTENTION_OVERRIDE])
    for source in (transformer.get("wrappers", {}), wrappers):
        for place in _ROW_WRAPPERS:
            for functions in source.get(place, {}).values():
                yield from (Placed(place, function) for function in functions)


def is_indifferent(function: Any) -> bool:
    """Whether it is known that the function treats each row alike, whatever other rows are in the call."""
    if getattr(function, ANY_ROWS, False):
        return True
    file, name = _origin(function)
    return name.partition(".")[0] in _INDIFFERENT.get(file, ())


def sets_cfg_only(function: Any) -> bool:
    """Whether a PREDICT_NOISE wrapper is known to do no more than to set the guider's cfg."""
    return _origin(function)[1].startswith("CFGOverride.")


def is_hosts(function: Any) -> bool:
    """Whether the function lies in a file of the host."""
    return bool(_origin(function)[0])


def name_of(function: Any) -> str:
    """What to call a function in a message: the node or class that made it, as far as its name tells."""
    name = _origin(function)[1].partition(".")[0]
    return name if name and not name.startswith("<") else "a function without a name"


def _origin(function: Any) -> tuple[str, str]:
    """(file, qualified name) of a function, or of a callable object's class.

    The file is relative to the host's folder; empty for one that is not the host's. The code tells it, as the host
    loads its nodes under more than one module name.
    """
    while isinstance(function, functools.partial):
        function = function.func
    function = getattr(function, "__func__", function)
    code = getattr(function, "__code__", None)
    name = getattr(function, "__qualname__", "")
    if code is None:
        code = getattr(type(function).__call__, "__code__", None) if callable(function) else None
        name = type(function).__qualname__
    if code is None:
        return "", name
    path = Path(code.co_filename)
    if not path.is_relative_to(_ROOT) or path.is_relative_to(_ROOT / "custom_nodes"):
        return "", name
    return path.relative_to(_ROOT).as_posix(), name


# The module functions that sampling goes through. Some packs put their own in their place, for good or for a run.

_GLOBALS = [
    name
    for name in ("sampling_function", "calc_cond_batch", "_calc_cond_batch", "cfg_function")
    if hasattr(comfy.samplers, name)
]
HostFunctions = Mapping[str, Callable[..., Any]]


def host_functions() -> HostFunctions:
    """The functions of comfy.samplers that are in place now, by name."""
    return {name: getattr(comfy.samplers, name) for name in _GLOBALS}


def replaced(functions: HostFunctions) -> list[str]:
    """The names of those that are not the host's own. Their code tells, so it does not matter who was loaded first."""
    return [name for name, function in functions.items() if not _is_own(name, function)]


def _is_own(name: str, function: Any) -> bool:
    code = getattr(function, "__code__", None)
    return code is not None and code.co_name == name and code.co_filename == comfy.samplers.__file__


@contextmanager
def with_host_functions(functions: HostFunctions) -> Iterator[None]:
    """Inside of it, these functions of comfy.samplers are in place."""
    before = host_functions()
    changed = {name: function for name, function in functions.items() if before[name] is not function}
    try:
        for name, function in changed.items():
            setattr(comfy.samplers, name, function)
        yield
    finally:
        for name in changed:
            setattr(comfy.samplers, name, before[name])


# Conds


def foreign_in(conds: Conds) -> str | None:
    """What prompts bring along that acts on the model call and is not known to take any rows; None if there is none."""
    for cond in conds:
        control = cond.get("control")
        while control is not None:
            code = getattr(getattr(type(control), "get_control", None), "__code__", None)
            if "get_control" in vars(control) or getattr(code, "co_filename", "") != comfy.controlnet.__file__:
                return "a ControlNet of another pack"
            control = control.previous_controlnet
        if has_transformer_hooks([cond]):
            return "hooks on the model's transformer"
    return None


def has_transformer_hooks(conds: Conds) -> bool:
    """Whether prompts carry hooks that do more than to patch weights or to load models."""
    return any(hook.hook_type not in _PLAIN_HOOKS for cond in conds for hook in _hooks(cond))


def hooks_act_on_all(conds: Mapping[str, Any]) -> bool:
    """Whether a CONDITIONING of `conds` has hooks that the host puts on its whole run, for the other prompts too."""
    kind, scope = comfy.hooks.EnumHookType.TransformerOptions, comfy.hooks.EnumHookScope.AllConditioning
    hooks = (hook for conditioning in conds.values() for _, options in conditioning for hook in _hooks(options))
    return any(hook.hook_type == kind and hook.hook_scope == scope for hook in hooks)


_PLAIN_HOOKS = (comfy.hooks.EnumHookType.Weight, comfy.hooks.EnumHookType.AdditionalModels)


def _hooks(cond: Mapping[str, Any]) -> list[Any]:
    groups = [cond.get("hooks"), *(cond["control"].get_extra_hooks() if "control" in cond else [])]
    return [hook for group in groups if group is not None for hook in group.hooks]


def same_hooks(groups: Sequence[comfy.hooks.HookGroup | None]) -> comfy.hooks.HookGroup:
    """One HookGroup with these very hooks. The host's own way to combine groups clones them, which not all survive."""
    combined = comfy.hooks.HookGroup()
    for group in groups:
        for hook in group.hooks if group is not None else ():
            combined.add(hook)
    return combined


def windowed_axis(options: ModelOptions) -> int | None:
    """The axis of the latent that the model's context windows divide; None without context windows."""
    handler = options.get("context_handler")
    return None if handler is None else int(getattr(handler, "dim", 0))

"""The nodes as ComfyUI and other packs see them: declarations, pipes, and the objects on their sockets."""

import copy
import inspect
import random

import comfy.latent_formats
import comfy.sample
import comfy.samplers
import comfy.supported_models
import nodes as host_nodes
import pytest
import torch
from comfy_execution.validation import validate_node_input
from comfy_extras.nodes_custom_sampler import BasicGuider, CFGGuider, Noise_RandomNoise, SamplerCustomAdvanced
from comfy_extras.nodes_flux import FluxGuidance
from comfy_extras.nodes_gits import GITSScheduler
from host import ROOT
from pack.nodes.samplers import second_seed
from pack.samplers.schedules import make_sigmas
from testing_pack.models import (
    counted,
    random_cond,
    random_flux,
    random_flux_cond,
    random_unet,
    reference_cond,
    reference_model,
)

# Declarations

SEED = ("INT", {"default": 0, "min": 0, "max": 0xFFFFFFFFFFFFFFFF})
STEPS = ("INT", {"default": 20, "min": 1, "max": 10000})
DENOISE = ("FLOAT", {"default": 1.0, "min": 0.0, "max": 1.0, "step": 0.01})
CFG = ("FLOAT", {"default": 8.0, "min": 0.0, "max": 100.0})
OVERLAP = ("INT", {"default": 10, "min": 0, "max": 10000})
RATIO = ("FLOAT", {"default": 0.3, "min": 0.0, "max": 1.0, "step": 0.01})
MODE = (["DISABLE", "ratio additional", "ratio between"], {"default": "ratio between"})
ENGINE = (["stepwise", "lockstep"], {"default": "stepwise"})
RECOVERY = (["AUTO", "euler", "heun", "heunpp2", "dpm_2", "dpm_fast", "dpmpp_2m", "ddpm"], {})
SAMPLERS = (comfy.samplers.KSampler.SAMPLERS, {})
# Impact Pack's names in its order; 7.10.6 ends with GITS.
EXTRA_SCHEDULERS = ["AYS SDXL", "AYS SD1", "AYS SVD", "GITS[coeff=1.2]"]
EXTRA_SCHEDULERS += ["LTXV[default]", "OSS FLUX", "OSS Wan", "OSS Chroma"]
SCHEDULERS = ("COMBO", {"options": [*comfy.samplers.KSampler.SCHEDULERS, *EXTRA_SCHEDULERS]})
SECOND_SEED_MODES = ["ignore", "fixed", "seed+seed_2nd", "seed-seed_2nd", "increment", "decrement", "randomize"]


def boolean(default):
    return "BOOLEAN", {"default": default, "label_on": "enabled", "label_off": "disabled"}


def socket(kind):
    return kind, {}


def sockets(**kinds):
    return {name: socket(kind) for name, kind in kinds.items()}


PROMPTS = ("STRING", {"default": ""})
ENCODED = {**sockets(model="MODEL", clip="CLIP", negative="CONDITIONING"), "cfg": CFG}
SIDE = ("INT", {"default": 1024, "min": 1, "max": host_nodes.MAX_RESOLUTION})
ADDITIONAL = {"additional_mode": MODE, "additional_sampler": RECOVERY, "additional_sigma_ratio": RATIO}
PIPE = sockets(model="MODEL", clip="CLIP", vae="VAE", positive="CONDITIONING", negative="CONDITIONING")
LOCKSTEP = {
    "region_compute": (["full", "crop"], {"default": "full"}),
    "crop_context": ("INT", {"default": 128, "min": 0, "max": 10000}),
}
BLEND = {"blend": (["mix", "stack"], {"default": "mix"})}
PRESENCE = {
    name: ("FLOAT", {"default": default, "min": 0.0, "max": 1.0})
    for name, default in {"start_percent": 0.0, "end_percent": 1.0, "weight": 1.0, "denoise": 1.0}.items()
}
MASK_GRID = {
    "required": {
        **host_nodes.KSamplerAdvanced.INPUT_TYPES()["required"],
        "mask": socket("IMAGE"),
        "rows": ("INT", {"default": 1, "min": 1, "max": 16}),
        "columns": ("INT", {"default": 3, "min": 1, "max": 16}),
        "mode": (["Sample then Fork", "Fork then Sample"], {}),
    },
    "returns": ["LATENT"],
}

# Required and optional inputs in order, each with its type and what its options must say, and the types of the outputs.
DECLARED = {
    "RegionalSampler": {
        "required": {
            "seed": SEED,
            "seed_2nd": SEED,
            "seed_2nd_mode": (SECOND_SEED_MODES, {}),
            "steps": STEPS,
            "base_only_steps": ("INT", {"default": 2, "min": 0, "max": 10000}),
            "denoise": DENOISE,
            **sockets(samples="LATENT", base_sampler="KSAMPLER_ADVANCED", regional_prompts="REGIONAL_PROMPTS"),
            "overlap_factor": OVERLAP,
            "restore_latent": boolean(True),
            **ADDITIONAL,
        },
        "optional": {"engine": ENGINE, **LOCKSTEP, **BLEND},
        "returns": ["LATENT"],
    },
    "RegionalSamplerAdvanced": {
        "required": {
            "add_noise": boolean(True),
            "noise_seed": SEED,
            "steps": STEPS,
            "start_at_step": ("INT", {"default": 0, "min": 0, "max": 10000}),
            "end_at_step": ("INT", {"default": 10000, "min": 0, "max": 10000}),
            "overlap_factor": OVERLAP,
            "restore_latent": boolean(True),
            "return_with_leftover_noise": boolean(False),
            **sockets(latent_image="LATENT", base_sampler="KSAMPLER_ADVANCED", regional_prompts="REGIONAL_PROMPTS"),
            **ADDITIONAL,
        },
        "optional": {"engine": ENGINE, **LOCKSTEP, **BLEND},
        "returns": ["LATENT"],
    },
    "TwoAdvancedSamplersForMask": {
        "required": {
            "seed": SEED,
            "steps": STEPS,
            "denoise": DENOISE,
            "samples": socket("LATENT"),
            **sockets(base_sampler="KSAMPLER_ADVANCED", mask_sampler="KSAMPLER_ADVANCED", mask="MASK"),
            "overlap_factor": OVERLAP,
        },
        "optional": {"engine": ENGINE, **LOCKSTEP},
        "returns": ["LATENT"],
    },
    "TwoSamplersForMask": {
        "required": sockets(latent_image="LATENT", base_sampler="KSAMPLER", mask_sampler="KSAMPLER", mask="MASK"),
        "returns": ["LATENT"],
    },
    "MaskGrid N KSamplers Advanced": MASK_GRID,
    "MaskGridNKSamplersAdvanced": MASK_GRID,
    "KSamplerProvider": {
        "required": {
            "seed": SEED,
            "steps": STEPS,
            "cfg": CFG,
            "sampler_name": SAMPLERS,
            "scheduler": SCHEDULERS,
            "denoise": DENOISE,
            "basic_pipe": socket("BASIC_PIPE"),
        },
        "optional": sockets(scheduler_func_opt="SCHEDULER_FUNC"),
        "returns": ["KSAMPLER"],
    },
    "KSamplerAdvancedProvider": {
        "required": {
            "cfg": CFG,
            "sampler_name": SAMPLERS,
            "scheduler": SCHEDULERS,
            "sigma_factor": ("FLOAT", {"default": 1.0, "min": 0.0, "max": 10.0, "step": 0.01}),
            "basic_pipe": socket("BASIC_PIPE"),
        },
        "optional": sockets(sampler_opt="SAMPLER", scheduler_func_opt="SCHEDULER_FUNC"),
        "returns": ["KSAMPLER_ADVANCED"],
    },
    "RegionalPrompt": {
        "required": sockets(mask="MASK", advanced_sampler="KSAMPLER_ADVANCED"),
        "optional": {
            "variation_seed": SEED,
            "variation_strength": ("FLOAT", {"default": 0.0, "min": 0.0, "max": 1.0, "step": 0.01}),
            "variation_method": (["linear", "slerp"], {}),
            **PRESENCE,
        },
        "returns": ["REGIONAL_PROMPTS"],
    },
    "RegionalPromptFromConditioning": {
        "required": {
            **sockets(mask="MASK", model="MODEL", positive="CONDITIONING", negative="CONDITIONING"),
            "cfg": CFG,
        },
        "optional": PRESENCE,
        "returns": ["REGIONAL_PROMPTS"],
    },
    "RegionalGuider": {
        "required": {
            **sockets(model="MODEL", positive="CONDITIONING", negative="CONDITIONING"),
            "cfg": CFG,
            "regional_prompts": socket("REGIONAL_PROMPTS"),
        },
        "optional": {
            "overlap_factor": OVERLAP,
            "base_only_percent": ("FLOAT", {"default": 0.0, "min": 0.0, "max": 1.0}),
            **LOCKSTEP,
            **BLEND,
        },
        "returns": ["GUIDER"],
    },
    "RegionEditor": {
        "required": {
            **sockets(model="MODEL", clip="CLIP"),
            "width": (SIDE[0], {**SIDE[1], "min": 16}),
            "height": (SIDE[0], {**SIDE[1], "min": 16}),
            "positive": PROMPTS,
            "negative": PROMPTS,
            "cfg": CFG,
            "regions": ("STRING", {"default": ""}),
        },
        "optional": sockets(image="IMAGE"),
        "returns": ["REGIONAL_PROMPTS", "CONDITIONING", "CONDITIONING", "MASK", "IMAGE"],
    },
    "RegionalPromptsFromColorMask": {
        "required": {
            "image": socket("IMAGE"),
            "colors": ("STRING", {"default": "auto"}),
            "prompts": PROMPTS,
            "tolerance": ("INT", {"default": 24, "min": 0, "max": 255}),
        },
        "optional": ENCODED,
        "returns": ["REGIONAL_PROMPTS", "MASK", "IMAGE"],
    },
    "RegionalGrid": {
        "required": {
            "width": SIDE,
            "height": SIDE,
            "layout": ("STRING", {"default": "1,2,1;1,1"}),
            "prompts": PROMPTS,
        },
        "optional": {**ENCODED, "image": socket("IMAGE")},
        "returns": ["REGIONAL_PROMPTS", "MASK", "IMAGE"],
    },
    "RegionalPromptsFromMasks": {
        "required": {"masks": socket("MASK"), "prompts": PROMPTS},
        "optional": {**ENCODED, "image": socket("IMAGE")},
        "returns": ["REGIONAL_PROMPTS", "MASK", "IMAGE"],
    },
    "RegionalPreview": {
        "required": sockets(regional_prompts="REGIONAL_PROMPTS"),
        "optional": {**sockets(image="IMAGE", samples="LATENT"), "overlap_factor": OVERLAP, **BLEND},
        "returns": ["REGIONAL_PROMPTS", "IMAGE"],
    },
    "RegionalReport": {
        "required": sockets(regional_prompts="REGIONAL_PROMPTS", base_sampler="KSAMPLER_ADVANCED"),
        "optional": {
            "samples": socket("LATENT"),
            "steps": STEPS,
            "base_only_steps": ("INT", {"default": 2, "min": 0, "max": 10000}),
            "denoise": DENOISE,
            "overlap_factor": OVERLAP,
            "engine": (["stepwise", "lockstep"], {"default": "lockstep"}),
            **LOCKSTEP,
            **BLEND,
        },
        "returns": ["REGIONAL_PROMPTS", "STRING"],
    },
    "RegionalMaskFromBatch": {
        "required": {"masks": socket("MASK"), "number": ("INT", {"default": 1, "min": 1, "max": 4096})},
        "returns": ["MASK"],
    },
    "CombineRegionalPrompts": {
        "required": {},
        "optional": {f"regional_prompts{number}": socket("REGIONAL_PROMPTS") for number in range(1, 33)},
        "returns": ["REGIONAL_PROMPTS"],
    },
    "ToBasicPipe": {
        "required": sockets(model="MODEL"),
        # Old group nodes become subgraphs by slot number, so the order is Impact Pack's.
        "optional": {name: PIPE[name] for name in ("clip", "vae", "positive", "negative")},
        "returns": ["BASIC_PIPE"],
    },
    "FromBasicPipe": {
        "required": sockets(basic_pipe="BASIC_PIPE"),
        "returns": ["MODEL", "CLIP", "VAE", "CONDITIONING", "CONDITIONING"],
    },
    "FromBasicPipe_v2": {
        "required": sockets(basic_pipe="BASIC_PIPE"),
        "returns": ["BASIC_PIPE", "MODEL", "CLIP", "VAE", "CONDITIONING", "CONDITIONING"],
    },
    "EditBasicPipe": {"required": sockets(basic_pipe="BASIC_PIPE"), "optional": PIPE, "returns": ["BASIC_PIPE"]},
    "ImpactNegativeConditioningPlaceholder": {"required": {}, "returns": ["CONDITIONING"]},
    "GITSSchedulerFuncProvider": {
        "required": {
            "coeff": ("FLOAT", {"default": 1.2, "min": 0.8, "max": 1.5, "step": 0.05}),
            "denoise": DENOISE,
        },
        "returns": ["SCHEDULER_FUNC"],
    },
}
FACTS = ("default", "options", "min", "max", "step", "label_on", "label_off")
every_node = pytest.mark.parametrize("node", DECLARED)


def test_the_nodes_are_these(pack):
    assert set(pack.NODE_CLASS_MAPPINGS) == set(DECLARED)


def facts(kind, options):
    """What an input can be and is at first; a combo that says nothing has its first choice."""
    first = {"default": kind[0]} if isinstance(kind, list) else {}
    return first | {key: value for key, value in options.items() if key in FACTS}


@every_node
def test_inputs_are_as_declared(pack, node):
    given = pack.NODE_CLASS_MAPPINGS[node].INPUT_TYPES()
    for group in ("required", "optional"):
        declared = DECLARED[node].get(group, {})
        assert list(given.get(group, {})) == list(declared)
        for name, (want_kind, *rest) in declared.items():
            kind, options = given[group][name]
            want, got = facts(want_kind, rest[0] if rest else {}), facts(kind, options)
            if "step" not in want:
                got.pop("step", None)  # the step of the arrows, where nothing is promised of it
            assert (kind, got) == (want_kind, want), name


@pytest.mark.parametrize("node", ["KSamplerProvider", "KSamplerAdvancedProvider"])
def test_scheduler_takes_a_link_from_any_list_of_names(pack, node):
    """ComfyUI compares the lists of two combos: an adapter's has other names than ours in each version."""
    kind, _ = pack.NODE_CLASS_MAPPINGS[node].INPUT_TYPES()["required"]["scheduler"]
    host = comfy.samplers.KSampler.SCHEDULERS
    for names in (host, [*host, *EXTRA_SCHEDULERS[:4]], [*host, *EXTRA_SCHEDULERS], [*host, "another"], "COMBO"):
        assert validate_node_input(names, kind)
    assert not validate_node_input("STRING", kind)


@every_node
def test_hidden_inputs_are_the_nodes_own_id_at_most(pack, node):
    hidden = pack.NODE_CLASS_MAPPINGS[node].INPUT_TYPES().get("hidden", {})
    whole = {"prompt": "PROMPT"} if node == "RegionEditor" else {}  # who takes its regions
    assert hidden in ({}, {"unique_id": "UNIQUE_ID", **whole})
    assert hidden or node not in ("RegionalSampler", "RegionalSamplerAdvanced")


@every_node
def test_everything_has_its_words(pack, node):
    cls = pack.NODE_CLASS_MAPPINGS[node]
    assert list(cls.RETURN_TYPES) == DECLARED[node]["returns"]
    assert len(cls.OUTPUT_TOOLTIPS) == len(cls.RETURN_TYPES) and all(map(str.strip, cls.OUTPUT_TOOLTIPS))
    assert len(getattr(cls, "RETURN_NAMES", cls.RETURN_TYPES)) == len(cls.RETURN_TYPES)
    assert cls.DESCRIPTION.strip() and cls.CATEGORY.strip()
    assert callable(getattr(cls(), cls.FUNCTION))
    assert pack.NODE_DISPLAY_NAME_MAPPINGS[node].strip()
    for group in ("required", "optional"):
        for name, (_, options) in cls.INPUT_TYPES().get(group, {}).items():
            words = options["tooltip"].strip()
            assert words and words != name, name


def test_display_names_are_all_different(pack):
    names = pack.NODE_DISPLAY_NAME_MAPPINGS
    assert set(names) == set(DECLARED) and len(set(names.values())) == len(names)


@every_node
def test_every_node_has_its_page_of_help(node):
    page = ROOT / "web" / "docs" / f"{node}.md"
    assert page.is_file() and len(page.read_text("utf-8")) > 200, page


def test_web_directory_is_there(pack):
    assert (ROOT / pack.WEB_DIRECTORY).is_dir()


def test_mask_grid_shows_the_hosts_options_unchanged(pack):
    ours = pack.NODE_CLASS_MAPPINGS["MaskGrid N KSamplers Advanced"].INPUT_TYPES()["required"]
    for name, (kind, *rest) in host_nodes.KSamplerAdvanced.INPUT_TYPES()["required"].items():
        options = {key: value for key, value in ours[name][1].items() if key != "tooltip"}
        assert ours[name][0] == kind and options == (rest[0] if rest else {})


def test_the_old_name_of_mask_grid_is_deprecated_and_the_same_node(pack):
    names = ("MaskGrid N KSamplers Advanced", "MaskGridNKSamplersAdvanced")
    new, old = (pack.NODE_CLASS_MAPPINGS[name] for name in names)
    assert old.DEPRECATED and not getattr(new, "DEPRECATED", False)
    assert old.INPUT_TYPES() == new.INPUT_TYPES() and old.RETURN_TYPES == new.RETURN_TYPES
    assert getattr(old, old.FUNCTION) is getattr(new, new.FUNCTION)


@pytest.mark.parametrize(
    ("mode", "seeds", "want"),
    [
        *[(mode, (5, 9), 9) for mode in ("fixed", "increment", "decrement", "randomize")],
        ("ignore", (5, 9), 5),
        ("seed+seed_2nd", (5, 9), 14),
        ("seed+seed_2nd", (1125899906842620, 9), 5),
        ("seed-seed_2nd", (9, 5), 4),
        ("seed-seed_2nd", (5, 9), 1125899906842620),
    ],
)
def test_second_seed(mode, seeds, want):
    assert second_seed(*seeds, mode) == want


@pytest.mark.parametrize("mode", SECOND_SEED_MODES)
def test_second_seed_of_the_largest_seeds_is_a_seed(mode):
    top = 0xFFFFFFFFFFFFFFFF
    for seeds in [(top, top), (0, top), (top, 0)]:
        assert 0 <= second_seed(*seeds, mode) <= top


# Pipes and lists


def make(pack, node, *args, **inputs):
    cls = pack.NODE_CLASS_MAPPINGS[node]
    with torch.inference_mode():
        return getattr(cls(), cls.FUNCTION)(*args, **inputs)


PARTS = dict(zip(PIPE, ("a model", "a clip", "a vae", ["a positive"], ["a negative"]), strict=True))


def test_to_basic_pipe(pack):
    without = make(pack, "ToBasicPipe", model="m", positive=["p"], negative=["n"])
    assert without == (("m", None, None, ["p"], ["n"]),)
    assert make(pack, "ToBasicPipe", **PARTS) == (tuple(PARTS.values()),)
    assert make(pack, "ToBasicPipe", *PARTS.values()) == (tuple(PARTS.values()),)


@pytest.mark.parametrize("missing", ["positive", "negative"])
def test_to_basic_pipe_needs_both_prompts(pack, missing):
    given = {name: value for name, value in PARTS.items() if name != missing}
    with pytest.raises(ValueError, match=f"^ToBasicPipe: {missing} is not connected; connect a CLIPTextEncode"):
        make(pack, "ToBasicPipe", **given)


def test_from_basic_pipe(pack):
    pipe = tuple(PARTS.values())
    assert make(pack, "FromBasicPipe", basic_pipe=pipe) == pipe
    first, *rest = make(pack, "FromBasicPipe_v2", basic_pipe=pipe)
    assert first is pipe and tuple(rest) == pipe


@pytest.mark.parametrize("changed", [*[[name] for name in PARTS], list(PARTS), []], ids=str)
def test_edit_basic_pipe_replaces_what_is_linked_in_a_copy(pack, changed):
    pipe = tuple(PARTS.values())
    given = copy.deepcopy(pipe)
    (edited,) = make(pack, "EditBasicPipe", basic_pipe=pipe, **{name: f"new {name}" for name in changed})
    assert edited == tuple(f"new {name}" if name in changed else value for name, value in PARTS.items())
    assert pipe == given


@pytest.mark.parametrize("node", ["FromBasicPipe", "FromBasicPipe_v2", "EditBasicPipe"])
@pytest.mark.parametrize(
    ("wrong", "named"), [("a pipe", "str"), (None, "NoneType|nothing"), (("m", None, None, []), "4")]
)
def test_a_wrong_pipe_is_named(pack, node, wrong, named):
    with pytest.raises(TypeError, match=rf"{node}: a BASIC_PIPE .*\b({named})\b.* came"):
        make(pack, node, basic_pipe=wrong)


def test_combine_takes_32_in_order_of_their_numbers(pack):
    given = {f"regional_prompts{number}": [f"region {number}"] for number in range(1, 33)}
    names = list(given)
    random.Random(0).shuffle(names)
    (combined,) = make(pack, "CombineRegionalPrompts", **{name: given[name] for name in names})
    assert combined == [f"region {number}" for number in range(1, 33)]


def test_combine_joins_lists_and_leaves_them_as_they_are(pack):
    one, two = ["a", "b"], ["c"]
    inputs = {"regional_prompts10": two, "regional_prompts2": one, "regional_prompts3": None}
    (combined,) = make(pack, "CombineRegionalPrompts", regional_prompts1=["first"], **inputs)
    assert combined == ["first", "a", "b", "c"] and (one, two) == (["a", "b"], ["c"])
    (alone,) = make(pack, "CombineRegionalPrompts", regional_prompts1=one)
    assert alone == one and alone is not one


def test_combine_does_without_the_first(pack):
    (combined,) = make(pack, "CombineRegionalPrompts", regional_prompts3=["b"], regional_prompts2=["a"])
    assert combined == ["a", "b"]


@pytest.mark.parametrize("inputs", [{}, {"regional_prompts1": None, "regional_prompts7": None}], ids=str)
def test_combine_of_nothing_says_so(pack, inputs):
    with pytest.raises(ValueError, match=r"^CombineRegionalPrompts: no region is connected, or all are muted"):
        make(pack, "CombineRegionalPrompts", **inputs)


# Providers against the host

SIZE = (6, 10)
RUN_SEED = 31
POSITIVE, NEGATIVE = reference_cond([0.5, -0.3, 0.1, 0.2, 0.6]), reference_cond([0.0, 0.2, 0.0, -0.4, 1.0])


def gaussian(*shape, seed=0):
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def latent_of(batch=1, channels=4, **more):
    return {"samples": gaussian(batch, channels, *SIZE, seed=2), **more}


def error(got, want):
    return float((got - want).norm() / want.norm())


def same(got, want):
    """`got` and `want` are LATENTs with the same numbers; and there is something to compare."""
    assert got["samples"].shape == want["samples"].shape and torch.isfinite(want["samples"]).all()
    assert float(want["samples"].std()) > 0.01
    assert error(got["samples"], want["samples"]) < 1e-5


MODELS = {
    "unet": (random_unet("eps", device="cpu"), random_cond(1), random_cond(2)),
    "eps": (reference_model("eps"), POSITIVE, NEGATIVE),
    "v": (reference_model("v"), POSITIVE, NEGATIVE),
    "flow": (reference_model("flow"), POSITIVE, NEGATIVE),
}


def pipe_of(kind="eps"):
    model, positive, negative = MODELS[kind]
    return (model, None, None, positive, negative)


def full(pack, kind="eps", seed=RUN_SEED, steps=6, cfg=3.0, sampler="euler", scheduler="karras", denoise=1.0, **more):
    pipe = more.pop("pipe", None) or pipe_of(kind)
    inputs = {"sampler_name": sampler, "scheduler": scheduler, "denoise": denoise, "basic_pipe": pipe, **more}
    return make(pack, "KSamplerProvider", seed=seed, steps=steps, cfg=cfg, **inputs)[0]


def advanced(pack, kind="eps", cfg=3.0, sampler="euler", scheduler="karras", sigma_factor=1.0, **more):
    pipe = more.pop("pipe", None) or pipe_of(kind)
    inputs = {"scheduler": scheduler, "sigma_factor": sigma_factor, "basic_pipe": pipe, **more}
    return make(pack, "KSamplerAdvancedProvider", cfg=cfg, sampler_name=sampler, **inputs)[0]


def host_advanced(kind, sampler, latent, steps, start, end, leave_noise, add_noise=True, cfg=3.0, scheduler="karras"):
    model, positive, negative = MODELS[kind]
    switch = {True: "enable", False: "disable"}
    with torch.inference_mode():
        return host_nodes.KSamplerAdvanced().sample(
            model,
            switch[add_noise],
            RUN_SEED,
            steps,
            cfg,
            sampler,
            scheduler,
            positive,
            negative,
            latent,
            start,
            end,
            switch[leave_noise],
        )[0]


def step_sampled(source, *args, **options):
    with torch.inference_mode():
        return source.sample_advanced(*args, **options)


def sampled(source, *args):
    with torch.inference_mode():
        return source.sample(*args)


MASK = torch.zeros(1, 8 * SIZE[0], 8 * SIZE[1])
MASK[:, :24, 16:] = 1.0


@pytest.mark.parametrize("kind", MODELS)
@pytest.mark.parametrize("denoise", [1.0, 0.5])
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "euler_ancestral", "dpm_2"])
def test_a_ksampler_is_the_hosts_ksampler(pack, sampler, denoise, kind):
    model, positive, negative = MODELS[kind]
    latent = latent_of(2, batch_index=[3, 1], note="kept")
    given = copy.deepcopy(latent)
    got = sampled(full(pack, kind, sampler=sampler, denoise=denoise), latent)
    run = (model, RUN_SEED, 6, 3.0, sampler, "karras", positive, negative)
    with torch.inference_mode():
        (want,) = host_nodes.common_ksampler(*run, given, denoise=denoise)
    same(got, want)
    assert list(got) == list(want) and got["note"] == "kept"
    assert torch.equal(latent["samples"], given["samples"]) and list(latent) == list(given)


def test_a_ksampler_stays_inside_the_noise_mask(pack):
    latent = latent_of(noise_mask=MASK)
    model, positive, negative = MODELS["unet"]
    with torch.inference_mode():
        run = (model, RUN_SEED, 6, 3.0, "euler", "karras", positive, negative)
        (want,) = host_nodes.common_ksampler(*run, latent, denoise=0.7)
    same(sampled(full(pack, "unet", denoise=0.7), latent), want)


def test_a_ksampler_recovers_nothing(pack):
    latent = latent_of()
    want = host_advanced("eps", "dpmpp_2m_sde", latent, 6, 0, 10000, False)
    same(sampled(full(pack, sampler="dpmpp_2m_sde"), latent), want)


@pytest.mark.parametrize("scheduler", ["AYS SD1", "GITS[coeff=1.2]", "LTXV[default]", "OSS FLUX"])
def test_a_ksampler_takes_the_extra_schedulers(pack, scheduler):
    model, positive, negative = MODELS["eps"]
    latent = latent_of()
    noise = comfy.sample.prepare_noise(latent["samples"], RUN_SEED)
    sigmas = make_sigmas(model, scheduler, "euler", 12)[6:]
    run = (model, noise, 6, 3.0, "euler", "karras", positive, negative, latent["samples"])
    with torch.inference_mode():
        want = comfy.sample.sample(*run, sigmas=sigmas, disable_pbar=True, seed=RUN_SEED)
    same(sampled(full(pack, scheduler=scheduler, denoise=0.5), latent), {"samples": want})


@pytest.mark.parametrize("kind", ["unet", "flow"])
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "euler_ancestral", "dpm_2", "dpmpp_2m_sde"])
def test_a_whole_schedule_is_the_hosts_ksampler_advanced(pack, sampler, kind):
    latent = latent_of(2, noise_mask=MASK)
    got = step_sampled(
        advanced(pack, kind, sampler=sampler), True, RUN_SEED, 6, latent, 0, 10000, False, recovery_mode="DISABLE"
    )
    same(got, host_advanced(kind, sampler, latent, 6, 0, 10000, False))


@pytest.mark.parametrize("leave_noise", [False, True])
@pytest.mark.parametrize("add_noise", [False, True])
@pytest.mark.parametrize(("start", "end"), [(0, 4), (2, 4), (2, 10000), (3, 4)])
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m"])
def test_a_stretch_of_a_schedule_is_the_hosts(pack, sampler, start, end, add_noise, leave_noise):
    latent = latent_of(2)
    given = latent["samples"].clone()
    got = step_sampled(advanced(pack, sampler=sampler), add_noise, RUN_SEED, 6, latent, start, end, leave_noise)
    same(got, host_advanced("eps", sampler, latent, 6, start, end, leave_noise, add_noise))
    assert torch.equal(latent["samples"], given)


def test_leftover_noise_is_there_or_not(pack):
    source, latent = advanced(pack), latent_of()
    noisy, clean = (step_sampled(source, True, RUN_SEED, 6, latent, 0, 2, leave)["samples"] for leave in (True, False))
    assert float(noisy.std()) > 2 * float(clean.std())


@pytest.mark.parametrize("leave_noise", [False, True])
def test_without_leftover_noise_the_last_prediction_is_returned(pack, leave_noise):
    """A schedule that does not end at sigma 0 tells the sampled latent from the denoised one."""
    sigmas = torch.tensor([9.0, 4.0, 1.5])
    source = advanced(pack, scheduler_func_opt=lambda model, sampler_name, steps: sigmas)
    latent = latent_of()
    model, positive, negative = MODELS["eps"]
    guider = CFGGuider.execute(model, positive, negative, 3.0).result[0]
    noise, sampler = Noise_RandomNoise(RUN_SEED), comfy.samplers.sampler_object("euler")
    with torch.inference_mode():
        noisy, denoised = SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).result
    assert error(noisy["samples"], denoised["samples"]) > 0.1
    got = step_sampled(source, True, RUN_SEED, 2, latent, 0, 2, leave_noise)
    same(got, noisy if leave_noise else denoised)


@pytest.mark.parametrize("start", [6, 7, 10000])
@pytest.mark.parametrize("leave_noise", [False, True])
def test_a_start_past_the_end_returns_the_latent(pack, start, leave_noise):
    latent = latent_of(note="kept")
    given = latent["samples"].clone()
    got = step_sampled(advanced(pack), True, RUN_SEED, 6, latent, start, start + 1, leave_noise)
    assert torch.equal(got["samples"], given) and got["note"] == "kept"


def test_noise_may_be_given(pack):
    source, latent, noise = advanced(pack), latent_of(), gaussian(1, 4, *SIZE, seed=99)
    run = (True, RUN_SEED, 6, latent, 0, 6, False)
    got = step_sampled(source, *run, noise=noise)
    assert error(got["samples"], step_sampled(source, *run)["samples"]) > 0.01
    model, positive, negative = MODELS["eps"]
    with torch.inference_mode():
        want = comfy.sample.sample(
            model, noise, 6, 3.0, "euler", "karras", positive, negative, latent["samples"], disable_pbar=True, seed=0
        )
    same(got, {"samples": want})
    without = step_sampled(source, False, *run[1:], noise=noise)
    same(without, step_sampled(source, False, *run[1:]))  # nothing is added where no noise is asked for


@pytest.mark.parametrize("factor", [0.9, 1.2])
def test_sigma_factor_multiplies_every_sigma(pack, factor):
    model, positive, negative = MODELS["eps"]
    latent = latent_of()
    noise = comfy.sample.prepare_noise(latent["samples"], RUN_SEED)
    sigmas = comfy.samplers.KSampler(model, 6, "cpu", "dpmpp_2m", "karras").sigmas * factor
    run = (model, noise, 6, 3.0, "dpmpp_2m", "karras", positive, negative, latent["samples"])
    with torch.inference_mode():
        want = comfy.sample.sample(*run, sigmas=sigmas, disable_pbar=True, seed=RUN_SEED)
    source = advanced(pack, sampler="dpmpp_2m", sigma_factor=factor)
    same(step_sampled(source, True, RUN_SEED, 6, latent, 0, 6, True), {"samples": want})


def custom(sampler, sigmas, latent, kind="eps"):
    model, positive, negative = MODELS[kind]
    noise = comfy.sample.prepare_noise(latent["samples"], RUN_SEED)
    with torch.inference_mode():
        samples = comfy.sample.sample_custom(
            model, noise, 3.0, sampler, sigmas, positive, negative, latent["samples"], disable_pbar=True, seed=RUN_SEED
        )
    return {"samples": samples}


def test_sampler_opt_takes_the_place_of_the_name(pack):
    sampler = comfy.samplers.ksampler("heun", {"s_churn": 0.0})
    latent = latent_of()
    # dpm_2 would lose its penultimate sigma; an object has no name, so it keeps it.
    source = advanced(pack, sampler="dpm_2", sampler_opt=sampler)
    sigmas = comfy.samplers.KSampler(MODELS["eps"][0], 6, "cpu", "heun", "karras").sigmas
    same(step_sampled(source, True, RUN_SEED, 6, latent, 0, 6, True), custom(sampler, sigmas, latent))


def test_scheduler_func_opt_takes_the_place_of_the_scheduler(pack):
    asked = []

    def schedule(model, sampler_name, steps):
        asked.append((model, sampler_name, steps))
        return torch.tensor([9.0, 4.0, 1.5, 0.4, 0.0])

    latent = latent_of()
    want = custom(comfy.samplers.sampler_object("dpm_2"), torch.tensor([9.0, 4.0, 1.5, 0.4, 0.0]), latent)
    source = advanced(pack, sampler="dpm_2", scheduler_func_opt=schedule)
    same(step_sampled(source, True, RUN_SEED, 4, latent, 0, 4, True), want)
    assert asked == [(MODELS["eps"][0], "dpm_2", 4)]
    same(sampled(full(pack, sampler="dpm_2", steps=4, scheduler_func_opt=schedule), latent), want)
    assert asked[1:] == asked[:1]


@pytest.mark.parametrize(("coeff", "denoise"), [(1.2, 1.0), (0.85, 1.0), (1.5, 0.5)])
def test_the_gits_provider_gives_the_hosts_schedule(pack, coeff, denoise):
    (schedule,) = make(pack, "GITSSchedulerFuncProvider", coeff=coeff, denoise=denoise)
    want = GITSScheduler.execute(coeff, 8, denoise).result[0]
    assert torch.equal(schedule(MODELS["eps"][0], "euler", 8), want)


def test_params_are_in_the_order_that_other_packs_read(pack):
    model, positive, negative = MODELS["eps"]
    source = advanced(pack, sampler="heun", scheduler="simple", sigma_factor=1.1)
    assert source.params == (model, 3.0, "heun", "simple", positive, negative, 1.1)
    whole = full(pack, sampler="heun", scheduler="simple", denoise=0.4)
    assert whole.params == (model, RUN_SEED, 6, 3.0, "heun", "simple", positive, negative, 0.4)


@pytest.mark.parametrize("sampler", ["uni_pc", "dpmpp_sde", "dpmpp_3m_sde", "euler"])
def test_seven_arguments_mean_what_they_mean_in_other_packs(pack, sampler):
    """Whoever says nothing of recovery gets "ratio additional", AUTO, 1.0."""
    source, latent = advanced(pack, sampler=sampler), latent_of(noise_mask=MASK)
    run = (False, RUN_SEED, 6, latent, 2, 3, True)
    plain = step_sampled(source, *run)
    said = {"recovery_mode": "ratio additional", "recovery_sampler": "AUTO", "recovery_sigma_ratio": 1.0}
    same(plain, step_sampled(source, *run, **said))
    off = step_sampled(source, *run, recovery_mode="DISABLE", recovery_sampler="AUTO", recovery_sigma_ratio=1.0)
    assert (error(plain["samples"], off["samples"]) > 1e-3) == (sampler != "euler")


@pytest.mark.parametrize("add_noise", [False, True])
@pytest.mark.parametrize(
    ("mode", "ratio", "asked", "factors"),
    [
        ("ratio between", 0.3, "AUTO", [("uni_pc", 0.7), ("dpm_fast", 0.3)]),
        ("ratio additional", 0.4, "dpm_2", [("uni_pc", 1.0), ("dpm_2", 0.4)]),
        ("ratio between", 1.0, "euler", [("euler", 1.0)]),
        ("ratio between", 0.0, "euler", [("uni_pc", 1.0)]),
    ],
)
def test_recovery_is_two_runs_of_the_host(pack, mode, ratio, asked, factors, add_noise):
    model, positive, negative = MODELS["eps"]
    latent = latent_of(noise_mask=MASK)
    mask = MASK[:, ::8, ::8]
    seeds, given = comfy.sample.prepare_noise(latent["samples"], RUN_SEED), gaussian(1, 4, *SIZE, seed=77)
    want = latent["samples"]
    for sampler, factor in factors:
        # Noise that is given stands for the main pass's alone; the second pass draws the seed's.
        noise = (given if sampler == "uni_pc" else seeds) * add_noise
        sigmas = comfy.samplers.KSampler(model, 6, "cpu", sampler, "karras").sigmas[2:4] * factor * 1.1
        run = (model, noise, 6, 3.0, sampler, "karras", positive, negative, want)
        with torch.inference_mode():
            out = comfy.sample.sample(*run, sigmas=sigmas, noise_mask=MASK, disable_pbar=True, seed=RUN_SEED)
        want = mask * out + (1 - mask) * latent["samples"]
    options = {"recovery_mode": mode, "recovery_sampler": asked, "recovery_sigma_ratio": ratio}
    source = advanced(pack, sampler="uni_pc", sigma_factor=1.1)
    got = step_sampled(source, add_noise, RUN_SEED, 6, latent, 2, 3, True, noise=given, **options)["samples"]
    same({"samples": mask * got}, {"samples": mask * want})


# Models without a negative


def test_without_a_negative_cfg_is_the_guidance_and_rows_are_one_per_call(pack):
    model, counter = counted(random_flux())
    positive = random_flux_cond()
    given = copy.deepcopy(positive)
    (placeholder,) = make(pack, "ImpactNegativeConditioningPlaceholder")
    assert placeholder == "NegativePlaceholder"
    pipe = (model, None, None, positive, placeholder)
    latent = latent_of(channels=16)
    schedule = {"cfg": 4.0, "sampler": "euler", "scheduler": "simple"}
    run = (True, RUN_SEED, 5, latent, 0, 5, False)

    got = step_sampled(advanced(pack, pipe=pipe, **schedule), *run)
    assert [call.rows for call in counter.calls] == [1] * 5
    assert torch.equal(positive[0][0], given[0][0]) and list(positive[0][1]) == list(given[0][1])
    assert positive[0][1]["guidance"] == 1.0

    guider = BasicGuider.execute(model, FluxGuidance.execute(positive, 4.0).result[0]).result[0]
    sigmas = comfy.samplers.KSampler(model, 5, "cpu", "euler", "simple").sigmas
    noise, sampler = Noise_RandomNoise(RUN_SEED), comfy.samplers.sampler_object("euler")
    with torch.inference_mode():
        want = SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent).result[0]
    same(got, want)

    whole = full(pack, steps=5, pipe=pipe, **schedule)
    same(sampled(whole, latent), want)
    other = step_sampled(advanced(pack, pipe=pipe, **{**schedule, "cfg": 1.5}), *run)
    assert error(other["samples"], got["samples"]) > 1e-3  # else this model does not look at its guidance

    counter.calls.clear()
    step_sampled(advanced(pack, pipe=(model, None, None, positive, random_flux_cond()), **schedule), *run)
    assert [call.rows for call in counter.calls] == [2] * 5


# Objects of other packs: they have these methods and no others, and take no other arguments.


class ForeignStepSampler:
    def __init__(self, ours):
        self.ours = ours
        self.params = ours.params
        self.asked = []

    def sample_advanced(
        self,
        add_noise,
        seed,
        steps,
        latent_image,
        start_at_step,
        end_at_step,
        return_with_leftover_noise,
        hook=None,
        recovery_mode="ratio additional",
        recovery_sampler="AUTO",
        recovery_sigma_ratio=1.0,
        noise=None,
    ):
        assert hook is None  # nobody here has one to give: something else came in its place
        self.asked.append(((recovery_mode, recovery_sampler, recovery_sigma_ratio), add_noise, noise is not None))
        run = (add_noise, seed, steps, latent_image, start_at_step, end_at_step, return_with_leftover_noise)
        return self.ours.sample_advanced(
            *run,
            recovery_mode=recovery_mode,
            recovery_sampler=recovery_sampler,
            recovery_sigma_ratio=recovery_sigma_ratio,
            noise=noise,
        )


class ForeignFullSampler:
    def __init__(self, ours):
        self.ours = ours
        self.params = ours.params
        self.calls = 0

    def sample(self, latent_image, hook=None):
        self.calls += 1
        return self.ours.sample(latent_image)


class ForeignPrompt:
    def __init__(self, ours, dimensions):
        self.ours, self.dimensions = ours, dimensions
        self.mask, self.sampler = ours.mask, ours.sampler
        self.touched = 0

    def get_mask_erosion(self, factor):
        height, width = self.mask.shape
        return self.ours.get_mask_erosion(factor).reshape(*[1] * (self.dimensions - 2), height, width)

    def touch_noise(self, noise):
        self.touched += 1
        return self.ours.touch_noise(noise)


ASKED = ("ratio between", "heun", 0.4)


def regional(pack, node, base, prompts, latent=None):
    latent = latent or latent_of(2)
    recovery = dict(zip(ADDITIONAL, ASKED, strict=True))
    both = {"steps": 5, "overlap_factor": 5, "restore_latent": True, "base_sampler": base, **recovery}
    if node == "RegionalSampler":
        seeds = {"seed": RUN_SEED, "seed_2nd": 4, "seed_2nd_mode": "fixed"}
        more = {"base_only_steps": 1, "denoise": 0.8, "samples": latent, **seeds}
    else:
        window = {"start_at_step": 1, "end_at_step": 5, "return_with_leftover_noise": False}
        more = {"add_noise": True, "noise_seed": RUN_SEED, "latent_image": latent, **window}
    return make(pack, node, regional_prompts=prompts, **both, **more)[0]


def regions(pack, samplers):
    left, right = torch.zeros(1, 24, 40), torch.zeros(1, 48, 80)
    left[:, 4:20, 2:18], right[:, 10:, 44:] = 1.0, 1.0
    made = []
    for number, (mask, sampler) in enumerate(zip((left, right), samplers, strict=True)):
        variation = {"variation_seed": number, "variation_strength": 0.4}
        method = ["linear", "slerp"][number]
        inputs = {"mask": mask, "advanced_sampler": sampler, "variation_method": method, **variation}
        made += make(pack, "RegionalPrompt", **inputs)[0]
    return made


def three(pack):
    """A base and two regions that are told apart in the result, one of them recovered."""
    other = (MODELS["eps"][0], None, None, NEGATIVE, POSITIVE)
    return advanced(pack), advanced(pack, sampler="uni_pc"), advanced(pack, pipe=other, cfg=2.0)


@pytest.mark.parametrize("node", ["RegionalSampler", "RegionalSamplerAdvanced"])
def test_foreign_step_samplers_sample_regions(pack, node):
    base, *inside = three(pack)
    want = regional(pack, node, base, regions(pack, inside))
    foreign = [ForeignStepSampler(one) for one in (base, *inside)]
    same(regional(pack, node, foreign[0], regions(pack, foreign[1:])), want)
    for one in foreign[1:]:
        assert set(one.asked) == {(ASKED, False, False)}
    # The base adds noise, with the regions' variations in it: once, or a second time after its own steps.
    asked = [(recovery[0], add_noise, given) for recovery, add_noise, given in foreign[0].asked]
    assert asked[0] == ("DISABLE" if node == "RegionalSampler" else "ratio between", True, True)
    assert asked[1] == ("ratio between", node == "RegionalSampler", node == "RegionalSampler")
    assert set(asked[2:]) == {("ratio between", False, False)}
    same(regional(pack, node, base, regions(pack, foreign[1:])), want)  # mixed with ours


@pytest.mark.parametrize("dimensions", [2, 3, 4])
@pytest.mark.parametrize("node", ["RegionalSampler", "RegionalSamplerAdvanced"])
def test_foreign_regional_prompts_are_regions(pack, node, dimensions):
    base, *inside = three(pack)
    ours = regions(pack, inside)
    want = regional(pack, node, base, ours)
    foreign = [ForeignPrompt(one, dimensions) for one in ours]
    same(regional(pack, node, base, foreign), want)
    assert all(one.touched for one in foreign)
    mixed = make(pack, "CombineRegionalPrompts", regional_prompts1=foreign[:1], regional_prompts2=ours[1:])[0]
    same(regional(pack, node, base, mixed), want)


def test_foreign_step_samplers_sample_both_sides_of_a_mask(pack):
    base, inside, _ = three(pack)

    def run(*pair):
        inputs = dict(zip(("base_sampler", "mask_sampler"), pair, strict=True))
        more = {"steps": 5, "denoise": 0.8, "samples": latent_of(2), "mask": MASK, "overlap_factor": 2}
        return make(pack, "TwoAdvancedSamplersForMask", seed=RUN_SEED, **inputs, **more)[0]

    foreign = ForeignStepSampler(base), ForeignStepSampler(inside)
    same(run(*foreign), run(base, inside))
    assert {asked for one in foreign for asked, _, _ in one.asked} == {("ratio additional", "AUTO", 1.0)}


def test_foreign_full_samplers_sample_both_sides_of_a_mask(pack):
    base, inside = full(pack), full(pack, seed=5, cfg=1.0, sampler="heun", denoise=0.6)

    def run(*pair):
        inputs = dict(zip(("base_sampler", "mask_sampler"), pair, strict=True))
        return make(pack, "TwoSamplersForMask", latent_image=latent_of(2), mask=MASK, **inputs)[0]

    foreign = ForeignFullSampler(base), ForeignFullSampler(inside)
    same(run(*foreign), run(base, inside))
    assert [one.calls for one in foreign] == [1, 1]


def test_a_regional_prompt_is_what_other_packs_read(pack):
    sampler = advanced(pack)
    (prompt,) = make(pack, "RegionalPrompt", mask=MASK, advanced_sampler=sampler)[0]
    assert torch.equal(prompt.mask, MASK[0]) and prompt.sampler is sampler
    assert prompt.get_mask_erosion(3).shape[-2:] == MASK.shape[-2:]
    noise = gaussian(1, 4, *SIZE)
    assert torch.equal(prompt.touch_noise(noise), noise)


# What other packs call on the classes of shared ids: `doit`, with the reference's arguments in its order, on the class
# or on an instance.

DOIT = {
    "KSamplerProvider": "seed steps cfg sampler_name scheduler denoise basic_pipe scheduler_func_opt",
    "KSamplerAdvancedProvider": "cfg sampler_name scheduler basic_pipe sigma_factor sampler_opt scheduler_func_opt",
    "TwoSamplersForMask": "latent_image base_sampler mask_sampler mask",
    "TwoAdvancedSamplersForMask": "seed steps denoise samples base_sampler mask_sampler mask overlap_factor",
    "RegionalPrompt": "mask advanced_sampler variation_seed variation_strength variation_method",
    "CombineRegionalPrompts": "",
    "RegionalSampler": "seed seed_2nd seed_2nd_mode steps base_only_steps denoise samples base_sampler "
    "regional_prompts overlap_factor restore_latent additional_mode additional_sampler additional_sigma_ratio",
    "RegionalSamplerAdvanced": "add_noise noise_seed steps start_at_step end_at_step overlap_factor restore_latent "
    "return_with_leftover_noise latent_image base_sampler regional_prompts additional_mode additional_sampler "
    "additional_sigma_ratio",
    "GITSSchedulerFuncProvider": "coeff denoise",
    "ImpactNegativeConditioningPlaceholder": "",
    "ToBasicPipe": "model clip vae positive negative",
    "FromBasicPipe": "basic_pipe",
    "FromBasicPipe_v2": "basic_pipe",
    "EditBasicPipe": "basic_pipe model clip vae positive negative",
}
OURS_ALONE = {
    "RegionalGuider",
    "RegionalPromptFromConditioning",
    "RegionalPromptsFromColorMask",
    "RegionalPromptsFromMasks",
    "RegionalGrid",
    "RegionEditor",
    "RegionalMaskFromBatch",
    "RegionalPreview",
    "RegionalReport",
}


def test_every_class_of_impact_pack_has_its_doit(pack):
    with_it = {node for node, cls in pack.NODE_CLASS_MAPPINGS.items() if hasattr(cls, "doit")}
    assert with_it == DOIT.keys()
    bmads = {"MaskGrid N KSamplers Advanced", "MaskGridNKSamplersAdvanced"}  # its method has another name
    assert DECLARED.keys() - with_it == OURS_ALONE | bmads


@pytest.mark.parametrize("node", DOIT)
def test_doit_takes_the_arguments_of_the_reference(pack, node):
    cls, wanted = pack.NODE_CLASS_MAPPINGS[node], DOIT[node].split()
    names = [name for name in inspect.signature(getattr(cls, cls.FUNCTION)).parameters if name != "self"]
    assert names[: len(wanted)] == wanted or node == "CombineRegionalPrompts"


def test_doit_is_the_node_on_class_and_instance(pack):
    classes = pack.NODE_CLASS_MAPPINGS
    pipe = pipe_of()
    provider = classes["KSamplerAdvancedProvider"]
    for one in (provider, provider()):
        sampler = one.doit(3.0, "euler", "karras", pipe, sigma_factor=1.1, scheduler_func_opt=None)[0]
        assert sampler.params == (pipe[0], 3.0, "euler", "karras", *pipe[3:], 1.1)
        assert one.doit(3.0, "euler", "karras", pipe)[0].sigma_factor == 1.0
    (prompts,) = classes["RegionalPrompt"]().doit(MASK, sampler, variation_seed=3, variation_strength=0.5)
    assert prompts[0].sampler is sampler and prompts[0].variation.seed == 3
    (combined,) = classes["CombineRegionalPrompts"].doit(regional_prompts1=prompts, regional_prompts2=prompts)
    assert combined == [*prompts, *prompts]
    assert classes["ToBasicPipe"].doit(*pipe) == (pipe,)
    assert classes["EditBasicPipe"].doit(pipe, None, "a clip") == ((pipe[0], "a clip", *pipe[2:]),)


@pytest.mark.parametrize("node", ["RegionalSampler", "RegionalSamplerAdvanced"])
def test_doit_samples(pack, node):
    base, *inside = three(pack)
    prompts = regions(pack, inside)
    want = regional(pack, node, base, prompts)
    by_name = {**dict(zip(ADDITIONAL, ASKED, strict=True)), "base_sampler": base, "regional_prompts": prompts}
    by_name |= {"steps": 5, "overlap_factor": 5, "restore_latent": True, "samples": latent_of(2)}
    by_name |= {"seed": RUN_SEED, "seed_2nd": 4, "seed_2nd_mode": "fixed", "base_only_steps": 1, "denoise": 0.8}
    by_name |= {"add_noise": True, "noise_seed": RUN_SEED, "latent_image": latent_of(2)}
    by_name |= {"start_at_step": 1, "end_at_step": 5, "return_with_leftover_noise": False}
    with torch.inference_mode():
        (got,) = pack.NODE_CLASS_MAPPINGS[node].doit(*(by_name[name] for name in DOIT[node].split()))
    same(got, want)


# RegionalSampler.separated_sample, which samplers of other packs call


def separated(pack, latent, kind="eps", **inputs):
    model, positive, negative = MODELS[kind]
    defaults = {
        "model": model,
        "add_noise": True,
        "seed": RUN_SEED,
        "steps": 6,
        "cfg": 3.0,
        "sampler_name": "euler",
        "scheduler": "karras",
        "positive": positive,
        "negative": negative,
        "latent_image": latent,
        "start_at_step": 0,
        "end_at_step": None,
        "return_with_leftover_noise": True,
    }
    with torch.inference_mode():
        return pack.NODE_CLASS_MAPPINGS["RegionalSampler"].separated_sample(**{**defaults, **inputs})


@pytest.mark.parametrize("kind", ["unet", "flow"])
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "euler_ancestral", "dpm_2", "dpmpp_2m_sde"])
def test_separated_sample_is_the_hosts_ksampler_advanced(pack, sampler, kind):
    latent = latent_of(2, noise_mask=MASK, note="kept")
    given = copy.deepcopy(latent)
    for leave_noise in (True, False):
        got = separated(pack, latent, kind, sampler_name=sampler, return_with_leftover_noise=leave_noise)
        same(got, host_advanced(kind, sampler, given, 6, 0, 10000, leave_noise))
    assert got["note"] == "kept" and torch.equal(latent["samples"], given["samples"]) and list(latent) == list(given)


@pytest.mark.parametrize("leave_noise", [False, True])
@pytest.mark.parametrize("add_noise", [False, True])
@pytest.mark.parametrize(("start", "end"), [(0, 4), (2, 4), (2, 10000), (2, 3), (None, None)])
@pytest.mark.parametrize("sampler", ["euler", "dpmpp_2m", "euler_ancestral"])
def test_separated_sample_of_a_stretch_is_the_hosts(pack, sampler, start, end, add_noise, leave_noise):
    span = {"start_at_step": start, "end_at_step": end, "return_with_leftover_noise": leave_noise}
    got = separated(pack, latent_of(2), sampler_name=sampler, add_noise=add_noise, **span)
    host = (start or 0, 10000 if end is None else end, leave_noise, add_noise)
    same(got, host_advanced("eps", sampler, latent_of(2), 6, *host))


@pytest.mark.parametrize("add_noise", [False, True])
def test_separated_sample_takes_noise_sampler_schedule_and_callback(pack, add_noise):
    """Noise that is given is added, whatever add_noise says; sigma_ratio multiplies every sigma."""
    sigmas, noise, seen = torch.tensor([9.0, 4.0, 1.5, 0.4, 0.0]), gaussian(1, 4, *SIZE, seed=99), []
    sampler = comfy.samplers.ksampler("heun", {"s_churn": 0.0})
    got = separated(
        pack,
        latent_of(),
        add_noise=add_noise,
        steps=4,
        sigma_ratio=0.9,
        sampler_opt=sampler,
        noise=noise,
        callback=lambda *args: seen.append((args[0], args[3])),
        scheduler_func=lambda model, sampler_name, steps: sigmas,
    )
    model, positive, negative = MODELS["eps"]
    run = (model, noise, 3.0, sampler, sigmas * 0.9, positive, negative, latent_of()["samples"])
    with torch.inference_mode():
        want = comfy.sample.sample_custom(*run, disable_pbar=True, seed=RUN_SEED)
    same(got, {"samples": want})
    assert seen == [(step, 4) for step in range(4)]


def test_separated_sample_without_leftover_noise_is_the_last_prediction(pack):
    sigmas = torch.tensor([9.0, 4.0, 1.5])
    model, positive, negative = MODELS["eps"]
    guider = CFGGuider.execute(model, positive, negative, 3.0).result[0]
    noise, sampler = Noise_RandomNoise(RUN_SEED), comfy.samplers.sampler_object("euler")
    with torch.inference_mode():
        both = SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent_of()).result
    for leave_noise, want in zip((True, False), both, strict=True):
        inputs = {"scheduler_func": lambda *_: sigmas, "return_with_leftover_noise": leave_noise}
        same(separated(pack, latent_of(), steps=2, **inputs), want)


def test_separated_sample_of_no_step_is_the_latent(pack):
    latent = latent_of(note="kept")
    got = separated(pack, latent, start_at_step=6, end_at_step=10000)
    assert torch.equal(got["samples"], latent["samples"]) and got["note"] == "kept"


def test_separated_sample_takes_models_without_a_negative(pack):
    latent = latent_of(channels=16)
    inputs = {"model": random_flux(), "positive": random_flux_cond(), "negative": "NegativePlaceholder", "cfg": 4.0}
    got = separated(pack, latent, scheduler="simple", **inputs)
    pipe = (inputs["model"], None, None, inputs["positive"], inputs["negative"])
    source = advanced(pack, pipe=pipe, cfg=4.0, scheduler="simple")
    same(got, step_sampled(source, True, RUN_SEED, 6, latent, 0, 6, True))
    with pytest.raises(TypeError, match="separated_sample: negative should be a CONDITIONING, int came"):
        separated(pack, latent, negative=3)


# Empty latents take the model's channels and size.


def test_an_empty_latent_gets_the_models_channels(pack):
    model = random_flux()
    pipe = (model, None, None, random_flux_cond(), "NegativePlaceholder")
    empty = {"samples": torch.zeros(1, 4, *SIZE)}
    source = advanced(pack, pipe=pipe, scheduler="simple")
    got = step_sampled(source, True, RUN_SEED, 3, empty, 0, 3, False)
    want = step_sampled(source, True, RUN_SEED, 3, {"samples": torch.zeros(1, 16, *SIZE)}, 0, 3, False)
    same(got, want)
    assert got["samples"].shape == (1, 16, *SIZE) and empty["samples"].shape == (1, 4, *SIZE)


class Coarse(comfy.latent_formats.SD15):
    """Like formats whose latent pixel is 16 picture pixels wide (Flux 2 and others)."""

    spacial_downscale_ratio = 16


FITTING = ["KSampler", "RegionalSampler", "RegionalSamplerAdvanced", "TwoAdvancedSamplersForMask", "TwoSamplersForMask"]


@pytest.mark.parametrize("node", FITTING)
def test_an_empty_latent_is_fitted_to_the_models_scale_once(pack, node):
    """The host's EmptyLatentImage notes that it is made for 8 pixels; its KSampler resizes it and drops the note."""
    model = reference_model("eps").clone()
    model.add_object_patch("latent_format", Coarse())
    pipe = (model, None, None, POSITIVE, NEGATIVE)
    (empty,) = host_nodes.EmptyLatentImage().generate(256, 128)
    assert empty["downscale_ratio_spacial"] == 8
    with torch.inference_mode():
        run = (model, RUN_SEED, 5, 3.0, "euler", "karras", POSITIVE, NEGATIVE)
        (want,) = host_nodes.common_ksampler(*run, empty)
    assert want["samples"].shape == (1, 4, 8, 16)
    if node == "KSampler":
        got = sampled(full(pack, pipe=pipe, steps=5), empty)
    elif node == "TwoSamplersForMask":
        samplers = {"base_sampler": full(pack, pipe=pipe), "mask_sampler": full(pack, pipe=pipe)}
        got = make(pack, node, latent_image=empty, mask=MASK, **samplers)[0]
    elif node == "TwoAdvancedSamplersForMask":
        samplers = {"base_sampler": advanced(pack, pipe=pipe), "mask_sampler": advanced(pack, pipe=pipe)}
        run = {"seed": RUN_SEED, "steps": 5, "denoise": 1.0, "overlap_factor": 0}
        got = make(pack, node, samples=empty, mask=MASK, **run, **samplers)[0]
    else:
        got = regional(pack, node, advanced(pack, pipe=pipe), regions(pack, [advanced(pack, pipe=pipe)] * 2), empty)
    # Our nodes keep all keys of the LATENT they are given; a provider's result goes into its next call without them.
    assert set(got) == (set(want) if node == "KSampler" else set(empty))
    assert got["samples"].shape == want["samples"].shape

"""Patches beside regions: every patch node of the host itself, and stand-ins of kinds that only other packs have.

What is right is known: each member is answered as the host's own guider answers for its model and prompt alone, and an
independent euler loop mixes the answers by weight.
"""

import functools
import gc
import itertools
import logging
from unittest import mock

import comfy.controlnet
import comfy.hooks
import comfy.patcher_extension
import comfy.sample
import comfy.samplers
import host
import nodes
import pytest
import torch
from loras import UNET_LINEAR, Patching, with_lora
from testing_pack.models import counted, random_cond, random_flux, random_flux_cond, random_unet
from use import box, lockstep, plain, regions, relative, step_sampler, use

host.boot_extra_nodes()
# The host collects garbage whenever it loads a model; what has been imported up to here is none, and is a lot.
gc.collect()
gc.freeze()

# A region of 4 x 4 in a canvas of 8 x 16, and its box with 16 pixels of context.
SIZE, REGION, BOX = (8, 16), box(8, 16, 2, 6, 6, 10), (slice(0, 8), slice(4, 12))
STEPS = 3
NETS = {"unet": random_unet, "flux": random_flux}
CONDS = {"unet": random_cond, "flux": random_flux_cond}
CHANNELS = {"unet": 4, "flux": 16}


@functools.cache
def model_of(net, who="ours"):
    """One model for ours, and one for each member of the reference: no two of them share weights or functions."""
    return NETS[net]()


def latent_of(net):
    return {"samples": torch.zeros(1, CHANNELS[net], *SIZE)}


def member(net, model, prompt, **inputs):
    cond = CONDS[net]
    return step_sampler(model, cond(prompt), cond(9), **{"cfg": 4.0, **inputs})


class Into(comfy.samplers.Sampler):
    """A SAMPLER that hands out the model that it should sample with."""

    def __init__(self, then):
        self.then = then

    def sample(self, model_wrap, sigmas, extra_args, callback, noise, *_, **__):
        self.then(model_wrap, extra_args, sigmas, noise)
        return noise


def composed(members, net, steps=STEPS, seed=5):
    """The picture by an euler loop of its own on the sum of what each member answers: (sampler, weight, box) each.

    Each member is prepared and asked by a guider of the host's, on its box of the canvas where it has one.
    """
    latent, asks, result, given = latent_of(net)["samples"], [], [], []
    model = members[0][0].params[0]
    sigmas = comfy.samplers.KSampler(model, steps, "cpu", "euler", "normal").sigmas
    noise = comfy.sample.prepare_noise(latent, seed)

    def loop(sigmas):
        sampling = model.get_model_object("model_sampling")
        x = sampling.noise_scaling(sigmas[0], given[0], torch.zeros_like(noise), max_denoise=True)
        for sigma, after in itertools.pairwise(sigmas):
            denoised = torch.zeros_like(x)
            for wrap, args, weight, place in asks:
                where = (..., *place)
                answer = wrap(x[where].clone(), sigma[None].expand(len(x)), **args)
                denoised[where] += weight.expand(SIZE)[place] * answer
            x = x + (x - denoised) / sigma * (after - sigma)
        result.append(model.model.process_latent_out(sampling.inverse_noise_scaling(sigmas[-1], x)))

    def enter(number, sigmas):
        if number == len(members):
            return loop(sigmas)
        sampler, weight, place = members[number]
        patcher, cfg, _, _, positive, negative, _ = sampler.params
        guider = comfy.samplers.CFGGuider(patcher)
        guider.set_conds(positive, negative)
        guider.set_cfg(cfg)

        def then(wrap, args, sigmas, noise):
            asks.append((wrap, args, weight, place))
            given.append(noise)  # that of the first member, the base, counts
            enter(number + 1, sigmas)

        part = (..., *place)
        guider.sample(noise[part].clone(), latent[part], Into(then), sigmas, disable_pbar=True, seed=seed)

    enter(0, sigmas)
    return result[0]


WHOLE = (slice(None), slice(None))


def each(net, make, places, prompts=(1, 2), place=WHOLE, **inputs):
    """The picture of a base and a region, those of `places` with a model from `make`, each with a model of its own."""
    models = [make(model_of(net, who)) if who in places else model_of(net, who) for who in ("base", "region")]
    if place == BOX and net == "flux":
        models[1] = moved(models[1])
    base, inside = (member(net, model, prompt, **inputs) for model, prompt in zip(models, prompts, strict=True))
    return composed([(base, 1 - REGION[0], WHOLE), (inside, REGION[0], place)], net)


def moved(model):
    """A Flux that is told that its picture begins where the box does, in patches of two latent pixels."""
    clone, before = model.clone(), model.model_options["transformer_options"].get("rope_options", {})
    rope = {f"scale_{axis}": before.get(f"scale_{axis}", 1.0) for axis in "xyt"}
    starts = {"y": BOX[0].start / 2, "x": BOX[1].start / 2, "t": 0}
    rope |= {f"shift_{axis}": before.get(f"shift_{axis}", 0.0) + rope[f"scale_{axis}"] * starts[axis] for axis in "xyt"}
    clone.model_options["transformer_options"] = {**clone.model_options["transformer_options"], "rope_options": rope}
    return clone


def ours(net, make, places, prompts=(1, 2), compute="full", **inputs):
    model = model_of(net)
    patched = make(model)
    base, inside = (
        member(net, patched if who in places else model, prompt, **inputs)
        for who, prompt in zip(("base", "region"), prompts, strict=True)
    )
    options = {"region_compute": compute, "crop_context": 16} if compute == "crop" else {}
    return lockstep(latent_of(net), base, regions((REGION, inside)), steps=STEPS, **options)


# The host's own nodes


def declared(cls):
    spec = cls.INPUT_TYPES()
    return spec.get("required", {}), spec.get("optional", {})


GIVEN = {"CONDITIONING": lambda net: CONDS[net](7), "LATENT_OPERATION": lambda net: lambda latent: latent * 0.9}
# Where the default does nothing, or nothing on so small a net.
INPUTS = {
    "APG": {"eta": 0.5, "momentum": -0.5, "norm_threshold": 2.0},
    "CFGOverride": {"cfg": 2.0, "end_percent": 0.6},
    "ContextWindowsManual": {"dim": 3, "context_length": 10, "context_overlap": 2, "freenoise": True},
    "EasyCache": {"reuse_threshold": 3.0, "start_percent": 0.0, "end_percent": 1.0},
    "LazyCache": {"reuse_threshold": 3.0, "start_percent": 0.0, "end_percent": 1.0},
    "HyperTile": {"tile_size": 32, "max_depth": 1},
    "PatchModelAddDownscale": {"block_number": 1, "end_percent": 1.0},
    "ScaleROPE": {"scale_x": 1.2, "shift_y": 2.0},
}
# Nodes that are not tried, and why.
EXCEPTIONS = {
    "MultiGPU_WorkUnits": "one device is here",
    "SelectModelDevice": "one device is here",
    "TorchCompileModel": "compiling takes minutes; the wrapper passes rows on as they are",
}
# Wrappers around the denoised that, on the base, are run around the whole picture, which is said.
AROUND_ALL = {"LazyCache"}
# Sums of the same numbers in batches of other sizes.
TOLERANCE = 1e-4


def takes_a_model(cls):
    required, optional = declared(cls)
    return sum(kind[0] == "MODEL" for kind in (required | optional).values()) == 1 and "MODEL" in cls.RETURN_TYPES


def defaults(name, net):
    """The inputs of a node by default but for its model; None if one of them has none."""
    required, _ = declared(nodes.NODE_CLASS_MAPPINGS[name])
    found = {}
    for key, (kind, *rest) in required.items():
        options = rest[0] if rest else {}
        if kind == "MODEL":
            continue
        if not isinstance(kind, list) and kind in GIVEN:
            found[key] = GIVEN[kind](net)
        elif isinstance(kind, list) or kind == "COMBO":
            choices = kind if isinstance(kind, list) else options.get("options", [])
            if not choices:
                return None
            found[key] = options.get("default", choices[0])
        elif "default" in options:
            found[key] = options["default"]
        elif kind in ("INT", "FLOAT"):
            found[key] = options.get("min", 0)
        else:
            return None
    return found | INPUTS.get(name, {})


PATCHES = sorted(name for name, cls in nodes.NODE_CLASS_MAPPINGS.items() if takes_a_model(cls))


def patched_by(name, net):
    cls = nodes.NODE_CLASS_MAPPINGS[name]
    key = next(key for key, kind in (declared(cls)[0] | declared(cls)[1]).items() if kind[0] == "MODEL")
    inputs = defaults(name, net)

    def make(model):
        out = getattr(cls(), cls.FUNCTION)(**{key: model}, **inputs)
        out = getattr(out, "result", out)
        return out[list(cls.RETURN_TYPES).index("MODEL")]

    return make


@pytest.fixture
def same_chance():
    """Nodes that draw by chance draw the same each time, however often they are called."""
    draw = torch.randint

    def same(*args, **kwargs):
        return draw(*args, **{"generator": torch.Generator().manual_seed(0), **kwargs})

    with mock.patch("torch.randint", same):
        yield


def changes_sampling(make, net):
    model = model_of(net)
    ours, theirs = (one.get_model_object("model_sampling") for one in (model, make(model)))
    return ours is not theirs


@pytest.fixture
def warnings(caplog):
    """What was said on the log, as one text; read it after the run."""
    caplog.set_level(logging.WARNING)
    return lambda: "\n".join(record.getMessage() for record in caplog.records)


@functools.cache
def without(net):
    return plain(member(net, model_of(net), 1), latent_of(net), steps=STEPS)


def nets_of(name):
    """The networks on which the host's own sampling runs with the node; those that it changes are first."""
    found = []
    for net in NETS:
        try:
            with_node = plain(member(net, patched_by(name, net)(model_of(net)), 1), latent_of(net), steps=STEPS)
        except (AttributeError, TypeError, ValueError, RuntimeError, KeyError):
            continue
        found.append((relative(with_node, without(net)) < 1e-5, net, with_node))
        if not found[-1][0]:
            break
    return [(net, with_node) for _, net, with_node in sorted(found, key=lambda one: one[0])]


def where(compute, said):
    """The place on which the region is computed: it says so if that is the whole canvas."""
    return BOX if compute == "crop" and "region 1 is computed on the whole canvas" not in said else WHOLE


CASES = [
    (("base", "region"), "full"),
    (("base", "region"), "crop"),
    (("base",), "full"),
    (("region",), "full"),
    (("region",), "crop"),
]


@pytest.mark.parametrize("name", PATCHES)
def test_a_node_of_the_host(name, same_chance, caplog, warnings):
    """It counts for the members whose model has it, as in plain sampling, and with one prompt it is plain sampling."""
    if name in EXCEPTIONS:
        pytest.skip(EXCEPTIONS[name])
    if defaults(name, "unet") is None:
        pytest.skip("it takes a file, or an input that no value is made for here")
    nets = nets_of(name)
    if not nets:
        pytest.skip("the host's own sampling takes it on no network that is tried here")
    net, want = nets[0]
    make = patched_by(name, net)
    assert relative(ours(net, make, ("base", "region"), prompts=(1, 1)), want) < TOLERANCE
    for places, compute in CASES:
        if changes_sampling(make, net) and len(places) == 1:
            continue  # then their sigmas differ, which test_lockstep.py is about
        caplog.clear()
        got = ours(net, make, places, compute=compute)
        if name in AROUND_ALL and places == ("base",):
            assert "around the whole picture" in warnings()
            continue
        want = each(net, make, places, place=where(compute, warnings()))
        error = relative(got, want)
        assert error < TOLERANCE, f"on {' and '.join(places)}, {compute}: {error:.1e}"


# Stand-ins for what only other packs have


def attention(model, patch, kind="attn1_output_patch"):
    clone = model.clone()
    clone.set_model_patch(patch, kind)
    return clone


def picks_the_first(model):
    """Finds one cond and one uncond by `index`, as normalized attention guidance does."""

    def patch(out, extra_options):
        roles = extra_options["cond_or_uncond"]
        if 0 not in roles or 1 not in roles:
            return out
        chunks = list(out.chunk(len(roles)))
        cond, uncond = roles.index(0), roles.index(1)
        chunks[cond] = 2 * chunks[cond] - chunks[uncond]
        return torch.cat(chunks)

    return attention(model, patch)


def wants_two(model):
    """Stops where there is not one cond and one uncond."""

    def patch(out, extra_options):
        assert len(extra_options["cond_or_uncond"]) == 2
        return out * 1.3

    return attention(model, patch)


def takes_halves(model):
    """Takes a call for two halves, uncond and cond, and shares style between them."""

    def patch(q, k, v, extra_options):
        return q, torch.cat([k[:1].expand_as(k), k], 1), torch.cat([v[:1].expand_as(v), v], 1)

    return attention(model, patch, "attn1_patch")


def wraps_the_call(model):
    """A model function wrapper that knows calls of cond and uncond alone."""

    def wrapper(apply_model, args):
        out = apply_model(args["input"], args["timestep"], **args["c"])
        if len(args["cond_or_uncond"]) == 2:
            out = out + 0.3 * out.flip(0)
        return out

    clone = model.clone()
    clone.set_model_unet_function_wrapper(wrapper)
    return clone


def overrides_attention(model):
    def override(attend, q, k, v, *args, **kwargs):
        out = attend(q, k, v, *args, **kwargs)
        return out + 0.3 * out.flip(0)

    clone = model.clone()
    clone.model_options["transformer_options"]["optimized_attention_override"] = override
    return clone


def wraps_the_network(model):
    def wrapper(executor, *args, **kwargs):
        out = executor(*args, **kwargs)
        return out + 0.3 * out.flip(0)

    clone = model.clone()
    clone.add_wrapper(comfy.patcher_extension.WrappersMP.DIFFUSION_MODEL, wrapper)
    return clone


def looks_at_attention(model):
    """A cfg function that uses what an attention patch saw last."""
    seen = None

    def patch(out, extra_options):
        nonlocal seen
        seen = out.mean()
        return out

    clone = attention(model, patch)
    clone.set_model_sampler_post_cfg_function(lambda args: args["denoised"] * (1 + seen))
    return clone


PAIRS_ONLY = [
    picks_the_first,
    wants_two,
    takes_halves,
    wraps_the_call,
    overrides_attention,
    wraps_the_network,
    looks_at_attention,
]


@pytest.mark.parametrize("compute", ["full", "crop"])
@pytest.mark.parametrize("places", [("base", "region"), ("base",), ("region",)], ids="-".join)
@pytest.mark.parametrize("make", PAIRS_ONLY, ids=lambda make: make.__name__)
def test_patches_that_count_on_one_cond_and_one_uncond(make, places, compute, warnings):
    got = ours("unet", make, places, compute=compute)
    assert ("in a model call of its own" in warnings()) == (len(places) == 2)
    assert relative(got, each("unet", make, places, place=where(compute, warnings()))) < TOLERANCE


def test_what_is_asked_alone_is_said_and_counted():
    """Two regions and a base with one model: three calls of two rows a step, which the report says and counts."""
    model, counter = counted(picks_the_first(model_of("unet")))
    samplers = [member("unet", model, prompt) for prompt in (1, 2, 3)]
    prompts = regions((REGION, samplers[1]), (box(*SIZE, 0, 0, 4, 4), samplers[2]))
    lockstep(latent_of("unet"), samplers[0], prompts, steps=STEPS)
    assert [call.rows for call in counter.calls] == [2] * 3 * STEPS
    report = use(
        "RegionalReport",
        base_sampler=samplers[0],
        regional_prompts=prompts,
        samples=latent_of("unet"),
        **{"engine": "lockstep", "steps": STEPS, "base_only_steps": 0, "overlap_factor": 0},
    )
    text = report["result"][1]
    assert "6 rows in 3 model calls" in text
    for name in ("the base", "region 1", "region 2"):
        assert f"{name} is asked in a model call of its own" in text


def with_cfg(function):
    def make(model):
        clone = model.clone()
        clone.set_model_sampler_cfg_function(function)
        return clone

    return make


def half_cfg(model, x, timestep, uncond, cond, cond_scale, model_options=None, seed=None):
    """A sampling_function of another pack, that knows no more than one cond and one uncond."""
    cond, uncond = comfy.samplers.calc_cond_batch(model, [cond, uncond], x, timestep, model_options)
    return uncond + 0.5 * cond_scale * (cond - uncond)


AS_HALF_CFG = with_cfg(lambda args: args["uncond"] + 0.5 * args["cond_scale"] * (args["cond"] - args["uncond"]))


@pytest.mark.parametrize("compute", ["full", "crop"])
def test_a_sampling_function_in_the_place_of_the_hosts(compute, monkeypatch, warnings):
    monkeypatch.setattr(comfy.samplers, "sampling_function", half_cfg)
    got = ours("unet", lambda model: model, (), compute=compute)
    monkeypatch.undo()
    assert "sampling_function in the place of the host's" in warnings()
    assert relative(got, each("unet", AS_HALF_CFG, ("base", "region"), place=where(compute, warnings()))) < TOLERANCE


def replaces_for_its_run(model):
    """A pack that puts its sampling_function in place around each run of its own model."""

    def wrapper(executor, *args, **kwargs):
        before, comfy.samplers.sampling_function = comfy.samplers.sampling_function, half_cfg
        try:
            return executor(*args, **kwargs)
        finally:
            comfy.samplers.sampling_function = before

    clone = model.clone()
    clone.add_wrapper(comfy.patcher_extension.WrappersMP.OUTER_SAMPLE, wrapper)
    return clone


@pytest.mark.parametrize("compute", ["full", "crop"])
@pytest.mark.parametrize("places", [("base", "region"), ("base",), ("region",)], ids="-".join)
def test_a_sampling_function_for_the_runs_of_one_model(places, compute, warnings):
    """It counts for that model alone, though the runs of the other models lie inside of its own, or around it."""
    own = comfy.samplers.sampling_function
    got = ours("unet", replaces_for_its_run, places, compute=compute)
    assert comfy.samplers.sampling_function is own
    assert relative(got, each("unet", AS_HALF_CFG, places, place=where(compute, warnings()))) < TOLERANCE


# Functions that remember


def with_momentum(model):
    """A running mean of the guidance, in the closure."""
    mean = None

    def function(args):
        nonlocal mean
        guidance = args["cond"] - args["uncond"]
        mean = guidance if mean is None else 0.5 * mean + guidance
        return args["uncond"] + args["cond_scale"] * mean

    return with_cfg(function)(model)


def with_a_list(model):
    seen = []

    def function(args):
        seen.append(args["denoised"])
        return sum(seen) / len(seen)

    clone = model.clone()
    clone.set_model_sampler_post_cfg_function(function)
    return clone


class Mean:
    def __init__(self):
        self.mean = None

    def __call__(self, args):
        self.mean = args["denoised"] if self.mean is None else 0.5 * (self.mean + args["denoised"])
        return self.mean

    def method(self, args):
        return self(args)


def with_an_object(model):
    clone = model.clone()
    clone.set_model_sampler_post_cfg_function(Mean())
    return clone


def with_a_method(model):
    clone = model.clone()
    clone.set_model_sampler_post_cfg_function(Mean().method)
    return clone


def in_the_options(model):
    """Remembers in the dict that the host passes it, and in the transformer's part of it."""

    def function(args):
        options = args["model_options"]
        for place in (options, options["transformer_options"]):
            place["mean"] = 0.5 * (place.get("mean", 0) + args["denoised"])
        return options["mean"] + 0.1 * options["transformer_options"]["mean"]

    clone = model.clone()
    clone.set_model_sampler_post_cfg_function(function)
    return clone


REMEMBERING = [with_momentum, with_a_list, with_an_object, with_a_method, in_the_options]


@pytest.mark.parametrize("compute", ["full", "crop"])
@pytest.mark.parametrize("places", [("base", "region"), ("base",), ("region",)], ids="-".join)
@pytest.mark.parametrize("make", REMEMBERING, ids=lambda make: make.__name__)
def test_functions_remember_what_they_saw_of_their_own_member(make, places, compute, warnings):
    got = ours("unet", make, places, compute=compute)
    assert relative(got, each("unet", make, places, place=where(compute, warnings()))) < TOLERANCE


class Slotted:
    """A memory that is no plain object."""

    __slots__ = ("mean",)

    def __init__(self):
        self.mean = 0.0


def test_a_memory_that_cannot_be_copied_is_told(warnings):
    """Once, and only where members share the model."""

    def with_slots(model, memory):
        def function(args):
            memory.mean = 0.5 * (memory.mean + args["denoised"])
            return memory.mean

        clone = model.clone()
        clone.set_model_sampler_post_cfg_function(function)
        return clone

    told = "holds a Slotted, which cannot be copied"
    ours("unet", lambda model: with_slots(model, Slotted()), ("region",))
    assert told not in warnings()
    ours("unet", lambda model: with_slots(model, Slotted()), ("base", "region"))
    assert warnings().count(told) == 1
    ours("unet", with_momentum, ("base", "region"))
    assert warnings().count("cannot be copied") == 1


@pytest.mark.parametrize("make", [with_momentum, with_an_object, patched_by("APG", "unet")])
def test_a_region_on_unlike_boxes_leaves_the_model_as_it_was(make):
    """The base's box changes as regions begin, so what was remembered does not fit; no plain run sees any of it."""
    model, fresh, latent = make(model_of("unet")), make(model_of("unet")), latent_of("unet")
    base, inside, late = (member("unet", model, prompt) for prompt in (1, 2, 3))
    left = box(*SIZE, 0, 0, 8, 4)
    prompts = regions((left, inside)) + regions((1 - left, late), start_percent=0.4, end_percent=0.8)
    options = {"region_compute": "crop", "crop_context": 8, "steps": 6}
    assert bool(lockstep(latent, base, prompts, **options).isfinite().all())
    want = plain(member("unet", fresh, 1), latent, steps=STEPS)
    assert relative(plain(base, latent, steps=STEPS), want) < TOLERANCE


# Prompts


class OwnControl(comfy.controlnet.ControlBase):
    """A ControlNet of another pack, that adds less to the uncond by its place in `cond_or_uncond`."""

    def get_control(self, x_noisy, t, cond, batched_number, transformer_options):
        roles = transformer_options["cond_or_uncond"]
        assert batched_number == len(roles)
        strengths = torch.tensor([1.0 if role == 0 else -0.5 for role in roles]).repeat_interleave(
            len(x_noisy) // len(roles)
        )
        middle = torch.ones(len(x_noisy), 64, *(length // 2 for length in x_noisy.shape[-2:]))
        return {"input": [], "middle": [0.5 * strengths[:, None, None, None] * middle], "output": []}

    def copy(self):
        return OwnControl()


def prompted(prompts, *whose):
    """A member with each prompt, on a model of `whose`."""
    pairs = zip(whose, prompts, strict=True)
    return [step_sampler(model_of("unet", who), prompt, random_cond(9), cfg=4.0) for who, prompt in pairs]


def with_options(cond, **options):
    return [[tensor, {**own, **options}] for tensor, own in cond]


@pytest.mark.parametrize("compute", ["full", "crop"])
def test_a_controlnet_that_weakens_the_uncond(compute, warnings):
    control = {"control": OwnControl(), "control_apply_to_uncond": True}
    prompts = [with_options(random_cond(prompt), **control) for prompt in (1, 2)]
    base, inside = prompted(prompts, "ours", "ours")
    options = {"region_compute": compute, "crop_context": 16, "steps": STEPS}
    got = lockstep(latent_of("unet"), base, regions((REGION, inside)), **options)
    assert "a ControlNet of another pack" in warnings()
    base, inside = prompted(prompts, "base", "region")
    want = composed([(base, 1 - REGION[0], WHOLE), (inside, REGION[0], WHOLE)], "unet")
    assert relative(got, want) < TOLERANCE


class OneOfAKind(comfy.hooks.TransformerOptionsHook):
    """A hook that cannot be cloned."""

    def clone(self):
        raise AssertionError("the hook was cloned")


def hooked(cond, patch, scope=comfy.hooks.EnumHookScope.HookedOnly):
    options = {"patches": {"attn1_output_patch": [patch]}}
    group = comfy.hooks.HookGroup()
    group.add(OneOfAKind(options, scope))
    return with_options(cond, hooks=group)


def test_a_prompts_own_hooks_stay_the_same_objects():
    """The region's LoRA is put on by a hook beside them."""
    model = model_of("unet")
    clone = with_lora(model, UNET_LINEAR, kind="oft")
    prompt = hooked(random_cond(2), lambda out, extra_options: out * 1.3)
    inside = step_sampler(clone, prompt, random_cond(9), cfg=4.0)
    with Patching() as patching:
        got = lockstep(
            latent_of("unet"), member("unet", model, 1), regions((torch.ones(1, *SIZE), inside)), steps=STEPS
        )
    assert patching.count > 0
    assert relative(got, plain(inside, latent_of("unet"), steps=STEPS)) < 1e-4


@pytest.mark.parametrize("compute", ["full", "crop"])
@pytest.mark.parametrize("scope", list(comfy.hooks.EnumHookScope))
@pytest.mark.parametrize("whose", ["base", "region"])
def test_a_hook_on_the_transformer_counts_for_its_own_member(whose, scope, compute, warnings):
    """With its scope: for the prompt that has it, or for the member's negative too."""

    def prompts():
        hooks = hooked(random_cond(3), lambda out, extra_options: out * 1.3, scope)
        return (hooks, random_cond(2)) if whose == "base" else (random_cond(1), hooks)

    base, inside = prompted(prompts(), "ours", "ours")
    options = {"region_compute": compute, "crop_context": 16, "steps": STEPS}
    got = lockstep(latent_of("unet"), base, regions((REGION, inside)), **options)
    assert (where(compute, warnings()) == WHOLE) or whose == "base"
    place = where(compute, warnings())
    base, inside = prompted(prompts(), "base", "region")
    assert relative(got, composed([(base, 1 - REGION[0], WHOLE), (inside, REGION[0], place)], "unet")) < TOLERANCE


# Noise


def flips_its_noise(model):
    def wrapper(executor, guider, sigmas, extra_args, callback, noise, *args, **kwargs):
        noise.copy_(noise.flip(-1))
        return executor(guider, sigmas, extra_args, callback, noise, *args, **kwargs)

    clone = model.clone()
    clone.add_wrapper(comfy.patcher_extension.WrappersMP.SAMPLER_SAMPLE, wrapper)
    return clone


def test_a_region_that_changes_its_noise_in_place():
    assert torch.equal(ours("unet", flips_its_noise, ("region",)), ours("unet", lambda model: model, ()))


# What holds the whole canvas, in crop


def fitted(picture, tokens, channels):
    """(h, w) as (1, tokens, channels), whatever the level: the canvas's aspect ratio is kept."""
    factor = (tokens / picture.numel()) ** 0.5
    size = [round(length * factor) for length in picture.shape]
    return torch.nn.functional.interpolate(picture[None, None], size=size).reshape(1, tokens, 1)


def masks_attention(model):
    mask = (torch.arange(SIZE[1]) < 9).float().expand(SIZE)

    def patch(out, extra_options):
        return out * (1 + fitted(mask, out.shape[1], out.shape[2]))

    return attention(model, patch)


class HoldsLatent:
    """Its features have the canvas's size."""

    def __init__(self):
        self.latent = torch.randn(1, 1, *SIZE, generator=torch.Generator().manual_seed(3))

    def __call__(self, out, extra_options):
        return out + fitted(self.latent[0, 0], out.shape[1], out.shape[2])


def adds_features(model):
    """An inpainting head: adds to the first block what it found on the whole canvas; nothing tells that it is there."""
    features = {"made": lambda: torch.randn(1, 32, *SIZE, generator=torch.Generator().manual_seed(3))}

    def patch(h, transformer_options):
        return h + features["made"]() if transformer_options["block"] == ("input", 0) else h

    return attention(model, patch, "input_block_patch")


def wraps_with_a_picture(model):
    def wrapper(apply_model, args):
        x = args["input"]
        return apply_model(x + torch.linspace(0, 1, SIZE[1])[: x.shape[-1]], args["timestep"], **args["c"])

    clone = model.clone()
    clone.set_model_unet_function_wrapper(wrapper)
    return clone


HOLDING = [masks_attention, lambda model: attention(model, HoldsLatent()), adds_features, wraps_with_a_picture]


@pytest.mark.parametrize("make", HOLDING)
def test_patches_that_hold_the_whole_canvas_are_not_cropped(make, warnings):
    got = ours("unet", make, ("region",), compute="crop")
    assert "region 1 is computed on the whole canvas, not cropped" in warnings()
    assert relative(got, each("unet", make, ("region",))) < TOLERANCE


def test_a_patch_that_does_not_fit_a_crop_is_a_sentence():
    """Nothing tells that it needs the canvas."""

    def patch(out, extra_options):
        return out + torch.ones(1, SIZE[0] * SIZE[1] // (1 if out.shape[2] == 32 else 4), 1)

    with pytest.raises(ValueError, match=r"^region 1: a patch .* does not fit .*set region_compute to full\.$"):
        ours("unet", lambda model: attention(model, patch), ("region",), compute="crop")
    assert bool(ours("unet", lambda model: attention(model, patch), ("region",)).isfinite().all())

"""Runs every sampler node of a copy of the pack in this process, after which no file, network or eval is to be had.

    python sandbox.py PACK OFFENDER

PACK is a read-only copy of the pack, OFFENDER a module whose functions each do one forbidden thing. Prints a line
"ran NAME" for each node that ran and "stopped NAME: why" for each function that was stopped; anything else is an error.

An audit hook decides. Sockets, processes and changes of files are for nobody. Reading files is for the host only: of
the frames above an event those of Python's own library are passed over, and what is next must not be the pack's, but
for its imports. exec, eval and compile must not be called by the pack itself; dataclasses do it on their own.
"""

import importlib.util
import os
import sys
import sysconfig
from pathlib import Path

import host

PACK, OFFENDER = (Path(arg).resolve() for arg in sys.argv[1:3])
OURS = (str(PACK) + os.sep, str(OFFENDER))
STDLIB = (sysconfig.get_path("stdlib") + os.sep, "<frozen ")
NOT_STDLIB = os.sep + "site-packages" + os.sep

FOR_NOBODY = {
    "socket.connect", "socket.bind", "socket.sendto", "socket.sendmsg", "socket.getaddrinfo", "socket.gethostbyname",
    "subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "os.startfile",
    "os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.utime", "os.putenv", "shutil.rmtree", "shutil.copyfile", "shutil.move", "tempfile.mkstemp", "tempfile.mkdtemp",
    "sqlite3.connect", "urllib.Request", "http.client.connect", "ftplib.connect", "smtplib.connect",
}  # fmt: skip
FOR_THE_HOST = {"open", "os.listdir", "os.scandir", "glob.glob", "mmap.__new__", "ctypes.dlopen"}
CODE = {"exec", "compile"}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class Stopped(BaseException):
    """No Exception, or somebody might catch it."""


found: list[str] = []  # a thread, or a handler of all errors, may swallow what was raised
watching = False


def watch(event: str, args: tuple) -> None:
    if not watching or event not in FOR_NOBODY | FOR_THE_HOST | CODE:
        return
    frame = sys._getframe(1)
    if event in CODE:
        forbidden = frame.f_code.co_filename.startswith(OURS)
    elif event in FOR_NOBODY or (event == "open" and args[2] & WRITING):
        forbidden = args[:1] != (os.devnull,)
    else:
        forbidden = reads(frame)
    if forbidden:
        found.append(f"{event} {str(args)[:200]}")
        raise Stopped(found[-1])


def reads(frame) -> bool:
    """Whether the pack itself, be it through Python's library, looks at a file and does not import."""
    while frame is not None and (name := frame.f_code.co_filename).startswith(STDLIB) and NOT_STDLIB not in name:
        if name.startswith("<frozen importlib"):
            return False
        frame = frame.f_back
    return frame is not None and frame.f_code.co_filename.startswith(OURS)


def load(name: str, file: Path, **options):
    spec = importlib.util.spec_from_file_location(name, file, **options)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def runs(pack):
    """(name, function) of every sampler node, in every way of sampling."""
    import comfy.samplers
    import torch
    from comfy_extras.nodes_custom_sampler import RandomNoise, SamplerCustomAdvanced
    from testing_pack.models import pixel_cond, random_cond, random_unet, texture_model

    def use(node, **inputs):
        cls = pack.NODE_CLASS_MAPPINGS[node]
        return getattr(cls(), cls.FUNCTION)(**inputs)[0]

    def defaults(node):
        inputs = pack.NODE_CLASS_MAPPINGS[node].INPUT_TYPES()
        declared = {**inputs["required"], **inputs.get("optional", {})}
        values = {}
        for name, (kind, *options) in declared.items():
            options = options[0] if options else {}
            choices = kind if isinstance(kind, list) else options.get("options", [None])
            if "default" in options or choices[0] is not None:
                values[name] = options.get("default", choices[0])
        return {**values, **({"steps": 4} if "steps" in declared else {})}

    mask = torch.zeros(1, 64, 64)
    mask[:, 8:40, 8:40] = 1
    latent = {"samples": torch.zeros(1, 4, 8, 8)}
    unet = random_unet()
    schedule = use("GITSSchedulerFuncProvider", **defaults("GITSSchedulerFuncProvider"))
    lora = unet.clone()
    key = "diffusion_model.input_blocks.1.1.transformer_blocks.0.attn2.to_v.weight"
    lora.add_patches({key: (torch.full_like(unet.model_state_dict()[key], 0.1),)})
    for name, model, other, (one, two) in (
        ("texture", texture_model(), texture_model(), (pixel_cond(0.3, 0.2), pixel_cond(-0.3, 0.2))),
        ("unet", unet, lora, (random_cond(1), random_cond(2))),
    ):
        pipes = [use("ToBasicPipe", model=m, positive=p, negative=one) for m, p in ((model, one), (other, two))]
        steps = {**defaults("KSamplerAdvancedProvider"), "sampler_name": "dpmpp_2m_sde"}
        base = use("KSamplerAdvancedProvider", basic_pipe=pipes[0], **steps)
        for own in ({}, {"sampler_name": "uni_pc"}, {"scheduler_func_opt": schedule}):
            inside = use("KSamplerAdvancedProvider", basic_pipe=pipes[1], **{**steps, **own})
            region = use("RegionalPrompt", mask=mask, advanced_sampler=inside, **defaults("RegionalPrompt"))
            both = {"regional_prompts1": region, "regional_prompts2": region}
            prompts = use("CombineRegionalPrompts", **both)
            for engine in ("stepwise", "lockstep"):
                how, given = f"{name}, {engine}, {list(own)}", {"engine": engine, "base_sampler": base}
                yield (
                    f"RegionalSampler, {how}",
                    lambda given=given, prompts=prompts: use(
                        "RegionalSampler",
                        **{**defaults("RegionalSampler"), **given, "samples": latent, "regional_prompts": prompts},
                    ),
                )
                yield (
                    f"RegionalSamplerAdvanced, {how}",
                    lambda given=given, prompts=prompts: use(
                        "RegionalSamplerAdvanced",
                        **{
                            **defaults("RegionalSamplerAdvanced"),
                            **given,
                            "latent_image": latent,
                            "regional_prompts": prompts,
                        },
                    ),
                )
                yield (
                    f"TwoAdvancedSamplersForMask, {how}",
                    lambda given=given, inside=inside: use(
                        "TwoAdvancedSamplersForMask",
                        **{
                            **defaults("TwoAdvancedSamplersForMask"),
                            **given,
                            "samples": latent,
                            "mask_sampler": inside,
                            "mask": mask,
                        },
                    ),
                )
        whole = [use("KSamplerProvider", basic_pipe=pipe, **defaults("KSamplerProvider")) for pipe in pipes]
        yield (
            f"TwoSamplersForMask, {name}",
            lambda whole=whole: use(
                "TwoSamplersForMask", latent_image=latent, base_sampler=whole[0], mask_sampler=whole[1], mask=mask
            ),
        )
        for mode in ("Sample then Fork", "Fork then Sample"):
            node = "MaskGrid N KSamplers Advanced"
            given = {"model": model, "positive": one, "negative": two, "latent_image": latent, "mode": mode}
            tile = {"mask": torch.ones(1, 32, 32, 3), "rows": 2, "columns": 2}
            yield (
                f"{node}, {name}, {mode}",
                lambda given=given, tile=tile: use(
                    "MaskGrid N KSamplers Advanced", **{**defaults("MaskGrid N KSamplers Advanced"), **given, **tile}
                ),
            )

        def guided(model=model, prompts=prompts, one=one, two=two):
            own = {"model": model, "positive": one, "negative": two, "regional_prompts": prompts}
            guider = use("RegionalGuider", **{**defaults("RegionalGuider"), **own})
            sigmas = comfy.samplers.KSampler(model, 4, "cpu", "euler", "normal").sigmas
            noise, sampler = RandomNoise.execute(5).result[0], comfy.samplers.sampler_object("euler")
            SamplerCustomAdvanced.execute(noise, guider, sampler, sigmas, latent)

        yield f"RegionalGuider, {name}", guided


def main() -> None:
    global watching
    host.boot_extra_nodes()
    # what the host does once and late, whoever asks first
    import torch
    from testing_pack.models import random_cond, random_unet

    with torch.inference_mode():
        import comfy.sample

        for name in ("dpmpp_2m_sde", "uni_pc"):
            samples = torch.zeros(1, 4, 8, 8)
            noise, cond = comfy.sample.prepare_noise(samples, 1), random_cond()
            comfy.sample.sample(random_unet(), noise, 2, 2.0, name, "normal", cond, cond, samples, seed=1)

        sys.addaudithook(watch)
        watching = True
        pack = load("pack", PACK / "__init__.py", submodule_search_locations=[str(PACK)])
        for name, function in runs(pack):
            function()
            print(f"ran {name}", flush=True)
        if found:
            raise SystemExit(f"swallowed: {found}")
        for name, function in vars(load("offender", OFFENDER)).items():
            if callable(function):
                try:
                    function()
                except Stopped as error:
                    print(f"stopped {name}: {error}", flush=True)
        watching = False


main()

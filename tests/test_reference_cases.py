"""What the reference nodes returned, case by case: the numbers that saved workflows rely on."""

import json
from pathlib import Path

import pytest
import torch
from masks_by_case import case_mask
from safetensors.torch import load_file
from testing_pack.models import reference_cond, reference_model
from use import use

GOLDEN = Path(__file__).parent / "golden"
CASES = json.loads((GOLDEN / "cases.json").read_text())


@pytest.fixture(scope="module")
def tensors():
    return load_file(GOLDEN / "cases.safetensors")


def provider(node, model, spec):
    pipe = (model, None, None, reference_cond(spec["positive"]), reference_cond(spec["negative"]))
    kind = "KSamplerProvider" if node == "TwoSamplersForMask" else "KSamplerAdvancedProvider"
    rest = {key: value for key, value in spec.items() if key not in ("positive", "negative")}
    return use(kind, basic_pipe=pipe, **rest)


def run(case, latent):
    node, model, inputs = case["node"], reference_model(case["model"]), dict(case["inputs"])
    base, regions = case.get("base"), case.get("regions", [])
    if node.startswith("MaskGrid"):
        spec = dict(base)
        image = case_mask(regions[0]["mask"])[..., None].repeat(1, 1, 1, 3)
        for name in ("positive", "negative"):
            spec[name] = reference_cond(spec[name])
        return use(node, model=model, latent_image=latent, mask=image, **spec, **inputs)
    inputs["base_sampler"] = provider(node, model, base)
    if node.startswith("Two"):
        inputs["mask_sampler"] = provider(node, model, regions[0]["sampler"])
        inputs["mask"] = case_mask(regions[0]["mask"])
    else:
        inputs["regional_prompts"] = []
        for region in regions:
            rest = {key: value for key, value in region.items() if key not in ("mask", "sampler")}
            inputs["regional_prompts"] += use(
                "RegionalPrompt",
                mask=case_mask(region["mask"]),
                advanced_sampler=provider(node, model, region["sampler"]),
                **rest,
            )
    name = "samples" if node in ("RegionalSampler", "TwoAdvancedSamplersForMask") else "latent_image"
    return use(node, **inputs, **{name: latent})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_gives_the_reference_numbers(tensors, case):
    want, given = tensors[f"{case['name']}.out"], tensors[f"{case['name']}.in"]
    latent = {"samples": given.clone()}
    got = run(case, latent)
    assert list(got) == case["output_keys"]
    assert got["samples"].shape == want.shape
    assert torch.equal(latent["samples"], given) and list(latent) == ["samples"]
    error = (got["samples"] - want).norm() / want.norm()
    assert error < 1e-5, f"relative error {error:.2e}"

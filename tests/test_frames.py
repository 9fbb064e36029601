"""Videos: a mask for each frame."""

import family_use
import pytest
import torch
from pixel_scene import ENGINES, run
from testing_pack.families import FAMILIES
from use import plain, regions, relative


def walking():
    """A Wan-like video of three latent frames: the region walks to the right, and is gone in the last."""
    family = FAMILIES["Wan"]
    masks = torch.cat(
        [family_use.mask(family, right=4), family_use.mask(family, left=4, right=8), family_use.mask(family, value=0.0)]
    )
    where = [(0, slice(0, 4)), (1, slice(4, 8))]
    return family, masks, where


def walked(engine, masks, model, **inputs):
    """Where the region's prompt changes anything: (frames, h, w)."""
    family = FAMILIES["Wan"]
    base, inside = family_use.sampler(family, model, 1), family_use.sampler(family, model, 2)
    options = {"steps": 2, "base_only_steps": 1, **inputs}
    got, same = (run(family.latent(), base, regions((masks, one)), engine, **options) for one in (inside, base))
    return (got - same).abs().amax((0, 1)) > 1e-5


@pytest.mark.parametrize(
    "engine, paste",
    [("lockstep", True), ("stepwise", False), ("stepwise", True)],
)
def test_a_mask_for_each_frame(engine, paste):
    family, masks, where = walking()
    changed = walked(engine, masks, family.make(), restore_latent=paste)
    expected = torch.zeros(3, *family.shape[-2:], dtype=torch.bool)
    for frame, place in where:
        expected[frame, :, place] = True
    assert torch.equal(changed, expected)


@pytest.mark.parametrize("engine", ENGINES)
def test_frames_are_spread_over_the_videos(engine):
    """Twelve masks for three latent frames, and two: the middle frame is then half of both."""
    family, masks, _ = walking()
    model = family.make()
    changed = walked(engine, masks, model)
    assert torch.equal(walked(engine, masks.repeat_interleave(4, 0), model), changed)
    if engine == "lockstep":
        both = walked(engine, masks[:2], model)
        assert both[1, :, :8].all() and torch.equal(both[0], changed[0]) and torch.equal(both[2], changed[1])


@pytest.mark.parametrize("engine", ENGINES)
def test_frames_of_a_whole_run(engine):
    family, masks, _ = walking()
    model = family.make()
    base, inside = family_use.sampler(family, model, 1), family_use.sampler(family, model, 2)
    latent = family.latent()
    options = {"steps": 3, "base_only_steps": 1, "overlap_factor": 8}
    got = run(latent, base, regions((masks, inside)), engine, **options)
    assert got.shape == latent["samples"].shape and bool(got.isfinite().all())
    if engine == "lockstep":
        same = run(latent, base, regions((masks, base)), engine, **options)
        assert relative(same, plain(base, latent, steps=3)) < 1e-4


@pytest.mark.parametrize("engine", ENGINES)
def test_masks_for_two_videos_are_no_frames(engine):
    family, masks, _ = walking()
    model = family.make()
    base = family_use.sampler(family, model, 1)
    with pytest.raises(ValueError, match=r"region 1: 1 mask or 2 .* expected, 3 came"):
        run(family.latent(batch=2), base, regions((masks, base)), engine, steps=1)

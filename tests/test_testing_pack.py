"""The yardstick itself: textures are what they say, and plain sampling of the host gives them."""

import comfy.sample
import nodes as host_nodes
import pytest
import torch
from testing_pack import NODE_CLASS_MAPPINGS, codec, models, words
from testing_pack.texture import KINDS, Texture, denoise, draw, spectrum

STRIPES = Texture((0.2, -0.3, 0.1), (0.3, 0.1, 0.2), "stripes", 8.0, 30.0)


def sample(model, positive, negative=None, size=(48, 64), steps=20, cfg=1.0, sampler="heun", batch=1, seed=0):
    latent = torch.zeros(batch, 4, *size)
    noise = comfy.sample.prepare_noise(latent, seed)
    negative = positive if negative is None else negative
    args = (model, noise, steps, cfg, sampler, "normal", positive, negative, latent)
    return comfy.sample.sample(*args, seed=seed, disable_pbar=True)


def power(field):
    return torch.fft.fft2(field - field.mean()).abs().square()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("size", [(24, 32), (25, 31)])
def test_denoiser_is_the_linear_posterior_mean(kind, size):
    """Against C a / (a^2 C + b^2), with the covariance C made by filtering each single pixel."""
    h, w = size
    texture = Texture((0.1, 0.2, -0.3, 0.0), (0.5, 0.3, 0.4, 0.2), kind, 6.0, 25.0)
    half = spectrum(kind, 6.0, 25.0, h, w).double()
    a, b = 0.7, 0.4
    x = torch.randn(4, h, w, generator=torch.Generator().manual_seed(1)).double()
    covariance = torch.fft.irfft2(half, s=size)  # of the field, with the pixel at the origin
    field = _circulant(covariance)
    colours = torch.tensor(texture.contrast).double()
    colour = torch.diag(colours**2) if kind == "pixels" else torch.outer(colours, colours)
    values, axes = torch.linalg.eigh(colour)
    y = axes.T @ (x.flatten(1) - a * torch.tensor(texture.mean).double()[:, None])
    eye = torch.eye(h * w).double()
    solved = torch.stack(
        [torch.linalg.solve(a**2 * v * field + b**2 * eye, a * v * field @ r) for v, r in zip(values, y, strict=True)]
    )
    want = torch.tensor(texture.mean).double()[:, None] + axes @ solved
    torch.testing.assert_close(denoise(texture, x, a, b).flatten(1), want, atol=1e-5, rtol=0)


def _circulant(kernel):
    """The matrix whose row (y, x) is `kernel` moved there."""
    h, w = kernel.shape
    return torch.stack([kernel.roll((y, x), (0, 1)).flatten() for y in range(h) for x in range(w)])


@pytest.mark.parametrize("pattern", KINDS)
def test_pictures_of_a_texture_have_its_spread(pattern):
    texture = Texture((0.2, 0.0, -0.2), (0.3, 0.2, 0.1), pattern, 6.0, 45.0)
    pictures = torch.stack([draw(texture, 48, 64, seed) for seed in range(64)])
    variance = (pictures - torch.tensor(texture.mean)[:, None, None]).square().mean((0, 2, 3))
    torch.testing.assert_close(variance.sqrt(), torch.tensor(texture.contrast), rtol=0.06, atol=1e-6)


@pytest.mark.parametrize("kind", models.MODEL_TYPES)
def test_plain_sampling_gives_the_texture(kind):
    latent = sample(models.texture_model(kind), models.texture_cond(STRIPES), batch=6)
    drawn = torch.stack([draw(STRIPES, 48, 64, seed) for seed in range(6)])
    torch.testing.assert_close(latent.mean((0, 2, 3)), torch.tensor(STRIPES.mean), atol=0.01, rtol=0)
    assert latent[:, 0].std() == pytest.approx(drawn[:, 0].std().item(), rel=0.15)
    torch.testing.assert_close(latent[:, 1] + 0.3, (latent[:, 0] - 0.2) / 3, atol=1e-4, rtol=0)  # one field for all
    y, x = divmod(int(power(latent[0, 0]).argmax()), 64)
    fy, fx = torch.fft.fftfreq(48)[y], torch.fft.fftfreq(64)[x]
    direction = torch.rad2deg(torch.atan2(fx, fy)) % 180
    assert direction == pytest.approx(30.0, abs=8) and torch.hypot(fx, fy) == pytest.approx(1 / 8, rel=0.25)


@pytest.mark.parametrize("kind", models.MODEL_TYPES)
def test_plain_sampling_gives_independent_pixels(kind):
    latent = sample(models.texture_model(kind), models.pixel_cond((0.1, 0.2, -0.3, 0.4), 0.3), steps=40, batch=4)
    torch.testing.assert_close(latent.mean((0, 2, 3)), torch.tensor([0.1, 0.2, -0.3, 0.4]), atol=0.02, rtol=0)
    torch.testing.assert_close(latent.std((0, 2, 3)), torch.full((4,), 0.3), rtol=0.03, atol=0)
    latent = latent - latent.mean((0, 2, 3), keepdim=True)
    neighbours = torch.corrcoef(torch.stack([latent[..., 1:].flatten(), latent[..., :-1].flatten()])) - torch.eye(2)
    channels = torch.corrcoef(latent.movedim(1, 0).flatten(1)) - torch.eye(4)
    assert neighbours.abs().max() < 0.05 and channels.abs().max() < 0.05


def test_rows_of_one_batch_carry_their_own_prompts():
    apply = models.texture_model().model.apply_model
    x, sigma = torch.randn(3, 4, 16, 24), torch.tensor([0.5, 2.0, 8.0])
    conds = [
        models.texture_cond(STRIPES),
        models.pixel_cond(0.5, 0.2),
        models.texture_cond(words.texture("blue waves")),
    ]
    rows = torch.cat([cond[0][0] for cond in conds])
    together = apply(x, sigma, c_crossattn=rows)
    for i in range(3):
        assert torch.equal(apply(x[i : i + 1], sigma[i : i + 1], c_crossattn=rows[i : i + 1]), together[i : i + 1])


@pytest.mark.parametrize(
    ("turns", "strength", "want"), [(1, 1.0, "YZX"), (2, 1.0, "ZXY"), (0, 1.0, "XYZ"), (1, 0.0, "XYZ")]
)
def test_lora_turns_the_colours_of_one_clone(turns, strength, want):
    model = models.texture_model()
    clone = models.with_turned_colours(model, turns, strength)
    colours = {"X": (0.2, 0.3), "Y": (-0.3, 0.1), "Z": (0.1, 0.2)}  # of STRIPES
    mean, contrast = zip(*(colours[letter] for letter in want), strict=True)
    turned = Texture(mean, contrast, "stripes", 8.0, 30.0)
    cond = models.texture_cond
    torch.testing.assert_close(sample(clone, cond(STRIPES)), sample(model, cond(turned)), atol=1e-4, rtol=0)
    assert torch.equal(sample(model, cond(STRIPES)), sample(models.texture_model(), cond(STRIPES)))


def test_lora_needs_a_texture_model():
    with pytest.raises(TypeError, match="a texture model was expected"):
        models.with_turned_colours(models.random_unet(), 1, 1.0)


def test_reference_model_follows_its_formula():
    x, sigma = torch.randn(2, 4, 5, 7), torch.tensor([1.5, 0.3])
    cond = models.reference_cond([0.1, 0.2, 0.3, 0.4, 0.8])[0][0]
    got = models.reference_model("eps").model.apply_model(x, sigma, c_crossattn=cond.expand(2, -1, -1))
    mu = torch.tensor([0.1, 0.2, 0.3, 0.4])
    for i, c, row, col in [(0, 0, 0, 0), (1, 3, 2, 6), (0, 2, 3, 3)]:
        near = x[i, c, max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2].mean()
        gain = 0.8**2 / (0.8**2 + sigma[i] ** 2)
        want = mu[c] + gain * (0.5 * x[i, c, row, col] + 0.5 * near - mu[c])
        assert got[i, c, row, col] == pytest.approx(want.item(), abs=1e-6)


@pytest.mark.parametrize("kind", models.MODEL_TYPES)
def test_random_unet_is_finite_repeatable_and_hears_the_prompt(kind):
    def run(prompt, unet=0):
        model = models.random_unet(kind, seed=unet)
        return sample(model, models.random_cond(prompt), models.random_cond(9), (16, 16), 4, 4.0, "euler")

    first = run(1)
    assert torch.isfinite(first).all() and torch.equal(first, run(1))
    for other in (run(2), run(1, unet=1)):
        assert (first - other).std() > 0.1 * first.std()


def test_counter_sees_every_call_and_keeps_other_wrappers():
    model, counter = models.counted(models.random_unet())
    model, outer = models.counted(model)
    cond = models.random_cond
    sample(model, cond(1), cond(2), (16, 24), 3, 4.0, "euler", batch=2)
    assert [(call.rows, call.height, call.width) for call in counter.calls] == [(4, 16, 24)] * 3
    sigmas = [call.sigma for call in counter.calls]
    assert counter == outer and counter.rows == 12 and sigmas == sorted(sigmas, reverse=True)


def test_words():
    assert words.texture("Golden, (diagonal:1.2) stripes on brown!").direction == 45.0
    assert words.texture("golden stripes").mean == words.texture("a gold stripe").mean
    assert words.texture("fine blue waves").scale < words.texture("blue waves").scale
    assert words.texture("soft blue waves").contrast[2] < words.texture("blue waves").contrast[2]
    assert words.texture("") == words.texture("masterpiece, best quality")


def test_host_nodes_work_with_the_toy_checkpoint():
    loader = NODE_CLASS_MAPPINGS["RegionalTestingLoader"]()
    for kind in ("texture", "unet"):
        model, clip, vae = loader.load("eps", kind)
        positive, negative = (host_nodes.CLIPTextEncode().encode(clip, text)[0] for text in ("golden stripes", ""))
        (latent,) = host_nodes.EmptyLatentImage().generate(128, 64)
        (out,) = host_nodes.KSampler().sample(model, 1, 3, 7.0, "euler", "normal", positive, negative, latent)
        (picture,) = host_nodes.VAEDecode().decode(vae, out)
        assert picture.shape == (1, 64, 128, 3) and picture.min() >= 0 and picture.max() <= 1


def test_cfg_counts_only_when_asked_for():
    def run(cfg, obey):
        model, clip, _ = NODE_CLASS_MAPPINGS["RegionalTestingLoader"]().load("eps", obey_cfg=obey)
        conds = (clip.encode_from_tokens_scheduled(clip.tokenize(text)) for text in ("teal waves", "red grain"))
        return sample(model, *conds, steps=4, cfg=cfg)

    assert torch.equal(run(7.0, False), run(1.0, False))
    assert not torch.allclose(run(7.0, True), run(1.0, True), atol=0.1)


def test_picture_survives_the_codec():
    latent = draw(words.texture("soft coarse blue clouds"), 24, 32)[None]
    latent[:, :3] = latent[:, :3].clamp(-0.9, 0.9)
    back = codec.encode(codec.decode(latent))
    assert back.shape == latent.shape and (back - latent).abs().mean() < 0.05


def test_live_preview_is_the_picture():
    import latent_preview

    factors = models.PictureLatents()
    previewer = latent_preview.Latent2RGBPreviewer(factors.latent_rgb_factors, factors.latent_rgb_factors_bias)
    latent = torch.tensor([1.0, -1.0, 0.0, 5.0]).view(1, 4, 1, 1).expand(1, 4, 2, 2)
    assert previewer.decode_latent_to_preview(latent).getpixel((0, 0)) == (255, 0, 127)

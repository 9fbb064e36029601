"""One small model with random weights for each model family of ComfyUI, made from ComfyUI's classes and configurations.

Widths and depths are reduced; latent format, prediction type and conditioning are the family's.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import comfy.model_management
import comfy.supported_models as supported
import torch
from comfy.ldm.audio.embedders import NumberConditioner
from comfy.model_base import BaseModel
from comfy.model_patcher import ModelPatcher

from .models import Conditioning

TEXT = 8  # width of the text embedding, for families that do not fix it


def _noise(seed: int, *shape: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def _patcher(model: BaseModel, seed: int) -> ModelPatcher:
    """The model with random weights: matrices of standard deviation 1/sqrt(fan-in), norms near 1, biases near 0."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, weight in model.diffusion_model.named_parameters():
            values = torch.randn(weight.shape, generator=generator)
            if weight.ndim > 1:
                weight.copy_(values * weight[0].numel() ** -0.5)
            else:
                weight.copy_(values * 0.1 + (0.0 if name.endswith("bias") else 1.0))
        if isinstance(table := getattr(model.diffusion_model, "pos_embed", None), torch.Tensor):
            table.copy_(torch.randn(table.shape, generator=generator))  # SD3 loads this table from the checkpoint
    return ModelPatcher(
        model, load_device=comfy.model_management.get_torch_device(), offload_device=torch.device("cpu")
    )


@dataclass(frozen=True)
class Family:
    """A model family.

    `config` is ComfyUI's class, `unet` the configuration that its loader would detect. `shape` is the latent's, either
    (C, h, w) or (C, frames, h, w). `layers` are the layers that test LoRAs patch. `options(seed, tokens)` makes the
    options of a CONDITIONING whose embedding is (1, tokens, `text`). `more_tokens` is the length of a second prompt.
    `noise_mask` says what ComfyUI's KSampler does with one: "blends" it; "reads" it, as the model takes the kept part
    for given frames; or "fails" with ComfyUI's empty latents. `loads`: ComfyUI's loader recognizes the weights at
    this size; for other families it expects fixed widths.
    """

    config: type
    unet: Mapping[str, Any]
    shape: tuple[int, ...]
    layers: tuple[str, ...]
    options: Callable[[int, int], Mapping[str, Any]] = field(default=lambda seed, tokens: {})
    text: int = TEXT
    more_tokens: int = 6
    noise_mask: str = "blends"
    loads: bool = False

    @property
    def lora_layers(self) -> list[str]:
        return [f"diffusion_model.{layer}" for layer in self.layers]

    def make(self, seed: int = 0) -> ModelPatcher:
        return _patcher(self.config({**self.unet, "dtype": torch.float32}).get_model({}, ""), seed)

    def cond(self, seed: int = 0, tokens: int = 4) -> Conditioning:
        return [[_noise(seed, 1, tokens, self.text), dict(self.options(seed, tokens))]]

    def latent(self, batch: int = 1) -> dict[str, torch.Tensor]:
        return {"samples": torch.zeros(batch, *self.shape)}


def _pooled(size: int, **more: Any) -> Callable[[int, int], Mapping[str, Any]]:
    return lambda seed, tokens: {"pooled_output": _noise(seed + 1000, 1, size), **more}


def _masked(seed: int, tokens: int) -> Mapping[str, Any]:
    return {"attention_mask": torch.ones(1, tokens, dtype=torch.long)}


_UNET = {
    "image_size": 32,
    "in_channels": 4,
    "out_channels": 4,
    "model_channels": 32,
    "num_res_blocks": [1, 1],
    "channel_mult": (1, 2),
    "transformer_depth": [1, 1],
    "transformer_depth_output": [1, 1, 1, 1],
    "transformer_depth_middle": 1,
    "context_dim": TEXT,
    "use_spatial_transformer": True,
    "legacy": False,
}
_FLUX = {
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": TEXT,
    "context_in_dim": TEXT,
    "hidden_size": 128,
    "mlp_ratio": 4.0,
    "num_heads": 1,
    "depth": 1,
    "depth_single_blocks": 1,
    "axes_dim": [16, 56, 56],
    "theta": 10000,
    "patch_size": 2,
    "qkv_bias": True,
    "txt_ids_dims": [],
}
_HUNYUAN = {
    "image_model": "hunyuan_video",
    "in_channels": 16,
    "out_channels": 16,
    "vec_in_dim": 768,
    "context_in_dim": TEXT,
    "hidden_size": 128,
    "mlp_ratio": 4.0,
    "num_heads": 1,
    "depth": 1,
    "depth_single_blocks": 1,
    "axes_dim": [16, 56, 56],
    "theta": 256,
    "patch_size": [1, 2, 2],
    "qkv_bias": True,
    "guidance_embed": True,
    "byt5": False,
    "meanflow": False,
    "use_cond_type_embedding": False,
    "vision_in_dim": None,
    "meanflow_sum": False,
}
_WAN = {
    "image_model": "wan2.1",
    "model_type": "t2v",
    "dim": 128,
    "ffn_dim": 64,
    "freq_dim": 256,
    "in_dim": 16,
    "out_dim": 16,
    "num_heads": 1,
    "num_layers": 1,
    "patch_size": (1, 2, 2),
    "window_size": (-1, -1),
    "qk_norm": True,
    "cross_attn_norm": True,
    "eps": 1e-6,
}
_LUMINA = {
    "image_model": "lumina2",
    "patch_size": 2,
    "in_channels": 16,
    "cap_feat_dim": TEXT,
    "n_layers": 1,
    "n_refiner_layers": 1,
    "qk_norm": True,
    "axes_dims": [4, 6, 6],
    "axes_lens": [300, 512, 512],
    "dim": 32,
    "n_heads": 2,
    "n_kv_heads": 1,
    "multiple_of": 16,
}
_DOUBLE = ("double_blocks.0.img_attn.qkv", "double_blocks.0.txt_mlp.0", "single_blocks.0.linear2")

FAMILIES: dict[str, Family] = {
    "SD15": Family(
        supported.SD15,
        _UNET,
        (4, 8, 12),
        (
            "input_blocks.1.1.transformer_blocks.0.attn2.to_k",
            "middle_block.1.transformer_blocks.0.ff.net.2",
            "time_embed.0",
            "input_blocks.1.0.in_layers.2",
        ),
    ),
    "SDXL": Family(
        supported.SDXL,
        {
            **_UNET,
            "num_classes": "sequential",
            "adm_in_channels": TEXT + 6 * 256,
            "use_linear_in_transformer": True,
            "model_channels": 64,
        },
        (4, 8, 12),
        (
            "input_blocks.1.1.transformer_blocks.0.attn1.to_q",
            "input_blocks.1.1.proj_in",
            "label_emb.0.0",
        ),
        _pooled(TEXT, width=96, height=64),
    ),
    "SD3": Family(
        supported.SD3,
        {
            "in_channels": 16,
            "out_channels": 16,
            "patch_size": 2,
            "depth": 2,
            "input_size": None,
            "adm_in_channels": TEXT,
            "context_embedder_config": {
                "target": "torch.nn.Linear",
                "params": {"in_features": TEXT, "out_features": 128},
            },
            "num_patches": 256,
            "pos_embed_max_size": 16,
            "pos_embed_scaling_factor": None,
            "x_block_self_attn_layers": [],
        },
        (16, 8, 12),
        ("joint_blocks.0.x_block.attn.qkv", "joint_blocks.0.context_block.mlp.fc1", "context_embedder"),
        _pooled(TEXT),
        loads=True,
    ),
    "Flux": Family(
        supported.Flux,
        {**_FLUX, "image_model": "flux", "guidance_embed": True},
        (16, 8, 12),
        (*_DOUBLE, "double_blocks.0.img_mod.lin"),
        _pooled(TEXT, guidance=1.0),
        loads=True,
    ),
    "Flux2": Family(
        supported.Flux2,
        {
            **_FLUX,
            "image_model": "flux2",
            "in_channels": 128,
            "out_channels": 128,
            "vec_in_dim": None,
            "axes_dim": [32, 32, 32, 32],
            "mlp_ratio": 3.0,
            "theta": 2000,
            "patch_size": 1,
            "qkv_bias": False,
            "ops_bias": False,
            "global_modulation": True,
            "mlp_silu_act": True,
            "txt_ids_dims": [3],
            "default_ref_method": "index",
            "ref_index_scale": 10.0,
            "guidance_embed": True,
        },
        (128, 4, 6),
        (*_DOUBLE, "double_stream_modulation_img.lin"),
        loads=True,
    ),
    "Chroma": Family(
        supported.Chroma,
        {
            **_FLUX,
            "image_model": "chroma",
            "in_channels": 64,
            "out_channels": 64,
            "hidden_size": 32,
            "axes_dim": [4, 14, 14],
            "in_dim": 64,
            "out_dim": 32,
            "hidden_dim": 32,
            "n_layers": 1,
            "vec_in_dim": None,
        },
        (16, 8, 12),
        (*_DOUBLE, "distilled_guidance_layer.in_proj"),
    ),
    "Lumina2": Family(
        supported.Lumina2,
        _LUMINA,
        (16, 8, 12),
        ("layers.0.attention.qkv", "layers.0.feed_forward.w2", "context_refiner.0.attention.out", "cap_embedder.1"),
    ),
    "ZImage": Family(
        supported.ZImage,
        {
            **_LUMINA,
            "dim": 256,
            "n_heads": 4,
            "n_kv_heads": 4,
            "axes_dims": [16, 24, 24],
            "z_image_modulation": True,
            "time_scale": 1000.0,
            "pad_tokens_multiple": 32,
        },
        (16, 8, 12),
        ("layers.0.attention.qkv", "layers.0.adaLN_modulation.0", "noise_refiner.0.feed_forward.w1"),
    ),
    "QwenImage": Family(
        supported.QwenImage,
        {
            "image_model": "qwen_image",
            "in_channels": 64,
            "num_layers": 1,
            "attention_head_dim": 16,
            "num_attention_heads": 2,
            "joint_attention_dim": TEXT,
            "axes_dims_rope": (4, 6, 6),
        },
        (16, 1, 8, 12),
        ("transformer_blocks.0.attn.to_q", "transformer_blocks.0.img_mod.1", "transformer_blocks.0.txt_mlp.net.2"),
    ),
    "Wan": Family(
        supported.WAN21_T2V,
        {**_WAN, "text_dim": 4096},
        (16, 3, 8, 12),
        ("blocks.0.self_attn.q", "blocks.0.cross_attn.v", "blocks.0.ffn.2", "time_projection.1"),
        text=4096,
        loads=True,
    ),
    "Wan22": Family(
        supported.WAN22_T2V,
        {**_WAN, "in_dim": 48, "out_dim": 48, "text_dim": 4096},
        (48, 2, 4, 6),
        ("blocks.0.self_attn.o", "blocks.0.cross_attn.k", "head.head"),
        text=4096,
        loads=True,
        noise_mask="reads",
    ),
    "HunyuanVideo": Family(
        supported.HunyuanVideo,
        _HUNYUAN,
        (16, 2, 8, 12),
        (*_DOUBLE, "txt_in.individual_token_refiner.blocks.0.self_attn.qkv"),
        _pooled(768),
        loads=True,
        noise_mask="reads",
    ),
    "HunyuanImage21": Family(
        supported.HunyuanImage21,
        {
            **_HUNYUAN,
            "in_channels": 64,
            "out_channels": 64,
            "vec_in_dim": None,
            "patch_size": [1, 1],
            "axes_dim": [64, 64],
            "guidance_embed": False,
        },
        (64, 4, 6),
        _DOUBLE,
        loads=True,
    ),
    "HunyuanVideo15": Family(
        supported.HunyuanVideo15,
        {
            **_HUNYUAN,
            "in_channels": 65,
            "out_channels": 32,
            "vec_in_dim": None,
            "patch_size": [1, 1, 1],
            "guidance_embed": False,
            "use_cond_type_embedding": True,
            "byt5": True,
            "vision_in_dim": 1152,
            "meanflow_sum": True,
        },
        (32, 2, 4, 6),
        _DOUBLE,
        _pooled(TEXT),
        loads=True,
        noise_mask="fails",
    ),
    "LTXV": Family(
        supported.LTXV,
        {"image_model": "ltxv", "num_layers": 1, "attention_head_dim": 4, "cross_attention_dim": 128},
        (128, 2, 4, 6),
        ("transformer_blocks.0.attn1.to_q", "transformer_blocks.0.attn2.to_k", "transformer_blocks.0.ff.net.2"),
        _masked,
        text=4096,
        loads=True,
        noise_mask="reads",
    ),
    "AuraFlow": Family(
        supported.AuraFlow,
        {
            "cond_seq_dim": TEXT,
            "max_seq": 256,
            "n_double_layers": 1,
            "n_layers": 2,
            "dim": 32,
            "n_heads": 2,
            "global_conddim": 32,
        },
        (4, 8, 12),
        ("double_layers.0.attn.w1q", "single_layers.0.mlp.c_fc1", "double_layers.0.modX.1"),
    ),
    "PixArtSigma": Family(
        supported.PixArtSigma,
        {
            "image_model": "pixart_sigma",
            "num_heads": 2,
            "patch_size": 2,
            "hidden_size": 32,
            "in_channels": 4,
            "depth": 1,
            "caption_channels": TEXT,
            "model_max_length": 300,
            "micro_condition": False,
        },
        (4, 32, 36),
        ("blocks.0.attn.qkv", "blocks.0.mlp.fc1", "t_block.1"),
    ),
    "HunyuanDiT": Family(
        supported.HunyuanDiT,
        {
            "image_model": "hydit",
            "depth": 2,
            "hidden_size": 64,
            "num_heads": 4,
            "text_states_dim": TEXT,
            "text_states_dim_t5": TEXT,
            "text_len": 4,
            "text_len_t5": 6,
        },
        (4, 8, 12),
        ("blocks.0.attn1.Wqkv", "blocks.0.attn2.kv_proj", "blocks.0.mlp.fc1"),
        lambda seed, tokens: {
            "attention_mask": torch.ones(1, tokens),
            "conditioning_mt5xl": _noise(seed + 1000, 1, 6, TEXT),
            "attention_mask_mt5xl": torch.ones(1, 6),
        },
        more_tokens=4,  # the number of tokens is fixed: text_len
    ),
    "HiDream": Family(
        supported.HiDream,
        {
            "image_model": "hidream",
            "attention_head_dim": 16,
            "axes_dims_rope": [4, 6, 6],
            "caption_channels": [TEXT, TEXT],
            "max_resolution": [32, 32],
            "in_channels": 16,
            "llama_layers": [0, 1],
            "num_attention_heads": 2,
            "num_routed_experts": 4,
            "num_activated_experts": 2,
            "num_layers": 1,
            "num_single_layers": 1,
            "out_channels": 16,
            "patch_size": 2,
            "text_emb_dim": TEXT,
        },
        (16, 8, 12),
        ("double_stream_blocks.0.block.attn1.to_q", "single_stream_blocks.0.block.adaLN_modulation.1"),
        lambda seed, tokens: {
            "pooled_output": _noise(seed + 1000, 1, TEXT),
            "conditioning_llama3": _noise(seed + 2000, 1, 2, tokens, TEXT),
        },
    ),
    "CosmosPredict2": Family(
        supported.CosmosT2IPredict2,
        {
            "image_model": "cosmos_predict2",
            "max_img_h": 240,
            "max_img_w": 240,
            "max_frames": 128,
            "in_channels": 16,
            "out_channels": 16,
            "patch_spatial": 2,
            "patch_temporal": 1,
            "model_channels": 32,
            "concat_padding_mask": True,
            "crossattn_emb_channels": TEXT,
            "pos_emb_cls": "rope3d",
            "num_blocks": 1,
            "num_heads": 2,
            "use_adaln_lora": True,
            "adaln_lora_dim": 8,
            "pos_emb_learnable": True,
        },
        (16, 1, 8, 12),
        ("blocks.0.self_attn.q_proj", "blocks.0.cross_attn.k_proj", "blocks.0.mlp.layer1"),
        noise_mask="reads",
    ),
    "Omnigen2": Family(
        supported.Omnigen2,
        {
            "image_model": "omnigen2",
            "axes_dim_rope": [4, 6, 6],
            "axes_lens": [300, 512, 512],
            "hidden_size": 32,
            "in_channels": 16,
            "multiple_of": 16,
            "num_attention_heads": 2,
            "num_kv_heads": 1,
            "num_layers": 1,
            "num_refiner_layers": 1,
            "text_feat_dim": TEXT,
            "timestep_scale": 1000.0,
        },
        (16, 8, 12),
        ("layers.0.attn.to_q", "layers.0.feed_forward.linear_1", "context_refiner.0.attn.to_k"),
        _masked,
    ),
    "Kandinsky5": Family(
        supported.Kandinsky5,
        {
            "image_model": "kandinsky5",
            "in_text_dim": TEXT,
            "in_text_dim2": TEXT,
            "time_dim": 16,
            "model_dim": 32,
            "ff_dim": 64,
            "visual_embed_dim": 132,
            "num_text_blocks": 1,
            "num_visual_blocks": 1,
            "axes_dims": (4, 6, 6),
        },
        (16, 2, 8, 12),
        ("visual_transformer_blocks.0.self_attention.to_query", "visual_transformer_blocks.0.cross_attention.to_key"),
        _pooled(TEXT),
        noise_mask="fails",
    ),
    "CogVideoX": Family(
        supported.CogVideoX_T2V,
        {
            "image_model": "cogvideox",
            "num_attention_heads": 1,
            "attention_head_dim": 64,
            "time_embed_dim": 16,
            "num_layers": 1,
            "in_channels": 16,
            "patch_size": 2,
            "text_embed_dim": TEXT,
            "use_rotary_positional_embeddings": True,
            "use_learned_positional_embeddings": False,
        },
        (16, 2, 8, 12),
        ("blocks.0.q", "blocks.0.ff_proj"),
    ),
}

# The families that ComfyUI's loader recognizes by their weights. SD15 needs its full width for that.
LOADED: dict[str, Family] = {
    "SD15": replace(
        FAMILIES["SD15"],
        unet={
            **_UNET,
            "model_channels": 320,
            "context_dim": 768,
            "num_res_blocks": [1],
            "channel_mult": (1,),
            "transformer_depth": [1],
            "transformer_depth_output": [1, 1],
        },
        text=768,
    ),
    **{name: family for name, family in FAMILIES.items() if family.loads},
}


def stable_audio(seed: int = 0) -> ModelPatcher:
    """ComfyUI's Stable Audio, small: latents (B, 64, length) without height and width, text embeddings 768 wide."""
    embedder = NumberConditioner(768).state_dict()
    weights = {
        f"conditioner.conditioners.seconds_{which}.{key}": torch.randn_like(weight)
        for which in ("start", "total")
        for key, weight in embedder.items()
    }
    unet = {
        "audio_model": "dit1.0",
        "embed_dim": 64,
        "project_cond_tokens": True,
        "depth": 1,
        "num_heads": 2,
        "dtype": torch.float32,
    }
    return _patcher(supported.StableAudio(unet).get_model(weights, ""), seed)

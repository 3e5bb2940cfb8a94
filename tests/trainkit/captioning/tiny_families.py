"""Each family of vision-language models that docs/captioning.md names, tiny and random, as a folder like
those of the hub: so that all load, take a batch, and answer each request as if it were alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
import transformers
from transformers.models.blip.configuration_blip import BlipTextConfig, BlipVisionConfig
from transformers.models.blip_2.configuration_blip_2 import Blip2QFormerConfig, Blip2VisionConfig
from transformers.models.git.configuration_git import GitVisionConfig

from tests.trainkit.captioning.tiny_models import (
    SPECIAL,
    chat_template,
    language_settings,
    tokenizer_of_bytes,
    write_tiny_captioner,
)

t: Any = transformers
"""As of no type: its classes are made so that mypy takes few of their arguments."""
VISION: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
SECTIONS: dict[str, Any] = {"rope_type": "default", "rope_theta": 10000.0, "mrope_section": [1, 1, 2]}


def parts_saved(
    folder: Path, model: Any, images: Any, tokenizer: Any, kind: str, template: str = "", **settings: Any
) -> Path:
    """A folder whose processor is in parts, without that for videos (which would need torchvision)."""
    model.save_pretrained(folder)
    images.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    stated = {"processor_class": kind, **settings}
    (folder / "processor_config.json").write_text(json.dumps(stated), "utf-8")
    if template:
        (folder / "chat_template.jinja").write_text(template, "utf-8")
    return folder


def qwen2_vl(folder: Path) -> Path:
    """Qwen2-VL: as many image tokens as the picture has 28 px cells."""
    tokenizer, ids = _tokens("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    config = t.Qwen2VLConfig(
        vision_config={"depth": 2, "embed_dim": 32, "hidden_size": 32, "num_heads": 4, "mlp_ratio": 2},
        text_config=language_settings(len(tokenizer), rope_parameters=SECTIONS),
        vision_start_token_id=ids[0],
        vision_end_token_id=ids[1],
        image_token_id=ids[2],
        video_token_id=ids[3],
    )
    return _qwen(folder, t.Qwen2VLForConditionalGeneration(config), tokenizer, "Qwen2VLProcessor", 14)


def qwen2_5_vl(folder: Path) -> Path:
    """Qwen2.5-VL: windows in the picture's attention."""
    tokenizer, ids = _tokens("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    config = t.Qwen2_5_VLConfig(
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 4,
            "out_hidden_size": 32,
            "fullatt_block_indexes": [1],
        },
        text_config=language_settings(len(tokenizer), rope_parameters=SECTIONS),
        vision_start_token_id=ids[0],
        vision_end_token_id=ids[1],
        image_token_id=ids[2],
        video_token_id=ids[3],
    )
    return _qwen(folder, t.Qwen2_5_VLForConditionalGeneration(config), tokenizer, "Qwen2_5_VLProcessor", 14)


def qwen3_vl(folder: Path) -> Path:
    """Qwen3-VL: the picture enters several layers."""
    tokenizer, ids = _tokens("<|vision_start|>", "<|vision_end|>", "<|image_pad|>", "<|video_pad|>")
    config = t.Qwen3VLConfig(
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 4,
            "out_hidden_size": 32,
            "num_position_embeddings": 16,
            "deepstack_visual_indexes": [0],
        },
        text_config=language_settings(len(tokenizer), head_dim=8, rope_parameters=SECTIONS),
        vision_start_token_id=ids[0],
        vision_end_token_id=ids[1],
        image_token_id=ids[2],
        video_token_id=ids[3],
    )
    return _qwen(folder, t.Qwen3VLForConditionalGeneration(config), tokenizer, "Qwen3VLProcessor", 16)


def _qwen(folder: Path, model: Any, tokenizer: Any, kind: str, patch: int) -> Path:
    images = t.Qwen2VLImageProcessor(
        patch_size=patch, size={"shortest_edge": 28 * 28, "longest_edge": 4 * 28 * 28}
    )
    template = chat_template("<|vision_start|><|image_pad|><|vision_end|>")
    return parts_saved(folder, model, images, tokenizer, kind, template)


def glm4v(folder: Path) -> Path:
    """GLM-4V (4.1V, 4.5V have the same processor)."""
    tokenizer, ids = _tokens(
        *("<|begin_of_image|>", "<|end_of_image|>", "<|image|>"),
        *("<|begin_of_video|>", "<|end_of_video|>", "<|video|>"),
    )
    config = t.Glm4vConfig(
        vision_config={
            "depth": 2,
            "hidden_size": 32,
            "intermediate_size": 64,
            "num_heads": 4,
            "out_hidden_size": 32,
            "image_size": 56,
        },
        text_config=language_settings(
            len(tokenizer), rope_parameters={**SECTIONS, "partial_rotary_factor": 1.0}
        ),
        image_start_token_id=ids[0],
        image_end_token_id=ids[1],
        image_token_id=ids[2],
        video_start_token_id=ids[3],
        video_end_token_id=ids[4],
        video_token_id=ids[5],
    )
    model = t.Glm4vForConditionalGeneration(config)
    images = t.Glm4vImageProcessor(size={"shortest_edge": 28 * 28 * 2, "longest_edge": 8 * 28 * 28})
    template = chat_template("<|begin_of_image|><|image|><|end_of_image|>")
    return parts_saved(folder, model, images, tokenizer, "Glm4vProcessor", template)


def llava_next(folder: Path) -> Path:
    """LLaVA-NeXT: a picture in tiles of its own shape."""
    tokenizer = tokenizer_of_bytes()
    grid = [[32, 64], [64, 32], [64, 64]]
    config = t.LlavaNextConfig(
        vision_config=t.CLIPVisionConfig(**VISION, image_size=32, patch_size=8),
        text_config=t.LlamaConfig(**language_settings(len(tokenizer))),
        image_token_index=3,
        image_grid_pinpoints=grid,
        image_seq_length=16,
    )
    images = t.LlavaNextImageProcessor(
        size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}, image_grid_pinpoints=grid
    )
    return parts_saved(
        *(folder, t.LlavaNextForConditionalGeneration(config), images, tokenizer, "LlavaNextProcessor"),
        chat_template("<image>"),
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
    )


def llava_onevision(folder: Path) -> Path:
    """LLaVA-OneVision: tiles, and SigLIP."""
    tokenizer = tokenizer_of_bytes((*SPECIAL, "<video>"))
    grid = [[32, 64], [64, 32], [64, 64]]
    config = t.LlavaOnevisionConfig(
        vision_config=t.SiglipVisionConfig(**VISION, image_size=32, patch_size=8, vision_use_head=False),
        text_config=t.Qwen2Config(**language_settings(len(tokenizer))),
        image_token_index=3,
        video_token_index=4,
        image_grid_pinpoints=grid,
        vision_feature_select_strategy="full",
        vision_aspect_ratio="anyres_max_9",
    )
    images = t.LlavaOnevisionImageProcessor(size={"height": 32, "width": 32}, image_grid_pinpoints=grid)
    return parts_saved(
        *(folder, t.LlavaOnevisionForConditionalGeneration(config), images, tokenizer),
        "LlavaOnevisionProcessor",
        chat_template("<image>"),
        num_image_tokens=16,
        vision_feature_select_strategy="full",
    )


def internvl(folder: Path) -> Path:
    """InternVL in transformers' own format (-hf)."""
    names = ("<img>", "</img>", "<IMG_CONTEXT>", "<video>")
    tokenizer = tokenizer_of_bytes((*SPECIAL[:3], *names))
    tokenizer._set_model_specific_special_tokens(  # What "extra_special_tokens" of a tokenizer's file does.
        dict(
            zip(
                ("start_image_token", "end_image_token", "context_image_token", "video_token"),
                names,
                strict=True,
            )
        )
    )
    config = t.InternVLConfig(
        vision_config={**VISION, "image_size": [32, 32], "patch_size": [8, 8]},
        text_config=t.Qwen2Config(**language_settings(len(tokenizer))),
        image_token_id=5,
        image_seq_length=4,
    )
    images = t.GotOcr2ImageProcessor(size={"height": 32, "width": 32}, crop_to_patches=True, max_patches=4)
    return parts_saved(
        *(folder, t.InternVLForConditionalGeneration(config), images, tokenizer, "InternVLProcessor"),
        chat_template("<IMG_CONTEXT>"),
        image_seq_length=4,
    )


def smolvlm(folder: Path) -> Path:
    """SmolVLM (Idefics3's way): a picture in rows and columns of tiles, and whole."""
    tiles = tuple(f"<row_{row}_col_{column}>" for row in range(1, 3) for column in range(1, 3))
    names = ("<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>", *tiles)
    tokenizer = tokenizer_of_bytes((*SPECIAL[:3], *names))
    config = t.SmolVLMConfig(
        vision_config={**VISION, "image_size": 32, "patch_size": 8},
        text_config=t.LlamaConfig(**language_settings(len(tokenizer))),
        image_token_id=3,
        scale_factor=2,
        pad_token_id=0,
    )
    images = t.SmolVLMImageProcessor(size={"longest_edge": 64}, max_image_size={"longest_edge": 32})
    return parts_saved(
        *(folder, t.SmolVLMForConditionalGeneration(config), images, tokenizer, "SmolVLMProcessor"),
        chat_template("<image>"),
        image_seq_len=4,
    )


def florence2(folder: Path) -> Path:
    """Florence-2 in transformers' own format: an encoder and a decoder, and tasks instead of prompts."""
    tokenizer = tokenizer_of_bytes()
    tokenizer._set_model_specific_special_tokens({"image_token": "<image>"})
    config = t.Florence2Config(
        vision_config={
            "depths": [1, 1],
            "embed_dim": [16, 32],
            "num_heads": [2, 2],
            "num_groups": [2, 2],
            "patch_size": [7, 3],
            "patch_stride": [4, 2],
            "patch_padding": [3, 1],
            "patch_prenorm": [False, True],
            "window_size": 4,
            "projection_dim": 32,
        },
        text_config={
            "vocab_size": len(tokenizer),
            "d_model": 32,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_attention_heads": 4,
            "decoder_attention_heads": 4,
            "encoder_ffn_dim": 64,
            "decoder_ffn_dim": 64,
            "init_std": 0.2,
            "pad_token_id": 0,
            "bos_token_id": 1,
            "eos_token_id": 2,
            "decoder_start_token_id": 2,
            "forced_bos_token_id": 1,
        },
        image_token_id=3,
    )
    images = t.CLIPImageProcessor(size={"height": 32, "width": 32}, do_center_crop=False, image_seq_length=17)
    return parts_saved(
        *(folder, t.Florence2ForConditionalGeneration(config), images, tokenizer, "Florence2Processor"),
        num_additional_image_tokens=0,
        post_processor_config={"pure_text": {}},
    )


def blip(folder: Path) -> Path:
    """BLIP: a text decoder like BERT's, which begins with the prompt."""
    tokenizer = _words()
    config = t.BlipConfig(
        vision_config=BlipVisionConfig(**VISION, image_size=32, patch_size=8),
        text_config=BlipTextConfig(
            **VISION,
            vocab_size=len(tokenizer),
            encoder_hidden_size=32,
            max_position_embeddings=64,
            initializer_range=0.2,
            pad_token_id=0,
            bos_token_id=1,
            sep_token_id=2,
            eos_token_id=2,
        ),
    )
    images = t.BlipImageProcessor(size={"height": 32, "width": 32})
    return parts_saved(folder, t.BlipForConditionalGeneration(config), images, tokenizer, "BlipProcessor")


def blip2(folder: Path) -> Path:
    """BLIP-2 with OPT."""
    tokenizer = tokenizer_of_bytes()
    config = t.Blip2Config(
        vision_config=Blip2VisionConfig(**VISION, image_size=32, patch_size=8, initializer_range=0.1),
        qformer_config=Blip2QFormerConfig(**VISION, vocab_size=50, encoder_hidden_size=32),
        text_config=t.OPTConfig(
            vocab_size=len(tokenizer),
            hidden_size=32,
            ffn_dim=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            word_embed_proj_dim=32,
            max_position_embeddings=256,
            init_std=0.2,
            pad_token_id=0,
            bos_token_id=1,
            eos_token_id=2,
        ),
        num_query_tokens=4,
        image_token_index=3,
    )
    images = t.BlipImageProcessor(size={"height": 32, "width": 32})
    return parts_saved(
        *(folder, t.Blip2ForConditionalGeneration(config), images, tokenizer, "Blip2Processor"),
        num_query_tokens=4,
    )


def git(folder: Path) -> Path:
    """GIT: one decoder over the picture's and the prompt's tokens."""
    tokenizer = _words()
    config = t.GitConfig(
        **VISION,
        vision_config=GitVisionConfig(**VISION, image_size=32, patch_size=8).to_dict(),
        vocab_size=len(tokenizer),
        max_position_embeddings=128,
        initializer_range=0.2,
        pad_token_id=0,
        bos_token_id=1,
        eos_token_id=2,
    )
    images = t.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    return parts_saved(folder, t.GitForCausalLM(config), images, tokenizer, "GitProcessor")


def _tokens(*special: str) -> tuple[Any, list[int]]:
    tokenizer = tokenizer_of_bytes((*SPECIAL[:3], *special))
    return tokenizer, [tokenizer.get_vocab()[token] for token in special]


def _words() -> Any:
    """BERT's tokenizer over single letters: [PAD] 0, [CLS] 1, [SEP] 2."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    tokens = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "[MASK]", *letters, *(f"##{one}" for one in letters)]
    return t.BertTokenizerFast(vocab={token: at for at, token in enumerate(tokens)})


FAMILIES: dict[str, Callable[[Path], Path]] = {
    "llava": write_tiny_captioner,
    "llava_next": llava_next,
    "llava_onevision": llava_onevision,
    "qwen2_vl": qwen2_vl,
    "qwen2_5_vl": qwen2_5_vl,
    "qwen3_vl": qwen3_vl,
    "glm4v": glm4v,
    "internvl": internvl,
    "smolvlm": smolvlm,
    "florence2": florence2,
    "blip": blip,
    "blip-2": blip2,
    "git": git,
}
"""transformers' name of the family -> what writes a folder of it."""


def write_family(name: str, folder: Path, *, seed: int = 0) -> Path:
    """A folder of a family, always the same for a seed."""
    torch.manual_seed(seed)
    return FAMILIES[name](folder)

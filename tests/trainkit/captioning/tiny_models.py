"""Tiny vision-language models with random weights, saved as whole folders: weights, processor, tokenizer and
chat template. What they write is noise; how they are loaded and asked is as with the real ones."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

SPECIAL = ("<pad>", "<s>", "</s>", "<image>")

CHAT = (
    "{% for m in messages %}{{ m['role'] | upper }}: {% if m['content'] is string %}{{ m['content'] }}"
    "{% else %}{% for c in m['content'] %}{% if c['type'] == 'image' %}IMAGE"
    "{% else %}{{ c['text'] }}{% endif %}{% endfor %}{% endif %}\n{% endfor %}"
    "{% if add_generation_prompt %}ASSISTANT: {% endif %}"
)
"""A chat template; IMAGE stands for the placeholder of the family."""


def chat_template(image: str) -> str:
    """The chat template with the placeholder of one family."""
    return CHAT.replace("IMAGE", image)


def tokenizer_of_bytes(special: tuple[str, ...] = SPECIAL, **named: str) -> PreTrainedTokenizerFast:
    """One token a byte, and the special ones first: <pad> is 0, <s> 1, </s> 2."""
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {token: n for n, token in enumerate((*special, *alphabet))}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="<pad>",
        bos_token="<s>",
        eos_token="</s>",
        additional_special_tokens=list(special[3:]),
        model_max_length=4096,
        **named,
    )


def write_tiny_captioner(folder: Path, *, seed: int = 0) -> Path:
    """A tiny LLaVA (81,000 parameters, 1 image token for each 8 px patch of a 32 px picture)."""
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
    )

    tokenizer = tokenizer_of_bytes()
    torch.manual_seed(seed)
    model = LlavaForConditionalGeneration(
        LlavaConfig(
            vision_config=CLIPVisionConfig(
                hidden_size=32,
                intermediate_size=64,
                num_hidden_layers=2,
                num_attention_heads=4,
                image_size=32,
                patch_size=8,
            ),
            text_config=LlamaConfig(**language_settings(len(tokenizer))),
            image_token_index=tokenizer.get_vocab()["<image>"],
        )
    )
    images = CLIPImageProcessor(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    processor = LlavaProcessor(
        image_processor=images,
        tokenizer=tokenizer,
        patch_size=8,
        vision_feature_select_strategy="default",
        num_additional_image_tokens=1,
        chat_template=chat_template("<image>"),
    )
    return saved(folder, model, processor)


def language_settings(vocabulary: int, **others: Any) -> dict[str, Any]:
    """A decoder of two layers, 32 wide, whose first scores differ enough to be told apart."""
    return {
        "vocab_size": vocabulary,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "max_position_embeddings": 2048,
        "initializer_range": 0.2,
        "pad_token_id": 0,
        "bos_token_id": 1,
        "eos_token_id": 2,
        **others,
    }


def saved(folder: Path, model: Any, processor: Any) -> Path:
    """Both in one folder, as ``save_pretrained`` writes them."""
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder

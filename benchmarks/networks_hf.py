"""Small networks of transformers, built from configurations with random weights; nothing is downloaded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import transformers as hf
from torch import Tensor, nn

IMAGE, TOKENS, WORDS = 32, 9, 99
TEXT: dict[str, Any] = {
    "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
}  # fmt: skip
LM: dict[str, Any] = TEXT | {"vocab_size": WORDS, "max_position_embeddings": 32, "use_cache": False}
BERT: dict[str, Any] = TEXT | {"vocab_size": WORDS, "max_position_embeddings": 32, "num_labels": 5}
PATCHES: dict[str, Any] = TEXT | {"image_size": 16, "patch_size": 4, "num_labels": 5}

_MARKS: dict[str, Any] = {"bos_token_id": 1, "eos_token_id": 2}
"""Marks within the small vocabulary."""

Built = tuple[nn.Module, tuple[Tensor, ...], str]
"""A network, its example inputs, and the name of the output that matters."""


def images(size: int = IMAGE) -> tuple[Tensor, ...]:
    return (torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(1)),)


def ids() -> tuple[Tensor, ...]:
    return (torch.randint(3, WORDS - 1, (2, TOKENS), generator=torch.Generator().manual_seed(1)),)


def classifier(kind: str, **config: Any) -> Built:
    made = getattr(hf, f"{kind}ForImageClassification")(getattr(hf, f"{kind}Config")(num_labels=5, **config))
    return made, images(config.get("image_size", IMAGE)), "logits"


def text(kind: str, **config: Any) -> Built:
    made = getattr(hf, f"{kind}ForSequenceClassification")(getattr(hf, f"{kind}Config")(**(BERT | config)))
    return made, ids(), "logits"


def decoder(kind: str, **config: Any) -> Built:
    return getattr(hf, f"{kind}ForCausalLM")(getattr(hf, f"{kind}Config")(**(LM | config))), ids(), "logits"


def _vision(kind: str, **more: Any) -> Built:
    config = {name: value for name, value in (PATCHES | more).items() if name != "num_labels"}
    return classifier(kind, **config)


def _distilbert() -> Built:
    config = hf.DistilBertConfig(
        vocab_size=WORDS, dim=32, n_layers=2, n_heads=4, hidden_dim=64, max_position_embeddings=32, num_labels=5
    )
    return hf.DistilBertForSequenceClassification(config), ids(), "logits"


def _bloom() -> Built:
    config = hf.BloomConfig(vocab_size=WORDS, hidden_size=32, n_layer=2, n_head=4, use_cache=False)
    return hf.BloomForCausalLM(config), ids(), "logits"


def _gptj() -> Built:
    sizes: dict[str, Any] = {"n_positions": 32, "n_embd": 32, "n_layer": 2, "n_head": 4, "rotary_dim": 4}
    config = hf.GPTJConfig(vocab_size=WORDS, use_cache=False, **sizes, **_MARKS)
    return hf.GPTJForCausalLM(config), ids(), "logits"


def _gpt2() -> Built:
    config = hf.GPT2Config(vocab_size=WORDS, n_positions=32, n_embd=32, n_layer=2, n_head=4, use_cache=False)
    return hf.GPT2LMHeadModel(config), ids(), "logits"


def _opt() -> Built:
    config = hf.OPTConfig(
        vocab_size=WORDS, hidden_size=32, word_embed_proj_dim=32, num_hidden_layers=2, num_attention_heads=4,
        ffn_dim=64, max_position_embeddings=32, use_cache=False,
    )  # fmt: skip
    return hf.OPTForCausalLM(config), ids(), "logits"


def _t5() -> Built:
    config = hf.T5Config(vocab_size=WORDS, d_model=32, d_kv=8, d_ff=64, num_layers=2, num_heads=4)
    return hf.T5EncoderModel(config), ids(), "last_hidden_state"


def _whisper() -> Built:
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    config = hf.WhisperConfig(
        d_model=32, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=64, max_source_positions=16,
        num_mel_bins=8,
    )  # fmt: skip
    return WhisperEncoder(config), (torch.randn(2, 8, 32),), "last_hidden_state"


def _wav2vec2() -> Built:
    config = hf.Wav2Vec2Config(
        conv_dim=(16, 16), conv_stride=(4, 2), conv_kernel=(8, 4), num_feat_extract_layers=2, num_conv_pos_embeddings=8,
        num_conv_pos_embedding_groups=4, **TEXT,
    )  # fmt: skip
    return hf.Wav2Vec2Model(config), (torch.randn(2, 400),), "last_hidden_state"


def _clip_vision() -> Built:
    config = hf.CLIPVisionConfig(image_size=16, patch_size=4, projection_dim=16, **TEXT)
    return hf.CLIPVisionModelWithProjection(config), images(16), "image_embeds"


def _clip_text() -> Built:
    config = hf.CLIPTextConfig(
        vocab_size=WORDS, projection_dim=16, max_position_embeddings=32, eos_token_id=WORDS - 1, **TEXT
    )
    (words,) = ids()
    words[:, -1] = WORDS - 1  # the tower reads its answer off at the token that ends a text
    return hf.CLIPTextModelWithProjection(config), (words,), "text_embeds"


STAGES: dict[str, Any] = {"hidden_sizes": [16, 32], "depths": [2, 2]}
NETWORKS: dict[str, Callable[[], Built]] = {
    "ResNet": lambda: classifier("ResNet", embedding_size=16, layer_type="basic", **STAGES),
    "ResNet, bottleneck": lambda: classifier("ResNet", embedding_size=16, layer_type="bottleneck", **STAGES),
    "RegNet": lambda: classifier("RegNet", embedding_size=16, groups_width=8, **STAGES),
    "MobileNetV2": lambda: classifier(
        "MobileNetV2", image_size=IMAGE, depth_multiplier=0.25, depth_divisible_by=4, min_depth=4,
        first_layer_is_expansion=True,
    ),
    "ConvNext": lambda: classifier("ConvNext", num_stages=2, image_size=IMAGE, **STAGES),
    "EfficientNet": lambda: classifier(
        "EfficientNet", image_size=IMAGE, width_coefficient=0.25, depth_coefficient=0.5, hidden_dim=320
    ),
    "ViT": lambda: _vision("ViT"),
    "DeiT": lambda: _vision("DeiT"),
    "Swin": lambda: classifier(
        "Swin", image_size=IMAGE, patch_size=2, embed_dim=16, depths=[2, 2], num_heads=[2, 4], window_size=4
    ),
    "BEiT": lambda: _vision("Beit", use_relative_position_bias=True),
    "SegFormer": lambda: classifier(
        "Segformer", num_encoder_blocks=2, sr_ratios=[2, 1], patch_sizes=[3, 3], strides=[2, 2],
        num_attention_heads=[2, 4], mlp_ratios=[2, 2], decoder_hidden_size=16, **STAGES,
    ),
    "BERT": lambda: text("Bert"),
    "DistilBERT": _distilbert,
    "RoBERTa": lambda: text("Roberta"),
    "ALBERT": lambda: text("Albert", embedding_size=16),
    "ELECTRA": lambda: text("Electra", embedding_size=16),
    "DeBERTa-v2": lambda: text(
        "DebertaV2", relative_attention=True, pos_att_type="p2c|c2p", position_buckets=8, norm_rel_ebd="layer_norm",
        pooler_hidden_size=32,
    ),
    "MPNet": lambda: text("MPNet"),
    "GPT-2": _gpt2,
    "OPT": _opt,
    "GPT-NeoX": lambda: decoder("GPTNeoX"),
    "Llama": lambda: decoder("Llama", num_key_value_heads=2),
    "Qwen2": lambda: decoder("Qwen2", num_key_value_heads=2),
    "Mistral": lambda: decoder("Mistral", num_key_value_heads=2),
    "Gemma": lambda: decoder("Gemma", num_key_value_heads=2, head_dim=8),
    "Qwen3": lambda: decoder("Qwen3", num_key_value_heads=2, head_dim=8),
    "Gemma 2": lambda: decoder("Gemma2", num_key_value_heads=2, head_dim=8),
    "OLMo 2": lambda: decoder("Olmo2", num_key_value_heads=2, pad_token_id=0),
    "StarCoder2": lambda: decoder("Starcoder2", num_key_value_heads=2, **_MARKS),
    "StableLM": lambda: decoder("StableLm", num_key_value_heads=2),
    "SmolLM3": lambda: decoder("SmolLM3", num_key_value_heads=2, pad_token_id=0, **_MARKS),
    "Phi-3": lambda: decoder("Phi3", pad_token_id=0, **_MARKS),
    "Falcon": lambda: decoder("Falcon", **_MARKS),
    "BLOOM": _bloom,
    "GPT-J": _gptj,
    "ModernBERT": lambda: text("ModernBert", pad_token_id=0, cls_token_id=1, sep_token_id=2, **_MARKS),
    "XLM-RoBERTa": lambda: text("XLMRoberta"),
    "DINOv2": lambda: _vision("Dinov2"),
    "ConvNextV2": lambda: classifier("ConvNextV2", num_stages=2, image_size=IMAGE, **STAGES),
    "PoolFormer": lambda: classifier("PoolFormer", hidden_sizes=[8, 16, 24, 32], depths=[2, 2, 2, 2]),
    "T5 encoder": _t5,
    "Whisper encoder": _whisper,
    "Wav2Vec2": _wav2vec2,
    "CLIP vision tower": _clip_vision,
    "CLIP text tower": _clip_text,
}  # fmt: skip
"""Name -> a function that builds the network."""


class Output(nn.Module):
    """A network of which one output matters."""

    def __init__(self, network: nn.Module, name: str) -> None:
        super().__init__()
        self.network, self.name = network, name

    def forward(self, *inputs: Tensor) -> Tensor:
        outputs = self.network(*inputs)
        found: Tensor = outputs[self.name]
        return found

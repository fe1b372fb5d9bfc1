"""Tiny models as transformers and diffusers save them, with random weights."""

import json
from pathlib import Path

import torch

WORDS = "in the beginning god made heaven and earth light was good day night water sea land man he she it they said"
PAIRS = [
    ("and he said it was good", "he said it was good"),
    ("in the beginning was light", "at the beginning was light"),
    ("the sea and the land", "sea and land"),
    ("she said night was day", "she said it was day"),
]


def save_tokenizer(folder: Path) -> int:
    """A tokenizer of whole words; its number of pieces."""
    from tokenizers import Tokenizer, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    pieces = ["<pad>", "<eos>", "<unk>", *dict.fromkeys(WORDS.split())]
    tokenizer = Tokenizer(models.WordLevel({piece: i for i, piece in enumerate(pieces)}, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="<pad>", eos_token="<eos>", unk_token="<unk>")
    fast.save_pretrained(folder)
    return len(pieces)


def save_text_model(folder: Path, kind: str) -> Path:
    """Save a tiny `t5`, `gpt2` or `llama` with its tokenizer."""
    import transformers as tf

    n_pieces = save_tokenizer(folder)
    ids = {"vocab_size": n_pieces, "pad_token_id": 0, "eos_token_id": 1}
    torch.manual_seed(0)
    if kind == "t5":
        shape = {"d_model": 32, "d_kv": 8, "d_ff": 64, "num_layers": 2, "num_heads": 4}
        model = tf.T5ForConditionalGeneration(tf.T5Config(**shape, **ids, decoder_start_token_id=0))
    elif kind == "gpt2":
        model = tf.GPT2LMHeadModel(tf.GPT2Config(n_embd=32, n_layer=2, n_head=4, n_positions=64, **ids, bos_token_id=1))
    else:
        shape = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4}
        model = tf.LlamaForCausalLM(tf.LlamaConfig(**shape, max_position_embeddings=64, **ids, bos_token_id=1))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # answers that differ from prompt to prompt
    model.save_pretrained(folder)
    return folder


def save_pipeline(folder: Path, size: int = 28, channels: int = 1) -> Path:
    """Save a tiny pixel diffusion pipeline."""
    import diffusers

    torch.manual_seed(0)
    network = diffusers.UNet2DModel(
        sample_size=size,
        in_channels=channels,
        out_channels=channels,
        block_out_channels=(16, 16),
        layers_per_block=1,
        norm_num_groups=4,
        down_block_types=("DownBlock2D", "AttnDownBlock2D"),
        up_block_types=("AttnUpBlock2D", "UpBlock2D"),
        attention_head_dim=8,
    )
    diffusers.DDPMPipeline(network, diffusers.DDPMScheduler(num_train_timesteps=100)).save_pretrained(folder)
    return folder


def save_pairs(file: Path, n: int = 32) -> Path:
    """A file of prompts and references."""
    file.write_text("".join("\t".join(PAIRS[i % len(PAIRS)]) + "\n" for i in range(n)))
    return file


def rename_class(folder: Path, name: str) -> None:
    """Make a pipeline say that it is another one."""
    file = folder / "model_index.json"
    content = json.loads(file.read_text())
    content[name] = ["transformers", "CLIPTextModel"]
    file.write_text(json.dumps(content))

"""How well archaic verses become modern ones: copying, a word table, and a trained network.

Run as `python -m benchmarks.verses [MODEL.safetensors]`; prints one Markdown table over the fixed test verses.
"""

import math
import sys
from pathlib import Path

import torch

from gencomp_core.data.verses import BOS, EOS, load_tokenizer, load_verses
from gencomp_core.evaluate.bleu import bleu, chrf
from gencomp_core.models import decoding
from gencomp_core.models.seq2seq import Seq2Seq, Seq2SeqConfig
from gencomp_core.models.substitution import learn_substitutions, substitute
from gencomp_core.training.batches import TextBatches
from gencomp_core.workloads.checkpoints import checkpoint_path, fill, read_checkpoint

N_VERSES = 500
LONGEST = 160


def main() -> None:
    """Print the table."""
    pairs, tokenizer = load_verses("test", N_VERSES), load_tokenizer()
    path = Path(sys.argv[1]) if len(sys.argv) > 1 else checkpoint_path("verses-transformer")
    tensors, shape = read_checkpoint(path)
    network = Seq2Seq(Seq2SeqConfig(**shape)).eval()
    fill(network, tensors, path)
    batches = TextBatches.of(pairs, tokenizer, 50, seed=0)
    log_prob, n_pieces = 0.0, 0
    searched: dict[str, dict[int, str]] = {"greedy": {}, "beam of 4": {}}
    limits = {"begin": BOS, "end": EOS, "max_length": LONGEST}
    for index, source, target in batches.in_order():
        with torch.inference_mode():
            real = target[:, 1:] != network.config.pad
            log_prob += float((network(source, target) * real).sum())
            n_pieces += int(real.sum())
        found = {
            "greedy": decoding.greedy(network, source, **limits),
            "beam of 4": decoding.beam_search(network, source, width=4, **limits),
        }
        for name, ids in found.items():
            searched[name] |= dict(zip(index, tokenizer.decode_batch(ids), strict=True))
    table = learn_substitutions(load_verses("train"))
    texts = {
        "source copied": list(pairs.archaic),
        "word table": [substitute(text, table) for text in pairs.archaic],
        **{name: [found[i] for i in range(len(pairs))] for name, found in searched.items()},
    }
    print("| output | BLEU | chrF2 |\n|---|---|---|")
    for name, own in texts.items():
        print(f"| {name} | {bleu(own, pairs.modern).value:.1f} | {chrf(own, pairs.modern).value:.1f} |")
    print(f"\n{bleu(texts['greedy'], pairs.modern).signature}; perplexity {math.exp(-log_prob / n_pieces):.2f} a piece")
    for i in range(4):
        print(f"\n{pairs.references[i]}\n  {pairs.archaic[i]}\n  {pairs.modern[i]}\n  {texts['greedy'][i]}")


if __name__ == "__main__":
    main()

"""Record the pictures of the Methods page: real weights, inputs and scores before and after each stage.

Run as `python -m tools.record_methods [KIND ...]`, then `python -m tools.make_checksums`. A
few minutes on one thread, most of them for AdaRound. A stage without a recorder of its own gets a map of weights.
"""

import argparse
from collections.abc import Callable

from gencomp_core.recipes.stages import STAGES
from gencomp_core.runtime_env import set_threads
from gencomp_core.services.pictures import Picture, Recording, path_of
from gencomp_core.services.techniques import example
from tools.method_pictures import pruning, quantization, structure, training
from tools.method_pictures.tables import (
    CONVOLUTION,
    DIFFUSION,
    VAE,
    VERSES,
    made,
    rows_in,
    weights_picture,
    workload_of,
)


def plain(kind: str) -> list[Picture]:
    """What any stage does to one layer, for stages without a recorder of their own."""
    stage = example(kind)
    dense, after = (rows_in(own, CONVOLUTION) for own in (workload_of(VAE).model, made(VAE, stage).model))
    caption = "The same weights before and after the stage."
    return [weights_picture(VAE, CONVOLUTION, {"dense": dense, kind: after}, caption, stage)]


RECORDERS: dict[str, Callable[[], list[Picture]]] = {
    "magnitude-pruning": pruning.magnitude,
    "wanda-pruning": pruning.wanda,
    "sparsegpt-pruning": pruning.sparsegpt,
    "gradient-pruning": pruning.gradient,
    "adaptive-pruning": pruning.adaptive,
    "weight-quantization": quantization.weight_quantization,
    "float-format": quantization.float_format,
    "low-rank-correction": quantization.low_rank,
    "bias-correction": quantization.bias_correction,
    "cross-layer-equalization": quantization.equalization,
    "smooth-quant": quantization.smooth_quant,
    "activation-quantization": quantization.activation_quantization,
    "channel-pruning": structure.channels,
    "head-pruning": structure.heads,
    "block-removal": structure.blocks,
    "low-rank-factorization": structure.factorization,
    "fine-tune": training.fine_tuning,
    "quantization-aware-training": training.under_rounding,
    "iterative-pruning": training.iterative,
    "movement-pruning": training.movement,
    "hard-concrete-pruning": training.hard_concrete,
    "regularized-pruning": training.regularized,
    "regrowth": training.regrowth,
    "step-distillation": training.fewer_steps,
    "self-critical-tuning": training.self_critical,
}


def record(kind: str) -> None:
    """Write the pictures of one stage."""
    pictures = RECORDERS[kind]() if kind in RECORDERS else plain(kind)
    names = [name for name in (VAE, VERSES, DIFFUSION) if any(name in picture.conditions for picture in pictures)]
    recording = Recording(weights={name: workload_of(name).weights_hash for name in names}, pictures=tuple(pictures))
    path = path_of(kind)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(recording.model_dump_json() + "\n")
    print(f"{kind}: {len(pictures)} pictures, {path.stat().st_size:,} bytes", flush=True)
    for picture in pictures:
        print(f"  {picture.title}. {picture.caption} [{picture.conditions}]", flush=True)


def main() -> None:
    """Record the stages that were named, or all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kinds", nargs="*", metavar="KIND", help="stages; all without any")
    kinds = parser.parse_args().kinds
    if unknown := sorted(set(kinds) - STAGES.keys()):
        parser.error(f"no stage named {unknown[0]!r}. Available: {', '.join(STAGES)}")
    set_threads(1)
    for kind in kinds or STAGES:
        record(kind)


if __name__ == "__main__":
    main()

"""Recorded ablations: which strategy is tried on which network, as frozen data.

Each is a pair of short runs of a shipped configuration made small, equal but for what is asked.
`python -m tools.record_ablations` runs them; `services/ablations.py` reads what came out.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from gencomp_core.registry import Registry
from gencomp_core.training.config import AnyTraining, load_config

Arm = Literal["without", "with"]
ARMS: tuple[Arm, Arm] = ("without", "with")

ROWS = (
    "Depth and width", "Residual connections", "Attention", "Adversarial training balance, WGAN-GP",
    "Curriculum learning", "Pretraining", "Loss design", "Regularization", "Gradient penalty",
    "Adaptive learning rates", "Gradient clipping, warm-up", "Data augmentation, balanced data",
    "Regular validation", "Metric optimization", "Latent regularization", "Mode seeking", "Reinforcement learning",
    "Mixed-precision training", "Distributed training",
)  # fmt: skip
"""What makes a generative model good before it is made small."""

BASES: Mapping[str, Mapping[str, Any]] = {
    "fashion-diffusion": {"steps": 500, "batch_size": 64, "width": 0.25, "warmup": 0.05, "validate_every": 62},
    "fashion-gan": {"steps": 500, "batch_size": 32, "width": 0.5, "warmup": 0.05, "validate_every": 100},
    "fashion-vae": {"steps": 600, "batch_size": 64, "width": 0.5, "warmup": 0.05, "validate_every": 75},
    "verses-transformer": {"steps": 400, "batch_size": 32, "width": 0.5, "validate_every": 200},
}
"""The shipped configurations made small; a first arm that changes nothing is run once for all ablations."""


@dataclass(frozen=True)
class Ablation:
    """One question and the two arms that answer it.

    Attributes:
        name: key, and stem of its pictures.
        title: what the second arm has.
        row: the strategy that it stands for, one of `ROWS`.
        question: what is asked.
        network: whose shipped configuration is made small.
        without, with_: what each arm changes in it.
        source: paper.
        base: what both arms change, on top of `BASES`.
        seeds: of weights, data order and noise; two unless a run is long.
        equal: what both arms have alike. Arms equal in seconds are compared on their curves.
    """

    name: str
    title: str
    row: str
    question: str
    network: str
    without: Mapping[str, Any]
    with_: Mapping[str, Any]
    source: str
    base: Mapping[str, Any] = field(default_factory=dict)
    seeds: tuple[int, ...] = (0, 1)
    equal: Literal["steps", "seconds"] = "steps"

    def config(self, arm: Arm, seed: int) -> AnyTraining:
        """Validated configuration of one run; it saves its state at the end only."""
        shipped = load_config(self.network)
        mine = self.with_ if arm == "with" else self.without
        fields = shipped.model_dump() | dict(BASES[self.network]) | dict(self.base) | dict(mine) | {"seed": seed}
        return type(shipped).model_validate(fields | {"save_every": fields["steps"]})

    def runs(self) -> Iterator[tuple[Arm, int, AnyTraining]]:
        """Arm, seed and configuration of every run."""
        for seed in self.seeds:
            for arm in ARMS:
                yield arm, seed, self.config(arm, seed)


@dataclass(frozen=True)
class Note:
    """A strategy that a pair of runs can't show, and where its evidence is."""

    row: str
    title: str
    text: str


def run_name(config: AnyTraining) -> str:
    """Folder name of a run: equal configurations share one. A new switch that is left alone changes no name."""
    text = json.dumps(config.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
    return f"{config.network}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


NOTES = (
    Note(
        "Distributed training",
        "Two processes",
        "Under `torchrun --nproc_per_node 2` each process takes half of every batch and gradients are averaged, so "
        "that two processes train like one. `tests/integration/test_training.py` tests it on the diffusion model: no "
        "weight differs by more than 1e-5, no loss by more than 0.01 %. On one core two processes buy no time, so that "
        "no seconds are recorded.",
    ),
)

ABLATIONS: Registry[Ablation] = Registry("ablation")
_ALL = (
    Ablation(
        "depth", "Twice the depth", "Depth and width",
        "Is a VAE with two residual blocks a stage better after equally many steps?",
        "fashion-vae", {}, {"depth": 2}, "He 2016 (arXiv:1512.03385)",
    ),
    Ablation(
        "width", "Twice the width", "Depth and width",
        "Is a VAE of twice the channels better after equally many steps?",
        "fashion-vae", {}, {"width": 1.0}, "Zagoruyko 2016 (arXiv:1605.07146)",
    ),
    Ablation(
        "width-diffusion", "Twice the width, diffusion", "Depth and width",
        "Is a U-Net of half the shipped width better than one of a quarter after equally many steps?",
        "fashion-diffusion", {}, {"width": 0.5}, "Zagoruyko 2016 (arXiv:1605.07146)",
    ),
    Ablation(
        "residual-diffusion", "Residual connections, U-Net", "Residual connections",
        "Does it help that the U-Net's blocks add their input?",
        "fashion-diffusion", {"residual": False}, {}, "He 2016 (arXiv:1512.03385)",
    ),
    Ablation(
        "residual-text", "Residual connections, Transformer", "Residual connections",
        "Does it help that the Transformer's blocks add their input?",
        "verses-transformer", {"residual": False}, {}, "He 2016 (arXiv:1512.03385)",
    ),
    Ablation(
        "attention-diffusion", "Self-attention, U-Net", "Attention",
        "Does self-attention at the lowest resolution make better pictures of 28 × 28?",
        "fashion-diffusion", {"attention": False}, {}, "Ho 2020 (arXiv:2006.11239), section 4",
    ),
    Ablation(
        "attention-text", "Self-attention, encoder", "Attention",
        "Does the encoder need self-attention for a translation that is nearly word by word?",
        "verses-transformer", {"attention": False}, {}, "Vaswani 2017 (arXiv:1706.03762)",
    ),
    Ablation(
        "wgan-gp", "WGAN-GP", "Adversarial training balance, WGAN-GP",
        "In equal seconds, is a Wasserstein critic with a two-sided gradient penalty of 10 and five updates a step "
        "better than the shipped non-saturating loss with R1? Rate and decay are those of the shipped configuration.",
        "fashion-gan", {},
        {
            "loss": "wasserstein", "r1": 0.0, "gradient_penalty": 10.0, "penalty_every": 1, "n_critic": 5,
            "steps": 84, "validate_every": 17,
        },
        "Gulrajani 2017 (arXiv:1704.00028)", equal="seconds",
    ),
    Ablation(
        "hinge-spectral", "Hinge loss, spectral norm", "Adversarial training balance, WGAN-GP",
        "In equal seconds, is a hinge loss with a spectrally normalised critic better than the shipped one with R1?",
        "fashion-gan", {}, {"loss": "hinge", "r1": 0.0, "spectral_norm": True},
        "Miyato 2018 (arXiv:1802.05957)", equal="seconds",
    ),
    Ablation(
        "r1", "R1 gradient penalty", "Gradient penalty",
        "Does a critic that is held flat on real images teach better?",
        "fashion-gan", {"r1": 0.0}, {}, "Mescheder 2018 (arXiv:1801.04406)",
    ),
    Ablation(
        "curriculum-diffusion", "Low noise first", "Curriculum learning",
        "Does it help to widen the times from low noise to the whole path over the first 30 % of the steps?",
        "fashion-diffusion", {}, {"curriculum": 0.3}, "Bengio 2009 (ICML)",
    ),
    Ablation(
        "curriculum-text", "Short verses first", "Curriculum learning",
        "Does it help to see short verses first, for 30 % of the steps?",
        "verses-transformer", {}, {"curriculum": 0.3}, "Platanios 2019 (arXiv:1903.09848)",
    ),
    Ablation(
        "pretraining", "Denoising pretraining", "Pretraining",
        "Of equally many steps, is it worth spending 25 % on restoring damaged text first?",
        "verses-transformer", {}, {"pretrain": 0.25}, "Lewis 2020 (arXiv:1910.13461)",
    ),
    Ablation(
        "label-smoothing", "Label smoothing", "Loss design",
        "Does a target of 0.9 instead of 1 give better verses?",
        "verses-transformer", {"label_smoothing": 0.0}, {}, "Szegedy 2016 (arXiv:1512.00567)",
    ),
    Ablation(
        "min-snr", "Min-SNR weights", "Loss design",
        "Do loss weights that cap the signal-to-noise ratio at 5 give better pictures?",
        "fashion-diffusion", {}, {"min_snr": 5.0}, "Hang 2023 (arXiv:2303.09556)",
    ),
    Ablation(
        "dropout", "Dropout", "Regularization",
        "Does dropping 10 % of the activations help in a run shorter than one epoch?",
        "verses-transformer", {"dropout": 0.0}, {}, "Srivastava 2014 (JMLR 15)",
    ),
    Ablation(
        "weight-decay", "Weight decay", "Regularization",
        "Does a decoupled decay of 0.01 help?",
        "fashion-vae", {"weight_decay": 0.0}, {}, "Loshchilov & Hutter 2019 (arXiv:1711.05101)",
    ),
    Ablation(
        "ema", "Average of the weights, GAN", "Regularization",
        "Is the moving average of the generator's weights better than the last weights?",
        "fashion-gan", {"ema": 0.0}, {}, "Yazıcı 2019 (arXiv:1806.04498)",
    ),
    Ablation(
        "ema-diffusion", "Average of the weights, diffusion", "Regularization",
        "Is the moving average of the U-Net's weights better than the last weights of a cosine schedule?",
        "fashion-diffusion", {"ema": 0.0}, {}, "Ho 2020 (arXiv:2006.11239), appendix B",
    ),
    Ablation(
        "optimizer", "AdamW instead of RMSprop", "Adaptive learning rates",
        "At the same peak rate and without weight decay, does momentum with bias correction beat RMSprop?",
        "fashion-vae", {"optimizer": "rmsprop"}, {"optimizer": "adamw"}, "Kingma & Ba 2015 (arXiv:1412.6980)",
        base={"weight_decay": 0.0},
    ),
    Ablation(
        "schedule", "Cosine decay", "Adaptive learning rates",
        "Is a rate that falls to zero better than a constant one?",
        "fashion-vae", {"schedule": "constant"}, {}, "Loshchilov & Hutter 2017 (arXiv:1608.03983)",
    ),
    Ablation(
        "clipping", "Gradient clipping", "Gradient clipping, warm-up",
        "Does a largest gradient norm of 1 help the Transformer?",
        "verses-transformer", {"clip_norm": 0.0}, {}, "Pascanu 2013 (arXiv:1211.5063)",
    ),
    Ablation(
        "warm-up", "Warm-up", "Gradient clipping, warm-up",
        "Does a rate that rises over the first 6 % of the steps help the Transformer?",
        "verses-transformer", {"warmup": 0.0}, {}, "Xiong 2020 (arXiv:2002.04745)",
    ),
    Ablation(
        "flips", "Mirrored images", "Data augmentation, balanced data",
        "Does mirroring half of the images help?",
        "fashion-diffusion", {"flips": False}, {}, "Ho 2020 (arXiv:2006.11239), appendix B",
    ),
    Ablation(
        "shifts", "Shifted images", "Data augmentation, balanced data",
        "Do shifts of up to two pixels help the VAE?",
        "fashion-vae", {}, {"shifts": 2}, "Simard 2003 (ICDAR)",
    ),
    Ablation(
        "diff-augment", "DiffAugment", "Data augmentation, balanced data",
        "Does it help that the critic sees shifted and cut images, with 60,000 to learn from?",
        "fashion-gan", {}, {"augment": ("translation", "cutout")}, "Zhao 2020 (arXiv:2006.10738)",
    ),
    Ablation(
        "balanced", "Balanced batches", "Data augmentation, balanced data",
        "Do batches with equally many images of each class help, where the data are balanced anyway?",
        "fashion-vae", {}, {"balanced": True}, "Buda 2018 (arXiv:1710.05381)",
    ),
    Ablation(
        "best-checkpoint", "Best instead of last weights", "Regular validation",
        "The last weights of a GAN without average and decay swing from step to step: are those of the best of ten "
        "validations better?",
        "fashion-gan", {"keep": "last"}, {"keep": "best"}, "Prechelt 1998 (LNCS 1524)",
        base={"ema": 0.0, "schedule": "constant", "validate_every": 50},
    ),
    Ablation(
        "select-by-fid", "Weights chosen by FID", "Metric optimization",
        "Is a VAE whose best weights are chosen by FID better than one whose are chosen by its bound?",
        "fashion-vae", {}, {"validate_fid": 500}, "Heusel 2017 (arXiv:1706.08500)",
        base={"keep": "best", "ema": 0.0, "schedule": "constant", "validate_every": 100},
    ),
    Ablation(
        "beta", "β of 4", "Latent regularization",
        "What does a KL weight of 4 cost in samples, and how many latent dimensions stay active?",
        "fashion-vae", {"beta": 1.0}, {"beta": 4.0}, "Higgins 2017 (ICLR)",
    ),
    Ablation(
        "kl-warm-up", "KL warm-up", "Latent regularization",
        "Does it help that the KL weight rises over the first 10 % of the steps?",
        "fashion-vae", {"kl_warmup": 0.0}, {}, "Bowman 2016 (arXiv:1511.06349)",
    ),
    Ablation(
        "free-bits", "Free bits", "Latent regularization",
        "Do 0.1 nats a dimension that the KL term leaves alone keep more of them active?",
        "fashion-vae", {}, {"free_bits": 0.1}, "Kingma 2016 (arXiv:1606.04934)",
    ),
    Ablation(
        "mode-seeking", "Mode-seeking term", "Mode seeking",
        "Does it help to reward different images for different latents?",
        "fashion-gan", {}, {"mode_seeking": 1.0}, "Mao 2019 (arXiv:1903.05628)",
    ),
    Ablation(
        "minibatch-std", "Minibatch standard deviation", "Mode seeking",
        "Does it help that the critic sees how much its batch varies?",
        "fashion-gan", {"minibatch_std": False}, {}, "Karras 2018 (arXiv:1710.10196)",
    ),
    Ablation(
        "self-critical", "Self-critical tuning", "Reinforcement learning",
        "The shipped model goes on at a low rate: is BLEU as reward better than as many steps of cross-entropy?",
        "verses-transformer", {}, {"self_critical": 1.0}, "Rennie 2017 (arXiv:1612.00563)",
        base={
            "start_from": "verses-transformer", "width": 1.0, "steps": 120, "batch_size": 16, "learning_rate": 3e-5,
            "warmup": 0.1, "ema": 0.9, "validate_every": 60,
        },
    ),
    Ablation(
        "mixed-precision", "bf16 instead of fp32", "Mixed-precision training",
        "What do 16-bit products buy in seconds and memory here, and do they cost quality?",
        "fashion-diffusion", {"precision": "fp32"}, {"precision": "bf16"}, "Kalamkar 2019 (arXiv:1905.12322)",
    ),
)  # fmt: skip
for _ablation in _ALL:
    ABLATIONS.add(_ablation.name)(_ablation)

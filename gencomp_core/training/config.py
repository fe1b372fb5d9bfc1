"""Training configurations: frozen data, read from YAML, one class per network."""

from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from gencomp_core.errors import TrainingError
from gencomp_core.runtime_env import ASSETS

CONFIG_FOLDER = ASSETS / "training"


class TrainingConfig(BaseModel):
    """What every training run has.

    Attributes:
        steps: optimizer steps.
        batch_size: images a step, over all processes together.
        optimizer: AdamW (Loshchilov & Hutter 2019, arXiv:1711.05101), Adam (Kingma & Ba 2015,
            arXiv:1412.6980) or RMSprop (Tieleman & Hinton 2012, Coursera lecture 6.5).
        learning_rate: peak rate.
        betas: decay rates of the averages of gradient and squared gradient; RMSprop has only the second.
        weight_decay: decoupled with AdamW: weights shrink by rate · decay. Coupled with Adam and
            RMSprop, as in torch: decay · weight is added to the gradient (L2 penalty).
        warmup: fraction of the steps with a rising rate.
        schedule: what follows the warm-up.
        clip_norm: largest global gradient norm; 0 leaves gradients alone.
        ema: decay of the exponential moving average of the weights; 0 keeps the last weights.
        precision: arithmetic of the forward pass; bf16 is autocast.
        seed: of the weights, the order of the data and all noise.
        validate_every: steps between two validations on held-out images.
        save_every: steps between two resumable states.
        keep: weights that ship: the last, or those of the best validation (`Task.badness`).
        patience: validations without a new best after which the run ends; 0 never ends it early.
        start_from: weights that the network which ships and its average start from: the name of a
            bundled checkpoint or the path of a model.safetensors; empty starts from random weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(gt=0)
    batch_size: int = Field(default=128, gt=0)
    optimizer: Literal["adamw", "adam", "rmsprop"] = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0)
    betas: tuple[float, float] = (0.9, 0.99)
    weight_decay: float = Field(default=0.01, ge=0)
    warmup: float = Field(default=0.05, ge=0, lt=1)
    schedule: Literal["constant", "cosine", "inverse-sqrt"] = "cosine"
    clip_norm: float = Field(default=1.0, ge=0)
    ema: float = Field(default=0.999, ge=0, lt=1)
    precision: Literal["bf16", "fp32"] = "bf16"
    seed: int = 0
    validate_every: int = Field(default=500, gt=0)
    save_every: int = Field(default=500, gt=0)
    keep: Literal["last", "best"] = "last"
    patience: int = Field(default=0, ge=0)
    start_from: str = ""


class ClassifierTraining(TrainingConfig):
    """The yardstick: a classifier whose features FID is taken in.

    Attributes:
        balanced: draw every batch evenly over the classes.
    """

    network: Literal["fashion-classifier"] = "fashion-classifier"
    balanced: bool = False
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)


class DiffusionTraining(TrainingConfig):
    """The flow-matching U-Net.

    Attributes:
        label_dropout: fraction of the batch trained without its class, for guidance.
        min_snr: γ of min-SNR loss weights; 0 weighs all times alike.
        curriculum: fraction of the steps over which the times widen from low noise to the whole path.
        balanced: draw every batch evenly over the classes.
        flips: mirror images at random.
        shifts: largest random shift in pixels.
        validate_fid: samples whose FID validation reports and chooses weights by; 0 is off.
    """

    network: Literal["fashion-diffusion"] = "fashion-diffusion"
    channels: tuple[int, int] = (64, 128)
    width: float = Field(default=1.0, gt=0)
    depth: int = Field(default=1, gt=0)
    attention: bool = True
    residual: bool = True
    label_dropout: float = Field(default=0.1, ge=0, lt=1)
    min_snr: float = Field(default=0.0, ge=0)
    curriculum: float = Field(default=0.0, ge=0, lt=1)
    balanced: bool = False
    flips: bool = True
    shifts: int = Field(default=0, ge=0)
    validate_fid: int = Field(default=0, ge=0)


class VAETraining(TrainingConfig):
    """The variational autoencoder.

    Attributes:
        beta: weight of the KL term.
        kl_warmup: fraction of the steps over which the KL weight rises from 0 to `beta`.
        free_bits: nats per latent dimension that the KL term leaves alone.
        balanced: draw every batch evenly over the classes.
        flips: mirror images at random.
        shifts: largest random shift in pixels.
        validate_fid: samples whose FID validation reports and chooses weights by; 0 is off.
    """

    network: Literal["fashion-vae"] = "fashion-vae"
    channels: tuple[int, int] = (32, 64)
    width: float = Field(default=1.0, gt=0)
    depth: int = Field(default=1, gt=0)
    latent_dim: int = Field(default=32, gt=0)
    residual: bool = True
    beta: float = Field(default=1.0, gt=0)
    kl_warmup: float = Field(default=0.1, ge=0, lt=1)
    free_bits: float = Field(default=0.0, ge=0)
    balanced: bool = False
    flips: bool = False
    shifts: int = Field(default=0, ge=0)
    validate_fid: int = Field(default=0, ge=0)


class GANTraining(TrainingConfig):
    """Generator and critic.

    Attributes:
        depth: refining convolutions of the generator per resolution.
        spectral_norm: hold the largest singular value of each of the critic's layers at 1.
        loss: of both players.
        r1: weight γ / 2 of the R1 penalty; 0 is off.
        gradient_penalty: weight λ of the WGAN-GP penalty; 0 is off.
        penalty_every: steps between two penalties, whose weight is multiplied by it ("lazy
            regularization", Karras 2020, arXiv:1912.04958).
        n_critic: critic updates a step.
        mode_seeking: weight of the mode-seeking term; 0 is off.
        augment: what DiffAugment does to all images before the critic sees them.
        balanced: draw every batch of real images evenly over the classes.
        flips: mirror real images at random.
        shifts: largest random shift of real images in pixels.
    """

    network: Literal["fashion-gan"] = "fashion-gan"
    channels: tuple[int, int, int] = (128, 64, 32)
    width: float = Field(default=1.0, gt=0)
    depth: int = Field(default=1, gt=0)
    latent_dim: int = Field(default=64, gt=0)
    residual: bool = True
    minibatch_std: bool = True
    spectral_norm: bool = False
    loss: Literal["wasserstein", "hinge", "non-saturating"] = "non-saturating"
    r1: float = Field(default=0.5, ge=0)
    gradient_penalty: float = Field(default=0.0, ge=0)
    penalty_every: int = Field(default=8, gt=0)
    n_critic: int = Field(default=1, gt=0)
    mode_seeking: float = Field(default=0.0, ge=0)
    augment: tuple[Literal["brightness", "translation", "cutout"], ...] = ()
    balanced: bool = False
    flips: bool = True
    shifts: int = Field(default=0, ge=0)


class TextTraining(TrainingConfig):
    """The encoder–decoder Transformer; `batch_size` counts verse pairs.

    Attributes:
        depth: multiplies both numbers of layers; at least one of each stays.
        label_smoothing: weight of the uniform distribution in the target.
        pretrain: fraction of the steps spent first on restoring damaged modern texts
            (`denoising.mask_spans`); translation follows.
        curriculum: fraction of the translation steps over which targets grow from the shortest to all
            (`batches.competence`).
        self_critical: weight of the self-critical loss (`reinforcement`) in the loss of translation; for
            a network that translates already (`start_from`).
    """

    network: Literal["verses-transformer"] = "verses-transformer"
    dim: int = Field(default=192, gt=0)
    width: float = Field(default=1.0, gt=0)
    depth: float = Field(default=1.0, gt=0)
    encoder_layers: int = Field(default=3, gt=0)
    decoder_layers: int = Field(default=2, gt=0)
    attention: bool = True
    residual: bool = True
    dropout: float = Field(default=0.1, ge=0, lt=1)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)
    pretrain: float = Field(default=0.0, ge=0, lt=1)
    curriculum: float = Field(default=0.0, ge=0, lt=1)
    self_critical: float = Field(default=0.0, ge=0, le=1)


AnyTraining = Annotated[
    ClassifierTraining | DiffusionTraining | GANTraining | TextTraining | VAETraining, Field(discriminator="network")
]
_adapter: TypeAdapter[AnyTraining] = TypeAdapter(AnyTraining)
TRAINABLE = ("fashion-classifier", "fashion-diffusion", "fashion-gan", "fashion-vae", "verses-transformer")


def load_config(network: str, path: Path | None = None) -> AnyTraining:
    """Read a training configuration; without `path`, the one that the shipped weights were made with.

    Raises:
        TrainingError: unreadable file, unknown field or a value out of range.
    """
    path = path or CONFIG_FOLDER / f"{network}.yaml"
    try:
        fields = yaml.safe_load(path.read_text())
        return _adapter.validate_python({"network": network, **fields})
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise TrainingError(f"{path} can't be read ({reason}). Check the path.") from None
    except (yaml.YAMLError, TypeError, ValueError) as error:
        if isinstance(error, ValidationError):
            raise TrainingError(f"{path}: {_first(error)}") from None
        line = " ".join(str(error).split())
        raise TrainingError(f"{path} is no training configuration ({line}). Write one 'name: value' a line.") from None


def _first(error: ValidationError) -> str:
    """Place, rule and value of the first finding."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:]) or "configuration"
    return f"{place}: {first['msg']}, got {first['input']!r}. Correct that line."

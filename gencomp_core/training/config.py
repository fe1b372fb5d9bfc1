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
        learning_rate: peak rate of AdamW.
        betas: AdamW's decay rates.
        weight_decay: AdamW's decoupled decay.
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
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    steps: int = Field(gt=0)
    batch_size: int = Field(default=128, gt=0)
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


class ClassifierTraining(TrainingConfig):
    """The yardstick: a classifier whose features FID is taken in."""

    network: Literal["fashion-classifier"] = "fashion-classifier"
    label_smoothing: float = Field(default=0.05, ge=0, lt=1)


class DiffusionTraining(TrainingConfig):
    """The flow-matching U-Net.

    Attributes:
        label_dropout: fraction of the batch trained without its class, for guidance.
        min_snr: γ of min-SNR loss weights; 0 weighs all times alike.
    """

    network: Literal["fashion-diffusion"] = "fashion-diffusion"
    channels: tuple[int, int] = (64, 128)
    width: float = Field(default=1.0, gt=0)
    depth: int = Field(default=1, gt=0)
    attention: bool = True
    residual: bool = True
    label_dropout: float = Field(default=0.1, ge=0, lt=1)
    min_snr: float = Field(default=0.0, ge=0)


class VAETraining(TrainingConfig):
    """The variational autoencoder.

    Attributes:
        beta: weight of the KL term.
        kl_warmup: fraction of the steps over which the KL weight rises from 0 to `beta`.
        free_bits: nats per latent dimension that the KL term leaves alone.
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


class GANTraining(TrainingConfig):
    """Generator and critic.

    Attributes:
        loss: of both players.
        r1: weight γ / 2 of the R1 penalty; 0 is off.
        gradient_penalty: weight λ of the WGAN-GP penalty; 0 is off.
        penalty_every: steps between two penalties, whose weight is multiplied by it ("lazy
            regularization", Karras 2020, arXiv:1912.04958).
        n_critic: critic updates a step.
        flips: mirror real images.
    """

    network: Literal["fashion-gan"] = "fashion-gan"
    channels: tuple[int, int, int] = (128, 64, 32)
    width: float = Field(default=1.0, gt=0)
    latent_dim: int = Field(default=64, gt=0)
    residual: bool = True
    minibatch_std: bool = True
    loss: Literal["wasserstein", "hinge", "non-saturating"] = "non-saturating"
    r1: float = Field(default=0.5, ge=0)
    gradient_penalty: float = Field(default=0.0, ge=0)
    penalty_every: int = Field(default=8, gt=0)
    n_critic: int = Field(default=1, gt=0)
    flips: bool = True


class TextTraining(TrainingConfig):
    """The encoder–decoder Transformer; `batch_size` counts verse pairs.

    Attributes:
        label_smoothing: weight of the uniform distribution in the target.
    """

    network: Literal["verses-transformer"] = "verses-transformer"
    dim: int = Field(default=192, gt=0)
    width: float = Field(default=1.0, gt=0)
    encoder_layers: int = Field(default=3, gt=0)
    decoder_layers: int = Field(default=2, gt=0)
    attention: bool = True
    residual: bool = True
    dropout: float = Field(default=0.1, ge=0, lt=1)
    label_smoothing: float = Field(default=0.1, ge=0, lt=1)


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

"""The metrics and same-seed measures, and what people must know to read them."""

from dataclasses import dataclass
from typing import Literal

Better = Literal["lower", "higher"]


@dataclass(frozen=True)
class MetricFacts:
    """What people must know of a quality metric to read it.

    Attributes:
        title: as printed.
        better: direction.
        usual_loss: fraction of the dense quality that a recommended configuration may lose.
        n_samples, least, most: samples of a published figure, and how few and many are accepted.
        about: what it is not.
        drift: the fidelity measure that sees what the metric alone is blind to, a key of `FIDELITIES`.
        same_share, same_points: change between two runtimes that counts as none: a fraction of the dense quality,
            or points of the metric.
    """

    title: str
    better: Better
    usual_loss: float
    n_samples: int
    least: int
    most: int
    about: str
    drift: str
    same_share: float = 0.0
    same_points: float = 0.0

    def tolerance(self, dense: float) -> float:
        """Change between two runtimes that counts as none, in units of the metric."""
        return max(self.same_points, self.same_share * dense)


METRICS = {
    "fid": MetricFacts("FID", "lower", 0.10, 5000, 50, 50_000, "Not comparable with Inception FID.", "psnr_db", 0.02),
    "bleu": MetricFacts(
        "BLEU", "higher", 0.02, 500, 20, 50_000, "sacreBLEU, cased, one reference.", "kl_nats", same_points=0.5
    ),
}


@dataclass(frozen=True)
class FidelityFacts:
    """How a same-seed measure against dense is printed.

    Attributes:
        title, unit: as printed.
        better: direction.
        equal: value of a model that is dense itself.
        digits: after the point.
        help: one or two sentences.
    """

    title: str
    unit: str
    better: Better
    equal: float
    digits: int
    help: str


FIGURES = {
    "psnr_db": "same-seed PSNR, dB ↑",
    "ssim": "same-seed structural similarity ↑",
    "feature_distance": "same-seed distance in feature space ↓",
    "kid": "KID against real images ↓",
    "label_accuracy": "samples that are of the class asked for ↑",
    "precision": "precision: samples that look real (Kynkäänniemi 2019, k = 3) ↑",
    "recall": "recall: real images within reach of a sample (k = 3) ↑",
    "density": "density (Naeem 2020, k = 5) ↑",
    "coverage": "coverage of real images (k = 5) ↑",
    "modes_hit": "classes hit, of all there are ↑",
    "same_class_diversity": "variety within a class, real images 1",
    "active_units": "latent dimensions in use ↑",
    "chrf": "chrF2 ↑",
    "perplexity": "perplexity of the references, a piece ↓",
    "kl_nats": "KL to dense, nats a piece ↓",
    "token_agreement": "pieces on which it agrees with dense ↑",
    "unchanged_texts": "texts that are word for word dense's ↑",
    "max_difference": "largest difference of a pixel, of 255 ↓",
}
"""What the figures of `Measurement.fidelity` are, with their direction."""

FIDELITIES = {
    "psnr_db": FidelityFacts(
        "Same-seed PSNR", "dB", "higher", 100.0, 1,
        "Peak signal-to-noise ratio between dense and compressed samples of the same seed. FID can fall while "
        "samples drift; this can't.",
    ),
    "kl_nats": FidelityFacts(
        "KL to dense", "nats", "lower", 0.0, 3,
        "How far the predictions of the next piece lie from the dense model's, per piece of the references. It "
        "moves long before BLEU does.",
    ),
}  # fmt: skip

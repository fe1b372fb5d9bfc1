"""Fashion classifier whose features are the yardstick for FID, KID and per-class checks."""

import torch
from torch import Tensor, nn

FEATURE_DIM = 64


def _conv_stage(in_channels: int, out_channels: int, *, kernel: int, pool: bool) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(in_channels, out_channels, kernel, padding=kernel // 2, bias=False)]
    if pool:
        layers.append(nn.MaxPool2d(2))
    return [*layers, nn.BatchNorm2d(out_channels), nn.SiLU()]


class FashionClassifier(nn.Module):
    """Small convolutional classifier; 28 × 28 grey images to ten classes.

    The feature layer is a batch-normalised linear layer without a nonlinearity: every one of its
    64 features varies, so that their covariance is never singular (features behind a ReLU died).
    """

    def __init__(self) -> None:
        super().__init__()
        self.stages = nn.Sequential(
            *_conv_stage(1, 32, kernel=5, pool=True),
            *_conv_stage(32, 64, kernel=3, pool=False),
            *_conv_stage(64, 64, kernel=3, pool=True),
            *_conv_stage(64, 128, kernel=3, pool=False),
            nn.MaxPool2d(2),
        )
        self.feature = nn.Linear(128 * 3 * 3, FEATURE_DIM, bias=False)
        self.feature_norm = nn.BatchNorm1d(FEATURE_DIM)
        self.dropout = nn.Dropout(0.2)
        self.out = nn.Linear(FEATURE_DIM, 10)

    def features(self, images: Tensor) -> Tensor:
        """Features of NCHW uint8 images -> (n, 64) float32."""
        scaled = images.float().div(127.5).sub(1).contiguous(memory_format=torch.channels_last)
        normed: Tensor = self.feature_norm(self.feature(self.stages(scaled).flatten(1)))
        return normed

    def forward(self, images: Tensor) -> Tensor:
        """Class scores of NCHW uint8 images -> (n, 10) float32."""
        scores: Tensor = self.out(self.dropout(nn.functional.silu(self.features(images))))
        return scores

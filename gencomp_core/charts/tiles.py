"""Many samples in one picture: one request for a browser, and few bytes."""

import io

import numpy as np
from PIL import Image


def tile(images: np.ndarray, *, columns: int | None = None, gap: int = 1, background: int = 0) -> np.ndarray:
    """Lay images out in rows: (n, 1, h, w) uint8 -> (rows · (h + gap) - gap, ...) uint8.

    Args:
        columns: images a row; about a square without it.
        gap: pixels between images.
        background: brightness of gaps and of places left over.
    """
    n, _, height, width = images.shape
    columns = columns or max(1, int(np.ceil(np.sqrt(n))))
    rows = -(-n // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap), background, np.uint8)
    for number, image in enumerate(images[:, 0]):
        top, left = number // columns * (height + gap), number % columns * (width + gap)
        sheet[top : top + height, left : left + width] = image
    return sheet


def untile(sheet: np.ndarray, *, size: int = 28, gap: int = 1) -> np.ndarray:
    """Images of a sheet that `tile` made: (n, 1, size, size) uint8, places left over included."""
    rows, columns = (sheet.shape[0] + gap) // (size + gap), (sheet.shape[1] + gap) // (size + gap)
    padded = np.pad(sheet, ((0, gap), (0, gap)))
    cells = padded.reshape(rows, size + gap, columns, size + gap).swapaxes(1, 2)
    return cells[:, :, :size, :size].reshape(rows * columns, 1, size, size)


def to_webp(sheet: np.ndarray, *, scale: int = 1) -> bytes:
    """Lossless WEBP of a grey (h, w) or colour (h, w, 3) uint8 picture, pixels repeated `scale` times."""
    enlarged = sheet.repeat(scale, axis=0).repeat(scale, axis=1)
    stream = io.BytesIO()
    Image.fromarray(enlarged).save(stream, "WEBP", lossless=True)
    return stream.getvalue()


def from_webp(content: bytes) -> np.ndarray:
    """Brightness of a stored picture: (h, w) uint8."""
    return np.asarray(Image.open(io.BytesIO(content)).convert("L"))


def to_png(sheet: np.ndarray, *, scale: int = 1) -> bytes:
    """PNG bytes of the same."""
    stream = io.BytesIO()
    Image.fromarray(sheet.repeat(scale, axis=0).repeat(scale, axis=1)).save(stream, "PNG")
    return stream.getvalue()


def changes(images: np.ndarray, dense: np.ndarray) -> np.ndarray:
    """Mean squared difference of each image from the dense one of its number: (n, ...) uint8 twice -> (n,) float64."""
    delta = images.astype(np.float64) - dense.astype(np.float64)
    squared: np.ndarray = np.square(delta).reshape(len(images), -1).mean(axis=1)
    return squared


def difference(images: np.ndarray, dense: np.ndarray) -> np.ndarray:
    """Signed difference of two sheets in colour: orange where brighter than dense, blue where darker.

    Args:
        images, dense: (h, w) uint8 sheets of the same samples.

    Returns:
        (h, w, 3) uint8; white where nothing changed.
    """
    delta = (images.astype(np.float32) - dense.astype(np.float32))[..., None] / 255
    brighter, darker = np.array([230, 97, 1], np.float32), np.array([33, 102, 172], np.float32)
    strength = np.sqrt(np.abs(delta))  # small changes must be seen too
    colour = np.where(delta > 0, brighter, darker)
    mixed: np.ndarray = (255 + strength * (colour - 255)).astype(np.uint8)
    return mixed

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from gencomp_core.charts.tiles import difference, from_webp, tile, to_png, to_webp, untile


def pictures(n: int, *, size: int = 28) -> np.ndarray:
    return np.random.default_rng(n).integers(0, 256, (n, 1, size, size), np.uint8)


@given(n=st.integers(1, 30), columns=st.none() | st.integers(1, 12), gap=st.integers(0, 3), size=st.integers(1, 9))
def test_untile_undoes_tile(n: int, columns: int | None, gap: int, size: int) -> None:
    images = pictures(n, size=size)
    back = untile(tile(images, columns=columns, gap=gap), size=size, gap=gap)
    assert np.array_equal(back[:n], images)
    assert not back[n:].any()  # places left over


def test_a_sheet_is_about_square_or_as_wide_as_asked() -> None:
    assert tile(pictures(64)).shape == (8 * 29 - 1, 8 * 29 - 1)
    assert tile(pictures(24), columns=12).shape == (2 * 29 - 1, 12 * 29 - 1)
    assert tile(pictures(5)).shape == (2 * 29 - 1, 3 * 29 - 1)


def test_images_stand_in_rows_with_a_gap() -> None:
    sheet = tile(np.full((3, 1, 2, 2), 9, np.uint8), columns=2, background=4)
    assert sheet.tolist() == [[9, 9, 4, 9, 9], [9, 9, 4, 9, 9], [4] * 5, [9, 9, 4, 4, 4], [9, 9, 4, 4, 4]]


def test_webp_keeps_every_pixel() -> None:
    sheet = tile(pictures(16))
    assert np.array_equal(from_webp(to_webp(sheet)), sheet)
    assert np.array_equal(untile(from_webp(to_webp(sheet))), pictures(16))


def test_enlarged_pixels_stay_sharp() -> None:
    sheet = pictures(1)[0, 0]
    enlarged = from_webp(to_webp(sheet, scale=3))
    assert enlarged.shape == (84, 84)
    assert np.array_equal(enlarged[1::3, 1::3], sheet)
    assert np.array_equal(enlarged[::3, 2::3], sheet)


def test_png_keeps_every_pixel() -> None:
    sheet = tile(pictures(4))
    with Image.open(io.BytesIO(to_png(sheet))) as picture:
        assert picture.format == "PNG"
        assert np.array_equal(np.asarray(picture), sheet)


def test_a_colour_sheet_keeps_its_colours() -> None:
    colours = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    with Image.open(io.BytesIO(to_webp(colours))) as picture:
        assert np.array_equal(np.asarray(picture.convert("RGB")), colours)


def test_unchanged_is_white() -> None:
    sheet = pictures(1)[0, 0]
    assert (difference(sheet, sheet) == 255).all()


@pytest.mark.parametrize(("own", "dense", "colour"), [(255, 0, (230, 97, 1)), (0, 255, (33, 102, 172))])
def test_brighter_is_orange_and_darker_is_blue(own: int, dense: int, colour: tuple[int, int, int]) -> None:
    found = difference(np.full((1, 1), own, np.uint8), np.full((1, 1), dense, np.uint8))
    assert found[0, 0].tolist() == pytest.approx(list(colour), abs=1)


def test_a_larger_change_is_a_stronger_colour() -> None:
    own = np.arange(0, 256, 15, dtype=np.uint8)[None]
    blueness = difference(own, np.zeros_like(own))[0, :, 2].astype(int)
    assert (np.diff(blueness) < 0).all()
    reddish = difference(np.zeros_like(own), own)[0, :, 0].astype(int)
    assert (np.diff(reddish) < 0).all()

"""Pictures of same-seed samples, dense beside compressed."""

import numpy as np
import streamlit as st

from gencomp_core.charts.tiles import difference, from_webp, tile, to_webp, untile
from gencomp_core.records import Measurement
from gencomp_core.services import library
from gencomp_core.store import Store


def stored_sheets(store: Store, measurement: Measurement) -> tuple[np.ndarray, np.ndarray] | None:
    """Dense and compressed samples (n, 1, h, w) of a measurement, or None where no picture is kept."""
    before = store.picture(library.dense_signature(measurement), library.SAMPLES)
    after = store.picture(measurement.signature, library.SAMPLES)
    if before is None or after is None:
        return None
    return untile(from_webp(before)), untile(from_webp(after))


def before_and_after(store: Store, measurement: Measurement, *, n: int, columns: int) -> None:
    """Two strips of the same numbered samples."""
    sheets = stored_sheets(store, measurement)
    if sheets is None:
        st.caption("No samples are kept of this measurement. Open it in Explore to see some.")
        return
    for name, images in zip(("dense", measurement.title), sheets, strict=True):
        st.caption(f"Samples 1 to {n} at seed {measurement.request.seed}: {name}")
        picture(tile(images[:n], columns=columns), alt=f"{n} samples, {name}", width="stretch")


def picture(sheet: np.ndarray, *, alt: str, width: str | int = "stretch") -> None:
    """One sheet; the style sheet enlarges it with sharp pixels, so that few bytes travel."""
    st.image(to_webp(sheet), width=width, alt=alt)


def difference_picture(compressed: np.ndarray, dense: np.ndarray, *, alt: str) -> None:
    """Where the compressed samples are brighter (orange) or darker (blue) than dense."""
    st.image(to_webp(difference(compressed, dense)), width="stretch", alt=alt)

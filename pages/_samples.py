"""Same-seed samples, dense beside compressed: pictures of images, or texts in columns."""

from collections.abc import Mapping, Sequence

import numpy as np
import streamlit as st

from gencomp_core.charts.texts import aligned_texts, n_changed_words
from gencomp_core.charts.tiles import difference, from_webp, tile, to_webp, untile
from gencomp_core.records import Measurement
from gencomp_core.services import library
from gencomp_core.services.texts import SideBySide, stored_texts
from gencomp_core.store import Store
from gencomp_core.workloads import card_of

MARKED = "Marked words differ from dense; a red caret stands where words are gone. Point at one to see what was there."


def makes_texts(workload: str) -> bool:
    """Whether the samples of a workload are texts."""
    return card_of(workload).modality == "text"


def stored_sheets(store: Store, measurement: Measurement) -> tuple[np.ndarray, np.ndarray] | None:
    """Dense and compressed samples (n, 1, h, w) of a measurement, or None where no picture is kept."""
    before = stored_images(store, library.dense_signature(measurement))
    after = stored_images(store, measurement.signature)
    return None if before is None or after is None else (before, after)


def stored_images(store: Store, signature: str) -> np.ndarray | None:
    """Samples (n, 1, h, w) of a measurement, or None where no picture is kept."""
    content = store.picture(signature, library.SAMPLES)
    return None if content is None else untile(from_webp(content))


def stored_text_pair(store: Store, measurement: Measurement) -> tuple[SideBySide, SideBySide] | None:
    """Dense and compressed texts of a measurement, or None where none are kept."""
    before = stored_texts(store, library.dense_signature(measurement))
    after = stored_texts(store, measurement.signature)
    return None if before is None or after is None else (before, after)


def before_and_after(store: Store, measurement: Measurement, *, n: int, columns: int) -> None:
    """The same numbered samples, dense and compressed: two strips of images, or a few texts."""
    if makes_texts(measurement.workload):
        texts = stored_text_pair(store, measurement)
        if texts is not None:
            st.caption(f"The {n // 8} texts that changed most of {len(texts[0].texts)}. {MARKED}")
            return text_columns(*texts, title=measurement.title, numbers=most_changed(*texts)[: n // 8])
    else:
        sheets = stored_sheets(store, measurement)
        if sheets is not None:
            for name, images in zip(("dense", measurement.title), sheets, strict=True):
                st.caption(f"Samples 1 to {n} at seed {measurement.request.seed}: {name}")
                picture(tile(images[:n], columns=columns), alt=f"{n} samples, {name}", width="stretch")
            return None
    st.caption("No samples are kept of this measurement. Open it in Explore to see some.")
    return None


def text_columns(dense: SideBySide, compressed: SideBySide, *, title: str, numbers: Sequence[int]) -> None:
    """Source, reference, dense and compressed texts, changed words marked."""
    heading = title if title != "dense" else "dense, packed and reloaded"
    text_table({"dense": dense, heading: compressed}, numbers=numbers)


def text_table(versions: Mapping[str, SideBySide], *, numbers: Sequence[int]) -> None:
    """Source, reference and all versions beside each other; words that are not the first version's are marked."""
    original, *others = versions
    first = versions[original]
    columns = {"source": first.sources, "reference": first.references}
    columns |= {name: version.texts for name, version in versions.items()}
    st.html(aligned_texts(columns, changed=others, original=original, numbers=numbers))


def most_changed(dense: SideBySide, *others: SideBySide) -> list[int]:
    """Numbers of the texts, the one in which any version changed most words first; equal ones in order."""
    changes = [
        max(n_changed_words(own, before) for own in versions)
        for before, *versions in zip(dense.texts, *(other.texts for other in others), strict=True)
    ]
    return sorted(range(len(changes)), key=lambda number: -changes[number])


def picture(sheet: np.ndarray, *, alt: str, width: str | int = "stretch") -> None:
    """One sheet; the style sheet enlarges it with sharp pixels, so that few bytes travel."""
    st.image(to_webp(sheet), width=width, alt=alt)


def difference_picture(compressed: np.ndarray, dense: np.ndarray, *, alt: str) -> None:
    """Where the compressed samples are brighter (orange) or darker (blue) than dense."""
    st.image(to_webp(difference(compressed, dense)), width="stretch", alt=alt)

"""Kept sensitivity scans as tables: reading the store, without torch."""

from collections.abc import Iterable, Sequence

import pandas as pd

from gencomp_core.analysis.sensitivity import tables
from gencomp_core.records import LayerOption, LayerScore, RankCorrelation, Scan
from gencomp_core.store import Store
from gencomp_core.store.scores import kept_positions, kept_scans, kept_scores


def scans_of(store: Store, workload: str) -> list[Scan]:
    """Kept scans of a workload, the newest first.

    Raises:
        StoreError: what is kept of one can't be read.
    """
    return kept_scans(store, workload)


def scores_of(store: Store, scan: Scan, *, positions: bool = False) -> list[LayerScore]:
    """Scores of a kept scan, layers in the order of the model.

    Raises:
        StoreError: what is kept of them can't be read.
    """
    return _in_order(kept_scores(store, scan.signature, positions=positions), scan)


def positions_of(store: Store, scan: Scan, option: LayerOption) -> list[LayerScore]:
    """Scores of one option at each position of the generation, layers in the order of the model.

    Raises:
        StoreError: what is kept of them can't be read.
    """
    return _in_order(kept_positions(store, scan.signature, option), scan)


def _in_order(scores: Sequence[LayerScore], scan: Scan) -> list[LayerScore]:
    order = {name: number for number, name in enumerate(scan.layers)}
    return sorted(scores, key=lambda score: order.get(score.layer, len(order)))


def scan_table(store: Store, scan: Scan, *, positions: bool = False) -> pd.DataFrame:
    """Scores of a kept scan as rows, fitted monotone over the levels of each layer (`tables.score_table`)."""
    return tables.score_table(scores_of(store, scan, positions=positions))


def table_of(scores: Sequence[LayerScore]) -> pd.DataFrame:
    """Scores as rows, fitted monotone over the levels of each layer."""
    return tables.score_table(scores)


def ranked(table: pd.DataFrame, *, option: str) -> pd.DataFrame:
    """Layers by their damage under one option, the most sensitive first."""
    return tables.ranked_layers(table, option=option)


def level_matrix(table: pd.DataFrame, *, axis: str) -> pd.DataFrame:
    """Layer × level of one axis, fitted monotone; mild levels first."""
    return tables.level_matrix(table, axis=axis)


def position_matrix(table: pd.DataFrame, *, option: str) -> pd.DataFrame:
    """Layer × position of the generation under one option."""
    return tables.position_matrix(table, option=option)


def unsafe_of(scores: Iterable[LayerScore], scan: Scan) -> dict[str, str]:
    """Layers that even their mildest option harms too much, with the reason."""
    return tables.unsafe_layers(scores, allowed=scan.allowance)


def correlations_of(store: Store, scan: Scan, scores: Sequence[LayerScore]) -> list[RankCorrelation]:
    """How far other methods' kept scans of the same weights and direction agree with these scores, the largest each."""
    found: dict[str, RankCorrelation] = {}
    own = scan.request
    for other in kept_scans(store, own.workload):
        request = other.request
        alike = request.weights_hash == own.weights_hash and request.direction == own.direction
        if not alike or request.method == own.method:
            continue
        correlation = tables.rank_correlation(scores, kept_scores(store, other.signature))
        known = found.get(request.method)
        if correlation is not None and (known is None or correlation.n > known.n):
            found[request.method] = correlation
    return list(found.values())


def warnings_of(correlations: Iterable[RankCorrelation]) -> list[str]:
    """One line for each pair of methods that do not agree in rank."""
    return tables.warnings_for(correlations)

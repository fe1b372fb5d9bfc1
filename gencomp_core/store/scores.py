"""Kept sensitivity scans: what was asked, and the scores of each layer."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Connection, delete, select

from gencomp_core.errors import StoreError
from gencomp_core.records import LayerOption, LayerScore, Scan
from gencomp_core.store.schema import layer_scores, scans
from gencomp_core.store.store import Store

_SCORES = TypeAdapter(tuple[LayerScore, ...])
_OWN = ("layer", "document", "positions")


def save_scan(store: Store, scan: Scan, scores: Iterable[LayerScore] = (), *, origin: str = "local") -> None:
    """Keep a scan with more scores, in one transaction; scores of the same option and position are replaced.

    The seconds are those of the scan as it is given.
    """
    by_layer: dict[str, list[LayerScore]] = {}
    for score in scores:
        by_layer.setdefault(score.layer, []).append(score)
    request = scan.request
    row = {
        "workload": request.workload,
        "method": request.method,
        "direction": request.direction,
        "origin": origin,
        "measured_at": scan.measured_at,
        "document": scan.model_dump_json(),
    }
    with store.engine.begin() as connection:
        own = scans.c.signature == scan.signature
        if connection.execute(scans.update().where(own).values(**row)).rowcount == 0:
            connection.execute(scans.insert().values(signature=scan.signature, **row))
        for layer, found in by_layer.items():
            _merge(connection, store, scan.signature, layer, found)


def kept_scan(store: Store, signature: str) -> Scan | None:
    """A kept scan without its scores, or None.

    Raises:
        StoreError: what is kept of it can't be read.
    """
    with store.engine.connect() as connection:
        document = connection.scalar(select(scans.c.document).where(scans.c.signature == signature))
    return None if document is None else _scan(store, signature, document)


def kept_scans(store: Store, workload: str) -> list[Scan]:
    """All kept scans of a workload, the newest first.

    Raises:
        StoreError: what is kept of one can't be read.
    """
    query = select(scans.c.signature, scans.c.document).where(scans.c.workload == workload)
    with store.engine.connect() as connection:
        rows = connection.execute(query.order_by(scans.c.measured_at.desc(), scans.c.signature)).all()
    return [_scan(store, signature, document) for signature, document in rows]


def kept_scores(store: Store, signature: str, *, positions: bool = False) -> list[LayerScore]:
    """Scores of a scan, in no order of layers; those of single positions only on demand.

    Raises:
        StoreError: what is kept of them can't be read.
    """
    columns = [layer_scores.c.document, *([layer_scores.c.positions] if positions else [])]
    query = select(*columns).where(layer_scores.c.signature == signature).order_by(layer_scores.c.layer)
    with store.engine.connect() as connection:
        documents = [text for row in connection.execute(query).all() for text in row]
    return [score for text in documents for score in _scores(store, signature, text)]


def plain_scan(store: Store, signature: str) -> dict[str, Any]:
    """A kept scan with all its scores as plain values, for a file."""
    with store.engine.connect() as connection:
        row = connection.execute(select(scans).where(scans.c.signature == signature)).mappings().one()
        parts = connection.execute(select(layer_scores).where(layer_scores.c.signature == signature))
        layers = [dict(part) for part in parts.mappings()]
    return {**row, "layers": [{name: part[name] for name in _OWN} for part in layers]}


def restore_scan(store: Store, plain: dict[str, Any], *, origin: str) -> None:
    """Keep a scan from its plain values, in place of one with the same signature."""
    fields = {name: value for name, value in plain.items() if name != "layers"}
    rows = [{"signature": plain["signature"], **{name: part[name] for name in _OWN}} for part in plain["layers"]]
    forget_scans(store, [plain["signature"]])
    with store.engine.begin() as connection:
        connection.execute(scans.insert().values(**{**fields, "origin": origin}))
        if rows:
            connection.execute(layer_scores.insert(), rows)


def kept_positions(store: Store, signature: str, option: LayerOption) -> list[LayerScore]:
    """Scores of one option at each position of the generation.

    Raises:
        StoreError: what is kept of them can't be read.
    """
    query = select(layer_scores.c.positions).where(layer_scores.c.signature == signature)
    with store.engine.connect() as connection:
        documents = list(connection.scalars(query.order_by(layer_scores.c.layer)))
    wanted = option.model_dump(exclude_defaults=True)
    try:
        chosen = [entry for text in documents for entry in json.loads(text) if entry["option"] == wanted]
        return list(_SCORES.validate_python(chosen))
    except (ValueError, KeyError, TypeError):  # a ValidationError is a ValueError
        raise _damaged(store, signature) from None


def forget_scans(store: Store, signatures: Iterable[str]) -> None:
    """Remove scans with their scores."""
    chosen = list(signatures)
    with store.engine.begin() as connection:
        connection.execute(delete(layer_scores).where(layer_scores.c.signature.in_(chosen)))
        connection.execute(delete(scans).where(scans.c.signature.in_(chosen)))


def _merge(connection: Connection, store: Store, signature: str, layer: str, found: Sequence[LayerScore]) -> None:
    own = (layer_scores.c.signature == signature) & (layer_scores.c.layer == layer)
    row = connection.execute(select(layer_scores.c.document, layer_scores.c.positions).where(own)).one_or_none()
    before = [score for text in row or () for score in _scores(store, signature, text)]
    kept = {(score.option, score.position): score for score in [*before, *found]}
    values: dict[str, Any] = {
        "document": _text(score for score in kept.values() if score.position is None),
        "positions": _text(score for score in kept.values() if score.position is not None),
    }
    if row is None:
        connection.execute(layer_scores.insert().values(signature=signature, layer=layer, **values))
    else:
        connection.execute(layer_scores.update().where(own).values(**values))


def _text(scores: Iterable[LayerScore]) -> str:
    return _SCORES.dump_json(tuple(scores), exclude_defaults=True).decode()


def _scores(store: Store, signature: str, text: str) -> tuple[LayerScore, ...]:
    try:
        return _SCORES.validate_json(text)
    except ValidationError:
        raise _damaged(store, signature) from None


def _scan(store: Store, signature: str, document: str) -> Scan:
    try:
        return Scan.model_validate_json(document)
    except ValidationError:
        raise _damaged(store, signature) from None


def _damaged(store: Store, signature: str) -> StoreError:
    return StoreError(
        f"Scan {signature} in the store {store.shown_url} is damaged or of another version. Remove it and scan "
        "again; all others can still be used."
    )

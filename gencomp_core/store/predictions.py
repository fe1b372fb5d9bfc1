"""Predictions and what they rest on, in a store."""

import json
import zlib
from typing import Any

from pydantic import ValidationError
from sqlalchemy import select

from gencomp_core.records.plans import BASIS_VERSION, KeptPrediction, PlanBasis
from gencomp_core.store.schema import measurements, plan_bases, predictions
from gencomp_core.store.store import Store


def save_prediction(store: Store, kept: KeptPrediction) -> None:
    """Keep a prediction; the same words about the same recipe are kept once, as first said."""
    signature = kept.signature
    with store.engine.begin() as connection:
        known = connection.scalar(select(predictions.c.signature).where(predictions.c.signature == signature))
        if known is None:
            values = {
                "signature": signature,
                "workload": kept.workload,
                "recipe_signature": kept.recipe_signature,
                "predicted_at": kept.predicted_at,
                "document": kept.model_dump_json(),
            }
            connection.execute(predictions.insert().values(**values))


def kept_predictions(store: Store, workload: str) -> list[KeptPrediction]:
    """All predictions of a workload that can be read, oldest first."""
    query = select(predictions.c.document).where(predictions.c.workload == workload)
    with store.engine.connect() as connection:
        documents = list(connection.scalars(query.order_by(predictions.c.predicted_at, predictions.c.signature)))
    found = []
    for document in documents:
        try:
            found.append(KeptPrediction.model_validate_json(document))
        except ValidationError:
            continue  # written by another version, which a later one can't score
    return found


def save_basis(store: Store, basis: PlanBasis) -> None:
    """Keep what plans of a workload rest on; a newer one for the same weights replaces it."""
    key = {"workload": basis.prices.workload, "weights_hash": basis.prices.weights_hash}
    content = basis_to_bytes(basis)
    values = {"version": basis.version, "made_at": basis.made_at, "content": content}
    with store.engine.begin() as connection:
        connection.execute(plan_bases.delete().where(*(plan_bases.c[name] == value for name, value in key.items())))
        connection.execute(plan_bases.insert().values(**key, **values))


def basis_key(store: Store, workload: str) -> tuple[str, str] | None:
    """Weights hash and date of the newest basis of a workload by this version, or None."""
    query = (
        select(plan_bases.c.weights_hash, plan_bases.c.made_at)
        .where(plan_bases.c.workload == workload, plan_bases.c.version == BASIS_VERSION)
        .order_by(plan_bases.c.made_at.desc())
    )
    with store.engine.connect() as connection:
        row = connection.execute(query).first()
    return None if row is None else (row[0], row[1])


def load_basis(store: Store, workload: str, weights_hash: str) -> PlanBasis | None:
    """The basis of these weights by this version, or None where there is none that can be read."""
    query = select(plan_bases.c.content).where(
        plan_bases.c.workload == workload,
        plan_bases.c.weights_hash == weights_hash,
        plan_bases.c.version == BASIS_VERSION,
    )
    with store.engine.connect() as connection:
        content = connection.scalar(query)
    if content is None:
        return None
    return basis_from_bytes(content)


def basis_to_bytes(basis: PlanBasis) -> bytes:
    """A basis as it is kept: JSON, deflated."""
    return zlib.compress(basis.model_dump_json(exclude_defaults=True).encode(), 9)


def basis_from_bytes(content: bytes) -> PlanBasis | None:
    """Inverse of `basis_to_bytes`; None for what another version made, or can't be read."""
    try:
        basis = PlanBasis.model_validate_json(zlib.decompress(content))
    except (ValidationError, zlib.error):
        return None
    return basis if basis.version == BASIS_VERSION else None


def measured_recipes(store: Store, workload: str) -> dict[str, dict[str, Any]]:
    """Plain recipes of all measurements of a workload, by signature."""
    query = select(measurements.c.signature, measurements.c.document).where(measurements.c.workload == workload)
    with store.engine.connect() as connection:
        return {signature: json.loads(document)["recipe"] for signature, document in connection.execute(query)}

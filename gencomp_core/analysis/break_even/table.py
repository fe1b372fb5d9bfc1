"""Timings as a table, and from where a format pays. No torch."""

import pandas as pd

from gencomp_core.records.machines import MachineProfile

KIND_NAMES = {
    "linear": "linear layers",
    "conv3": "3 × 3 convolutions",
    "conv1": "1 × 1 convolutions",
    "transposed": "4 × 4 transposed convolutions, stride 2",
}
CHANNELS = "channel pruning"
"""A narrower layer in floats, beside the format's names."""
BFLOAT16 = "bf16"
BFLOAT16_OF = {"openvino-bf16": "openvino"}
"""Runtimes whose floats are bfloat16, and the same engine with float32."""
COLUMNS = (
    "kind", "runtime", "format", "width", "positions", "batch", "macs", "ms", "speed_up", "speed_up_low",
    "speed_up_high", "noise_low", "noise_high", "ran",
)  # fmt: skip


def break_even_table(profile: MachineProfile) -> pd.DataFrame:
    """One row a timing: speed-up over floats in the same runtime, with the range that its quartiles allow.

    Rows of the format `channel pruning` compare half the width in floats with the whole: four times fewer
    multiply-accumulates between equally narrow neighbours. Rows of the format `bf16` compare an engine's bfloat16
    with its own float32.
    """
    rows = []
    floats = {
        (own.runtime, own.point.kind, own.point.width, own.point.positions, own.point.batch): own
        for own in profile.timings
        if own.format == "float"
    }
    for own in profile.timings:
        point = own.point
        key = (own.runtime, point.kind, point.width, point.positions, point.batch)
        about = {
            "kind": point.kind, "runtime": own.runtime, "width": point.width, "positions": point.positions,
            "batch": point.batch, "noise_low": own.noise_low, "noise_high": own.noise_high, "ran": own.ran,
        }  # fmt: skip
        whole = floats.get(key)
        if whole is not None:
            speed = {
                "speed_up": own.speed_up,
                "speed_up_low": own.speed_up * own.ms / own.high_ms,
                "speed_up_high": own.speed_up * own.ms / own.low_ms,
            }
            rows.append({**about, **speed, "format": own.format, "macs": point.macs, "ms": own.ms})
        half = floats.get((own.runtime, point.kind, point.width // 2, point.positions, point.batch))
        if half is not None and own.format == "float":
            speed = {
                "speed_up": own.ms / half.ms,
                "speed_up_low": own.low_ms / half.high_ms,
                "speed_up_high": own.high_ms / half.low_ms,
            }
            rows.append({**about, **speed, "format": CHANNELS, "macs": half.point.macs, "ms": half.ms})
        wide = floats.get((BFLOAT16_OF.get(own.runtime, ""), *key[1:]))
        if wide is not None and own.format == "float":
            speed = {
                "speed_up": wide.ms / own.ms,
                "speed_up_low": wide.low_ms / own.high_ms,
                "speed_up_high": wide.high_ms / own.low_ms,
            }
            rows.append({**about, **speed, "format": BFLOAT16, "macs": point.macs, "ms": own.ms})
    return pd.DataFrame(rows, columns=list(COLUMNS))


def pays_from(table: pd.DataFrame) -> pd.DataFrame:
    """The smallest width from which a format is faster at every wider one too, beyond the noise; NaN where none is.

    Returns:
        columns `kind`, `runtime`, `format`, `positions`, `batch`, `from_width`, `best_speed_up`.
    """
    keys = ["kind", "runtime", "format", "positions", "batch"]
    rows = []
    for key, own in table[table["format"] != "float"].groupby(keys, sort=False):
        ordered = own.sort_values("width")
        faster = ordered["speed_up"] > ordered["noise_high"]
        lasting = faster[::-1].cummin()[::-1]
        widths = ordered["width"][lasting]
        found = {"from_width": widths.min() if len(widths) else float("nan"), "best_speed_up": own["speed_up"].max()}
        rows.append({**dict(zip(keys, key, strict=True)), **found})
    return pd.DataFrame(rows, columns=[*keys, "from_width", "best_speed_up"])


def verdicts(table: pd.DataFrame) -> list[str]:
    """One plain sentence for each format and runtime: where it pays, from which width, and what it gives at best.

    Args:
        table: of one kind of layer at one size, or of several.
    """
    found = []
    for (form, runtime), rows in pays_from(table).groupby(["format", "runtime"], sort=False):
        paying = rows[rows["from_width"].notna()]
        name = f"**{form}** in {runtime}"
        if paying.empty:
            best = rows["best_speed_up"].max()
            found.append(f"{name} pays at no width that was timed: {best:.2f} × at best.")
            continue
        narrow, wide = int(paying["from_width"].min()), int(paying["from_width"].max())
        widths = f"{narrow}" if narrow == wide else f"{narrow} to {wide}"
        where = "" if len(paying) == len(rows) else f" at {len(paying)} of {len(rows)} sizes"
        best = paying["best_speed_up"].max()
        found.append(f"{name} pays from {widths} channels{where}: {best:.1f} × as fast at best.")
    return found

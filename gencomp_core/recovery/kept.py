"""What is kept of tuning on disk: states to go on from after a kill, and results that need no second tuning."""

import hashlib
import io
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import torch
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.torch import load, save
from torch import Tensor, nn

from gencomp_core.compression.draft import Draft
from gencomp_core.compression.layers import weight_of
from gencomp_core.compression.quantizers import QuantizedWeight
from gencomp_core.recipes.formats import FloatFormat, IntegerFormat
from gencomp_core.recipes.stage import Stage
from gencomp_core.records import METHOD_VERSION, STAGE_VERSIONS, TrainingRecord
from gencomp_core.runtime_env import home
from gencomp_core.workloads.base import Outputs

STATE_FILE, RESULT_FILE, CURVE_FILE = "state.pt", "result.safetensors", "curve.json"


def key_of(draft: Draft, stage: Stage, *, threads: int) -> str:
    """16 hex digits of all that a tuned draft depends on: the draft as it came, the teacher, the stage, the seed."""
    digest = hashlib.sha256()
    facts = [METHOD_VERSION, STAGE_VERSIONS.get(stage.kind, "1"), stage.model_dump(mode="json"), draft.seed, threads]
    changes = [[change.kind, change.fields()] for change in draft.changes]
    workload = [draft.owner, getattr(draft.workload, "weights_hash", "")]
    digest.update(json.dumps([facts, workload, changes], sort_keys=True).encode())
    for network in (draft.model, draft.workload.model):
        _add(digest, network.state_dict())
    for name, own in sorted(draft.quantized.items()):
        digest.update(f"{name} {own.format} {own.group_size}".encode())
        _add(digest, {"codes": own.codes, "scale": own.scale, "from": draft.rounded_from[name]})
    digest.update(" ".join(sorted(draft.pruned)).encode())
    _add(digest, draft.masks)
    return digest.hexdigest()[:16]


def _add(digest: Any, tensors: Mapping[str, Tensor]) -> None:
    for name, tensor in tensors.items():
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())


@dataclass(frozen=True)
class Folder:
    """Where one tuning is kept."""

    path: Path

    @classmethod
    def of(cls, key: str) -> "Folder":
        """Folder of a key below GenComp's home."""
        return cls(home() / "recovery" / key)

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """One process at a time tunes; others wait, and then find the result."""
        self.path.mkdir(parents=True, exist_ok=True)
        with FileLock(self.path / "lock"):
            yield

    def save_state(self, state: Mapping[str, Any]) -> None:
        """Replace the state to go on from, in one go."""
        stream = io.BytesIO()
        torch.save(dict(state), stream)
        self._write(STATE_FILE, stream.getvalue())

    def load_state(self) -> dict[str, Any] | None:
        """The state to go on from; None where there is none that can be read."""
        try:
            state: dict[str, Any] = torch.load(self.path / STATE_FILE, weights_only=True, map_location="cpu")
        except (OSError, RuntimeError, ValueError, EOFError, KeyError, UnpicklingError):
            return None
        return state

    def save_result(self, draft: Draft, curve: list[TrainingRecord]) -> None:
        """Keep a tuned draft with its curve; the state to go on from is not needed any more."""
        facts, tensors = _packed(draft)
        facts["curve"] = [record.to_dict() for record in curve]
        facts["sha256"] = _hash(tensors)
        self._write(CURVE_FILE, json.dumps(facts["curve"]).encode())
        self._write(RESULT_FILE, save(tensors, metadata={"gencomp": json.dumps(facts)}))
        (self.path / STATE_FILE).unlink(missing_ok=True)

    def load_result_(self, draft: Draft) -> list[TrainingRecord] | None:
        """Give a draft what tuning it gave before, and return the curve; None where that is not known, or damaged."""
        try:
            with safe_open(self.path / RESULT_FILE, framework="pt") as file:
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (no iterator)
                facts = json.loads(file.metadata()["gencomp"])
            if facts["sha256"] != _hash(tensors):
                return None
            curve = [TrainingRecord(**fields) for fields in facts["curve"]]
        except (OSError, SafetensorError, ValueError, KeyError, TypeError):
            return None
        _unpack_(draft, facts, tensors)
        return curve

    def save_samples(self, step: int, samples: Outputs) -> None:
        """Keep samples that the model made after so many steps: images as tensors, texts as JSON."""
        if isinstance(samples, Tensor):
            self._write(f"samples-{step}.safetensors", save({"images": samples.detach().cpu().contiguous()}))
        else:
            self._write(f"samples-{step}.json", json.dumps(samples, ensure_ascii=False).encode())

    def samples(self) -> dict[int, Outputs]:
        """Samples along the way by step; none where the folder was cleared."""
        found: dict[int, Outputs] = {}
        for path in self.path.glob("samples-*"):
            name, _, kind = path.name.removeprefix("samples-").partition(".")
            if kind in ("safetensors", "json"):
                content = path.read_bytes()
                found[int(name)] = load(content)["images"] if kind == "safetensors" else json.loads(content)
        return dict(sorted(found.items()))

    def _write(self, name: str, content: bytes) -> None:
        partial = self.path / f"{name}.partial"
        partial.write_bytes(content)
        partial.replace(self.path / name)


def _packed(draft: Draft) -> tuple[dict[str, Any], dict[str, Tensor]]:
    tensors = {f"model/{name}": value for name, value in _own(draft.model).items()}
    tensors |= {f"mask/{name}": mask for name, mask in draft.masks.items()}
    formats = {}
    for name, own in draft.quantized.items():
        tensors |= {f"codes/{name}": own.codes, f"scale/{name}": own.scale, f"from/{name}": draft.rounded_from[name]}
        if own.zero_point is not None:
            tensors[f"zero/{name}"] = own.zero_point
        fields = {**asdict(own.format), "transposed": own.transposed, "group_size": own.group_size}
        formats[name] = fields
    facts = {"formats": formats, "pruned": sorted(draft.pruned)}
    return facts, {name: value.detach().cpu().contiguous() for name, value in tensors.items()}


@torch.no_grad()
def _unpack_(draft: Draft, facts: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    where = next(draft.model.parameters()).device
    for name, value in _own(draft.model).items():
        value.copy_(tensors[f"model/{name}"])
    draft.pruned = set(facts["pruned"])
    draft.masks = {
        name.removeprefix("mask/"): mask.to(where) for name, mask in tensors.items() if name.startswith("mask/")
    }
    for name, fields in facts["formats"].items():
        zero_point = tensors.get(f"zero/{name}")
        floats = FloatFormat(fields["name"]) if "name" in fields else None
        draft.quantized[name] = QuantizedWeight(
            codes=tensors[f"codes/{name}"].to(where),
            scale=tensors[f"scale/{name}"].to(where),
            zero_point=None if zero_point is None else zero_point.to(where),
            format=floats or IntegerFormat(fields["bits"], fields["symmetric"]),
            group_size=fields["group_size"],
            shape=weight_of(draft.layers[name]).shape,
            transposed=fields["transposed"],
        )
        draft.rounded_from[name] = tensors[f"from/{name}"].to(where)


def _own(model: nn.Module) -> dict[str, Tensor]:
    """Parameters and persistent buffers, a shared one once."""
    seen: dict[int, str] = {}
    return {
        name: value.detach()
        for name, value in model.state_dict(keep_vars=True).items()
        if seen.setdefault(id(value), name) == name
    }


def _hash(tensors: Mapping[str, Tensor]) -> str:
    digest = hashlib.sha256()
    _add(digest, dict(sorted(tensors.items())))
    return digest.hexdigest()

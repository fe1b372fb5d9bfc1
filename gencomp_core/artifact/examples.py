"""The example that ships in an artifact: a script that needs the runtime and numpy alone, and writes samples.

It is put together from three parts: how the runtime's file is loaded, how the workload is sampled (the workload's
`example`, or one call on noise where it has none), and how the samples are written. A test runs every one of them
where neither torch nor this package can be imported.
"""

import json
from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath

from gencomp_core.artifact.manifest import EXAMPLE_FILE, Manifest
from gencomp_core.runtimes.registry import SIMULATING
from gencomp_core.workloads.base import Workload
from gencomp_core.workloads.programs import BATCH, InputSpec

OPENVINO = """
core = openvino.Core()
model = core.read_model(HERE / "{file}")
model.reshape(dict(enumerate(SHAPES)))  # static shapes run twice as fast
compiled = core.compile_model(model, "CPU", {{"INFERENCE_PRECISION_HINT": "f32"}})


def network(*inputs):
    return compiled([np.ascontiguousarray(x, kind) for x, kind in zip(inputs, KINDS)])[0]
"""

ONNXRUNTIME = """
session = onnxruntime.InferenceSession(HERE / "{file}", providers=["CPUExecutionProvider"])


def network(*inputs):
    arrays = [np.ascontiguousarray(x, kind) for x, kind in zip(inputs, KINDS)]
    return session.run(None, {{port.name: x for port, x in zip(session.get_inputs(), arrays)}})[0]
"""

LOADERS: Mapping[str, tuple[str, str]] = {".xml": ("openvino", OPENVINO), ".onnx": ("onnxruntime", ONNXRUNTIME)}
"""Package and code that load a graph, by the suffix of its file."""

ON_NOISE = """
# This workload does not say how it is sampled without torch: one call of its network on noise shows that it runs.
inputs = [
    rng.standard_normal(shape) if np.issubdtype(kind, np.floating) else np.zeros(shape)
    for shape, kind in zip(SHAPES, KINDS)
]
output = network(*inputs)
"""

WRITE_IMAGES = '''

def png(pixels):
    """(height, width, 1 or 3) uint8 -> the bytes of a PNG file."""
    height, width, colours = pixels.shape
    header = struct.pack(">2I5B", width, height, 8, 2 * (colours == 3), 0, 0, 0)
    rows = zlib.compress(b"".join(b"\\0" + row.tobytes() for row in pixels))
    parts = [(b"IHDR", header), (b"IDAT", rows), (b"IEND", b"")]
    ends = [struct.pack(">I", zlib.crc32(kind + data)) for kind, data in parts]
    return b"\\x89PNG\\r\\n\\x1a\\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + end for (kind, data), end in zip(parts, ends)
    )


n, colours, height, width = images.shape
sheet = images.reshape(n // 4, 4, colours, height, width).transpose(0, 3, 1, 4, 2)
out.write_bytes(png(sheet.reshape(n // 4 * height, 4 * width, colours)))
print(f"{n} samples in {out}")
'''

WRITE_OUTPUT = """
np.save(out, output)
print(f"output of shape {output.shape} in {out}")
"""

WRITE_TEXTS = """
out.write_text("\\n".join(texts) + "\\n", encoding="utf-8")
print(f"{len(texts)} texts in {out}")
"""

IN_TORCH = """
artifact = load_artifact(HERE)  # checks every file first
{kind} = artifact.sample(N, seed=0){plain}
"""


def examples(workload: Workload, manifest: Manifest, inputs: Sequence[InputSpec]) -> dict[str, str]:
    """Scripts by file name: `example.py` of the first runtime with files of its own, `example_NAME.py` of others.

    An artifact without such a runtime gets an example in torch, which needs this package.

    Args:
        inputs: what the graph takes; empty where no runtime needs to know.
    """
    made: dict[str, str] = {}
    for name, facts in manifest.runtimes.items():
        graphs = [file for file in facts.files if PurePosixPath(file).suffix in LOADERS]
        if name != SIMULATING and len(graphs) == 1 and inputs:
            script = _in_runtime(workload, manifest, name, graphs[0], inputs)
            made[EXAMPLE_FILE if not made else f"example_{name}.py"] = script
    return made or {EXAMPLE_FILE: _in_torch(workload, manifest)}


def _in_runtime(workload: Workload, manifest: Manifest, name: str, file: str, inputs: Sequence[InputSpec]) -> str:
    package, load = LOADERS[PurePosixPath(file).suffix]
    steps: str | None = getattr(workload, "example", None)
    writes_images = steps is not None and workload.modality == "image"
    head = _head(
        f"Samples of {manifest.workload}, compressed, in {name}. Needs {package} and numpy alone.",
        ("struct", "sys", "zlib") if writes_images else ("sys",),
        ("import numpy as np", f"import {package}"),
        "png" if writes_images else "npy",
    )
    shapes = ", ".join(f"[{', '.join('N' if size == BATCH else str(size) for size in own.shape)}]" for own in inputs)
    kinds = ", ".join(f'"{str(own.dtype).removeprefix("torch.")}"' for own in inputs)
    settings = ", ".join(f'"{key}": {json.dumps(value)}' for key, value in manifest.selftest.settings.items())
    facts = f"SETTINGS = {{{settings}}}\nSHAPES, KINDS = [{shapes}], [{kinds}]\nrng = np.random.default_rng(0)\n"
    body = (steps or ON_NOISE) + (WRITE_IMAGES if writes_images else WRITE_OUTPUT)
    return head + facts + load.format(file=file) + "\n" + body


def _in_torch(workload: Workload, manifest: Manifest) -> str:
    is_text = workload.modality == "text"
    head = _head(
        f"Samples of {manifest.workload}, compressed, in torch. Needs GenComp (pip install gencomp).",
        ("sys",) if is_text else ("struct", "sys", "zlib"),
        ("from gencomp_core import load_artifact",),
        "txt" if is_text else "png",
    )
    body = IN_TORCH.format(kind="texts" if is_text else "images", plain="" if is_text else ".numpy()")
    return head + body + (WRITE_TEXTS if is_text else WRITE_IMAGES)


def _head(title: str, standard: tuple[str, ...], others: tuple[str, ...], suffix: str) -> str:
    imports = "\n".join(f"import {name}" for name in standard)
    rest = "\n".join(others)
    return f'''"""{title}

python example.py [FILE]; without FILE the samples are written beside this folder, which stays as it is.
"""

{imports}
from pathlib import Path

{rest}

HERE, N = Path(__file__).resolve().parent, 16
out = Path(sys.argv[1]) if len(sys.argv) > 1 else HERE.with_name(f"{{HERE.name}}-samples.{suffix}")
'''

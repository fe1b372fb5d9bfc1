"""The example that ships in an artifact: a script that needs the runtime and numpy alone, and writes samples.

It is put together from three parts: how the runtime's file is loaded, how the workload is sampled (the workload's
`example`, or one call on noise where it has none), and how the samples are written. A test runs every one of them
where neither torch nor this package can be imported.
"""

import json
from collections.abc import Mapping
from pathlib import PurePosixPath

from gencomp_core.artifact.manifest import EXAMPLE_FILE, Manifest
from gencomp_core.runtimes.registry import SIMULATING
from gencomp_core.workloads.base import Workload, companions_of, makes_texts

N_PROMPTS = 4

OPENVINO = '''
FILES = HERE / "{folder}"
PROGRAMS = json.loads((FILES / "facts.json").read_text())["programs"]
core = openvino.Core()


def shapes(name, **sizes):
    return [[sizes.get(size, size) for size in port["shape"]] for port in PROGRAMS[name]["inputs"]]


def load(name, **sizes):
    """One program of the file, compiled at static sizes: twice as fast as at open ones."""
    before = list(PROGRAMS)[: list(PROGRAMS).index(name)]
    kinds = [port["dtype"] for port in PROGRAMS[name]["inputs"]]
    i, o = (sum(map(size, before)) for size in (lambda n: len(PROGRAMS[n]["inputs"]), lambda n: PROGRAMS[n]["outputs"]))
    whole = core.read_model(FILES / "model.xml")
    results, parameters = whole.get_results()[o : o + PROGRAMS[name]["outputs"]], whole.get_parameters()
    model = openvino.Model(results, parameters[i : i + len(kinds)])
    model.reshape(dict(enumerate(shapes(name, **sizes))))
    compiled = core.compile_model(model, "CPU", {{"INFERENCE_PRECISION_HINT": "{precision}"}})
    return lambda *inputs: list(compiled([np.ascontiguousarray(x, kind) for x, kind in zip(inputs, kinds)]).values())

'''

ONNXRUNTIME = '''
FILES = HERE / "{folder}"
PROGRAMS = json.loads((FILES / "facts.json").read_text())["programs"]


def shapes(name, **sizes):
    return [[sizes.get(size, size) for size in port["shape"]] for port in PROGRAMS[name]["inputs"]]


def load(name, **sizes):
    """One program at fixed sizes, which ONNX Runtime fuses further."""
    options = onnxruntime.SessionOptions()
    for size, value in sizes.items():
        options.add_free_dimension_override_by_name(size, value)
    session = onnxruntime.InferenceSession(FILES / f"{{name}}.onnx", options)
    ports = [(port["name"], port["dtype"]) for port in PROGRAMS[name]["inputs"]]
    return lambda *inputs: session.run(
        None, {{port: np.ascontiguousarray(x, kind) for (port, kind), x in zip(ports, inputs)}}
    )

'''

LOADERS: Mapping[str, tuple[str, str]] = {".xml": ("openvino", OPENVINO), ".onnx": ("onnxruntime", ONNXRUNTIME)}
"""Package and code that load a graph, by the suffix of its file. The code defines `shapes` and `load`."""

ON_NOISE = """
# This workload does not say how it is sampled without torch: one call of its network on noise shows that it runs.
(name, described), *_ = PROGRAMS.items()
sizes = {size: N for port in described["inputs"] for size in port["shape"] if isinstance(size, str)}
inputs = [
    np.zeros(shape) if "int" in port["dtype"] else rng.standard_normal(shape)
    for port, shape in zip(described["inputs"], shapes(name, **sizes))
]
output = load(name, **sizes)(*inputs)[0]
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


def examples(workload: Workload, manifest: Manifest) -> dict[str, str]:
    """Scripts by file name: `example.py` of the first runtime with files of its own, `example_NAME.py` of others.

    An artifact without such a runtime gets an example in torch, which needs this package.
    """
    made: dict[str, str] = {}
    for name, facts in manifest.runtimes.items():
        graphs = [file for file in facts.files if PurePosixPath(file).suffix in LOADERS]
        if name != SIMULATING and graphs:
            script = _in_runtime(workload, manifest, name, graphs[0])
            made[EXAMPLE_FILE if not made else f"example_{name}.py"] = script
    return made or {EXAMPLE_FILE: _in_torch(workload, manifest)}


def _in_runtime(workload: Workload, manifest: Manifest, name: str, file: str) -> str:
    package, load = LOADERS[PurePosixPath(file).suffix]
    steps: str | None = getattr(workload, "example", None)
    kind = workload.modality if steps else "output"
    packages = [package, *(["tokenizers"] if kind == "text" and "tokenizer.json" in companions_of(workload) else [])]
    head = _head(
        f"Samples of {manifest.workload}, compressed, in {name}. Needs {', '.join(packages)} and numpy alone.",
        ["json", "sys", *(["struct", "zlib"] if kind == "image" else [])],
        ["import numpy as np", *(f"import {own}" for own in packages)],
        {"image": "png", "text": "txt", "output": "npy"}[kind],
    )
    precision = "bf16" if name.endswith("bf16") else "f32"
    body = _facts(workload, manifest) + load.format(folder=name, precision=precision) + (steps or ON_NOISE)
    return head + body + {"image": WRITE_IMAGES, "text": WRITE_TEXTS, "output": WRITE_OUTPUT}[kind]


def _facts(workload: Workload, manifest: Manifest) -> str:
    settings = ", ".join(f'"{key}": {json.dumps(value)}' for key, value in manifest.selftest.settings.items())
    text = f"SETTINGS = {{{settings}}}\nrng = np.random.default_rng(0)\n"
    if makes_texts(workload):
        prompts = workload.prompts(0, min(N_PROMPTS, workload.n_prompts))
        text += "".join(["PROMPTS = [\n", *(f"    {json.dumps(own, ensure_ascii=False)},\n" for own in prompts), "]\n"])
    return text


def _in_torch(workload: Workload, manifest: Manifest) -> str:
    is_text = workload.modality == "text"
    head = _head(
        f"Samples of {manifest.workload}, compressed, in torch. Needs GenComp (pip install gencomp).",
        ["sys"] if is_text else ["struct", "sys", "zlib"],
        ["from gencomp_core import load_artifact"],
        "txt" if is_text else "png",
    )
    body = IN_TORCH.format(kind="texts" if is_text else "images", plain="" if is_text else ".numpy()")
    return head + body + (WRITE_TEXTS if is_text else WRITE_IMAGES)


def _head(title: str, standard: list[str], others: list[str], suffix: str) -> str:
    imports = "\n".join(f"import {name}" for name in sorted(standard))
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

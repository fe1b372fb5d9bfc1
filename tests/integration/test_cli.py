import csv
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from PIL import Image

import gencomp_core
from gencomp_core import cli
from gencomp_core.recipes.stages import STAGES
from gencomp_core.records import Estimate
from gencomp_core.store import Store
from gencomp_core.workloads import CATALOG
from tests.made import latency, measurement
from tests.tiny import pruning, quantization, recipe

ROOT = Path(__file__).parents[2]
TEXTS = "verses-transformer"
RECIPE = recipe(pruning(0.5), quantization(4, group_size=64))

MEASUREMENT_KEYS = {
    "workload", "signature", "recipe", "status", "size_bytes", "dense_size_bytes", "n_params", "n_nonzero",
    "effective_bits", "macs", "quality", "dense_quality", "fidelity", "latency", "machine", "versions", "seconds",
}  # fmt: skip
QUALITY_KEYS = {"metric", "value", "low", "high", "n_samples", "better"}
LATENCY_KEYS = {
    "runtime", "batch", "median_ms", "low_ms", "high_ms", "n_runs", "dense_median_ms", "dense_eager_median_ms",
}  # fmt: skip


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on stdout."""
        return json.loads(self.out)


Run = Callable[..., Done]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, no_demo: None) -> Run:
    """The command line in this process, with its exit code and what it printed."""

    def call(*arguments: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["gencomp", *map(str, arguments)])
        capsys.readouterr()
        code: object = 0
        try:
            cli.main()
        except SystemExit as stopped:
            code = stopped.code or 0
        out, err = capsys.readouterr()
        assert isinstance(code, int)
        return Done(code, out, err)

    return call


def run_process(*arguments: object, **environment: str) -> Done:
    """The command line as users start it."""
    command = [sys.executable, "-m", "gencomp_core", *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", **environment}
    )
    return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def recipe_file(tmp_path: Path) -> Path:
    path = tmp_path / "recipe.yaml"
    path.write_text(RECIPE.to_yaml())
    return path


def refused(done: Done) -> str:
    """The one line on stderr of a user error."""
    assert done.code == 1, done
    assert done.out == ""
    lines = done.err.splitlines()
    assert len(lines) == 1, done.err
    assert lines[0].startswith("gencomp: ")
    assert lines[0].rstrip().endswith((".", "?"))
    assert "Traceback" not in done.err
    return lines[0]


# Listings


def test_workloads_are_listed_with_what_is_known(run: Run) -> None:
    store = Store(os.environ["GENCOMP_STORE"])
    store.save(measurement())
    listing = run("workloads", "--json").document
    assert [row["workload"] for row in listing] == list(CATALOG)
    by_name = {row["workload"]: row for row in listing}
    known, unknown = by_name["fashion-vae"], by_name["fashion-diffusion"]
    assert known["n_params"] == measurement().n_params
    assert known["size_bytes"] == measurement().size_bytes
    assert known["quality"].keys() >= QUALITY_KEYS
    assert unknown["quality"] is None
    assert "fashion-vae" in run("workloads").out


def test_techniques_are_listed_with_their_schema(run: Run) -> None:
    listing = run("techniques", "--json").document
    assert [row["kind"] for row in listing] == list(STAGES)
    assert all(row["help"] and row["source"] and row["schema"]["properties"] for row in listing)
    shown = run("techniques").out
    assert all(kind in shown for kind in STAGES)


def test_layers_are_listed_with_their_cost(run: Run) -> None:
    document = run("inspect", "fashion-vae", "--json").document
    assert document["workload"] == "fashion-vae"
    layer = document["layers"][0]
    assert layer.keys() >= {"name", "kind", "shape", "n_params", "macs", "can"}
    assert sum(layer["macs"] for layer in document["layers"]) > 1_000_000
    shown = run("inspect", "fashion-vae").out
    assert all(layer["name"] in shown for layer in document["layers"])


def test_layers_are_listed_with_what_cannot_be_done_to_them(run: Run) -> None:
    layers = run("inspect", "fashion-vae", "--json").document["layers"]
    lines = re.sub(r"\n {5}(?=\S)", " ", run("inspect", "fashion-vae").out).splitlines()  # unwrapped
    notes = dict(line.split(maxsplit=1) for line in lines if re.match(r"  \d+  ", line))
    told = {note: number for number, note in notes.items()}
    assert len(told) == len(notes), "a reason stands there twice"
    for layer in layers:
        (line,) = [line for line in lines if line.startswith(f"{layer['name']} ")]
        wanted = {told[f"{kind}: {reason}"] for kind, reason in layer["cannot"].items()}
        cells = re.split(r"\s{2,}", line.strip())
        assert set(cells[5].split() if len(cells) > 5 else []) == wanted, line
    assert set(notes.values()) == {f"{kind}: {reason}" for own in layers for kind, reason in own["cannot"].items()}
    (everywhere,) = [line for line in lines if line.startswith("Every layer can take ")]
    for kind in STAGES:
        assert (kind in everywhere) == all(kind in layer["can"] for layer in layers), kind


@pytest.mark.parametrize("workload", ["fashion-diffusion", "verses-transformer"])
def test_layers_fit_into_100_columns(run: Run, workload: str) -> None:
    assert max(map(len, run("inspect", workload).out.splitlines())) <= 100


# The whole way, as a user goes it


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Done]:
    """An artifact that the command line made, and what it said. Copy it before changing it."""
    folder = tmp_path_factory.mktemp("exported")
    (folder / "recipe.yaml").write_text(RECIPE.to_yaml())
    places = {"GENCOMP_HOME": str(folder / "home"), "GENCOMP_STORE": str(folder / "store.db")}
    command = ("compress", "fashion-vae", "--recipe", folder / "recipe.yaml", "--out", folder / "artifact", "--json")
    return folder / "artifact", run_process(*command, **places)


def test_compress_and_verify_agree_with_the_disk_to_the_byte(run: Run, exported: tuple[Path, Done]) -> None:
    out, made = exported
    assert made.code == 0, made.err
    checked = run("verify", out, "--json")
    assert checked.code == 0, checked.err
    on_disk = (out / "weights.safetensors").stat().st_size
    in_all = sum(path.stat().st_size for path in out.rglob("*") if path.is_file())
    for report in (made.document, checked.document):
        assert report["ok"]
        assert (report["size_bytes"], report["artifact_bytes"]) == (on_disk, in_all)
        assert report["dense_size_bytes"] > 5 * on_disk
    assert [timed["runtime"] for timed in checked.document["latency"]] == ["eager", "openvino"]
    assert all(timed.keys() >= LATENCY_KEYS for timed in checked.document["latency"])
    for own in checked.document["runtimes"].values():
        assert own["selftest"]["identical"]
        assert own["checks"].keys() >= {"samples", "metric", "size_bytes"}
        assert all(own["checks"].values())
    alone = run("verify", out, "--runtime", "openvino", "--no-latency", "--json").document
    assert list(alone["runtimes"]) == ["openvino"]
    assert "Did you mean 'openvino'" in refused(run("verify", out, "--runtime", "openvno"))


def test_an_artifact_is_sampled_like_what_it_was_made_of(
    run: Run, tmp_path: Path, recipe_file: Path, exported: tuple[Path, Done]
) -> None:
    out, _ = exported
    shipped, applied = tmp_path / "shipped.png", tmp_path / "applied.png"
    assert run("sample", out, "--n", 4, "--out", shipped).code == 0
    assert run("sample", "fashion-vae", "--recipe", recipe_file, "--n", 4, "--out", applied).code == 0
    assert shipped.read_bytes() == applied.read_bytes()
    assert run("sample", out, "--n", 4, "--runtime", "openvino", "--out", tmp_path / "graph.png").code == 0
    graph, simulated = (np.asarray(Image.open(tmp_path / f"{name}.png"), int) for name in ("graph", "shipped"))
    assert 0 <= abs(graph - simulated).mean() < 2
    assert "has its recipe inside" in refused(run("sample", out, "--recipe", recipe_file, "--out", shipped))
    assert "has content" in refused(run("compress", "fashion-vae", "--recipe", recipe_file, "--out", out))


def test_verify_prints_every_check(run: Run, exported: tuple[Path, Done]) -> None:
    done = run("verify", exported[0], "--no-latency")
    assert done.code == 0, done.err
    lines = done.out.splitlines()
    assert [line.split() for line in lines[:4]] == [
        ["passed", check] for check in ("checksums", "size_bytes", "recipe", "samples")
    ]
    assert "passed  openvino samples" in lines
    assert f"{(exported[0] / 'weights.safetensors').stat().st_size:,} bytes" in done.out
    assert "loaded in" in lines[-1]


def test_a_changed_artifact_is_refused(run: Run, tmp_path: Path, exported: tuple[Path, Done]) -> None:
    out = Path(shutil.copytree(exported[0], tmp_path / "changed"))
    content = bytearray((out / "weights.safetensors").read_bytes())
    content[-1] ^= 1
    (out / "weights.safetensors").write_bytes(content)
    assert "weights.safetensors does not match SHA256SUMS" in refused(run("verify", out))
    assert "weights.safetensors" in refused(run("evaluate", out))


def test_an_artifact_is_measured_in_the_runtime_that_it_ships(run: Run, exported: tuple[Path, Done]) -> None:
    done = run("evaluate", exported[0], "--samples", 60, "--runtime", "openvino", "--json")
    assert done.code == 0, done.err
    (found,) = done.document["runtime_quality"]
    assert (found["runtime"], found["verdict"]) == ("openvino", "same")
    assert found["size_bytes"] == sum(path.stat().st_size for path in (exported[0] / "openvino").iterdir())
    assert [timed["runtime"] for timed in done.document["latency"]] == ["openvino"]
    assert done.document["transport_bytes"] < done.document["size_bytes"] * 1.01


def test_zstd_ships_and_verifies(run: Run, recipe_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "zipped"
    options = ("--zstd", "--no-latency", "--runtime", "eager")
    made = run("compress", "fashion-vae", "--recipe", recipe_file, "--out", out, "--json", *options)
    assert made.code == 0, made.err
    assert made.document["size_bytes"] == (out / "weights.safetensors.zst").stat().st_size
    assert (made.document["transport"]["coding"], list(made.document["runtimes"])) == ("zstd", ["eager"])
    assert run("verify", out, "--no-latency").code == 0


def test_samples_are_one_picture_and_the_same_every_time(run: Run, tmp_path: Path) -> None:
    first, second = tmp_path / "deep" / "first.png", tmp_path / "second.png"
    report = run("sample", "fashion-vae", "--n", 4, "--out", first, "--json").document
    assert (report["n"], report["seed"], report["out"]) == (4, 0, str(first))
    assert run("sample", "fashion-vae", "--n", 4, "--out", second).code == 0
    assert first.read_bytes() == second.read_bytes()
    with Image.open(first) as picture:
        assert picture.format == "PNG"
        assert picture.size == (2 * 57, 2 * 57)
    assert run("sample", "fashion-vae", "--n", 4, "--seed", 1, "--out", second).code == 0
    assert first.read_bytes() != second.read_bytes()


def test_a_measurement_is_made_once_and_then_read_from_the_store(run: Run, recipe_file: Path, tmp_path: Path) -> None:
    arguments = ("evaluate", "fashion-vae", "--recipe", recipe_file, "--samples", 60, "--json")
    store = ("--store", tmp_path / "own" / "store.db")
    first = run_process(*arguments, *store)
    assert first.code == 0, first.err
    document = first.document  # nothing else is on stdout
    assert document.keys() >= MEASUREMENT_KEYS
    for name in ("quality", "dense_quality"):
        assert document[name].keys() >= QUALITY_KEYS
        assert document[name]["low"] <= document[name]["value"] <= document[name]["high"]
        assert (document[name]["n_samples"], document[name]["better"]) == (60, "lower")
    (timed,) = document["latency"]
    assert timed.keys() >= LATENCY_KEYS
    assert (timed["runtime"], timed["batch"]) == ("eager", 1)
    assert document["status"] == "measured"
    assert document["n_nonzero"] < document["n_params"]
    assert "loading" in first.err
    again = run(*arguments, *store)
    assert again.document == document
    assert again.err == ""
    assert (tmp_path / "own" / "store.db").exists()
    rows = Store(f"sqlite:///{tmp_path / 'own' / 'store.db'}").rows()
    assert [row["signature"] for row in rows if row["origin"] == "local"] == [document["signature"]]


def test_texts_are_sampled_measured_and_shipped(run: Run, recipe_file: Path, tmp_path: Path) -> None:
    lines, folder = tmp_path / "texts.txt", tmp_path / "artifact"
    assert run("sample", TEXTS, "--n", 3, "--out", lines).code == 0
    assert len(lines.read_text().splitlines()) == 3
    found = run("evaluate", TEXTS, "--recipe", recipe_file, "--samples", 20, "--json").document
    assert (found["quality"]["metric"], found["quality"]["better"]) == ("bleu", "higher")
    assert found["quality"]["n_samples"] == 20
    assert found["quality"]["baselines"].keys() == {"source copied", "word table"}
    assert {"chrf", "perplexity", "kl_nats", "token_agreement", "unchanged_texts"} <= found["fidelity"].keys()
    assert 0 < found["fidelity"]["kl_nats"]["value"] < 5
    made = run("compress", TEXTS, "--recipe", recipe_file, "--out", folder, "--json").document
    assert made["size_bytes"] == found["size_bytes"] == (folder / "weights.safetensors").stat().st_size
    assert json.loads((folder / "tokenizer.json").read_text())["model"]["type"] == "Unigram"
    assert "list of 16 strings" in (folder / "README.md").read_text()
    again = run("sample", folder, "--n", 3, "--out", tmp_path / "again.txt", "--json")
    run("sample", TEXTS, "--recipe", recipe_file, "--n", 3, "--out", tmp_path / "simulated.txt")
    assert again.document["n"] == 3
    assert (tmp_path / "again.txt").read_text() == (tmp_path / "simulated.txt").read_text() != lines.read_text()


def test_a_damaged_tokenizer_is_named(run: Run, recipe_file: Path, tmp_path: Path) -> None:
    folder = tmp_path / "artifact"
    run("compress", TEXTS, "--recipe", recipe_file, "--out", folder)
    (folder / "tokenizer.json").write_text("{}")
    done = run("verify", folder)
    assert done.code == 1
    assert "tokenizer.json does not match" in done.err


def test_more_batches_are_added_to_what_was_measured(run: Run) -> None:
    first = run("evaluate", "fashion-vae", "--samples", 60, "--json").document
    second = run("evaluate", "fashion-vae", "--samples", 60, "--batch", 1, "--batch", 2, "--json").document
    assert [timed["batch"] for timed in second["latency"]] == [1, 2]
    assert second["latency"][0] == first["latency"][0]
    shown = run("evaluate", "fashion-vae", "--samples", 60).out
    assert f"{first['size_bytes']:,} bytes" in shown
    assert "lower is better" in shown


def test_the_frontier_is_written_as_table_and_as_chart(run: Run, tmp_path: Path) -> None:
    store = Store(os.environ["GENCOMP_STORE"])
    found = [
        measurement(),
        measurement(quantization(4), size_bytes=150_000, fid=12.0),
        measurement(pruning(0.9), size_bytes=300_000, fid=90.0),
        measurement(quantization(2), size_bytes=90_000, fid=60.0),
    ]
    store.save_many(found, {}, origin="local")
    table, chart = tmp_path / "frontier.csv", tmp_path / "frontier.html"
    done = run("pareto", "fashion-vae", "--csv", table, "--html", chart, "--json")
    assert done.code == 0, done.err
    points = {point["signature"]: point for point in done.document["points"]}
    assert points.keys() == {one.signature for one in found}
    assert [points[one.signature]["on_frontier"] for one in found] == [True, True, False, True]
    assert points[found[1].signature]["is_knee"]
    with table.open() as stream:
        rows = list(csv.DictReader(stream))
    assert {row["signature"]: row["size_bytes"] for row in rows} == {
        one.signature: str(one.size_bytes) for one in found
    }
    assert all(one.signature in chart.read_text() for one in found)
    assert "<script src" not in chart.read_text()  # opens offline
    shown = run("pareto", "fashion-vae").out
    assert "1 dominated configurations are not listed" in shown
    assert found[2].title not in shown


def test_the_frontier_takes_any_cost_and_any_figure_with_its_area(run: Run) -> None:
    store = Store(os.environ["GENCOMP_STORE"])
    drifts = {None: 100.0, 4: 25.0, 2: 10.0}
    for bits, drift in drifts.items():
        kept = {"psnr_db": Estimate(value=drift, low=drift - 1, high=drift)}
        timed = latency(runtime="openvino", batch=16, median_ms=float(bits or 8))
        store.save(measurement(*([quantization(bits)] if bits else []), fidelity=kept, latency=(timed,)))
    done = run("pareto", "fashion-vae", "--x", "latency_ms:openvino:16", "--y", "psnr_db", "--json")
    assert done.code == 0, done.err
    assert (done.document["x"], done.document["y"]) == ("latency_ms:openvino:16", "psnr_db")
    points = {point["latency_ms"]: point for point in done.document["points"]}
    assert {ms: point["psnr_db"] for ms, point in points.items()} == {8.0: 100.0, 4.0: 25.0, 2.0: 10.0}
    assert all(point["on_line"] for point in points.values())
    assert done.document["hypervolume"] == {"value": pytest.approx(25.0 - 10.0), "cost": 8.0, "quality": 10.0}
    assert "openvino latency at batch 16, ms" in run("pareto", "fashion-vae", "--x", "latency_ms:openvino:16").out
    nothing = refused(run("pareto", "fashion-vae", "--x", "latency_ms:onnxruntime"))
    assert "Measure again with 'gencomp evaluate fashion-vae --runtime onnxruntime --batch 1'." in nothing
    assert "--y must be one of quality" in refused(run("pareto", "fashion-vae", "--y", "bleu"))


def test_a_search_prints_its_frontier_and_one_document(run: Run, tmp_path: Path) -> None:
    grid = tmp_path / "grid.yaml"
    grid.write_text("stages: [{kind: weight-quantization, bits: [8, 4, 2]}]")
    name = "plugin:tests.tiny:TinyGAN"
    done = run("search", name, "--trials", 4, "--samples", 50, "--grid", grid, "--json")
    assert done.code == 0, done.err
    assert {"workload", "signature", "trials", "frontier", "hypervolume", "evaluations", "seconds"} <= set(
        done.document
    )
    assert len(done.document["trials"]) == 4
    shown = run("search", name, "--trials", 4, "--samples", 50, "--grid", grid)
    assert "4 configurations: 4 screenings over 50 samples (4 known before)" in " ".join(shown.out.split())
    assert "--x must be one of size_bytes" in refused(run("search", name, "--x", "bytes"))


def test_a_frontier_of_failures_only_is_one_line(run: Run) -> None:
    Store(os.environ["GENCOMP_STORE"]).save(measurement(fid=None))
    refused(run("pareto", "fashion-vae"))


# What goes wrong

MALFORMED = {
    "empty": ("", "got an empty file"),
    "only a comment": ("# nothing\n", "got an empty file"),
    "a list": ("- kind: magnitude-pruning\n", "must be a mapping"),
    "a word": ("prune it", "must be a mapping"),
    "no stages": ("stage: []\n", "must hold 'stages:', got stage"),
    "a tab": ("stages:\n\t- kind: x\n", "not valid YAML in line 2"),
    "unclosed": ("stages: [{kind: magnitude-pruning, sparsity: 0.5}\n", "not valid YAML"),
    "twice": ("stages: []\nstages: []\n", "stands twice"),
    "python object": ("stages: !!python/object/apply:os.system ['true']\n", "not valid YAML"),
    "two documents": ("stages: []\n---\nstages: []\n", "not valid YAML"),
    "stages are a word": ("stages: prune\n", "stages must be"),
    "stages are nothing": ("stages:\n", "stages must be"),
    "a stage is a word": ("stages: [prune]\n", "stages[0] must"),
    "no kind": ("stages: [{sparsity: 0.5}]\n", "must say its 'kind'"),
    "misspelt kind": ("stages: [{kind: magnitude-prunning}]\n", "Did you mean 'magnitude-pruning'"),
    "misspelt field": ("stages: [{kind: magnitude-pruning, sparsty: 0.5}]\n", "Did you mean 'sparsity'"),
    "missing field": ("stages: [{kind: weight-quantization}]\n", "stages[0].bits is missing"),
    "percent": ("stages: [{kind: magnitude-pruning, sparsity: 50}]\n", "write 0.5 for 50 %"),
    "negative": ("stages: [{kind: magnitude-pruning, sparsity: -0.1}]\n", "must be in [0, 1), got -0.1"),
    "not a number": ("stages: [{kind: magnitude-pruning, sparsity: .nan}]\n", "sparsity must be"),
    "quoted": ("stages: [{kind: weight-quantization, bits: '4'}]\n", "Remove the quotes"),
    "half a bit": ("stages: [{kind: weight-quantization, bits: 4.5}]\n", "must be a whole number, got 4.5"),
    "no bit": ("stages: [{kind: weight-quantization, bits: 0}]\n", "must be in [1, 8], got 0"),
    "contradiction": (
        "stages: [{kind: weight-quantization, bits: 4, granularity: tensor, group_size: 8}]\n",
        "must be left out when granularity is 'tensor'",
    ),
    "bad override": (
        "stages: [{kind: weight-quantization, bits: 4, layers: {out: {bits: 99}}}]\n",
        "stages[0].layers.out.bits must be in [1, 8], got 99",
    ),
    "no such layer": (
        "stages: [{kind: weight-quantization, bits: 4, layers: {outt: {bits: 8}}}]\n",
        "must name a layer of fashion-vae, got 'outt'. Did you mean 'out'",
    ),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_a_malformed_recipe_is_one_clear_line(run: Run, tmp_path: Path, name: str) -> None:
    text, message = MALFORMED[name]
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    done = run("compress", "fashion-vae", "--recipe", path, "--out", tmp_path / "artifact")
    assert message in refused(done)
    assert not (tmp_path / "artifact").exists()


@pytest.mark.parametrize("content", [b"\xff\xfe\x00\x01", b"\0" * 10, b"[" * 20_000, b"x" * 1_000_001])
def test_a_file_that_is_no_recipe_at_all_is_one_clear_line(run: Run, tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(content)
    refused(run("compress", "fashion-vae", "--recipe", path, "--out", tmp_path / "artifact"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "fashion-vea"], "No workload named 'fashion-vea'. Did you mean 'fashion-vae'"),
        (["inspect", "nothing"], "Available: fashion-diffusion, fashion-gan, fashion-vae"),
        (["evaluate", "fashion-vae", "--samples", "3"], "--samples must be in [50, 50000], got 3"),
        (["evaluate", "fashion-vae", "--samples", "9999999"], "--samples must be in"),
        (["evaluate", "fashion-vae", "--samples", "-60"], "--samples must be in"),
        (["evaluate", "fashion-vae", "--set", "foo=1"], "no sampling option 'foo'. Available: temperature"),
        (["evaluate", "fashion-vae", "--set", "temprature=1"], "Did you mean 'temperature'"),
        (["evaluate", "fashion-vae", "--set", "temperature"], "--set must be NAME=VALUE, got 'temperature'"),
        (["evaluate", "fashion-vae", "--set", "temperature=hot"], "temperature must be a number, got 'hot'"),
        (["evaluate", "fashion-vae", "--set", "temperature=3"], "temperature must be in [0, 2], got 3"),
        (["evaluate", "fashion-vae", "--set", "temperature=nan"], "temperature must be a number"),
        (["evaluate", "fashion-vae", "--set", "temperature=inf"], "temperature must be"),
        (["evaluate", "fashion-diffusion", "--set", "steps=0"], "steps must be in [1, 100], got 0"),
        (["evaluate", "fashion-diffusion", "--set", "steps"], "--set must be NAME=VALUE, got 'steps'"),
        (["evaluate", "fashion-diffusion", "--set", "steps=2.5"], "steps must be a whole number, got 2.5"),
        (["evaluate", "fashion-diffusion", "--set", "steps=nan"], "steps must be a whole number"),
        (["evaluate", "fashion-diffusion", "--set", "steps=inf"], "steps must be a whole number"),
        (["evaluate", "fashion-diffusion", "--set", "solver=eular"], "Did you mean 'euler'"),
        (["evaluate", "fashion-vae", "--runtime", "egaer"], "No runtime named 'egaer'. Did you mean 'eager'"),
        (["evaluate", "fashion-vae", "--extractor", "fashon"], "No extractor named 'fashon'. Did you mean 'fashion'"),
        (["evaluate", "fashion-vae", "--recipe", "/nowhere.yaml"], "can't be read"),
        (["verify", "/nowhere"], "is no folder"),
        (["verify", "{tmp}"], "is no artifact"),
        (["evaluate", "{tmp}"], "is no artifact"),
        (["pareto", "fashion-vae"], "Nothing of fashion-vae has been measured. Run"),
        (
            ["pareto", "fashion-vae", "--x", "size"],
            "--x must be one of size_bytes, macs, effective_bits, latency_ms",
        ),
        (["workloads", "--store", "nonsense://x"], "--store must be a URL"),
        (["workloads", "--store", "{text}"], "can't be opened"),
        (["train", "fashion-gpt", "--out", "{tmp}/run"], "No trainable network named 'fashion-gpt'"),
        pytest.param(["train", "fashion-vae", "--out", "{tmp}/run", "--config", "/nowhere.yaml"], "can't be read"),
        (["evaluate", "plugin:no_such_module:make"], "can't be imported"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_user_error_is_one_clear_line(run: Run, tmp_path: Path, arguments: list[str], message: str) -> None:
    (tmp_path / "text.db").write_text("this is no database, but a longer text\n" * 30)
    filled = [argument.format(tmp=tmp_path, text=tmp_path / "text.db") for argument in arguments]
    assert message in refused(run(*filled))


def test_a_picture_that_can_not_be_written_is_one_line_after_the_progress(run: Run) -> None:
    done = run("sample", "fashion-vae", "--out", "/proc/nothing/x.png", "--n", 1)
    assert (done.code, done.out) == (1, "")
    assert "--out /proc/nothing/x.png can't be written" in done.err.splitlines()[-1]


@pytest.mark.parametrize("option", ["--csv", "--html"])
def test_a_frontier_that_can_not_be_written_is_one_line(run: Run, option: str) -> None:
    Store(os.environ["GENCOMP_STORE"]).save(measurement())
    assert option in refused(run("pareto", "fashion-vae", option, "/proc/nothing/file"))


def test_an_artifact_that_can_not_be_written_is_one_line(run: Run, recipe_file: Path) -> None:
    done = run("compress", "fashion-vae", "--recipe", recipe_file, "--out", "/proc/nothing/artifact")
    assert "--out" in refused(done)


@pytest.mark.parametrize(
    "arguments",
    [
        ["evaluate"],
        ["nonsense"],
        ["evaluate", "fashion-vae", "--nonsense"],
        ["evaluate", "fashion-vae", "--samples", "many"],
        ["evaluate", "fashion-vae", "--batch", "0"],
        ["evaluate", "fashion-vae", "--seed", "-1"],
        ["sample", "fashion-vae"],
        ["sample", "fashion-vae", "--out", "x.png", "--n", "0"],
        ["compress", "fashion-vae", "--out", "x"],
        ["workloads", "--threads", "0"],
    ],
    ids=" ".join,
)
def test_wrong_usage_is_exit_code_two(run: Run, arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.code == 2
    assert done.out == ""
    assert done.err


def test_a_plugin_can_be_compressed_verified_and_measured(
    run: Run, recipe_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_plugin_of_cli.py").write_text("from tests.tiny import TinyVAE as make\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    name = "plugin:my_plugin_of_cli:make"
    assert run("inspect", name, "--json").document["workload"] == name
    done = run("compress", name, "--recipe", recipe_file, "--out", tmp_path / "artifact", "--json")
    assert done.code == 0, done.err
    assert run("verify", tmp_path / "artifact", "--no-latency").code == 0


def test_the_frontier_of_a_plugin_is_found_under_the_name_that_was_typed(run: Run) -> None:
    name = "plugin:tests.tiny:TinyVAE"
    assert run("evaluate", name, "--samples", 60, "--json").code == 0
    done = run("pareto", name, "--json")
    assert done.code == 0, done.err


def test_help_lists_the_commands_without_torch() -> None:
    code = (
        "import sys; sys.argv = ['gencomp', '--help']\n"
        "from gencomp_core.cli import main\n"
        "try: main()\n"
        "finally: assert 'torch' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    for command in (
        "workloads",
        "techniques",
        "inspect",
        "sample",
        "evaluate",
        "compress",
        "verify",
        "pareto",
        "train",
    ):
        assert command in done.stdout


# The Python API


@pytest.mark.parametrize("name", gencomp_core.__all__)
def test_every_name_of_the_api_is_there(name: str) -> None:
    assert getattr(gencomp_core, name)
    assert name in dir(import_module("gencomp_core")) or not name.startswith("_")


def test_the_api_is_what_the_command_line_calls(tmp_path: Path, recipe_file: Path) -> None:
    workload = gencomp_core.load_workload("fashion-vae")
    chosen = gencomp_core.Recipe.from_file(recipe_file)
    manifest = gencomp_core.save_artifact(gencomp_core.compress(workload, chosen), tmp_path / "artifact")
    loaded = gencomp_core.load_artifact(tmp_path / "artifact")
    assert loaded.recipe == chosen
    assert loaded.sample(2).shape == (2, 1, 28, 28)
    found = gencomp_core.measure(workload, chosen, n_samples=60, runtimes=())
    assert found.size_bytes == manifest.size_bytes == (tmp_path / "artifact" / "weights.safetensors").stat().st_size


def test_a_name_that_is_not_in_the_api_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="has no attribute 'optimise'"):
        gencomp_core.optimise  # noqa: B018

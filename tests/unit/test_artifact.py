import json
import re
import shutil
import subprocess
from pathlib import Path

import jsonschema
import numpy as np
import pytest
import torch
import zstandard
from safetensors.torch import load_file, save_file

from gencomp_core.artifact import manifest as files
from gencomp_core.artifact import save as saving
from gencomp_core.artifact.load import LoadedArtifact, load_artifact
from gencomp_core.artifact.manifest import Manifest, read_manifest
from gencomp_core.artifact.packing import pack
from gencomp_core.artifact.save import save_artifact
from gencomp_core.artifact.selftest import N_SAMPLES, SelfTestResult, compare, samples_hash, selftest_samples
from gencomp_core.artifact.sums import SUMS_FILE, changed_files, write_sums
from gencomp_core.errors import ArtifactError, EvaluationError, UnknownNameError
from gencomp_core.recipes.recipe import Recipe
from gencomp_core.runtimes.registry import runtimes
from gencomp_core.services.exporting import verify
from gencomp_core.variant import Variant, compress
from tests.made import measurement
from tests.tiny import TinyVAE, TinyVerses, pruning, quantization, recipe, same_bits

FILES = sorted(
    [
        files.MANIFEST_FILE,
        files.SCHEMA_FILE,
        files.WEIGHTS_FILE,
        files.RECIPE_FILE,
        files.SAMPLING_FILE,
        files.SELFTEST_FILE,
        files.CARD_FILE,
        files.EXAMPLE_FILE,
        "openvino/model.xml",
        "openvino/model.bin",
        "openvino/facts.json",
        SUMS_FILE,
    ]
)
PLAIN = sorted(name for name in FILES if "/" not in name)
RECIPE = recipe(pruning(0.5), quantization(4, group_size=16))


class Undescribed(TinyVerses):
    """A text workload that describes no programs, so that only eager can run it."""

    programs = None  # as if the method were not there


class Shipped(TinyVAE):
    """The tiny VAE under a name that `load_artifact` can load."""

    name = "plugin:tests.tiny:TinyVAE"


def variant(chosen: Recipe = RECIPE) -> Variant:
    return compress(Shipped(), chosen)


@pytest.fixture(scope="module")
def pristine(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Manifest]:
    folder = tmp_path_factory.mktemp("artifact") / "pristine"
    return folder, save_artifact(variant(), folder)


@pytest.fixture
def folder(pristine: tuple[Path, Manifest], tmp_path: Path) -> Path:
    """An artifact of its own, to be damaged."""
    return Path(shutil.copytree(pristine[0], tmp_path / "artifact"))


def content_of(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def selftest(loaded: LoadedArtifact, runtime: str = "eager") -> SelfTestResult:
    facts = loaded.manifest.runtimes[runtime]
    network = loaded.open(runtime).network
    samples = selftest_samples(loaded.workload, network, loaded.manifest.selftest.settings)
    recorded = loaded.recorded_samples(runtime)
    return compare(samples, recorded, sha256=facts.sha256, tolerance=facts.tolerance)


def test_it_holds_the_files_that_the_manifest_and_the_card_speak_of(folder: Path) -> None:
    assert sorted(content_of(folder)) == FILES
    card = (folder / files.CARD_FILE).read_text()
    assert f"{(folder / files.WEIGHTS_FILE).stat().st_size:,} bytes" in card
    assert Recipe.from_file(folder / files.RECIPE_FILE) == RECIPE


def test_its_size_is_the_size_on_disk(folder: Path, pristine: tuple[Path, Manifest]) -> None:
    on_disk = (folder / files.WEIGHTS_FILE).stat().st_size
    manifest = read_manifest(folder)
    assert manifest == pristine[1]
    assert manifest.size_bytes == on_disk
    report = verify(folder, timed=False)
    assert report["size_bytes"] == on_disk
    assert report["artifact_bytes"] == sum(len(content) for content in content_of(folder).values())
    assert report["dense_size_bytes"] == manifest.dense_size_bytes == pack(Shipped().model, {}).size_bytes


def test_it_loads_to_the_very_weights_that_were_compressed(folder: Path) -> None:
    loaded = load_artifact(folder)
    own = variant().model.state_dict()
    assert all(same_bits(value, own[name]) for name, value in loaded.model.state_dict().items())
    assert loaded.recipe == RECIPE
    assert not loaded.model.training


def test_its_samples_are_made_again(folder: Path) -> None:
    loaded = load_artifact(folder)
    facts = loaded.manifest.selftest
    result = selftest(loaded)
    assert (result.identical, result.passed, result.max_difference) == (True, True, 0)
    assert samples_hash(loaded.sample(N_SAMPLES)) == facts.sha256
    assert samples_hash(loaded.recorded_samples()) == facts.sha256


def test_verify_passes_every_check(folder: Path) -> None:
    report = verify(folder, timed=False)
    assert report["ok"]
    assert report["problem"] is None
    assert set(report["checks"]) == {"checksums", "size_bytes", "recipe", "samples"}
    assert all(report["checks"].values())
    assert list(report["runtimes"]) == ["eager", "openvino"]
    for own in report["runtimes"].values():
        assert own["checks"].keys() >= {"samples", "size_bytes"}
        assert all(own["checks"].values())


def test_other_weights_fail_the_self_test(folder: Path) -> None:
    loaded = load_artifact(folder)
    with torch.no_grad():
        loaded.model.out.bias += 1
    result = selftest(loaded)
    assert not result.identical
    assert not result.passed
    assert result.max_difference > 2


def test_weights_that_were_exchanged_with_their_checksum_fail_the_self_test(folder: Path) -> None:
    other = variant(recipe(quantization(2)))
    (folder / files.WEIGHTS_FILE).write_bytes(pack(other.model, other.quantized).content)
    write_sums(folder)
    report = verify(folder, timed=False)
    assert not report["ok"]
    assert not report["checks"]["samples"]
    assert not report["checks"]["size_bytes"]
    assert "eager samples" in report["problem"]


def test_a_recipe_that_was_exchanged_with_its_checksum_is_noticed(folder: Path) -> None:
    (folder / files.RECIPE_FILE).write_text(recipe(pruning(0.1)).to_yaml())
    write_sums(folder)
    report = verify(folder, timed=False)
    assert report["problem"] == "recipe differ from the manifest"


@pytest.mark.parametrize("place", [0.0, 0.3, 0.7, 1.0])
@pytest.mark.parametrize("name", FILES)
def test_one_changed_byte_is_noticed_and_the_file_named(folder: Path, name: str, place: float) -> None:
    content = bytearray((folder / name).read_bytes())
    content[round(place * (len(content) - 1))] ^= 0x40
    (folder / name).write_bytes(content)
    with pytest.raises(ArtifactError) as raised:
        load_artifact(folder)
    assert name in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("bit", range(8))
def test_every_byte_of_the_checksums_is_guarded(folder: Path, bit: int) -> None:
    content = (folder / SUMS_FILE).read_bytes()
    unnoticed = []
    for position in range(len(content)):
        changed = bytearray(content)
        changed[position] ^= 1 << bit
        (folder / SUMS_FILE).write_bytes(changed)
        try:
            files_changed = changed_files(folder)
        except ArtifactError:
            continue
        if not files_changed:
            unnoticed.append(position)
    assert unnoticed == []


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ArtifactError) as raised:
        load_artifact(folder)
    assert name in str(raised.value)


@pytest.mark.parametrize("name", ["extra.py", "openvino/extra.bin", "deep/er/extra.py", "openvino/SHA256SUMS"])
def test_an_added_file_is_named(folder: Path, name: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text("import os\n")
    with pytest.raises(ArtifactError, match=re.escape(name) + " do(es)? not match SHA256SUMS"):
        load_artifact(folder)


def test_an_added_folder_or_link_is_named(folder: Path, tmp_path: Path) -> None:
    (folder / "empty").mkdir()
    assert changed_files(folder) == ["empty"]
    (folder / "empty").rmdir()
    shutil.move(folder / "openvino", tmp_path / "elsewhere")
    (folder / "openvino").symlink_to(tmp_path / "elsewhere")
    assert "openvino/model.bin" in changed_files(folder)


def test_a_file_that_was_cut_short_is_named(folder: Path) -> None:
    path = folder / files.WEIGHTS_FILE
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ArtifactError, match=files.WEIGHTS_FILE):
        load_artifact(folder)


@pytest.mark.parametrize("content", [b"", b"not safetensors at all", b'\x08\0\0\0\0\0\0\0{"a": 1'])
def test_damaged_weights_with_a_fresh_checksum_are_named(folder: Path, content: bytes) -> None:
    (folder / files.WEIGHTS_FILE).write_bytes(content)
    write_sums(folder)
    with pytest.raises(ArtifactError, match=files.WEIGHTS_FILE) as raised:
        load_artifact(folder)
    assert "\n" not in str(raised.value)


def test_weights_of_another_network_are_refused(folder: Path) -> None:
    save_file({"nothing": torch.zeros(3)}, folder / files.WEIGHTS_FILE)
    write_sums(folder)
    with pytest.raises(ArtifactError, match=files.WEIGHTS_FILE):
        load_artifact(folder)


def test_damaged_recorded_samples_are_named(folder: Path) -> None:
    save_file({"other": load_file(folder / files.SELFTEST_FILE)["eager"]}, folder / files.SELFTEST_FILE)
    write_sums(folder)
    with pytest.raises(ArtifactError, match=files.SELFTEST_FILE):
        load_artifact(folder).recorded_samples()


def test_recorded_samples_of_another_number_fail_in_one_line(folder: Path) -> None:
    save_file({"eager": torch.zeros(3, 1, 28, 28, dtype=torch.uint8)}, folder / files.SELFTEST_FILE)
    write_sums(folder)
    with pytest.raises(ArtifactError, match=files.SELFTEST_FILE):
        verify(folder, timed=False)


def rewrite_manifest(folder: Path, **changes: object) -> None:
    path = folder / files.MANIFEST_FILE
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
    write_sums(folder)


def test_a_manifest_of_another_format_is_refused(folder: Path) -> None:
    rewrite_manifest(folder, format="gencomp-artifact-99")
    with pytest.raises(ArtifactError, match="format must be gencomp-artifact-2, got gencomp-artifact-99"):
        load_artifact(folder)


def test_an_artifact_of_the_first_layout_says_how_it_is_made_again(folder: Path) -> None:
    path = folder / files.MANIFEST_FILE
    old = json.loads(path.read_text())
    for name in ("runtimes", "not_shipped", "transport", "machine", "weights_file"):
        del old[name]
    path.write_text(json.dumps(old | {"format": "gencomp-artifact-1"}))
    write_sums(folder)
    with pytest.raises(ArtifactError, match="got gencomp-artifact-1. Make it again with 'gencomp compress'"):
        load_artifact(folder)


def test_a_manifest_with_a_stray_field_is_named_with_its_place(folder: Path) -> None:
    rewrite_manifest(folder, colour="green")
    with pytest.raises(ArtifactError, match=r"manifest\.json is damaged at colour"):
        load_artifact(folder)


def test_a_folder_that_is_no_artifact_says_so(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"is no artifact: no manifest\.json"):
        load_artifact(tmp_path)
    with pytest.raises(ArtifactError, match="is no folder"):
        load_artifact(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(ArtifactError, match="is no folder"):
        load_artifact(tmp_path / "file")


def test_a_folder_with_content_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(ArtifactError, match="must be a new or empty folder, got .*mine"):
        save_artifact(variant(), out, runtimes=[])
    assert content_of(out) == {"thesis.txt": b"years of work"}
    assert [path.name for path in tmp_path.iterdir()] == ["mine"]


def test_a_file_in_the_place_of_the_folder_is_refused_and_left_as_it_was(tmp_path: Path) -> None:
    out = tmp_path / "mine"
    out.write_text("years of work")
    with pytest.raises(ArtifactError, match="must be a new or empty folder"):
        save_artifact(variant(), out, runtimes=[])
    assert out.read_text() == "years of work"


@pytest.mark.parametrize("exists", [True, False])
def test_a_new_or_empty_folder_is_filled(tmp_path: Path, exists: bool) -> None:
    out = tmp_path / "deep" / "artifact"
    if exists:
        out.mkdir(parents=True)
    save_artifact(variant(), out, runtimes=[])
    assert sorted(content_of(out)) == PLAIN
    assert [path.name for path in out.parent.iterdir()] == ["artifact"]


@pytest.mark.parametrize("crash", [OSError("disk full"), KeyboardInterrupt()], ids=["disk full", "ctrl-c"])
def test_a_crash_in_the_middle_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crash: BaseException
) -> None:
    def stop(folder: Path) -> None:
        assert (folder / files.WEIGHTS_FILE).exists()
        raise crash

    monkeypatch.setattr(saving.sums, "write_sums", stop)
    with pytest.raises(type(crash)):
        save_artifact(variant(), tmp_path / "parent" / "artifact", runtimes=[])
    assert list((tmp_path / "parent").iterdir()) == []


def test_the_checksums_are_those_of_sha256sum(folder: Path) -> None:
    text = (folder / SUMS_FILE).read_text()
    assert all(re.fullmatch(r"[0-9a-f]{64}  [\w./]+", line) for line in text.splitlines())
    assert text.endswith("\n")
    program = shutil.which("sha256sum")
    if program is None:
        pytest.skip("sha256sum is not installed")
    done = subprocess.run([program, "--check", "--strict", SUMS_FILE], cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count(": OK") == len(FILES) - 1


def test_the_same_variant_is_written_to_the_same_weights(folder: Path, tmp_path: Path) -> None:
    save_artifact(variant(), tmp_path / "again", runtimes=[])
    for name in (files.WEIGHTS_FILE, files.RECIPE_FILE, files.SCHEMA_FILE):
        assert (tmp_path / "again" / name).read_bytes() == (folder / name).read_bytes()


def test_figures_that_were_measured_travel_along(tmp_path: Path) -> None:
    known = measurement(quantization(4), fid=11.5)
    save_artifact(variant(), tmp_path / "artifact", measurement=known, runtimes=[])
    manifest = load_artifact(tmp_path / "artifact").manifest
    assert manifest.measurement == json.loads(json.dumps(known.summary()))
    assert "11.500 [11.000, 12.000]" in (tmp_path / "artifact" / files.CARD_FILE).read_text()


def test_the_manifest_follows_the_schema_beside_it(folder: Path) -> None:
    document = json.loads((folder / files.MANIFEST_FILE).read_text())
    schema = json.loads((folder / files.SCHEMA_FILE).read_text())
    jsonschema.validate(document, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(document | {"size_bytes": "many"}, schema)


def test_sampling_settings_and_inputs_are_written_down(folder: Path) -> None:
    sampling = json.loads((folder / files.SAMPLING_FILE).read_text())
    assert sampling["settings"] == {"temperature": 1.0}
    assert sampling["programs"] == {
        "model": [
            {"name": "noise", "dtype": "float32", "shape": ["batch", 8]},
            {"name": "labels", "dtype": "int64", "shape": ["batch"]},
        ]
    }


def test_the_runtime_model_is_run_from_the_files_of_the_folder(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GENCOMP_HOME", str(tmp_path / "another-home"))  # nothing was converted there
    before = content_of(folder)
    loaded = load_artifact(folder)
    facts = loaded.manifest.runtimes["openvino"]
    opened = loaded.open("openvino")
    assert all(folder in path.parents for path in opened.files.values())
    assert facts.files == {f"openvino/{name}": len(before[f"openvino/{name}"]) for name in opened.files}
    assert facts.size_bytes == opened.size_bytes
    result = selftest(loaded, "openvino")
    assert (result.identical, result.passed) == (True, True)
    assert samples_hash(loaded.sample(N_SAMPLES, runtime="openvino")) == facts.sha256
    assert content_of(folder) == before, "running it has written into it"
    assert changed_files(folder) == []


@pytest.mark.parametrize("start", [0, 0.5], ids=["all of it", "its second half"])
def test_weights_of_the_runtime_that_were_exchanged_with_their_checksum_fail_its_self_test(
    folder: Path, start: float
) -> None:
    path = folder / "openvino" / "model.bin"
    content = np.frombuffer(path.read_bytes(), np.uint8).copy()
    content[round(start * len(content)) :] ^= 0x11
    path.write_bytes(content.tobytes())
    write_sums(folder)
    report = verify(folder, timed=False)
    assert not report["ok"]
    assert report["runtimes"]["eager"]["checks"]["samples"]
    assert not report["runtimes"]["openvino"]["checks"]["samples"]
    assert "openvino samples" in report["problem"]
    assert verify(folder, runtimes=["eager"], timed=False)["ok"]


def test_a_runtime_that_does_not_ship_is_refused_with_what_does(folder: Path) -> None:
    loaded = load_artifact(folder)
    with pytest.raises(UnknownNameError, match="Did you mean 'openvino'"):
        loaded.open("openvno")
    other = next((name for name in runtimes if name not in loaded.manifest.runtimes), None)
    if other:
        with pytest.raises(ArtifactError, match=f"holds eager, openvino, got '{other}'"):
            loaded.open(other)


def test_a_runtime_that_can_not_run_it_is_told_and_nothing_fails(tmp_path: Path) -> None:
    texts = compress(Undescribed(), recipe(quantization(8)))
    manifest = save_artifact(texts, tmp_path / "artifact")
    assert list(manifest.runtimes) == ["eager"]
    assert "must describe its programs" in manifest.not_shipped["openvino"]
    assert f"Not in openvino: {manifest.not_shipped['openvino']}" in (tmp_path / "artifact/README.md").read_text()
    assert "load_artifact(HERE)" in (tmp_path / "artifact/example.py").read_text()
    with pytest.raises(EvaluationError, match="must describe its programs"):
        save_artifact(texts, tmp_path / "named", runtimes=["openvino"])
    assert not (tmp_path / "named").exists()


def test_a_runtime_without_files_of_its_own_has_nothing_to_ship(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(runtimes._entries, "fileless", runtimes["eager"])
    with pytest.raises(ArtifactError, match="fileless has no files of its own"):
        save_artifact(variant(), tmp_path / "artifact", runtimes=["fileless"])
    assert list(tmp_path.glob("*artifact*")) == []


@pytest.fixture
def zipped(tmp_path: Path) -> Path:
    save_artifact(variant(), tmp_path / "zipped", runtimes=[], zstd=True)
    return tmp_path / "zipped"


def test_zstd_carries_the_same_weights_and_is_counted_as_shipped(folder: Path, zipped: Path) -> None:
    plain = load_artifact(folder)
    loaded = load_artifact(zipped)
    on_disk = (zipped / files.ZSTD_FILE).stat().st_size
    assert loaded.content == plain.content
    assert not (zipped / files.WEIGHTS_FILE).exists()
    assert (loaded.manifest.size_bytes, loaded.manifest.transport.coding) == (on_disk, "zstd")
    assert loaded.manifest.transport.unpacked_bytes == plain.manifest.size_bytes == len(plain.content)
    assert (plain.manifest.transport.coding, plain.manifest.transport.decompress_ms) == ("none", 0.0)
    report = verify(zipped, timed=False)
    assert report["ok"]
    assert report["size_bytes"] == on_disk
    assert report["transport"]["load_ms"] >= report["transport"]["decompress_ms"] > 0
    program = shutil.which("zstd")
    if program:
        done = subprocess.run([program, "-dc", zipped / files.ZSTD_FILE], capture_output=True, check=True)
        assert done.stdout == plain.content


@pytest.mark.parametrize("content", [b"", b"no zstd at all", zstandard.compress(b"x" * 10_000_000)])
def test_a_damaged_or_swollen_zstd_file_is_named(zipped: Path, content: bytes) -> None:
    (zipped / files.ZSTD_FILE).write_bytes(content)
    write_sums(zipped)
    with pytest.raises(ArtifactError, match=files.ZSTD_FILE) as raised:
        load_artifact(zipped)
    assert "\n" not in str(raised.value)


def test_an_artifact_without_figures_says_so(folder: Path) -> None:
    assert "not measured" in (folder / files.CARD_FILE).read_text()

import gzip
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from gencomp_core.data.fashion_mnist import SUBSET_FOLDER, read_idx
from gencomp_core.errors import TrainingError
from gencomp_core.models.vae import FashionVAE
from gencomp_core.services.training import train_network
from gencomp_core.training.config import TRAINABLE, load_config
from gencomp_core.training.loop import STATE_FILE, WEIGHTS_FILE, _Run, read_curve
from gencomp_core.training.tasks import make_task
from gencomp_core.workloads.fashion import FashionVAEWorkload

CONFIG = {
    "steps": 4,
    "batch_size": 8,
    "channels": [16, 16],
    "latent_dim": 4,
    "validate_every": 1,
    "save_every": 1,
}
TINY_TEXT = {"dim": 32, "encoder_layers": 1, "decoder_layers": 1}
TEXT_SWITCHES = {"depth": 2.0, "pretrain": 0.34, "curriculum": 0.5, "self_critical": 0.5, "optimizer": "rmsprop"}
TINY_IMAGES = {"channels": [16, 16]}


def write_idx(path: Path, values: np.ndarray) -> None:
    header = bytes([0, 0, 8, values.ndim]) + np.array(values.shape, ">u4").tobytes()
    with gzip.open(path, "wb", compresslevel=0) as stream:
        stream.write(header + values.tobytes())


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set of the right counts, made of the shipped subset: 60,000 images are six copies of it."""
    folder = tmp_path_factory.mktemp("data")
    images = read_idx(SUBSET_FOLDER / "subset-images-idx3-ubyte.gz")
    labels = read_idx(SUBSET_FOLDER / "subset-labels-idx1-ubyte.gz")
    for stem, n in (("train", 6), ("t10k", 1)):
        write_idx(folder / f"{stem}-images-idx3-ubyte.gz", np.tile(images, (n, 1, 1)))
        write_idx(folder / f"{stem}-labels-idx1-ubyte.gz", np.tile(labels, n))
    return folder


@pytest.fixture(autouse=True)
def _own_data(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GENCOMP_DATA", str(data))


def config_file(folder: Path, **changes: object) -> Path:
    path = folder / f"config-{len(list(folder.iterdir()))}.yaml"
    path.write_text(yaml.safe_dump(CONFIG | changes))
    return path


@pytest.fixture(scope="module")
def uninterrupted(data: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("uninterrupted")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GENCOMP_DATA", str(data))
        records = list(train_network("fashion-vae", folder / "run", config=config_file(folder)))
    assert [record.step for record in records] == [1, 2, 3, 4]
    return folder / "run"


def test_a_run_leaves_weights_that_sample_and_a_curve(uninterrupted: Path) -> None:
    curve = read_curve(uninterrupted)
    assert [record.step for record in curve] == [1, 2, 3, 4]
    assert all(np.isfinite(record.loss) and record.figures for record in curve)
    assert not list(uninterrupted.glob("*.partial"))
    workload = FashionVAEWorkload(uninterrupted / WEIGHTS_FILE)
    model = workload.model
    assert isinstance(model, FashionVAE)
    assert model.config.latent_dim == 4
    images = workload.generate(model, 0, 2, seed=0, settings={"temperature": 1.0})
    assert images.shape == (2, 1, 28, 28)


def test_an_interrupted_run_goes_on_to_bit_identical_weights(uninterrupted: Path, tmp_path: Path) -> None:
    out, config = tmp_path / "run", config_file(tmp_path)
    steps = train_network("fashion-vae", out, config=config)
    for record in steps:
        if record.step == 2:
            break
    steps.close()  # type: ignore[attr-defined]
    assert torch.load(out / STATE_FILE, weights_only=True)["step"] == 2  # saved before it is told
    assert not (out / WEIGHTS_FILE).exists()
    torch.manual_seed(99)
    resumed = list(train_network("fashion-vae", out, config=config))
    assert [record.step for record in resumed] == [3, 4]
    assert (out / WEIGHTS_FILE).read_bytes() == (uninterrupted / WEIGHTS_FILE).read_bytes()
    assert [record.step for record in read_curve(out)] == [1, 2, 3, 4]
    losses = [record.loss for record in read_curve(out)]
    assert losses == [record.loss for record in read_curve(uninterrupted)]


def test_a_finished_run_is_not_trained_again(uninterrupted: Path, tmp_path: Path) -> None:
    before = (uninterrupted / WEIGHTS_FILE).read_bytes()
    assert list(train_network("fashion-vae", uninterrupted, config=config_file(tmp_path))) == []
    assert (uninterrupted / WEIGHTS_FILE).read_bytes() == before


def test_another_configuration_in_the_same_folder_is_refused_in_one_line(uninterrupted: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in uninterrupted.iterdir()}
    other = config_file(tmp_path, learning_rate=0.1)
    with pytest.raises(
        TrainingError, match=r"holds a run with learning_rate 0\.001, the configuration says 0\.1"
    ) as raised:
        list(train_network("fashion-vae", uninterrupted, config=other))
    assert "\n" not in str(raised.value)
    assert {path.name: path.read_bytes() for path in uninterrupted.iterdir()} == before


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"steps": 0}, "steps: Input should be greater than 0, got 0"),
        ({"stepz": 4}, "stepz"),
        ({"precision": "fp8"}, "precision"),
        ({"ema": 1.0}, "ema"),
    ],
)
def test_a_configuration_that_makes_no_sense_is_one_line(
    tmp_path: Path, fields: dict[str, object], message: str
) -> None:
    with pytest.raises(TrainingError, match=message) as raised:
        load_config("fashion-vae", config_file(tmp_path, **fields))
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("steps: ["),
        "- a list",
        "",
        "just words",
    ],
)
def test_a_file_that_is_no_configuration_is_one_line(tmp_path: Path, text: str) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(text)
    with pytest.raises(TrainingError) as raised:
        load_config("fashion-vae", path)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("network", TRAINABLE)
def test_the_shipped_configurations_are_valid(network: str) -> None:
    config = load_config(network)
    assert config.network == network
    assert json.loads(config.model_dump_json())["steps"] > 0


@pytest.mark.parametrize(
    ("network", "fields", "figures"),
    [
        ("fashion-gan", {"channels": [16, 16, 16], "r1": 0.5, "penalty_every": 1}, {"fid"}),
        ("fashion-gan", {"channels": [16, 16, 16], "r1": 0, "gradient_penalty": 10, "loss": "wasserstein"}, {"fid"}),
        ("verses-transformer", TINY_TEXT, {"bleu", "perplexity"}),
        ("verses-transformer", TINY_TEXT | TEXT_SWITCHES, {"bleu", "perplexity"}),
    ],
)
def test_every_other_network_trains_and_resumes_to_bit_identical_weights(
    tmp_path: Path, network: str, fields: dict[str, object], figures: set[str]
) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"steps": 3, "batch_size": 8, "validate_every": 3, "save_every": 1} | fields))
    straight = list(train_network(network, tmp_path / "straight", config=path))
    assert straight[-1].figures.keys() == figures
    assert all(np.isfinite(value) for value in straight[-1].figures.values())
    interrupted = tmp_path / "interrupted"
    interrupted.mkdir()
    run = _Run(load_config(network, path), interrupted)
    run.step(0)
    run.save_state(1)
    list(train_network(network, interrupted, config=path))
    assert (interrupted / WEIGHTS_FILE).read_bytes() == (tmp_path / "straight" / WEIGHTS_FILE).read_bytes()


def test_the_best_weights_ship_and_a_run_without_progress_ends(tmp_path: Path) -> None:
    path = config_file(
        tmp_path, steps=20, patience=2, keep="best", learning_rate=0.1, warmup=0, ema=0, schedule="constant"
    )
    curve = list(train_network("fashion-vae", tmp_path / "run", config=path))
    config = load_config("fashion-vae", path)
    task = make_task(config)
    badness = [task.badness(record.figures) for record in curve]
    best = int(np.argmin(badness))
    assert len(curve) == best + 3 < 20
    network = FashionVAEWorkload(tmp_path / "run" / WEIGHTS_FILE).model
    assert task.badness(task.validate(network)) == pytest.approx(badness[best], rel=1e-3)
    before = (tmp_path / "run" / WEIGHTS_FILE).read_bytes()
    assert list(train_network("fashion-vae", tmp_path / "run", config=path)) == []
    assert (tmp_path / "run" / WEIGHTS_FILE).read_bytes() == before


@pytest.mark.parametrize(
    ("network", "fields"),
    [
        ("fashion-diffusion", TINY_IMAGES),
        pytest.param(
            "verses-transformer",
            TINY_TEXT | {"dropout": 0, "pretrain": 0.5, "curriculum": 0.9},
            marks=pytest.mark.slow,
        ),
    ],
)
def test_two_processes_train_like_one(tmp_path: Path, network: str, fields: dict[str, object]) -> None:
    path = tmp_path / "config.yaml"
    path.write_text(yaml.safe_dump({"steps": 4, "batch_size": 16, "precision": "fp32", "warmup": 0} | fields))
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    train = ["-m", "gencomp_core", "train", network, "--config", str(path), "--threads", "1", "--out"]
    for command in ([*train, str(tmp_path / "one")], [*launch, *train, str(tmp_path / "two")]):
        subprocess.run([sys.executable, *command], check=True, capture_output=True, timeout=300)
    one, two = (load_file(tmp_path / name / WEIGHTS_FILE) for name in ("one", "two"))
    start = make_task(load_config(network, path)).network.state_dict()
    for name, value in one.items():
        if not name.endswith("k.bias"):  # softmax cancels it: a gradient of rounding errors, which Adam makes large
            torch.testing.assert_close(two[name], value, rtol=0, atol=1e-5, msg=name)
    assert max((value - start[name]).abs().max().item() for name, value in one.items()) > 1e-4
    losses = [[record.loss for record in read_curve(tmp_path / name)] for name in ("one", "two")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)

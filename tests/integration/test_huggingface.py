"""Models of Hugging Face are workloads: loaded from a folder, judged, compressed, saved and loaded again."""

from pathlib import Path

import pytest
import torch

from gencomp_core.analysis.measurement import Shipped
from gencomp_core.data.prompts import read_prompts
from gencomp_core.errors import CheckpointError, DataError, GenCompError, UnknownNameError
from gencomp_core.services.measuring import measure
from gencomp_core.variant import compress
from gencomp_core.workloads import load_workload
from gencomp_core.workloads.base import TextWorkload, check_workload, complete_settings
from tests.huggingface import rename_class, save_pairs, save_pipeline, save_text_model
from tests.tiny import quantization, recipe

pytest.importorskip("transformers")
pytest.importorskip("diffusers")
KINDS = ("t5", "gpt2", "llama")
SMALLER = recipe({"kind": "magnitude-pruning", "sparsity": 0.3}, quantization(8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("huggingface")
    save_pairs(made / "pairs.tsv")
    for kind in KINDS:
        save_text_model(made / kind, kind)
    save_pipeline(made / "pipeline")
    return made


def text_workload(folder: Path, kind: str) -> TextWorkload:
    return load_workload(f"hf:{folder / kind}?texts={folder / 'pairs.tsv'}")  # type: ignore[return-value]


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_model_answers_each_prompt_alike_whatever_is_asked_beside_it(folder: Path, kind: str) -> None:
    workload = text_workload(folder, kind)
    assert check_workload(workload) == []
    settings = complete_settings(workload, {"max_new_tokens": 12})
    together = workload.generate(workload.model, 0, 8, seed=0, settings=settings)
    alone = [workload.generate(workload.model, i, i + 1, seed=1, settings=settings)[0] for i in range(8)]
    assert together == alone
    assert len(set(together)) > 1
    beams = workload.generate(workload.model, 0, 8, seed=0, settings=settings | {"beam": 3})
    assert len(beams) == 8


@pytest.mark.parametrize("kind", KINDS)
def test_the_loss_of_the_references_is_that_of_transformers(folder: Path, kind: str) -> None:
    workload = text_workload(folder, kind)
    log_probs, following, real = workload.log_probs(workload.model, 0, 1)
    own = -log_probs.gather(2, following.unsqueeze(2))[..., 0][real].mean()
    said = workload.tokenizer(workload.references(0, 1)[0], return_tensors="pt").input_ids  # type: ignore[attr-defined]
    said = torch.cat([said, torch.tensor([[1]])], 1)
    read = workload.tokenizer(workload.prompts(0, 1)[0], return_tensors="pt").input_ids  # type: ignore[attr-defined]
    if kind == "t5":
        loss = workload.model(input_ids=read, labels=said).loss
    else:
        unjudged = torch.full_like(read, -100)
        loss = workload.model(input_ids=torch.cat([read, said], 1), labels=torch.cat([unjudged, said], 1)).loss
    torch.testing.assert_close(own, loss, rtol=1e-4, atol=1e-5)


def test_layers_of_gpt2_that_are_stored_transposed_compute_the_same_as_linear_ones(folder: Path) -> None:
    from transformers import AutoModelForCausalLM

    own = text_workload(folder, "gpt2").model
    kept = AutoModelForCausalLM.from_pretrained(folder / "gpt2", attn_implementation="eager").eval()
    ids = torch.randint(3, 20, (2, 9), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(own(ids).logits, kept(ids).logits, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", KINDS)
def test_a_text_model_is_measured_compressed_and_comes_back_from_its_bytes(folder: Path, kind: str, home: Path) -> None:
    workload = text_workload(folder, kind)
    found = measure(workload, SMALLER, n_samples=20, settings=complete_settings(workload, {"max_new_tokens": 8}))
    assert found.size_bytes < found.dense_size_bytes / 2
    assert found.fidelity["kl_nats"].value > 0
    assert [latency.runtime for latency in found.latency] == ["eager"]
    shipped, variant = Shipped.of(workload, SMALLER), compress(workload, SMALLER)
    settings = complete_settings(workload, {"max_new_tokens": 8})
    texts = [workload.generate(own, 0, 4, seed=0, settings=settings) for own in (shipped.model, variant.model)]
    assert texts[0] == texts[1]


def test_pixel_diffusion_draws_numbered_images_and_can_be_calibrated(folder: Path) -> None:
    workload = load_workload(f"hf:{folder / 'pipeline'}")
    settings = complete_settings(workload, {"steps": 3})
    together = workload.generate(workload.model, 0, 4, seed=0, settings=settings)
    assert together.shape == (4, 1, 28, 28)
    assert together.dtype == torch.uint8
    alone = workload.generate(workload.model, 2, 3, seed=0, settings=settings)
    assert (alone[0].int() - together[2].int()).abs().max() <= 1
    (batch,) = workload.loss_batches(4, seed=0)  # type: ignore[attr-defined]
    assert torch.isfinite(batch.run(workload.model))


def test_what_cannot_be_loaded_is_told_in_one_line(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="can't be loaded by transformers"):
        load_workload(f"hf:{tmp_path}")
    with pytest.raises(UnknownNameError, match="is named hf:FOLDER-OR-ID"):
        load_workload("hf:")
    with pytest.raises(UnknownNameError, match="is named hf:FOLDER-OR-ID"):
        load_workload(f"hf:{folder / 't5'}?texst=x")
    conditioned = save_pipeline(tmp_path / "conditioned")
    rename_class(conditioned, "text_encoder")
    with pytest.raises(UnknownNameError, match="must be a pipeline of a UNet2DModel and a scheduler"):
        load_workload(f"hf:{conditioned}")


def test_pickled_weights_are_refused(folder: Path, tmp_path: Path) -> None:
    pickled = save_text_model(tmp_path / "pickled", "t5")
    (pickled / "model.safetensors").unlink()
    torch.save({}, pickled / "pytorch_model.bin")
    with pytest.raises(GenCompError, match=r"safetensors"):
        load_workload(f"hf:{pickled}").model  # noqa: B018


def test_a_file_of_texts_is_split_and_each_bad_line_named(tmp_path: Path) -> None:
    pairs = read_prompts(save_pairs(tmp_path / "pairs.tsv", 40))
    assert (len(pairs.prompts), len(pairs.apart_prompts)) == (30, 10)
    (tmp_path / "bad.tsv").write_text("one\ttwo\nthree\n")
    with pytest.raises(DataError, match=r"bad.tsv line 2 must be prompt<TAB>reference, got 1 column in 'three'"):
        read_prompts(tmp_path / "bad.tsv")
    with pytest.raises(DataError, match="must hold at least 28 lines"):
        read_prompts(save_pairs(tmp_path / "few.tsv", 5))

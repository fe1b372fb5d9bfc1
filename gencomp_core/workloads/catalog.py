"""Which workloads there are, known without loading one."""

import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from gencomp_core.errors import GenCompError, UnknownNameError
from gencomp_core.registry import Registry

if TYPE_CHECKING:
    from gencomp_core.workloads.base import Workload

PLUGIN_PREFIX = "plugin:"
HUGGINGFACE_PREFIX = "hf:"


@dataclass(frozen=True)
class WorkloadCard:
    """What is known of a workload before it is loaded.

    Attributes:
        name: what users type.
        title: heading on a page.
        modality: kind of samples.
        metric: registered name of the quality metric.
        summary: one line.
        factory: `module:function` that makes it.
        sibling_of: the workload that this is a narrower one of; both stand on its frontier.
    """

    name: str
    title: str
    modality: Literal["image", "text"]
    metric: str
    summary: str
    factory: str
    sibling_of: str | None = None


CATALOG: Registry[WorkloadCard] = Registry("workload")
for _card in (
    WorkloadCard(
        name="fashion-diffusion",
        title="Fashion diffusion",
        modality="image",
        metric="fid",
        summary="class-conditional flow-matching U-Net with attention, 28 × 28 clothing",
        factory="gencomp_core.workloads.fashion:FashionDiffusion",
    ),
    WorkloadCard(
        name="fashion-gan",
        title="Fashion GAN",
        modality="image",
        metric="fid",
        summary="class-conditional generator of transposed convolutions, one step a sample",
        factory="gencomp_core.workloads.fashion:FashionGAN",
    ),
    WorkloadCard(
        name="fashion-vae",
        title="Fashion VAE",
        modality="image",
        metric="fid",
        summary="class-conditional convolutional variational autoencoder, one step a sample",
        factory="gencomp_core.workloads.fashion:FashionVAEWorkload",
    ),
    WorkloadCard(
        name="verses-transformer",
        title="Verse Transformer",
        modality="text",
        metric="bleu",
        summary="encoder–decoder with a pointer head, archaic to modern English",
        factory="gencomp_core.workloads.verses:VersesTransformer",
    ),
    WorkloadCard(
        name="fashion-diffusion-w75",
        title="Fashion diffusion, width 0.75",
        modality="image",
        metric="fid",
        summary="the diffusion model at 0.75 of its width, trained from scratch",
        factory="gencomp_core.workloads.fashion:FashionDiffusionThreeQuarters",
        sibling_of="fashion-diffusion",
    ),
    WorkloadCard(
        name="fashion-diffusion-w50",
        title="Fashion diffusion, width 0.5",
        modality="image",
        metric="fid",
        summary="the diffusion model at half its width, trained from scratch",
        factory="gencomp_core.workloads.fashion:FashionDiffusionHalf",
        sibling_of="fashion-diffusion",
    ),
    WorkloadCard(
        name="verses-transformer-w75",
        title="Verse Transformer, width 0.75",
        modality="text",
        metric="bleu",
        summary="the verse model at 0.75 of its width, trained from scratch",
        factory="gencomp_core.workloads.verses:VersesTransformerThreeQuarters",
        sibling_of="verses-transformer",
    ),
    WorkloadCard(
        name="verses-transformer-w50",
        title="Verse Transformer, width 0.5",
        modality="text",
        metric="bleu",
        summary="the verse model at half its width, trained from scratch",
        factory="gencomp_core.workloads.verses:VersesTransformerHalf",
        sibling_of="verses-transformer",
    ),
):
    CATALOG.add(_card.name)(_card)


def card_of(name: str) -> WorkloadCard:
    """Card of a bundled workload, or of a plugin or Hugging Face model (which is loaded for it)."""
    if name.startswith((PLUGIN_PREFIX, HUGGINGFACE_PREFIX)):
        workload = load_workload(name)
        return WorkloadCard(name, workload.title, workload.modality, workload.metric, workload.summary, name)
    return CATALOG[name]


@cache
def load_workload(name: str) -> "Workload":
    """Load a workload by name; its dense weights are read when they are first used.

    Args:
        name: a bundled name, or `plugin:MODULE:FACTORY` for a function without arguments in an
            importable module (the current folder included) that returns a `Workload`, or
            `hf:FOLDER-OR-ID` for a model of Hugging Face.

    Raises:
        UnknownNameError: no such workload, module or factory.
        CheckpointError: a Hugging Face model that can't be loaded.
    """
    if name.startswith(HUGGINGFACE_PREFIX):
        from gencomp_core.workloads.huggingface import load_huggingface

        return load_huggingface(name)
    if name.startswith(PLUGIN_PREFIX):
        return _load_plugin(name)
    module, _, factory = CATALOG[name].factory.partition(":")
    made: Workload = getattr(import_module(module), factory)()
    return made


def _load_plugin(name: str) -> "Workload":
    from gencomp_core.workloads.base import check_workload

    module_name, _, factory_name = name.removeprefix(PLUGIN_PREFIX).partition(":")
    if not module_name or not factory_name or module_name.startswith("."):
        raise UnknownNameError(f"A plugin is named plugin:MODULE:FACTORY, got {name!r}. Write both parts in full.")
    here = str(Path.cwd())
    if here not in sys.path:
        sys.path.insert(0, here)
    try:
        module = import_module(module_name)
    except ModuleNotFoundError as error:
        raise UnknownNameError(
            f"Plugin module {module_name!r} can't be imported ({error}). Run from its folder or install it."
        ) from None
    factory: Callable[[], object] | None = getattr(module, factory_name, None)
    if not callable(factory):
        raise UnknownNameError(f"Module {module_name!r} has no factory {factory_name!r}. Check the name.")
    workload = factory()
    problems = check_workload(workload)
    if problems:
        raise GenCompError(f"{name} is no Workload: {problems[0]}. See gencomp_core/workloads/base.py.")
    object.__setattr__(workload, "name", name)  # measurements and artifacts must find the plugin again
    return workload  # type: ignore[return-value]

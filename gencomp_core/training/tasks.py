"""Which task a training configuration stands for."""

import torch

from gencomp_core.training.config import AnyTraining, ClassifierTraining, DiffusionTraining, GANTraining, TextTraining
from gencomp_core.training.gan_task import GANTask
from gencomp_core.training.image_tasks import ClassifierTask, DiffusionTask, VAETask
from gencomp_core.training.task import Task
from gencomp_core.training.text_task import TextTask


def make_task(config: AnyTraining) -> Task:
    """Task of a configuration, its network initialised by the configuration's seed."""
    torch.manual_seed(config.seed)
    if isinstance(config, ClassifierTraining):
        return ClassifierTask(config)
    if isinstance(config, DiffusionTraining):
        return DiffusionTask(config)
    if isinstance(config, GANTraining):
        return GANTask(config)
    if isinstance(config, TextTraining):
        return TextTask(config)
    return VAETask(config)

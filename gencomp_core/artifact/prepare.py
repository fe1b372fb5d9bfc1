"""Everything that an artifact will hold, in memory: packed weights, opened runtimes, self-test samples."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from torch import nn

from gencomp_core.artifact.packing import PackedWeights, pack, unpack_into
from gencomp_core.artifact.selftest import selftest_samples
from gencomp_core.errors import ArtifactError, EvaluationError, MissingDependencyError
from gencomp_core.runtimes.registry import SHIPPED, SIMULATING, runtimes
from gencomp_core.runtimes.subject import Opened, Subject
from gencomp_core.variant import Variant
from gencomp_core.workloads.base import OptionValue, Outputs, Settings, complete_settings
from gencomp_core.workloads.programs import InputSpec, programs_of


@dataclass(frozen=True, eq=False)
class Prepared:
    """What will be written.

    Attributes:
        variant: that ships.
        packed: its weights file.
        subject: the network that was filled from that file, as runtimes are given it.
        settings: sampling settings of the self-test.
        opened: the runtimes, `eager` first.
        samples: of the self-test, by runtime.
        inputs: what the graph of a runtime takes; empty where none ships, or where it holds several programs.
        not_shipped: runtimes that can't run it, with the reason.
    """

    variant: Variant
    packed: PackedWeights
    subject: Subject
    settings: dict[str, OptionValue]
    opened: Mapping[str, Opened]
    samples: Mapping[str, Outputs]
    programs: Mapping[str, tuple[InputSpec, ...]] = field(default_factory=dict)
    not_shipped: Mapping[str, str] = field(default_factory=dict)

    @property
    def network(self) -> nn.Module:
        """The network that was filled from the weights file."""
        return self.subject.model


def prepare(variant: Variant, *, settings: Settings | None = None, names: Sequence[str] | None = None) -> Prepared:
    """Pack, load again, open the runtimes and sample in each.

    Args:
        settings: sampling settings of the self-test; the workload's defaults without it.
        names: runtimes whose files must be there; without it those of `SHIPPED` that can take the model, and
            the others are told in `not_shipped`.

    Raises:
        ArtifactError: a runtime that was named has no files of its own.
        EvaluationError, MissingDependencyError: a runtime that was named can't take the model.
    """
    workload = variant.workload
    packed = pack(variant.model, variant.quantized, variant.changes)
    network = workload.empty_network()
    found = unpack_into(packed.content, network)
    subject = Subject.shipped(workload, network.eval(), found.quantized, packed.content)
    chosen = complete_settings(workload, settings)
    opened = {SIMULATING: runtimes[SIMULATING](subject)}
    samples = {SIMULATING: selftest_samples(workload, subject.model, chosen)}
    not_shipped = {}
    for name in dict.fromkeys(SHIPPED if names is None else names):
        if name == SIMULATING:
            continue
        try:
            own = _open(subject, name)
            samples[name] = selftest_samples(workload, own.network, chosen)
            opened[name] = own
        except (ArtifactError, EvaluationError, MissingDependencyError) as error:
            if names is not None:
                raise
            not_shipped[name] = str(error)
    programs = programs_of(workload, subject.model) if len(opened) > 1 else {}
    inputs = {name: own.inputs for name, own in programs.items()}
    return Prepared(variant, packed, subject, chosen, opened, samples, inputs, not_shipped)


def _open(subject: Subject, name: str) -> Opened:
    opened = runtimes[name](subject)
    if not opened.files:
        raise ArtifactError(
            f"{name} has no files of its own that could ship. Leave out --runtime {name}: the packed weights run there."
        )
    return opened

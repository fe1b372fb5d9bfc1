"""What happens to a trainee on the way: ranges that freeze, masks that grow."""

from gencomp_core.recovery.tuning import Program
from gencomp_core.recovery.weights import Trainee


class FreezeRanges(Program):
    """Observed ranges of activations stay as they are from half time on.

    Source: Krishnamoorthi 2018 (arXiv:1806.08342), section 3.2.1: freeze once they have settled.
    """

    def __init__(self, steps: int) -> None:
        self.freeze_at = steps // 2

    def before_step_(self, trainee: Trainee, step: int) -> None:
        """Freeze at half time."""
        for span in trainee.ranges.values():
            span.frozen = step >= self.freeze_at

"""Keeps what is no number out of the weights: the step is skipped, and a run that goes on like that is stopped."""

import math
from collections.abc import Callable

from accelerate.utils import gather_object

from emo.errors import InputError


class Guard:
    """Judges every step, alike on all processes: they see the same mean loss and gradient."""

    def __init__(self, limit: int, say: Callable[[str], None]):
        self.limit = limit  # steps skipped in a row
        self.skipped = 0  # in a row, up to now
        self.say = say  # to the user, once for all processes

    def passes(self, step: int, loss: float, mean_loss: float, norm: float, names: list[str]) -> bool:
        """Whether the step may change the weights. loss: of this process; mean_loss: of all; norm: of the mean
        gradient; names: of this process's clips. Raises InputError when that is the `limit`th step skipped in a row.
        """
        if math.isfinite(mean_loss) and math.isfinite(norm):
            self.skipped = 0
            return True
        self.skipped += 1
        suspects = gather_object([] if math.isfinite(loss) else names) or gather_object(names)
        clips = f"the clips {', '.join(sorted(set(suspects)))}" if suspects else "samples without names"
        if self.skipped == self.limit:
            raise InputError(
                f"loss or gradient was no number in {self.limit} steps in a row, at last in step {step} with {clips}: "
                "look at these, or lower learning_rate"
            )
        self.say(f"step {step} is skipped: loss {mean_loss:g}, gradient norm {norm:g}, {clips}")
        return False

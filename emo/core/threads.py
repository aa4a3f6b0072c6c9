"""Settings of the threads of torch, to be made before torch is imported.

torch computes with OpenMP threads. While such a thread waits for the others it spins on its core by default; where
another program uses one of the cores, all wait for the thread that was put aside, and two threads on two cores ran 24
times slower. With OMP_WAIT_POLICY=PASSIVE a waiting thread sleeps.

Commands call `set_passive_waiting` first. Users of the library set the variable in their shell, or call it before they
import torch:

    from emo.core.threads import set_passive_waiting
    set_passive_waiting()
    import torch
"""

import os
import sys

# The OpenMP runtimes of torch's wheels: GNU's (Linux) reads the first, LLVM's and Intel's (macOS, Windows) both
PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE", "KMP_BLOCKTIME": "0"}


def set_passive_waiting() -> bool:
    """Make OpenMP's threads sleep while they wait, in this process and in those it starts.

    What the user has set in the environment stays, also where it is another of the variables that say the same
    (GOMP_SPINCOUNT).

    Returns:
        Whether it takes effect in this process: False where torch has been imported already.
    """
    if not {"OMP_WAIT_POLICY", "KMP_BLOCKTIME", "GOMP_SPINCOUNT"} & os.environ.keys():
        os.environ.update(PASSIVE)
    return "torch" not in sys.modules

"""How often each clip is drawn."""

import numpy as np


def person_weights(people: list[str]) -> np.ndarray:
    """(N,) chances of N clips by person, summing to 1: n clips of one person weigh as sqrt(n) of n people."""
    counts = {p: people.count(p) for p in set(people)}
    weights = np.array([counts[p] ** -0.5 for p in people])
    return weights / weights.sum()

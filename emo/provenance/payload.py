"""The 64 bits that a watermark carries, and the code that protects them.

The payload names no person: a version, a number computed from the model's name, and a random number that only the
one who made the video can look up. It is protected by a check sum of 16 bits and a tail-biting convolutional code of
rate 1/3 and constraint length 11 (Proakis, Digital Communications, table 8.2-2), decoded with soft values.
"""

import hashlib
import secrets
from dataclasses import dataclass
from functools import cache

import numpy as np

VERSION = 1
VERSION_BITS, MODEL_BITS, RANDOM_BITS = 4, 20, 40
PAYLOAD_BITS = VERSION_BITS + MODEL_BITS + RANDOM_BITS
CHECK_BITS = 16
CHECK_POLYNOMIAL = 0x1021  # of CRC-16-CCITT
GENERATORS = (0o2353, 0o2671, 0o3175)
MEMORY = 10  # bits that the encoder remembers
INFO_BITS = PAYLOAD_BITS + CHECK_BITS
CODED_BITS = INFO_BITS * len(GENERATORS)
WRAP_BITS = 40  # the decoder runs this far over both ends of the circle


@dataclass(frozen=True)
class Payload:
    """What a watermark says.

    Attributes:
        random_id: A random number of 40 bits, of one video.
        model_id: A number of 20 bits computed from the model's name, see `hash_model_name`.
        version: Version of the watermark's format, 4 bits.
    """

    random_id: int
    model_id: int = 0
    version: int = VERSION

    def __post_init__(self):
        for value, bits in ((self.version, VERSION_BITS), (self.model_id, MODEL_BITS), (self.random_id, RANDOM_BITS)):
            if not 0 <= value < 2**bits:
                raise ValueError(f"{value} does not fit into {bits} bits")

    @property
    def hex(self) -> str:
        """The payload as 16 hexadecimal digits, as it is printed and logged."""
        return f"{(self.version << MODEL_BITS | self.model_id) << RANDOM_BITS | self.random_id:016x}"

    @classmethod
    def from_hex(cls, text: str) -> "Payload":
        """Parse 16 hexadecimal digits. Raises ValueError for any other text."""
        if len(text) != PAYLOAD_BITS // 4:
            raise ValueError(f"{text!r} has not {PAYLOAD_BITS // 4} hexadecimal digits")
        number = int(text, 16)
        head = number >> RANDOM_BITS
        return cls(number & (2**RANDOM_BITS - 1), head & (2**MODEL_BITS - 1), head >> MODEL_BITS)


def make_payload(model_name: str) -> Payload:
    """Return a payload with a new random number.

    Args:
        model_name: Name of the model that makes the video.

    Returns:
        The payload.
    """
    return Payload(secrets.randbits(RANDOM_BITS), hash_model_name(model_name))


def hash_model_name(name: str) -> int:
    """Return the model's number: the first 20 bits of the SHA-256 of its name."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4], "big") >> (32 - MODEL_BITS)


def encode_payload(payload: Payload) -> np.ndarray:
    """Return the coded bits of a payload.

    Args:
        payload: The payload.

    Returns:
        (CODED_BITS,) float32, each -1 or 1.
    """
    number = int(payload.hex, 16)
    return _encode(_to_bits(number << CHECK_BITS | _check_sum(number), INFO_BITS))


def decode_payload(soft: np.ndarray) -> tuple[Payload | None, np.ndarray]:
    """Decode soft values with the Viterbi algorithm around the circle (wrap-around decoding of tail-biting codes).

    Args:
        soft: (CODED_BITS,) values, positive where a coded bit looks like 1; the larger, the surer.

    Returns:
        The payload, None where the check sum is wrong; and the coded bits (CODED_BITS,) of the most likely codeword,
        each -1 or 1.
    """
    previous, outputs = _trellis()
    order = np.arange(-WRAP_BITS, INFO_BITS + WRAP_BITS) % INFO_BITS
    branches = np.einsum("sbk,tk->tsb", outputs, soft.reshape(INFO_BITS, -1).astype(np.float32))
    metric = np.zeros(2**MEMORY, np.float32)
    choices = np.zeros((len(order), 2**MEMORY), np.uint8)
    for step, position in enumerate(order):
        candidates = metric[previous] + branches[position]
        choices[step] = candidates[:, 1] > candidates[:, 0]
        metric = candidates.max(1)
    state, bits = int(metric.argmax()), np.zeros(INFO_BITS, int)
    for step in range(len(order) - 1, -1, -1):
        if WRAP_BITS <= step < WRAP_BITS + INFO_BITS:
            bits[order[step]] = state >> (MEMORY - 1)  # the newest bit of a state is the one that led to it
        state = int(previous[state, choices[step, state]])
    number = int("".join(map(str, bits)), 2)
    payload = Payload.from_hex(f"{number >> CHECK_BITS:016x}")
    right = _check_sum(number >> CHECK_BITS) == number & (2**CHECK_BITS - 1)
    return payload if right else None, _encode(bits)


@cache
def _trellis() -> tuple[np.ndarray, np.ndarray]:
    """For each state and each of the two states before it: that state (S 2), and the outputs (S 2 3) of -1 and 1."""
    states = np.arange(2**MEMORY)
    previous = (states[:, None] << 1 & (2**MEMORY - 1)) | np.arange(2)
    registers = (states[:, None] >> (MEMORY - 1) << MEMORY) | previous
    masked = registers[..., None] & np.array(GENERATORS)
    parities = sum(masked >> k & 1 for k in range(MEMORY + 1)) % 2
    return previous, 2.0 * parities.astype(np.float32) - 1


def _encode(bits: np.ndarray) -> np.ndarray:
    """Return the codeword of INFO_BITS bits (0 or 1): (CODED_BITS,) float32, each -1 or 1."""
    history = np.stack([np.roll(bits, delay) for delay in range(MEMORY + 1)], 1)  # (INFO_BITS MEMORY+1), newest first
    taps = np.array([[generator >> (MEMORY - delay) & 1 for delay in range(MEMORY + 1)] for generator in GENERATORS])
    return (2.0 * (history @ taps.T % 2).reshape(-1) - 1).astype(np.float32)


def _to_bits(number: int, count: int) -> np.ndarray:
    return np.array([number >> (count - 1 - k) & 1 for k in range(count)])


def _check_sum(number: int) -> int:
    """CRC-16-CCITT of the payload's bits."""
    register = 0xFFFF
    for byte in number.to_bytes(PAYLOAD_BITS // 8, "big"):
        register ^= byte << 8
        for _ in range(8):
            register = (register << 1 ^ CHECK_POLYNOMIAL if register & 0x8000 else register << 1) & 0xFFFF
    return register

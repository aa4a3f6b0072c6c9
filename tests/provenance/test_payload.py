"""The payload's bits and their code."""

import numpy as np
import pytest

from emo.provenance.payload import CODED_BITS, Payload, decode_payload, encode_payload, hash_model_name, make_payload


def test_a_payload_is_16_hexadecimal_digits():
    payload = Payload(random_id=0xABCDEF0123, model_id=0x12345, version=7)
    assert payload.hex == "712345abcdef0123" and Payload.from_hex(payload.hex) == payload
    for text in ("", "712345abcdef012", "x12345abcdef0123"):
        with pytest.raises(ValueError):
            Payload.from_hex(text)
    with pytest.raises(ValueError):
        Payload(random_id=2**40)


def test_payloads_of_a_model_share_its_number_only():
    first, second = make_payload("mini"), make_payload("mini")
    assert first.model_id == second.model_id == hash_model_name("mini") != hash_model_name("maxi")
    assert first.random_id != second.random_id


def test_noise_is_corrected():
    rng = np.random.default_rng(1)
    for _ in range(5):
        payload = make_payload("mini")
        coded = encode_payload(payload)
        assert coded.shape == (CODED_BITS,) and set(np.unique(coded)) == {-1, 1}
        noisy = coded + rng.normal(0, 0.8, CODED_BITS)
        assert (np.sign(noisy) != coded).sum() > 10  # bits are wrong, and yet
        found, again = decode_payload(noisy)
        assert found == payload and np.array_equal(again, coded)


def test_pure_noise_has_a_wrong_check_sum():
    rng = np.random.default_rng(2)
    assert [decode_payload(rng.normal(size=CODED_BITS))[0] for _ in range(5)] == [None] * 5

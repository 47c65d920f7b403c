import pytest
import torch

from instruments.common import named, read
from seqstate.core.energy import Energy, HasBits
from seqstate.instruments import Bits
from seqstate.instruments.bits import bit_readings, code_readings
from seqstate.model import build_head


class Signs(Energy, HasBits):
    """Word bits are the words' own numbers; a pair matches half at every feature."""

    def __init__(self, *, width=3):
        super().__init__()
        self.width = width

    def forward(self, query, keys):
        return -(query @ keys.transpose(-1, -2))

    def soft_bits(self, query, keys):
        return {
            "word": keys,
            "match": torch.full((len(query), len(keys), self.width), 0.5).double(),
        }


def test_codes_shared_by_words_are_counted():
    head = Signs().over(4).double()
    words = [[1.0, 0.0, 0.0], [0.95, 0.05, 0.0], [0.0, 0.0, 1.0], [0.3, 0.7, 1.0]]
    with torch.no_grad():
        head.weight.copy_(torch.tensor(words))
    found = read(Bits(), head, torch.randn(5, 3))
    assert found["word_code_collisions"].value == 0.5  # the first two round alike
    assert found["word_code_entropy"].value == pytest.approx(1.5)  # 1/2, 1/4, 1/4
    assert found["word_bit_saturation"].value == pytest.approx(10 / 12)
    assert found["word_bit_balance"].value == pytest.approx(2 * (0.5 + 0.25 + 0.5) / 3)
    assert found["match_bit_saturation"].value == 0
    assert found["match_bit_saturation"].count == 20


def test_half_on_is_one_bit_and_always_on_is_none():
    values = torch.tensor([[0.0, 1.0], [1.0, 1.0]])
    found = named(bit_readings("word", values))
    assert found["word_bit_saturation"].value == 1
    assert found["word_bit_balance"].value == 0.5
    assert found["word_bit_entropy"].value == pytest.approx(0.5)
    assert found["word_bit_balance"].tags["by_feature"] == [0.5, 1.0]


def test_distinct_codes_do_not_collide():
    codes = torch.tensor([[a, b] for a in (True, False) for b in (True, False)])
    found = named(code_readings("word", codes))
    assert found["word_code_collisions"].value == 0
    assert found["word_code_entropy"].value == pytest.approx(2)


def test_matches_of_multi_vector_hamming_saturate_as_it_is_sharpened():
    shares = []
    for sharpness in (0.01, 1.0, 100.0):
        torch.manual_seed(0)
        head = build_head(
            f"multi_hamming(groups=4, a={sharpness})", width=16, vocab_size=50
        ).double()
        shares.append(read(Bits(), head, torch.randn(30, 16))["match_bit_saturation"].value)
    assert shares[0] == 0 < shares[1] < shares[2]
    assert shares[2] > 0.9


def test_heads_without_bits_are_left_alone():
    assert not Bits().reads(build_head("inner", width=16, vocab_size=5))
    assert Bits().reads(build_head("multi_hamming", width=16, vocab_size=5))
    with pytest.raises(ValueError, match="pairs"):
        Bits(pairs=0)

"""Records of comparisons nobody ran: plausible numbers, awkward text, everything by a seeded generator."""

from __future__ import annotations

import math
import random
import re
from typing import Any

from seqstate.core.record import Reading, Run, RunConfig

LADDER = (  # state, energy, final bits per token, state bytes, parameters, tokens/s
    ("ngram(order=5)", None, 2.86, 32, 1_203_114, 2_100_000),
    ("rnn(width=288)", "inner", 2.71, 1_152, 401_204, 41_000),
    ("lstm(width=176)", "inner", 2.38, 1_408, 399_872, 30_500),
    ("lstm(width=168)", "multi_hamming(groups=16)", 2.36, 1_344, 402_113, 24_800),
    ("attention(layers=4, width=88)", "inner", 2.41, 360_448, 400_640, 18_200),
    (
        "attention(energy='multi_hamming(groups=8)', layers=4, width=88)",
        "inner",
        2.44,
        360_448,
        401_001,
        15_900,
    ),
    ("attention(layers=4, width=84)", "mos(mixtures=4)", 2.40, 344_064, 403_520, 12_400),
)
ENGLISH = (
    "ROMEO:\nBut, soft! what light through yonder window breaks?\nIt is the east, and Juliet is the sun.\n"
    "Arise, fair sun, and kill the envious moon,\nWho is already sick and pale with grief,\n"
    "That thou her maid art far more fair than she:\nBe not her maid, since she is envious.\n"
)
CHINESE = "牀前看月光，疑是地上霜。舉頭望山月，低頭思故鄉。國破山河在，城春草木深。感時花濺淚，恨別鳥驚心。"
HOSTILE = "<script>alert('x')</script> & \"quotes\" </div> <img src=x onerror=alert(1)> \x00\x1b[31m \u202e"
STARVATION = {"1": 0.0, "2": 0.004, "3": 0.043, "4": 0.171, "5": 0.374, "6": 0.581, "7": 0.742}
BYTES_A_TOKEN = 1.37


def corpus(name: str = "tinyshakespeare", **changes: Any) -> dict[str, Any]:
    return {
        "id": "c0ffee12",
        "name": name,
        "tokenizer": "bpe",
        "vocab_size": 2048,
        "train_tokens": 732_000,
        "valid_tokens": 81_400,
        "train_bytes": 1_003_854,
        "valid_bytes": 111_540,
        "starvation": dict(STARVATION),
        **changes,
    }


def fake_run(
    state: str = "lstm(width=176)",
    energy: str | None = "inner",
    *,
    seed: int = 0,
    bits: float = 2.38,
    memory: int = 1408,
    parameters: int = 399_872,
    rate: float = 30_500,
    points: int = 20,
    text: str = ENGLISH,
    tokens: int = 320,
    steps: int = 1000,
    about: dict[str, Any] | None = None,
    extra: tuple[Reading, ...] = (),
    sample: str | None = None,
    **config: Any,
) -> Run:
    """One finished run whose score is near `bits` bits per token; the seed scatters it a little."""
    about = about or corpus()
    dice = random.Random(f"{state}{energy}{seed}{about['id']}")
    counted = energy is None
    settings = RunConfig(
        state=state, energy=energy, corpus=about["id"], seed=seed, steps=steps, **config
    )
    final = bits + (0.0 if counted else dice.gauss(0, 0.012))
    consumed = about["train_tokens"] if counted else settings.tokens_per_step * steps
    seconds = consumed / rate
    return Run(
        config=settings,
        readings=[*_readings(final, memory, parameters, rate, seconds, consumed, counted), *extra],
        curve=_curve(final, consumed, seconds, 1 if counted else points, steps, dice),
        sample=sample if sample is not None else _sample(text, dice),
        surprise=_surprise(text, tokens, final, counted, dice),
        corpus=about,
        versions={"seqstate": "0.1.0", "python": "3.11.9", "torch": "2.13.0", "numpy": "2.4.6"},
        machine={
            "system": "Linux x86_64",
            "processor": "Example CPU @ 2.60GHz",
            "cores": 2,
            "device": "cpu",
        },
        command="seqstate compare input.txt --budget 5m --seeds 3",
        finished=f"2025-03-0{1 + seed % 9}T12:00:00+00:00",
    )


def fake_runs(seeds: int = 3, ladder=LADDER, **options: Any) -> list[Run]:
    """A whole comparison; counting is done once, as compare does it."""
    return [
        fake_run(
            state,
            energy,
            seed=seed,
            bits=bits,
            memory=memory,
            parameters=size,
            rate=rate,
            **options,
        )
        for state, energy, bits, memory, size, rate in ladder
        for seed in range(1 if energy is None else seeds)
    ]


def gates(width: int, value: float) -> tuple[Reading, ...]:
    """Readings of instruments the report has never heard of."""
    return (
        Reading("gate_saturation", value, "1", 4096, 0.004, {"gate": "forget", "layer": 0}),
        Reading("gate_saturation", value / 2, "1", 4096, 0.004, {"gate": "input", "layer": 0}),
        Reading("logit_rank", width + 1, "1"),
    )


def _readings(bits, memory, parameters, rate, seconds, consumed, counted) -> list[Reading]:
    nats = bits * math.log(2)
    return [
        Reading("nats_per_token", nats, "nat/token", 81_399, 0.011),
        Reading("bits_per_token", bits, "bit/token", 81_399, 0.016),
        Reading("bits_per_byte", bits / BYTES_A_TOKEN, "bit/byte", 81_399, 0.012),
        Reading("perplexity", math.exp(nats), "1", 81_399, 0.06),
        Reading("parameters", parameters, "1", tags={"counted": counted}),
        Reading("state_bytes", memory, "B"),
        Reading("train_tokens", consumed, "token"),
        Reading("train_tokens_per_second", rate, "token/s", 1000),
        Reading("generate_tokens_per_second", rate / 40, "token/s", 256),
        Reading("cpu_seconds", seconds, "s"),
    ]


def _curve(final, consumed, seconds, points, steps, dice) -> list[dict[str, float]]:
    found = []
    for index in range(1, points + 1):
        share = index / points
        bits = final + 3.2 * (1 - share) * math.exp(-4 * share) + dice.gauss(0, 0.008) * (share < 1)
        found.append(
            {
                "step": round(steps * share),
                "tokens": round(consumed * share),
                "cpu_seconds": round(seconds * share * dice.uniform(0.97, 1.03), 3),
                "wall_seconds": round(seconds * share, 3),
                "train_nats": bits * math.log(2) * 0.97,
                "valid_nats": bits * math.log(2),
                "learning_rate": 3e-3 * (1 - 0.9 * share),
            }
        )
    return found


def pieces(text: str) -> list[str]:
    """Words with the space before them, Chinese by character, line ends apart."""
    return re.findall(r" ?[A-Za-z]+|.", text, flags=re.DOTALL)


def _surprise(text, tokens, bits, counted, dice) -> dict[str, Any]:
    units = pieces(text)
    units = (units * (tokens // len(units) + 1))[:tokens]
    place = random.Random(text)  # the same hard tokens for every model
    hard = [place.expovariate(1 / (0.3 + 0.5 * len(unit.strip()))) for unit in units]
    scale = bits * math.log(2) / (sum(hard) / len(hard))
    nats = [max(0.003, value * scale * dice.uniform(0.6, 1.4)) for value in hard]
    if not counted:  # what has been read before costs less for those who remember it
        first = len(pieces(text))
        nats = [value * (0.55 if index > first else 1.0) for index, value in enumerate(nats)]
    return {"text": units, "nats": [round(value, 4) for value in nats], "seen_from": 27_133}


def _sample(text, dice) -> str:
    units = pieces(text)
    return "".join(dice.choice(units) for _ in range(220)).strip()

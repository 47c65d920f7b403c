"""Does an energy of the essay's family beat the tuned inner product as a language model's output layer?

At equal numbers a word and equal parameters, once at equal steps and once at equal processor time. Each
energy has six short runs to find its learning rate (of three) and one setting (of two: bits, height, scale;
`hamming` has one). The inner product is the one with a learnt scale, as the family's scalars are learnt too.
The best member on the tuning seed is the finalist of its cell (a body and a count of numbers a word), and
meets the best inner product on seeds that chose nothing. Tail words and contexts with several modes are read
apart (claims/_language.py says which they are), and the instruments `bits` and `head_gradient` on seed 1.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from seqstate.claims._language import config_of, read_text, settings_of, time_ratio
from seqstate.claims._statistics import holm, paired
from seqstate.core.claim import Claim, Trial, TrialRecord, Verdict
from seqstate.core.record import Reading, RunConfig
from seqstate.match import match_width, parameters_of

INNERS = ("scaled_inner(scale=8.0, start=0.125)", "scaled_inner(scale=16.0, start=0.0625)")
MEMBERS = (  # W: numbers a word has; soft_bits reads more bits than a word stores numbers
    "soft_bits(bits={2W}, store={W})",
    "soft_bits(bits={4W}, store={W})",
    "multi_hamming(groups={W/4}, start=0.125, tau=32.0)",
    "multi_hamming(groups={W/4}, start=0.0625, tau=64.0)",
    "hamming(a=0.5, tau=4.0)",
)
PEERS = ("mos",)  # beside the narrowest words only: it costs three times the rest
RATES = (0.005, 0.01, 0.02)
WIDTHS = (16, 64, 32, 128)  # numbers a word has, in the order they are run
BODIES = ("lstm(width=128)", "attention(heads=4, layers=1, width=128)")
MARGIN, LEVEL, SEEDS, PEER_SEEDS = 0.015, 0.01, 5, 1
KINDS = ("member", "inner", "peer")
INSTRUMENTS = ("bits", "head_gradient")


@dataclass(frozen=True)
class Effort:
    steps: int
    tuning_steps: int
    seeds: int
    widths: tuple[int, ...]
    bodies: tuple[str, ...]
    rates: tuple[float, ...]
    rounds: int


EFFORTS = {
    "full": Effort(600, 300, SEEDS, WIDTHS, BODIES, RATES, 15),
    "small": Effort(8, 4, 2, (8,), ("lstm(width=16)",), (0.01,), 2),
}


class EnergyBeatsInner(Claim):
    """See the file's docstring."""

    statement = (
        "As an output layer, a member of the essay's family predicts text better than the tuned inner "
        "product, at equal parameters and at equal processor time."
    )
    criterion = (
        "At 16, 32, 64 or 128 numbers a word, on every text (two or more) and both bodies (LSTM, attention): "
        "perplexity lower by 1.5 % or more than the inner product's, at equal parameters and equal steps, "
        "and also when the inner product trains for the member's processor time; p < .01 each (paired t over "
        "5 seeds that chose nothing, Holm over all cells). Learning rate and one setting of each are tuned "
        "alike on the first text; attention takes the LSTM's settings and tunes the rates again, and is left "
        "out where the LSTM loses."
    )
    texts = 2
    tokenizer = "word"

    def runs(
        self, corpora: Sequence[str], effort: str, done: Mapping[str, TrialRecord]
    ) -> list[Trial]:
        """Cell after cell, so that what is finished when one stops can be judged."""
        plan, trials = EFFORTS[effort], []
        for width in plan.widths:
            known: dict[str, dict[str, Any]] = {}
            for body in plan.bodies:
                cell = _Cell(plan, width, body, tuple(corpora))
                tuning = cell.tuning(known)
                trials += tuning
                if any(trial.key not in done for trial in trials):
                    return trials
                known |= {kind: _best(tuning, done, kind) for kind in _kinds(tuning)}
                finalist, inner, peer = (known.get(kind) for kind in KINDS)
                assert finalist and inner
                trials += [cell.speed(text, finalist, inner) for text in corpora]
                if any(trial.key not in done for trial in trials):
                    return trials
                for text in corpora:
                    ratio = done[cell.speed(text, finalist, inner).key].value("time_ratio")
                    trials += cell.finals(text, finalist, inner, peer, ratio)
                if any(trial.key not in done for trial in trials):
                    return trials
                if not self._still_wins(done, width):
                    break  # one body that fails decides a width
        return trials

    def _still_wins(self, done: Mapping[str, TrialRecord], width: int) -> bool:
        found = [one for one in done.values() if one["width"] == width]
        return all(_wins(row) for row in self.verdict(found).table)

    def measure(
        self, trial: Trial, corpora: Mapping[str, Any], folder: Path, tell: Any = None
    ) -> list[Reading]:
        wanted = trial.settings
        corpus = corpora[wanted["corpus"]]
        vocab_size = corpus.tokenizer.vocab_size
        if wanted["stage"] == "speed":
            ours = config_of({**wanted, **wanted["ours"]})
            theirs = _matched(config_of({**wanted, **wanted["theirs"]}), ours, vocab_size)
            return [time_ratio(ours, theirs, corpus, wanted["rounds"])]
        settings = dict(wanted)
        if "like" in wanted:
            like = config_of({**settings, "head_width": None, **wanted["like"]})
            settings["state"] = _matched(config_of(settings), like, vocab_size).state
        final = wanted["stage"] == "final" and wanted["seed"] == 1
        return read_text(settings, corpus, folder, tell, INSTRUMENTS if final else ())

    def verdict(self, records: Sequence[TrialRecord]) -> Verdict:
        rows = _rows([one for one in records if one["stage"] == "final" and one.readings])
        tests = [(row, name) for row in rows for name in ("p", "p_timed") if row[name] is not None]
        adjusted = holm([row[name] for row, name in tests])
        for (row, name), p in zip(tests, adjusted, strict=True):
            row[name] = p
        return _judged(rows)


@dataclass(frozen=True)
class _Cell:
    """One body and one count of numbers a word; tuned on the first text, judged on all."""

    plan: Effort
    width: int
    body: str
    corpora: tuple[str, ...]

    def trial(self, text: str, given: Mapping[str, Any], seed: int, steps: int, **more: Any):
        config = RunConfig(
            state=self.body,
            energy=given["energy"],
            head_width=given.get("head_width"),
            corpus=text,
            lr=given["lr"],
            seed=seed,
            steps=steps,
            tie=False,
            batch_size=16,
            context=32,
            eval_every=max(1, steps // 2),
        )
        settings = {"width": self.width, "body": self.body, **more, **settings_of(config)}
        settings["steps"] = steps
        return Trial(settings, seconds=steps * 0.03)

    def candidates(self, known: Mapping[str, dict[str, Any]]) -> list[tuple[str, dict[str, Any]]]:
        """What is tuned, by kind: an energy, and the head's width if it is not the body's.

        known: what the first body chose; on the next one only its learning rates are tuned again.
        """
        if known:
            return [(kind, known[kind]) for kind in ("member", "inner")]
        narrow = {"head_width": self.width}
        found = [("inner", {"energy": energy, **narrow}) for energy in INNERS]
        for text in MEMBERS:
            energy = _sized(text, self.width)
            found.append(("member", {"energy": energy, **({} if "store" in energy else narrow)}))
        peers = PEERS if self.width == self.plan.widths[0] else ()
        return [*found, *(("peer", {"energy": energy, **narrow}) for energy in peers)]

    def tuning(self, known: Mapping[str, dict[str, Any]]) -> list[Trial]:
        return [
            self.trial(
                self.corpora[0],
                {**given, "lr": rate},
                0,
                self.plan.tuning_steps,
                stage="tune",
                kind=kind,
            )
            for kind, given in self.candidates(known)
            for rate in self.plan.rates
        ]

    def speed(self, text: str, ours: dict[str, Any], theirs: dict[str, Any]) -> Trial:
        trial = self.trial(text, ours, 0, 10, stage="speed", ours=ours, theirs=theirs)
        return Trial({**trial.settings, "rounds": self.plan.rounds}, seconds=12.0)

    def finals(
        self,
        text: str,
        ours: dict[str, Any],
        inner: dict[str, Any],
        peer: dict[str, Any] | None,
        ratio: float,
    ) -> list[Trial]:
        steps = self.plan.steps
        timed = max(1, round(steps * ratio))
        like = {name: value for name, value in ours.items() if name != "lr"}
        told = {"stage": "final", "member": ours["energy"]}
        trials = []
        for seed in range(1, self.plan.seeds + 1):
            trials.append(self.trial(text, ours, seed, steps, **told, kind="member"))
            trials.append(self.trial(text, inner, seed, steps, **told, kind="inner", like=like))
            trials.append(self.trial(text, inner, seed, timed, **told, kind="timed", like=like))
            if peer and self.body == self.plan.bodies[0] and seed <= PEER_SEEDS:
                trials.append(self.trial(text, peer, seed, steps, **told, kind="peer", like=like))
        return trials


def _sized(text: str, width: int) -> str:
    sizes = {"{W}": width, "{2W}": 2 * width, "{4W}": 4 * width, "{W/4}": width // 4}
    for name, value in sizes.items():
        text = text.replace(name, str(value))
    return text


def _kinds(trials: Sequence[Trial]) -> list[str]:
    return sorted({trial.settings["kind"] for trial in trials})


def _best(trials: Sequence[Trial], done: Mapping[str, TrialRecord], kind: str) -> dict[str, Any]:
    """Energy, head width and learning rate with the lowest loss among a kind's tuning runs."""
    found = [done[trial.key] for trial in trials if trial.settings["kind"] == kind]
    best = min(
        (record for record in found if record.readings),
        key=lambda record: record.value("nats_per_token"),
    )
    config = config_of(best.settings)
    given = {"energy": config.energy, "lr": config.lr}
    return {**given, **({"head_width": config.head_width} if config.head_width else {})}


def _matched(config: RunConfig, like: RunConfig, vocab_size: int) -> RunConfig:
    """`config` with a body as wide as gives it the parameters of `like` (widths come in fours)."""
    assert like.energy and config.energy
    parameters = parameters_of(like.state, like.energy, vocab_size, like.tie, like.head_width)
    state = match_width(
        config.state,
        config.energy,
        vocab_size=vocab_size,
        tie=config.tie,
        head_width=config.head_width,
        parameters=parameters,
    )
    return config.replace(state=state)


def _rows(records: Sequence[TrialRecord]) -> list[dict[str, Any]]:
    """A row a cell and text: the finalist against the inner product, p-values not yet corrected."""
    cells: dict[tuple, dict[str, dict[int, TrialRecord]]] = {}
    for record in records:
        place = (record["width"], record["body"], record["corpus"])
        kinds = cells.setdefault(place, {})
        kinds.setdefault(record["kind"], {})[record["seed"]] = record
    rows = []
    for (width, body, corpus), kinds in sorted(cells.items()):
        ours, inner, timed = (kinds.get(kind, {}) for kind in ("member", "inner", "timed"))
        seeds = sorted(set(ours) & set(inner) & set(timed))
        if len(seeds) < 2:
            continue
        equal, slow = (_against(ours, other, seeds) for other in (inner, timed))
        row = {"numbers_a_word": width, "body": body.partition("(")[0], "corpus": corpus}
        row |= {"member": ours[seeds[0]]["member"], "seeds": len(seeds)}
        row |= {"perplexity": _mean(ours, seeds, "perplexity")}
        row |= {
            "inner": _mean(inner, seeds, "perplexity"),
            "against_inner": equal[0],
            "p": equal[1],
        }
        row |= {"inner_timed": _mean(timed, seeds, "perplexity")}
        row |= {"against_timed": slow[0], "p_timed": slow[1]}
        if peer := kinds.get("peer", {}):
            row["peer"] = _mean(peer, sorted(peer), "perplexity")
        sizes = [side[seeds[0]].value("parameters") for side in (ours, inner)]
        row["against_parameters"] = sizes[0] / sizes[1] - 1
        for part in ("nats_tail", "nats_modes"):
            row[f"gain_{part}"] = _mean(inner, seeds, part) - _mean(ours, seeds, part)
        rows.append(row)
    return rows


def _against(
    ours: Mapping[int, TrialRecord], theirs: Mapping[int, TrialRecord], seeds: Sequence[int]
) -> tuple[float, float]:
    """The ratio of geometric mean perplexities less 1, and the one-sided p of the nats."""
    mine, others = (
        [side[seed].value("nats_per_token") for seed in seeds] for side in (ours, theirs)
    )
    found = paired(mine, others)
    return math.exp(-found.gain) - 1, found.p


def _mean(side: Mapping[int, TrialRecord], seeds: Sequence[int], name: str) -> float:
    return sum(side[seed].value(name) for seed in seeds) / len(seeds)


def _judged(rows: list[dict[str, Any]]) -> Verdict:
    bodies = {body.partition("(")[0] for body in BODIES}
    texts = {row["corpus"] for row in rows}
    won, lost = [], []
    for width in sorted({row["numbers_a_word"] for row in rows}):
        here = [row for row in rows if row["numbers_a_word"] == width and row["seeds"] >= SEEDS]
        places = {(row["body"], row["corpus"]) for row in here}
        if not all(_wins(row) for row in here):
            lost.append(width)
        elif len(texts) >= 2 and places == {(body, text) for body in bodies for text in texts}:
            won.append(width)
    if won:
        here = [row for row in rows if row["numbers_a_word"] in won]
        least = max(max(row["against_inner"], row["against_timed"]) for row in here)
        words = ", ".join(map(str, won))
        also = f" (lost at {', '.join(map(str, lost))})" if lost else ""
        reason = f"won at {words} numbers a word{also}; the smallest gain is {-least:.1%}"
        return Verdict(True, reason, rows)
    if not lost:
        return Verdict(None, "no count of numbers a word has all texts, bodies and seeds yet", rows)
    told = f"no win at {', '.join(map(str, lost))} numbers a word: {_losses(rows)}"
    if set(WIDTHS) <= set(lost):
        return Verdict(False, told, rows)
    left = ", ".join(str(width) for width in sorted(set(WIDTHS) - set(lost)))
    return Verdict(None, f"{told}; {left} not finished", rows)


def _losses(rows: Sequence[Mapping[str, Any]]) -> str:
    """The range of the gains, in perplexity (below zero: the member is better)."""
    ranges = []
    for name, told in (("against_inner", "equal steps"), ("against_timed", "equal time")):
        values = [row[name] for row in rows]
        ranges.append(f"perplexity {min(values):+.1%} to {max(values):+.1%} at {told}")
    return ", ".join(ranges)


def _wins(row: dict[str, Any]) -> bool:
    gains, p_values = ("against_inner", "against_timed"), ("p", "p_timed")
    return all(row[name] <= -MARGIN for name in gains) and all(
        row[name] < LEVEL for name in p_values
    )

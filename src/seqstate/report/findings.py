"""What the numbers say, in sentences: only what they support, and how far."""

from __future__ import annotations

from collections.abc import Sequence

from seqstate.core.record import Run
from seqstate.report import numerals
from seqstate.report.contrast import contrast
from seqstate.report.summary import Ladder, Row, ladders

SCORE_NAMES = {
    "bits_per_byte": "bits per byte",
    "bits_per_token": "bits per token",
    "nats_per_token": "nats per token",
}
TUNED = {"lr"}  # each model may have its own and the comparison still be an equal one
UNEQUAL = 0.05  # parameters this far from their median are not called matched


def finding(runs: Sequence[Run]) -> str:
    """Two or three sentences a corpus. Raises ValueError if there is no run."""
    found = ladders(runs)
    texts = [" ".join(sentences(ladder)) for ladder in found]
    if len(found) == 1:
        return texts[0]
    return "\n".join(f"{ladder.name}: {text}" for ladder, text in zip(found, texts, strict=True))


def sentences(ladder: Ladder) -> list[str]:
    """The finding of one ladder: who predicts best, whether seeds could explain it, what memory buys."""
    ranked = ladder.ranked
    if not ranked:
        return ["No run here has a score, so there is nothing to rank."]
    best, unit = ranked[0], SCORE_NAMES[ladder.score]
    mean = numerals.bits(best.stats[ladder.score].mean)
    if len(ranked) == 1:
        return [
            f"{best.short} reaches {mean} {unit} on held-out text{_scatter(best, ladder.score)}.",
            "It is the only model here, so there is nothing to compare it with.",
        ]
    second = ranked[1]
    margin = contrast(best, second, ladder.score).gap
    share = margin / second.stats[ladder.score].mean
    head = (
        f"{best.short} predicts best: {mean} {unit} on held-out text, "
        f"{numerals.gap(margin)} ({numerals.percent(share)}) below {second.short}."
    )
    if margin == 0:
        head = (
            f"{best.short} and {second.short} predict equally well: {mean} {unit} on held-out text."
        )
    found = [head, _certainty(ladder), _memory(ladder), _caveat(ladder)]
    return [sentence for sentence in found if sentence]


def _scatter(row: Row, score: str) -> str:
    spread = row.stats[score].spread
    if spread is None:
        return ""
    return f", with a spread of {numerals.spread(spread)} over {row.stats[score].count} seeds"


def _certainty(ladder: Ladder) -> str:
    """Whether seeds alone could explain the gap between the best and the second."""
    best, second = ladder.ranked[:2]
    found = contrast(best, second, ladder.score)
    if best.counted and second.counted:
        return "Both are counted, not trained, so no seed takes part in the difference."
    if found.margin is None:
        return _untold(
            [
                row
                for row in (best, second)
                if not row.counted and row.stats[ladder.score].count == 1
            ]
        )
    seeds = _seed_words(best, second, ladder.score)
    if found.margin == 0:
        return f"Every seed gives the same number ({seeds})."
    interval = f"{numerals.gap(found.gap)} ± {numerals.gap(found.margin)}"
    if not found.told_apart:
        return (
            f"That is not more than seeds scatter: {interval} (95 % interval, {seeds}) includes zero, "
            "so these runs do not tell the two apart."
        )
    others = [row.short for row in tied(ladder)]
    also = ""
    if others:
        also = f"; {numerals.listed(others)}, further behind but scattered more, cannot be told from it"
    return f"That is more than seeds scatter: {interval} (95 % interval, {seeds}){also}."


def tied(ladder: Ladder) -> list[Row]:
    """The rows whose difference from the best has an interval that includes zero."""
    best, *others = ladder.ranked
    return [row for row in others if contrast(best, row, ladder.score).told_apart is False]


def _untold(once: list[Row]) -> str:
    who = "Each was" if len(once) == 2 else f"{once[0].short} was"
    return (
        f"{who} trained with one seed, so whether another seed would keep this order is not known."
    )


def _seed_words(best: Row, second: Row, score: str) -> str:
    counts = [row.stats[score].count for row in (best, second) if not row.counted]
    if len(set(counts)) == 1:
        return numerals.plural(counts[0], "seed") + (" each" if len(counts) == 2 else "")
    return f"{counts[0]} and {counts[1]} seeds"


def _memory(ladder: Ladder) -> str:
    """The best row against the one with the smallest state."""
    known = [row for row in ladder.ranked if "state_bytes" in row.stats]
    best = ladder.ranked[0]
    if best not in known or len(known) < 2:
        return ""
    least = min(
        known, key=lambda row: (row.stats["state_bytes"].mean, row.stats[ladder.score].mean)
    )
    sizes = [numerals.size(row.stats["state_bytes"].mean) for row in (least, best)]
    if least is best:
        return f"It also has the smallest state, {sizes[1]}: here more memory did not buy a better score."
    if sizes[0] == sizes[1]:
        return ""
    saved = least.stats[ladder.score].mean - best.stats[ladder.score].mean
    if least is ladder.ranked[1]:
        return f"It does so with {sizes[1]} of state against {sizes[0]}."
    return (
        f"With {sizes[1]} of state it saves {numerals.gap(saved)} {SCORE_NAMES[ladder.score]} "
        f"({numerals.percent(saved / least.stats[ladder.score].mean)}) against {least.short}, "
        f"which has the smallest state here, {sizes[0]}."
    )


def _caveat(ladder: Ladder) -> str:
    """What keeps the comparison from being an equal one, if anything does."""
    reasons = []
    deviation = max((abs(value) for value in deviations(ladder).values()), default=0.0)
    if deviation > UNEQUAL:
        reasons.append(
            f"parameters differ by up to {numerals.percent(deviation)} from their median"
        )
    names = sorted(set(ladder.varying()) - TUNED)
    if names:
        reasons.append(f"the runs differ in {numerals.listed(names)}")
    return (
        f"Mind that this is not an equal comparison: {numerals.listed(reasons)}." if reasons else ""
    )


def deviations(ladder: Ladder) -> dict[str, float]:
    """Label -> parameters of a trained row relative to their median, minus 1."""
    sizes = {
        row.label: row.stats["parameters"].mean
        for row in ladder.trained
        if "parameters" in row.stats
    }
    if not sizes:
        return {}
    ordered = sorted(sizes.values())
    middle = (ordered[(len(ordered) - 1) // 2] + ordered[len(ordered) // 2]) / 2
    return {label: size / middle - 1 for label, size in sizes.items()} if middle else {}

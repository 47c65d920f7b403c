"""What was asked, on what data, and what is equal in the comparison: facts and sentences."""

from __future__ import annotations

from seqstate.report import numerals
from seqstate.report.findings import TUNED, deviations
from seqstate.report.summary import Ladder


def facts(ladder: Ladder) -> list[tuple[str, str]]:
    """(name, value) pairs, only of what the records say."""
    about = ladder.corpus
    found = [("Corpus", ladder.name), ("Corpus id", str(about["id"]))]
    if about.get("tokenizer"):
        size = about.get("vocab_size")
        found.append(
            (
                "Tokens",
                f"{about['tokenizer']}" + (f", {numerals.whole(size)} kinds" if size else ""),
            )
        )
    for part, head in (("train", "Training text"), ("valid", "Held-out text")):
        sizes = []
        if about.get(f"{part}_tokens"):
            sizes.append(numerals.plural(about[f"{part}_tokens"], "token"))
        if about.get(f"{part}_bytes"):
            sizes.append(numerals.size(about[f"{part}_bytes"]))
        if sizes:
            found.append((head, ", ".join(sizes)))
    return found + _training(ladder)


def _training(ladder: Ladder) -> list[tuple[str, str]]:
    trained = ladder.trained
    seeds = sorted({seed for row in trained for seed in row.seeds})
    found = []
    if trained:
        config, varying = trained[0].config, ladder.varying()
        if not {"steps", "seconds", "batch_size", "context", "accumulate"} & set(varying):
            found.append(("Budget of a run", _budget(config)))
        if not {"batch_size", "context", "accumulate"} & set(varying):
            rows = config.batch_size * config.accumulate
            found.append(("A step", f"{rows} rows of {numerals.plural(config.context, 'token')}"))
        if "lr" in varying:
            low, high = min(varying["lr"]), max(varying["lr"])
            found.append(("Learning rate", f"each model's own, {low:g} to {high:g}"))
        elif "min_lr" not in varying:
            final = config.lr * config.min_lr
            found.append(("Learning rate", f"{config.lr:g}, falling to {final:g}"))
        found.append(("Seeds", ", ".join(map(str, seeds))))
    counted = [row.short for row in ladder.rows if row.counted]
    if counted and trained:
        found.append(("Counted, not trained", numerals.listed(counted)))
    return found


def _budget(config) -> str:
    if config.seconds is not None:
        return f"{numerals.duration(config.seconds)} of training"
    steps = config.steps or 0
    return (
        f"{numerals.plural(steps, 'step')}, {numerals.short(steps * config.tokens_per_step)} tokens"
    )


def equal_terms(ladder: Ladder) -> list[str]:
    """What "equal" means here: sentences, the failures of equality included."""
    same = "All models read the same training text in the same tokens and are scored on one held-out text."
    terms = [same] if len(ladder.rows) > 1 else []
    for sentence in (
        _data(ladder),
        _sizes(ladder),
        _settings(ladder),
        _stopped(ladder),
        _machines(ladder),
    ):
        if sentence:
            terms.append(sentence)
    return terms


def _data(ladder: Ladder) -> str:
    read = {row.label: row.mean("train_tokens") for row in ladder.trained}
    sizes = [value for value in read.values() if value]
    if not sizes or len(sizes) < len(read) or len(ladder.trained) < 2:
        return ""
    passes = ladder.corpus.get("train_tokens")
    times = f", {max(sizes) / passes:.2g} times the training text" if passes else ""
    if max(sizes) - min(sizes) < 0.5:
        return f"Each trained model read {numerals.short(sizes[0])} tokens{times}."
    least, most = numerals.short(min(sizes)), numerals.short(max(sizes))
    return f"The trained models read between {least} and {most} tokens."


def _sizes(ladder: Ladder) -> str:
    off = deviations(ladder)
    if len(off) < 2:
        return ""
    low, high = min(off.values()), max(off.values())
    sizes = sorted(row.stats["parameters"].mean for row in ladder.trained if row.label in off)
    median = (sizes[(len(sizes) - 1) // 2] + sizes[len(sizes) // 2]) / 2
    apart = " (counted tables are not matched)" if any(row.counted for row in ladder.rows) else ""
    return (
        f"Parameters of the trained models lie between {numerals.signed(numerals.percent(low), low)} and "
        f"{numerals.signed(numerals.percent(high), high)} of their median, {numerals.whole(median)}{apart}."
    )


def _settings(ladder: Ladder) -> str:
    names = [
        f"{name} ({', '.join(dict.fromkeys(map(str, values)))})"
        for name, values in ladder.varying().items()
        if name not in TUNED
    ]
    return f"Not equal are the settings {numerals.listed(names)}." if names else ""


def _stopped(ladder: Ladder) -> str:
    early = [run for run in ladder.runs if run.stopped == "patience"]
    if not early:
        return ""
    return (
        f"{numerals.plural(len(early), 'run')} of {len(ladder.runs)} stopped before the budget was spent: "
        "validation no longer improved."
    )


def _machines(ladder: Ladder) -> str:
    machines = {repr(sorted(run.machine.items(), key=str)) for run in ladder.runs if run.machine}
    return (
        f"The runs come from {numerals.word(len(machines))} machines: their times do not compare."
        if len(machines) > 1
        else ""
    )

"""Sentence pairs that differ in one point of grammar: python make_pairs.py > pairs.jsonl

Four points, `--each` pairs of each: the verb agrees with its subject across another noun, a determiner with
its noun, a reflexive with the one it means, and a preposition stands before its noun phrase.
"""

from __future__ import annotations

import argparse
import json
import random

NOUNS = {"man": "men", "letter": "letters", "ship": "ships", "house": "houses", "book": "books"}
NOUNS |= {"friend": "friends", "horse": "horses", "day": "days", "lord": "lords", "boat": "boats"}
BETWEEN = ("of", "near", "by", "with", "before", "behind")
SAID = ("good", "old", "great", "new", "lost", "here", "gone", "ready")
PEOPLE = {"king": "himself", "queen": "herself", "father": "himself", "mother": "herself"}
PEOPLE |= {"brother": "himself", "sister": "herself", "boy": "himself", "lady": "herself"}
ACTS = ("found", "saw", "made", "called", "gave", "kept", "told", "dressed")
WENT = ("went", "came", "walked", "rode", "sent", "wrote")
TO = ("to", "from", "into", "by", "with", "for")


def agreement(pick: random.Random) -> tuple[str, str]:
    (one, many), (other, others) = pick.sample(sorted(NOUNS.items()), 2)
    said, between = pick.choice(SAID), pick.choice(BETWEEN)
    subject, verbs = pick.choice(
        [
            (f"{one} {between} the {others}", "was were"),
            (f"{many} {between} the {other}", "were was"),
        ]
    )
    good, bad = verbs.split()
    return f"The {subject} {good} {said}.", f"The {subject} {bad} {said}."


def determiner(pick: random.Random) -> tuple[str, str]:
    one, many = pick.choice(sorted(NOUNS.items()))
    start = pick.choice(["I saw", "I know", "He had", "She found"])
    single, plural = pick.choice([("this", "these"), ("that", "those")])
    good, noun = pick.choice([(single, one), (plural, many)])
    bad = plural if good == single else single
    end = f"{noun} {pick.choice(['again', 'today', 'there', 'at last'])}."
    return f"{start} {good} {end}", f"{start} {bad} {end}"


def reflexive(pick: random.Random) -> tuple[str, str]:
    who = pick.choice(sorted(PEOPLE))
    wrong = "herself" if PEOPLE[who] == "himself" else "himself"
    start = f"The {pick.choice(SAID[:4])} {who} {pick.choice(ACTS)}"
    return f"{start} {PEOPLE[who]}.", f"{start} {wrong}."


def order(pick: random.Random) -> tuple[str, str]:
    start, to = f"He {pick.choice(WENT)}", pick.choice(TO)
    noun = pick.choice(sorted(NOUNS))
    return f"{start} {to} the {noun}.", f"{start} the {to} {noun}."


POINTS = (agreement, determiner, reflexive, order)


def pairs(each: int, seed: int) -> list[dict[str, str]]:
    """Different pairs, `each` of every point; the same for the same seed."""
    pick, found = random.Random(seed), []
    for point in POINTS:
        made: dict[tuple[str, str], None] = {}
        while len(made) < each:
            made[point(pick)] = None
        for good, bad in made:
            found.append({"point": point.__name__, "sentence_good": good, "sentence_bad": bad})
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--each", type=int, default=50, help="pairs of every point, at most 100")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    if not 1 <= options.each <= 100:
        parser.error(f"--each {options.each} is not between 1 and 100")
    for row in pairs(options.each, options.seed):
        print(json.dumps(row))


if __name__ == "__main__":
    main()

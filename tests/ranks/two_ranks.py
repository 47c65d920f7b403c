"""What two ranks find: `torchrun --nproc_per_node 2 two_ranks.py FOLDER` writes found.json (test_two_ranks).

FOLDER/alone holds checkpoints of one process that was killed, one folder a task.
"""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import torch
import torch.distributed as dist

from ranks.runs import RESUMED, TASKS, Killed, config, curve, killed, sides, train
from seqstate import shards
from seqstate.distributed import Replicated, Sharded
from seqstate.launched import joined_group
from seqstate.material import material_of
from seqstate.model import build_model


def curves(kinds: dict) -> dict:
    """The losses of every task under DDP and FSDP."""
    return {
        name: {kind: curve(train(name, ranks)[0]) for kind, ranks in kinds.items()}
        for name in TASKS
    }


def rows(ranks: Replicated) -> dict:
    """The batches of a task as the ranks read them, in order of rank."""
    found = {}
    for name in ("tied, in two parts", "pairs", "masked words"):
        task = TASKS[name]
        (make, size, seed), *_ = sides(task)
        ids, separator = make(size, seed), 1 if task.kind == "pairs" else None
        model = build_model("rnn(width=8)", vocab_size=300)
        reader = material_of(model, ids, ids, config(task), 0, separator).reader
        found[name] = []
        for index in range(4):
            mine = [part.tolist() for part in ranks.mine(*reader.batch(index)[:2])]
            told: list = [None] * ranks.world
            dist.all_gather_object(told, mine)
            found[name].append(told)
    return found


def resumed(kinds: dict, folder: Path) -> dict:
    """Runs killed under one kind of ranks, or alone, and resumed under another: losses of the whole run."""
    found: dict = {}
    for kind, ranks in kinds.items():
        for name in RESUMED:
            killed(name, ranks, folder / kind / name)
    dist.barrier()
    for before in ("alone", *kinds):
        for after, ranks in kinds.items():
            for name in RESUMED:
                place = folder / f"{before} to {after}" / name
                if ranks.first:
                    shutil.copytree(folder / before / name, place)
                dist.barrier()
                outcome, _ = train(name, ranks, folder=place, resume=True)
                found.setdefault(name, {})[f"{before} to {after}"] = curve(outcome)
    return found


def bits(ranks: Replicated, folder: Path) -> bool:
    """Whether a resumed run with dropout ends with the weights of one that was not killed."""
    name = "with dropout"
    _, straight = train(name, ranks)
    killed(name, ranks, folder)
    _, other = train(name, ranks, folder=folder, resume=True)
    names = straight.state_dict()
    return all(torch.equal(names[key], tensor) for key, tensor in other.state_dict().items())


def killed_while_saving(ranks: Replicated, folder: Path) -> dict:
    """All shards are written, but the checkpoint is not yet in its place."""
    name, save = "tied, in two parts", shards.dcp.save

    def half(stored, **options) -> None:
        save(stored, **options)
        if stored["optimiser.head.bias.step"] == 4:
            raise Killed

    shards.dcp.save = half
    try:
        train(name, ranks, folder=folder, checkpoint_seconds=0.0)
    except Killed:
        pass
    finally:
        shards.dcp.save = save
    dist.barrier()
    left = sorted(path.name for path in (folder / "checkpoint.shards").iterdir())
    dist.barrier()
    outcome, _ = train(name, ranks, folder=folder, resume=True, checkpoint_seconds=0.0)
    after = sorted(path.name for path in (folder / "checkpoint.shards").iterdir())
    return {"left": left, "after": after, "curve": curve(outcome)}


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    with joined_group("ddp", folder) as ddp:
        kinds = {"ddp": ddp, "fsdp": Sharded()}
        found = {
            "curves": curves(kinds),
            "rows": rows(ddp),
            "resumed": resumed(kinds, folder),
            "bits": bits(ddp, folder / "bits"),
            "while saving": killed_while_saving(ddp, folder / "while saving"),
        }
        if ddp.first:
            (folder / "found.json").write_text(json.dumps(found))


main(Path(sys.argv[1]))

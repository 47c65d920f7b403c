"""Put an energy in place of the output layer of a Hugging Face model, fine-tune it on your text, save it.

  python examples/replace_lm_head.py gpt2-folder book.txt --energy "multi_hamming(groups=32)" --out tuned
  python examples/replace_lm_head.py tuned book.txt --steps 0         evaluate what was saved

MODEL is a folder written by `save_pretrained`, or one this script wrote. A tied weight (GPT-2) stays tied:
the word table and the input embedding go on learning as one.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import torch
from safetensors.torch import load_model, save_model
from torch import Tensor
from transformers import AutoModelForCausalLM, AutoTokenizer

from seqstate.core import registry
from seqstate.core.energy import EnergyHead
from seqstate.core.spec import parse

HEAD = "seqstate.json"  # which energy the head has


def replace(model, energy: str, **started) -> EnergyHead:
    """Put an energy over the words of the model's output layer; `started`: as for `Energy.replacing`."""
    spec = parse(energy)
    kind = registry.find("energies", spec.name)
    head = kind.replacing(model.get_output_embeddings(), **spec.options, **started)
    model.set_output_embeddings(head)
    return head


def save(model, energy: str, tokenizer, folder: Path) -> None:
    """One folder: configuration, tokeniser, the energy's name, and weights (tied ones once)."""
    model.config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (folder / HEAD).write_text(json.dumps({"energy": energy}), encoding="utf-8")
    save_model(model, str(folder / "model.safetensors"))


def load(folder: Path):
    """(model, energy) as saved. `from_pretrained` alone would build a linear layer and drop the energy."""
    from transformers import AutoConfig

    energy = json.loads((folder / HEAD).read_text(encoding="utf-8"))["energy"]
    model = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(folder))
    replace(model, energy, error=float("inf"))  # any start will do: the weights come next
    load_model(model, str(folder / "model.safetensors"))
    return model.eval(), energy


def hidden(model, tokens: Tensor) -> Tensor:
    """The vectors that the output layer sees."""
    return model.base_model(tokens, use_cache=False).last_hidden_state


def loss(model, rows: Tensor) -> Tensor:
    """Nats per token; the head's own fused loss never holds all logits."""
    return model.get_output_embeddings().loss(hidden(model, rows[:, :-1]), rows[:, 1:])


def held_out(model, ids: Tensor, context: int) -> float:
    """Mean nats on up to 32 windows of the held-out end of the text."""
    rows = ids[: len(ids) // (context + 1) * (context + 1)].view(-1, context + 1)[:32]
    with torch.no_grad():
        return loss(model.eval(), rows).item()


def tune(model, ids: Tensor, *, steps: int, batch: int, context: int, lr: float, seed: int) -> None:
    """AdamW on random windows, decay on matrices only."""
    torch.manual_seed(seed)
    groups = [
        {"params": [p for p in model.parameters() if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in model.parameters() if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimiser = torch.optim.AdamW(groups, lr=lr)
    model.train()
    for step in range(steps):
        starts = torch.randint(len(ids) - context - 1, (batch,))
        nats = loss(model, ids[starts[:, None] + torch.arange(context + 1)])
        nats.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        if step % 20 == 0:
            print(f"step {step}: {nats.item():.4f} nats per token")


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("model", type=Path, metavar="MODEL")
    parser.add_argument("text", type=Path, metavar="TEXT")
    parser.add_argument("--energy", default="multi_hamming(groups=32)", help="and its options")
    parser.add_argument("--error", type=float, default=0.01, help="nats a logit may start off")
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--batch", type=int, default=4, help="windows a step")
    parser.add_argument("--context", type=int, default=128, help="tokens a window")
    parser.add_argument("--lr", type=float, default=1e-4)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, help="folder to save in")
    options = parser.parse_args(arguments)

    tokenizer = AutoTokenizer.from_pretrained(options.model)
    ids = torch.tensor(tokenizer(options.text.read_text(encoding="utf-8"))["input_ids"])
    train, valid = ids[: len(ids) * 9 // 10], ids[len(ids) * 9 // 10 :]
    if len(valid) <= options.context:
        parser.error(f"{options.text} has {len(ids)} tokens; give ten times --context at least")
    if (options.model / HEAD).exists():
        model, energy = load(options.model)
    else:
        model, energy = AutoModelForCausalLM.from_pretrained(options.model).eval(), options.energy
        with torch.no_grad():
            sample = hidden(model, train[None, : options.context])
        head = replace(model, energy, hidden=sample, error=options.error)
        print(f"logits start within {head.start_error:.2g} nats of the model's own")
    print(f"held out before: {held_out(model, valid, options.context):.4f} nats per token")
    settings = {"batch": options.batch, "context": options.context, "lr": options.lr}
    tune(model, train, steps=options.steps, seed=options.seed, **settings)
    print(f"held out after: {held_out(model, valid, options.context):.4f} nats per token")
    if options.out:
        save(model, energy, tokenizer, options.out)
        print(f"saved in {options.out}")


if __name__ == "__main__":
    main()

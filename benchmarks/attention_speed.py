"""Training speed of `attention` at nanoGPT's CPU shape, beside x-transformers and nanoGPT, in one process.

    python benchmarks/attention_speed.py [--nanogpt CHECKOUT] [--rounds 60]

4 layers, 128 wide, 4 heads, context 64, batch 12, vocabulary 65, no dropout (nanoGPT's README, "I only have a
MacBook"). A step is forward, backward, clipping at 1 and AdamW(fused=True), the same for everybody; one more
row trains nanoGPT with the optimiser its own recipe configures on a CPU. Steps of all models take turns, so
that noise of the machine falls on all alike. One thread; time is CPU time of that thread. `--nanogpt` wants a
clone of github.com/karpathy/nanoGPT.
"""

from __future__ import annotations

import argparse
import importlib.util
import platform
import statistics
import time
from pathlib import Path

import torch
import x_transformers
from torch import nn
from torch.nn import functional as F

from seqstate.core.model import count_parameters
from seqstate.model import build_model

LAYERS, WIDTH, HEADS, CONTEXT, BATCH, VOCAB = 4, 128, 4, 64, 12, 65


def contenders(nanogpt: Path | None) -> dict[str, tuple]:
    """Name -> (model, loss of a batch[, optimiser])."""
    found = {}
    for spec in ("attention", "attention(qk_norm=False)", 'attention(positions="none")'):
        ours = build_model(spec, "inner", vocab_size=VOCAB)
        found[f"seqstate {spec}"] = ours, lambda x, y, m=ours: m.nll(x, y)[0].mean()
    for name, options in {
        "x-transformers defaults": {},
        "x-transformers rotary, qk_norm, swiglu": {
            "rotary_pos_emb": True,
            "attn_qk_norm": True,
            "ff_swish": True,
            "ff_glu": True,
            "ff_mult": 8 / 3,
            "attn_flash": True,
        },
    }.items():
        theirs = x_transformers_model(**options)
        found[name] = theirs, lambda x, y, m=theirs: cross_entropy(m(x), y)
    if nanogpt is not None:
        theirs = nanogpt_model(nanogpt)
        found["nanoGPT"] = theirs, lambda x, y, m=theirs: m(x, y)[1]
        recipe = nanogpt_model(nanogpt)
        own = recipe.configure_optimizers(0.1, 1e-3, (0.9, 0.99), "cpu")
        found["nanoGPT, its own optimiser"] = recipe, lambda x, y, m=recipe: m(x, y)[1], own
    return found


def x_transformers_model(**options) -> nn.Module:
    return x_transformers.TransformerWrapper(
        num_tokens=VOCAB,
        max_seq_len=CONTEXT,
        tie_embedding=True,
        attn_layers=x_transformers.Decoder(
            dim=WIDTH, depth=LAYERS, heads=HEADS, attn_dim_head=WIDTH // HEADS, **options
        ),
    )


def nanogpt_model(checkout: Path) -> nn.Module:
    spec = importlib.util.spec_from_file_location("nanogpt_model", checkout / "model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    shape = {"n_layer": LAYERS, "n_head": HEADS, "n_embd": WIDTH, "block_size": CONTEXT}
    return module.GPT(module.GPTConfig(**shape, vocab_size=VOCAB, dropout=0.0, bias=False))


def cross_entropy(logits: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    return F.cross_entropy(logits.flatten(0, 1), targets.flatten())


def stepper(model: nn.Module, loss, optimiser: torch.optim.Optimizer | None = None):
    optimiser = optimiser or torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)

    def step() -> float:
        tokens = torch.randint(VOCAB, (BATCH, CONTEXT + 1))
        x, y = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
        began = time.thread_time()
        loss(x, y).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
        return time.thread_time() - began

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--nanogpt", type=Path, help="a clone of karpathy/nanoGPT")
    parser.add_argument("--rounds", type=int, default=60, help="steps of each model")
    given = parser.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    models = contenders(given.nanogpt)
    steps = {name: stepper(*pair) for name, pair in models.items()}
    times = {name: [] for name in steps}
    for _ in range(given.rounds + 5):
        for name, step in steps.items():
            times[name].append(step())
    times = {name: values[5:] for name, values in times.items()}  # the first warm the caches
    print(f"torch {torch.__version__}, {platform.processor() or platform.machine()}, 1 thread")
    print(
        f"{'model':44s} {'parameters':>10s} {'ms/step':>8s} {'tokens/s':>9s} {'time / ours':>11s}"
    )
    ours = next(iter(times.values()))
    for name, values in times.items():
        middle = statistics.median(values)
        ratio = statistics.median(a / b for a, b in zip(values, ours, strict=True))
        print(
            f"{name:44s} {count_parameters(models[name][0]):10,d} {1e3 * middle:8.2f} "
            f"{BATCH * CONTEXT / middle:9,.0f} {ratio:11.3f}"
        )


if __name__ == "__main__":
    main()

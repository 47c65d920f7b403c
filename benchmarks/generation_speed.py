"""Generated tokens per CPU second of seqstate beside Hugging Face `generate` at the same shape, paired.

    python benchmarks/generation_speed.py [--tokens 200] [--rounds 5]

Shape of nanoGPT's CPU recipe: 4 layers, 128 wide, 4 heads, 65 characters; random weights (speed does not
depend on them), one prompt, drawing at temperature 1 with each side's own cache. The peer is a Hugging
Face Llama (rotary positions, SwiGLU, the nearest to our attention).
"""

from __future__ import annotations

import argparse
import statistics
import time

import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

from seqstate.generate import generate
from seqstate.model import build_model

VOCAB = 65


def peer() -> LlamaForCausalLM:
    shape = LlamaConfig(
        vocab_size=VOCAB,
        hidden_size=128,
        intermediate_size=344,
        num_hidden_layers=4,
        num_attention_heads=4,
        max_position_embeddings=4096,
        eos_token_id=None,
        bos_token_id=None,
        pad_token_id=0,
    )
    return LlamaForCausalLM(shape).eval()


def timed(function) -> float:
    began = time.process_time()
    function()
    return time.process_time() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    prompt = list(range(1, 33))
    llama, models = peer(), {}
    for state in ("attention(width=128, layers=4, heads=4)", "lstm(width=256)", "rnn(width=256)"):
        models[state] = build_model(state, "inner", vocab_size=VOCAB)
    models["attention + multi_hamming"] = build_model(
        "attention(width=128, layers=4, heads=4)", "multi_hamming(groups=16)", vocab_size=VOCAB
    )
    contestants = {
        "Hugging Face Llama": lambda: llama.generate(
            torch.tensor([prompt]), max_new_tokens=options.tokens, do_sample=True, use_cache=True
        )
    }
    for name, model in models.items():
        contestants[name] = lambda model=model: list(
            generate(model, [prompt], tokens=options.tokens)
        )
    seconds = {name: [] for name in contestants}
    for turn in range(options.rounds + 1):
        for name, function in contestants.items():
            took = timed(function)
            if turn:  # the first round warms up
                seconds[name].append(took)
    baseline = statistics.median(seconds["Hugging Face Llama"])
    for name, took in seconds.items():
        median = statistics.median(took)
        print(
            f"{name:45} {options.tokens / median:8.0f} tokens per CPU s   {baseline / median:5.1f}x"
        )
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, 1 thread")


if __name__ == "__main__":
    main()

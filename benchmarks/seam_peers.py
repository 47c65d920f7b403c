"""Language models of other libraries behind the reader that the laws measure (tests/laws/measures.py).

Each is called as its own generation code calls it; what a library has no call for raises NotOffered.
Sizes are those of the laws (width 16, 11 words); weights are noise, as for our own.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from importlib.metadata import version

import torch
from laws.grid import VOCAB, WIDTH
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from seqstate.core.state import leaves, map_state, select_rows


class NotOffered(Exception):
    """The library has no call for this."""


def shifted(values: Tensor, by: Tensor) -> Tensor:
    """Rows rolled to the right by `by` places each (to the left if negative)."""
    size = values.shape[1]
    source = (torch.arange(size)[None] - by[:, None]) % size
    return values[torch.arange(len(values))[:, None], source]


class Peer:
    """What the readers have in common: a state that is a tree of tensors, batch first."""

    def __init__(self, module: nn.Module) -> None:
        self.module, self.inputs = module, torch.randint(VOCAB, (3, 7))

    def nll(self, tokens, targets):
        logits, _ = self.read(tokens)
        return nn.functional.cross_entropy(logits.transpose(1, 2), targets, reduction="none")

    def start(self, batch_size):
        return None

    def select(self, state, rows):
        return select_rows(state, rows)

    def clone(self, state):
        return None if state is None else map_state(torch.clone, state)

    def leaves(self, state):
        return [] if state is None else list(leaves(state))


class Torch(Peer):
    """torch.nn's recurrent layers; unequal lengths by pack_padded_sequence."""

    def __init__(self, kind: type[nn.Module]) -> None:
        super().__init__(
            nn.ModuleDict(
                {
                    "embed": nn.Embedding(VOCAB, WIDTH),
                    "body": kind(WIDTH, WIDTH, num_layers=2, batch_first=True),
                    "head": nn.Linear(WIDTH, VOCAB),
                }
            )
        )

    def read(self, inputs, state=None, lengths=None):
        # torch has layers on axis 0 and the batch on axis 1
        swap = lambda tree: None if tree is None else map_state(lambda x: x.transpose(0, 1), tree)  # noqa: E731
        x, before = self.module["embed"](inputs), swap(state)
        before = before if before is None else map_state(torch.Tensor.contiguous, before)
        if lengths is None:
            hidden, after = self.module["body"](x, before)
        else:
            packed = pack_padded_sequence(x, lengths, batch_first=True, enforce_sorted=False)
            hidden, after = self.module["body"](packed, before)
            hidden, _ = pad_packed_sequence(hidden, batch_first=True, total_length=x.shape[1])
        return self.module["head"](hidden), swap(after)


class HuggingFace(Peer):
    """transformers: `past_key_values` or `cache_params`; unequal lengths padded on the left, with a mask.

    State: the cache, and the mask of what it holds. Caches are reordered by `reorder_cache`.
    """

    def __init__(self, config, cache_name: str) -> None:
        from transformers import AutoModelForCausalLM

        super().__init__(AutoModelForCausalLM.from_config(config))
        self.cache_name = cache_name

    def read(self, inputs, state=None, lengths=None):
        cache, seen = state or (None, inputs.new_zeros(len(inputs), 0))
        gap = None if lengths is None else inputs.shape[1] - lengths
        new = torch.ones_like(inputs)
        if gap is not None:
            inputs = shifted(inputs, gap)
            new = (torch.arange(inputs.shape[1])[None] >= gap[:, None]).long()
        mask = torch.cat([seen, new], 1)
        given = {self.cache_name: cache, "use_cache": True}
        if self.cache_name == "cache_params":  # a recurrent state needs no mask of what it has read
            given["attention_mask"] = new if gap is not None else None
        else:
            positions = (mask.cumsum(1) - 1).clamp(min=0)[:, -inputs.shape[1] :]
            given |= {"attention_mask": mask, "position_ids": positions}
        out = self.module(inputs, **given)
        logits = out.logits if gap is None else shifted(out.logits, -gap)
        return logits, (getattr(out, self.cache_name), mask)

    def clone(self, state):
        return copy.deepcopy(state)

    def select(self, state, rows):
        cache, mask = copy.deepcopy(state)
        cache.reorder_cache(rows)
        return cache, mask[rows]

    def leaves(self, state):
        if state is None:
            return []
        tensors = []
        for layer in state[0].layers:
            for value in vars(layer).values():
                values = value.values() if isinstance(value, dict) else [value]
                tensors += [part for part in values if isinstance(part, Tensor)]
        return [part for part in tensors if part.ndim]


class XTransformers(Peer):
    """TransformerWrapper called as its own `generate`: all tokens so far, the cache, and `seq_start_pos`."""

    def __init__(self, wrapper: dict | None = None, **options) -> None:
        from x_transformers import Decoder, TransformerWrapper

        layers = Decoder(dim=WIDTH, depth=2, heads=2, **options)
        super().__init__(
            TransformerWrapper(
                num_tokens=VOCAB, max_seq_len=64, attn_layers=layers, **(wrapper or {})
            )
        )

    def read(self, inputs, state=None, lengths=None):
        past, cache, starts = state or (inputs[:, :0], None, None)
        gap = None if lengths is None else inputs.shape[1] - lengths
        if gap is not None:
            inputs, starts = shifted(inputs, gap), gap
        tokens = torch.cat([past, inputs], 1)
        # cache_age: how many tokens at the end are new, as in its speculative decoding
        given = {} if cache is None else {"cache": cache, "cache_age": inputs.shape[1]}
        logits, cache = self.module(
            tokens, return_intermediates=True, seq_start_pos=starts, **given
        )
        logits = logits[:, -inputs.shape[1] :]
        # its own generation reads the whole text again where it says so
        cache = cache if self.module.can_cache_kv else None
        return logits if gap is None else shifted(logits, -gap), (tokens, cache, starts)

    def _mapped(self, state, function: Callable[[Tensor], Tensor]):
        if state is None:
            return None
        tokens, cache, starts = state
        cache = copy.copy(cache)
        for layer in cache.attn_intermediates if cache else ():
            if layer.cached_kv is not None:
                layer.cached_kv = tuple(function(part) for part in layer.cached_kv)
        return function(tokens), cache, None if starts is None else function(starts)

    def clone(self, state):
        return self._mapped(state, torch.clone)

    def select(self, state, rows):
        return self._mapped(state, lambda part: part[rows])

    def leaves(self, state):
        if state is None:
            return []
        tokens, cache, _ = state
        if cache is None:
            return [tokens]
        return [part for layer in cache.attn_intermediates for part in layer.cached_kv or ()]


class MinLayer(Peer):
    """The bare minGRU layer, which takes `prev_hidden` for pieces of any length."""

    def __init__(self) -> None:
        from minGRU_pytorch import minGRU

        super().__init__(
            nn.ModuleDict(
                {
                    "embed": nn.Embedding(VOCAB, WIDTH),
                    "body": minGRU(WIDTH),
                    "head": nn.Linear(WIDTH, VOCAB),
                }
            )
        )

    def read(self, inputs, state=None, lengths=None):
        if lengths is not None:
            raise NotOffered
        x = self.module["embed"](inputs)
        hidden, after = self.module["body"](x, state, return_next_prev_hidden=True)
        return self.module["head"](hidden), after


def stepwise(step: Callable, inputs: Tensor, state):
    outputs = []
    for t in range(inputs.shape[1]):
        out, state = step(inputs[:, t : t + 1], state)
        outputs.append(out)
    return torch.cat(outputs, 1), state


class MinLM(Peer):
    """minLM: given hidden states it reads one token, so a later piece is read token by token."""

    def __init__(self, **options) -> None:
        from minGRU_pytorch.minLM import minLM

        super().__init__(minLM(num_tokens=VOCAB, dim=WIDTH, depth=2, **options))

    def read(self, inputs, state=None, lengths=None):
        if lengths is not None:
            raise NotOffered
        if not self.module.can_cache:  # all tokens again, where it says so
            tokens = inputs if state is None else torch.cat([state, inputs], 1)
            return self.module(tokens)[:, -inputs.shape[1] :], tokens
        if state is None:
            logits, after = self.module(inputs, return_prev_hiddens=True)
            return logits, tuple(after)
        return stepwise(self._step, inputs, state)

    def _step(self, token, state):
        logits, after = self.module(token, return_prev_hiddens=True, prev_hiddens=list(state))
        return logits, tuple(after)


class XLSTM(Peer):
    """xLSTMLMModel: a text at once by `forward`, without a state; that by `step`, token by token."""

    def __init__(self, *, mlstm: bool, slstm: bool) -> None:
        from xlstm import (
            mLSTMBlockConfig,
            mLSTMLayerConfig,
            sLSTMBlockConfig,
            sLSTMLayerConfig,
            xLSTMLMModel,
            xLSTMLMModelConfig,
        )

        config = xLSTMLMModelConfig(
            vocab_size=VOCAB,
            embedding_dim=WIDTH,
            num_blocks=2,
            context_length=64,
            slstm_at=[1] if mlstm and slstm else ("all" if slstm else []),
            mlstm_block=mLSTMBlockConfig(mlstm=mLSTMLayerConfig(num_heads=2)) if mlstm else None,
            slstm_block=sLSTMBlockConfig(slstm=sLSTMLayerConfig(num_heads=2, backend="vanilla"))
            if slstm
            else None,
        )
        super().__init__(xLSTMLMModel(config))

    def read(self, inputs, state=None, lengths=None):
        if lengths is not None:
            raise NotOffered
        logits, after = stepwise(self.module.step, inputs, state)
        return (self.module(inputs) if state is None else logits), after

    def _mapped(self, state, function):
        """sLSTM stacks its four states before the batch; the others have the batch first."""
        return {
            block: {
                name: self._entry(name, value, function) for name, value in parts.items()
            }
            for block, parts in state.items()
        }  # fmt: skip

    @staticmethod
    def _entry(name, value, function):
        if name == "slstm_state":
            return function(value.transpose(0, 1)).transpose(0, 1)
        return map_state(function, value)

    def clone(self, state):
        return self._mapped(state, torch.clone)

    def select(self, state, rows):
        return self._mapped(state, lambda part: part[rows])

    def leaves(self, state):
        found = []
        if state is not None:
            self._mapped(state, lambda part: found.append(part) or part)
        return found


def _llama():
    from transformers import LlamaConfig

    return HuggingFace(LlamaConfig(**_shape(), num_key_value_heads=2), "past_key_values")


def _mistral():
    from transformers import MistralConfig

    config = MistralConfig(**_shape(), num_key_value_heads=1, sliding_window=3)
    return HuggingFace(config, "past_key_values")


def _mamba():
    from transformers import MambaConfig

    config = MambaConfig(vocab_size=VOCAB, hidden_size=WIDTH, state_size=4, num_hidden_layers=2)
    return HuggingFace(config, "cache_params")


def _shape() -> dict:
    return {
        "vocab_size": VOCAB,
        "hidden_size": WIDTH,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
        "pad_token_id": 0,
    }


ROTARY = {"rotary_pos_emb": True}
# library (its name on PyPI), how it was built, and the builder
PEERS: list[tuple[str, str, Callable[[], Peer]]] = [
    ("torch", "nn.LSTM(num_layers=2)", lambda: Torch(nn.LSTM)),
    ("torch", "nn.GRU(num_layers=2)", lambda: Torch(nn.GRU)),
    ("transformers", "Llama", _llama),
    ("transformers", "Mistral(sliding_window=3)", _mistral),
    ("transformers", "Mamba", _mamba),
    ("x-transformers", "Decoder() (learned positions)", XTransformers),
    ("x-transformers", "rotary_pos_emb", lambda: XTransformers(**ROTARY)),
    ("x-transformers", "alibi_pos_bias", lambda: XTransformers(alibi_pos_bias=True)),
    ("x-transformers", "attn_qk_norm", lambda: XTransformers(attn_qk_norm=True, **ROTARY)),
    ("x-transformers", "attn_kv_heads=1", lambda: XTransformers(attn_kv_heads=1, **ROTARY)),
    ("x-transformers", "attn_sparse_topk=3", lambda: XTransformers(attn_sparse_topk=3, **ROTARY)),
    ("x-transformers", "attn_hard", lambda: XTransformers(attn_hard=True, **ROTARY)),
    ("x-transformers", "attn_gumbel_softmax", lambda: XTransformers(attn_gumbel_softmax=True, **ROTARY)),
    ("x-transformers", "attn_selective", lambda: XTransformers(attn_selective=True, **ROTARY)),
    ("x-transformers", "attn_l2_distance", lambda: XTransformers(attn_l2_distance=True, **ROTARY)),
    ("x-transformers", "attn_sigmoid", lambda: XTransformers(attn_sigmoid=True, **ROTARY)),
    ("x-transformers", "shift_tokens=1", lambda: XTransformers(shift_tokens=1, **ROTARY)),
    ("minGRU-pytorch", "minGRU layer", MinLayer),
    ("minGRU-pytorch", "minLM()", MinLM),
    ("minGRU-pytorch", "minLM(use_lstm=True)", lambda: MinLM(use_lstm=True)),
    ("minGRU-pytorch", "minLM(enable_conv=True)", lambda: MinLM(enable_conv=True)),
    ("xlstm", "mLSTM blocks", lambda: XLSTM(mlstm=True, slstm=False)),
    ("xlstm", "sLSTM blocks, vanilla", lambda: XLSTM(mlstm=False, slstm=True)),
    ("xlstm", "one mLSTM, one sLSTM block", lambda: XLSTM(mlstm=True, slstm=True)),
]  # fmt: skip


def versions() -> str:
    names = dict.fromkeys(library for library, _, _ in PEERS)
    return ", ".join(f"{name} {version(name)}" for name in names)

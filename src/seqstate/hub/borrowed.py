"""The other door: a Hugging Face causal language model as one of ours; its cache is the state.

    borrowed = seqstate.from_hf(model, tokenizer)
    borrowed.evaluate("Once upon a time")       # bits per byte of the text, whatever the tokeniser
    seqstate.fuse([borrowed, counted], text)    # adapted to a text without training it

Attention keeps keys and values of all tokens, so such models are read in windows; models with a state of one
size (Mamba, RWKV) carry it through any length. Rows of unequal length are read by their number.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from seqstate.core.energy import LinearHead
from seqstate.core.instrument import HasHead
from seqstate.core.model import LanguageModel, last_real
from seqstate.core.state import State, select_rows
from seqstate.hub.borrowed_state import Keeper, keeper_of, merged
from seqstate.hub.borrowed_text import BorrowedTokenizer
from seqstate.trained import ModelConfig, Trained

SAME = 0.05  # of the largest logit: what bfloat16 may do to logits that are read in pieces
WINDOW = 1024  # tokens of a window in which models with attention are evaluated, at most


class Borrowed(LanguageModel):
    """Abstract: a transformers model read with its state as an argument."""

    def __init__(self, model: Any) -> None:
        super().__init__()
        self.model = model.eval()
        self.keeper: Keeper = keeper_of(model)
        self.limit = longest(model) if self.keeper.grows else None
        self.stepwise = False  # a state is gone on from by one token at a time only

    def _probe(self) -> int:
        """Words of the vocabulary, as its logits count them; finds out how the model goes on from a state."""
        size = self.model.config.get_text_config().vocab_size
        tokens = torch.arange(12)[None] * 7 % size
        errors = []
        with torch.no_grad():
            whole = self._ask(tokens, None).logits[:, -1].float()
            for self.stepwise in (True, False):
                state = self(tokens[:, :4], None)[1]
                found = self(tokens[:, 4:], state)[0][:, -1].float()
                errors.append(float((found - whole).abs().max() / whole.abs().max()))
        self.stepwise = errors[1] > 1e-3 and errors[0] < errors[1] / 10
        if not min(errors) < SAME:
            raise ValueError(
                f"{type(self.model).__name__} does not go on from the cache it returns"
            )
        return whole.shape[-1]

    def init_state(self, batch_size: int) -> State:
        return self.keeper.start(batch_size, self.model.device)

    def _ask(self, tokens: Int[Tensor, "B T"], state: State | None, body: Any = None) -> Any:
        """What the model (or its body, without the output layer) answers to tokens without padding."""
        state = self.init_state(tokens.shape[0]) if state is None else state
        read = int(state["read"].max()) + tokens.shape[1]
        if self.limit is not None and read > self.limit:
            raise ValueError(
                f"{type(self.model).__name__} reads {self.limit} tokens at most, found {read}; "
                "evaluate in windows (carry=False) or give a shorter text"
            )
        return self.keeper.ask(body or self.model, tokens.to(self.model.device), state)

    def _read(
        self, tokens: Int[Tensor, "B T"], state: State | None, lengths: Int[Tensor, " B"] | None
    ) -> tuple[Tensor, State]:
        """Values [B, T, X] after each token and the state; rows of equal length are read together."""
        if lengths is None or bool((lengths == tokens.shape[1]).all()):
            return self._values(tokens, state)
        out, states, order = None, [], []
        for length in lengths.unique().tolist():
            rows = (lengths == length).nonzero().squeeze(1)
            part = None if state is None else select_rows(state, rows)
            values, after = self._values(tokens[rows, :length], part)
            if out is None:
                out = values.new_zeros(*tokens.shape, values.shape[-1])
            out[rows, :length] = values
            states.append(after)
            order.append(rows)
        return out, select_rows(merged(states), torch.cat(order).argsort())

    def _values(self, tokens: Tensor, state: State | None) -> tuple[Tensor, State]:
        """Values after each token and the state, all rows alike."""
        if state is None or not state["layers"] or not self.stepwise:
            return self._answer(tokens, state)
        found = []
        for step in tokens.split(1, 1):
            values, state = self._answer(step, state)
            found.append(values)
        return torch.cat(found, 1), state

    def _answer(self, tokens: Tensor, state: State | None) -> tuple[Tensor, State]:
        answer = self._ask(tokens, state)
        return answer.logits, self.keeper.after(answer, state, tokens)

    def forward(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T V"], State]:
        return self._read(tokens, state, lengths)


class BorrowedLM(Borrowed):
    """A model whose logits are its own affair (scaled, capped, or by no linear layer)."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        self.vocab_size = self._probe()


class BorrowedHeadLM(Borrowed, HasHead):
    """A model whose logits are one linear layer on the vectors of its body: they are never all stored."""

    def __init__(self, model: Any) -> None:
        super().__init__(model)
        layer = model.get_output_embeddings()
        self.head = LinearHead(layer)
        self.vocab_size = self._probe()

    def _answer(self, tokens: Tensor, state: State | None) -> tuple[Tensor, State]:
        answer = self._ask(tokens, state, self.model.base_model)
        return answer.last_hidden_state, self.keeper.after(answer, state, tokens)

    def hidden(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T D"], State]:
        return self._read(tokens, state, lengths)

    def forward(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B T V"], State]:
        hidden, state = self._read(tokens, state, lengths)
        return self.head(hidden), state

    def next_logits(
        self,
        tokens: Int[Tensor, "B T"],
        state: State | None = None,
        lengths: Int[Tensor, " B"] | None = None,
    ) -> tuple[Float[Tensor, "B V"], State]:
        hidden, state = self._read(tokens, state, lengths)
        return self.head(last_real(hidden, lengths)), state

    def nll(
        self, tokens: Int[Tensor, "B T"], targets: Int[Tensor, "B T"], state: State | None = None
    ) -> tuple[Float[Tensor, "B T"], State]:
        hidden, state = self._read(tokens, state, None)
        return self.head.nll(hidden.flatten(0, 1), targets.flatten()).view_as(targets), state


def longest(model: Any) -> int | None:
    """How many tokens a transformers model can read at most; None if it does not say."""
    return getattr(model.config.get_text_config(), "max_position_embeddings", None)


def language_model(model: Any) -> Borrowed:
    """A transformers causal LM as a LanguageModel. Raises ValueError if its state cannot be held."""
    return (BorrowedHeadLM(model) if _is_linear(model) else BorrowedLM(model)).eval()


def from_hf(model: Any, tokenizer: Any) -> Trained:
    """A transformers causal LM and its tokeniser as one of ours: evaluate, generate, audit, fuse.

    `.model` is the LanguageModel; the weights are shared, not copied. Raises ValueError for models whose
    state cannot be held and for tokenisers without a token that begins or ends a text.
    """
    lm = language_model(model)
    words = BorrowedTokenizer(tokenizer, lm.vocab_size)
    config = ModelConfig(
        state=f"hf:{model.config.name_or_path or type(model).__name__}",
        energy=None,
        vocab_size=lm.vocab_size,
        tie=False,
        context=min(lm.limit or WINDOW, WINDOW),
        carry=not lm.keeper.grows,
        corpus="",
        boundary=words.boundary,
    )
    return Trained(lm, words, config)


def read_folder(folder: str | Path) -> tuple[Any, Any]:
    """Model and tokeniser of a folder that save_pretrained wrote; its code and pickles are not run."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    if not Path(folder).is_dir():
        raise ValueError(f"{folder} is not a folder; hf: takes a model saved with save_pretrained")
    try:
        model = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, use_safetensors=True
        )
        return model.eval(), AutoTokenizer.from_pretrained(folder, local_files_only=True)
    except (OSError, ValueError, KeyError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"cannot load the Hugging Face model in {folder}: {reason}") from None


def quiet() -> None:
    """No progress bars and no advice from transformers in this process: a command has its own manners."""
    from transformers.utils import logging

    logging.set_verbosity_error()
    logging.disable_progress_bar()


def load(folder: str | Path) -> Trained:
    """The Hugging Face model of a folder as one of ours."""
    return from_hf(*read_folder(folder))


@torch.no_grad()
def _is_linear(model: Any) -> bool:
    """Whether the logits are the output layer's on what the body gives, and nothing else."""
    layer, body = model.get_output_embeddings(), model.base_model
    if not isinstance(layer, nn.Linear) or body is model:
        return False
    tokens = torch.zeros(1, 2, dtype=torch.int64, device=model.device)
    was_training = model.training
    logits = model.eval()(input_ids=tokens).logits
    found = layer(body(input_ids=tokens)[0])
    model.train(was_training)
    return found.shape == logits.shape and torch.allclose(found, logits, rtol=1e-4, atol=1e-5)

"""Any of our language models as a transformers causal LM: generate, pipeline, Trainer, save_pretrained.

The loss is our own: with labels, a neural rung never stores positions x words unless logits are asked for.
"""

from __future__ import annotations

import dataclasses
import tempfile
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import GenerationConfig, GenerationMixin, PreTrainedModel
from transformers.modeling_outputs import CausalLMOutputWithPast

from seqstate.core.instrument import HasHead
from seqstate.core.model import IGNORE, LanguageModel, device_of
from seqstate.core.state import State
from seqstate.hub import files
from seqstate.hub.carried import Carried
from seqstate.hub.config import SeqstateConfig
from seqstate.hub.resize import resized
from seqstate.model import HasEmbedding
from seqstate.trained import read_model

PIECE = 64  # positions between two stored states under gradient checkpointing


class SeqstateForCausalLM(PreTrainedModel, GenerationMixin):
    """lm: the model; None builds a fresh one from the configuration."""

    config_class = SeqstateConfig
    base_model_prefix = ""
    main_input_name = "input_ids"
    supports_gradient_checkpointing = True
    _no_split_modules: list[str] = []  # noqa: RUF012 (the base class reads a list)

    def __init__(
        self,
        config: SeqstateConfig,
        lm: LanguageModel | None = None,
        described: files.Described | None = None,
    ) -> None:
        super().__init__(config)
        self.described = files.Described(config.described()) if described is None else described
        self.lm: LanguageModel = self.described.config.build() if lm is None else lm
        self.gradient_checkpointing = False
        end = config.boundary
        self.generation_config = GenerationConfig(
            bos_token_id=end, eos_token_id=end, pad_token_id=end
        )
        self.register_load_state_dict_pre_hook(_accept_file_names)
        self.post_init()

    def _init_weights(self, module: nn.Module) -> None:
        """Parts initialise themselves; transformers would write over them."""

    @property
    def device(self) -> torch.device:
        return device_of(self.lm)

    @property
    def dtype(self) -> torch.dtype:
        """Of the parameters; of look-up tables float32, in which their logits come."""
        return next((p.dtype for p in self.parameters()), torch.float32)

    def forward(
        self,
        input_ids: Tensor | None = None,
        attention_mask: Tensor | None = None,
        inputs_embeds: Tensor | None = None,
        past_key_values: Any = None,
        labels: Tensor | None = None,
        use_cache: bool | None = None,
        logits_to_keep: int | Tensor = 0,
        skip_logits: bool | None = None,
        return_dict: bool | None = None,
        **kwargs: Any,
    ) -> Any:
        """As every causal LM of transformers; token ids or vectors [B, T], mask [B, past + T].

        labels: targets aligned with the tokens, shifted here; IGNORE (-100) is not asked for, and a padded
        position predicts nothing. skip_logits: give the loss alone; None: while training with labels.
        num_items_in_batch: what the loss is divided by (None: the targets asked for).
        The loss is in nats a token. Raises ValueError for what cannot be read.
        """
        inputs, mask = self._inputs(input_ids, inputs_embeds, attention_mask)
        carried = self._carried(past_key_values)
        if use_cache is None:
            use_cache = self.config.use_cache and labels is None and not self.training
        if skip_logits is None:
            skip_logits = self.training and labels is not None
        reading = inputs, mask, carried
        hidden = loss = logits = after = None
        if labels is not None:
            self._check_trainable()
            targets = _shifted(labels.to(inputs.device), mask)
            hidden, total, after = self._total(*reading, targets)
            items = kwargs.get("num_items_in_batch")
            loss = total / ((targets != IGNORE).sum().clamp(min=1) if items is None else items)
        if not skip_logits:
            logits, after = self._logits(*reading, logits_to_keep, hidden, after)
        out = CausalLMOutputWithPast(
            loss=loss, logits=logits, past_key_values=after if use_cache else None
        )
        return_dict = self.config.return_dict if return_dict is None else return_dict
        return out if return_dict else out.to_tuple()

    def _inputs(self, ids, vectors, mask) -> tuple[Tensor, Tensor | None]:
        if (ids is None) == (vectors is None):
            raise ValueError("give either input_ids or inputs_embeds")
        if vectors is not None and not isinstance(self.lm, HasEmbedding):
            raise ValueError(
                f"{self.config.state} reads words, not vectors: it has no embedding; give input_ids"
            )
        inputs = ids if vectors is None else vectors
        if mask is None:
            return inputs, None
        if mask.ndim != 2 or mask.shape[1] < inputs.shape[1]:
            raise ValueError(
                f"attention_mask has shape {list(mask.shape)}, wanted [rows, positions] with at least "
                f"{inputs.shape[1]} positions"
            )
        mask = mask[:, -inputs.shape[1] :].bool().to(inputs.device)
        if bool(mask.all()):
            return inputs, None
        if vectors is None:  # what stands at padding is never read, but it must be a word
            inputs = inputs.where(mask, self.config.boundary)
        return inputs, mask

    def _carried(self, given: Any) -> Carried:
        if given is None:
            return Carried()
        if not isinstance(given, Carried):
            raise ValueError(
                f"past_key_values is a {type(given).__name__}; wanted the state this model returned, or None"
            )
        return given

    def _logits(
        self,
        inputs: Tensor,
        mask: Tensor | None,
        carried: Carried,
        keep: int | Tensor,
        hidden: Tensor | None,
        after: Carried | None,
    ) -> tuple[Tensor, Carried | None]:
        """Logits of the last `keep` positions (0: all; or of those listed); `hidden` if it is known."""
        lm = self.lm
        if hidden is None and isinstance(keep, int) and keep == 1:
            logits, after = carried.read(self._last_logits, inputs, mask, each=False)
            return logits.unsqueeze(1), after
        rows = slice(-keep, None) if isinstance(keep, int) else keep
        if isinstance(lm, HasHead):
            if hidden is None:
                hidden, after = carried.read(self._hidden, inputs, mask)
            return lm.head(hidden[:, rows]), after
        logits, after = carried.read(lm, inputs, mask)
        return logits[:, rows], after

    def _last_logits(self, inputs: Tensor, state: Any, lengths: Tensor | None):
        if not inputs.is_floating_point():
            return self.lm.next_logits(inputs, state, lengths)
        hidden, after = self._hidden(inputs, state, lengths)
        last = hidden[:, -1] if lengths is None else hidden[range(len(hidden)), lengths - 1]
        return self.lm.head(last), after

    def _hidden(self, inputs: Tensor, state: Any, lengths: Tensor | None) -> tuple[Tensor, State]:
        """The vectors the head sees, of tokens or of their vectors; in pieces that are read again
        in the backward pass if gradients are checkpointed (by the law that pieces make the whole).
        """
        lm: Any = self.lm
        reader = lm.hidden_of if inputs.is_floating_point() else lm.hidden
        if not (self.gradient_checkpointing and self.training and torch.is_grad_enabled()):
            return reader(inputs, state, lengths)
        found = []
        for start in range(0, inputs.shape[1], PIECE):
            piece = inputs[:, start : start + PIECE]
            # a row that has ended reads on: nobody asks for what it says
            left = None if lengths is None else (lengths - start).clamp(1, piece.shape[1])
            hidden, state = self._gradient_checkpointing_func(reader, piece, state, left)
            found.append(hidden)
        return torch.cat(found, 1), state

    def _total(
        self, inputs: Tensor, mask: Tensor | None, carried: Carried, targets: Tensor
    ) -> tuple[Tensor | None, Tensor, Carried | None]:
        """The vectors the head saw (None if there is no head), nats of all targets, and the state."""
        lm = self.lm
        if isinstance(lm, HasHead):
            hidden, after = carried.read(self._hidden, inputs, mask)
            return hidden, lm.head.nll(hidden.flatten(0, 1), targets.flatten()).sum(), after

        def reader(pair: Tensor, state: Any, lengths: Tensor | None) -> tuple[Tensor, Any]:
            tokens, wanted = pair.unbind(-1)
            if lengths is not None:
                every = torch.arange(tokens.shape[1], device=tokens.device)
                wanted = wanted.where(every < lengths[:, None], IGNORE)
            return lm.nll(tokens, wanted, state)

        nats, after = carried.read(reader, torch.stack([inputs, targets], -1), mask)
        # nll knows no lengths: where there was padding, its state has read it
        return None, nats.sum(), after if mask is None else None

    def _check_trainable(self) -> None:
        if self.training and not any(parameter.requires_grad for parameter in self.parameters()):
            raise ValueError(
                f"{self.config.state} is counted, not trained by gradient; use seqstate.fit on the text"
            )

    def _prepare_cache_for_generation(
        self, generation_config: Any, model_kwargs: dict[str, Any], *args: Any, **kwargs: Any
    ) -> None:
        """The one method of `generate` that is replaced: our state is the cache, whatever kind is asked."""
        carried = self._carried(model_kwargs.get("past_key_values"))
        if generation_config.use_cache is False:
            return
        if generation_config.is_assistant and not carried.recording:
            carried = dataclasses.replace(carried, recording=True)
        model_kwargs["past_key_values"] = carried

    def get_input_embeddings(self) -> nn.Module:
        """The table of word vectors. Raises NotImplementedError for models without one."""
        if not isinstance(self.lm, HasEmbedding):
            raise NotImplementedError(f"{self.config.state} has no embedding")
        return self.lm.embedding

    def set_input_embeddings(self, value: nn.Module) -> None:
        raise ValueError(
            "an embedding may share the words of its energy; use resize_token_embeddings"
        )

    def get_output_embeddings(self) -> None:
        """None: words are scored by an energy, which need not be a matrix."""

    def resize_token_embeddings(
        self,
        new_num_tokens: int | None = None,
        pad_to_multiple_of: int | None = None,
        mean_resizing: bool = True,
    ) -> nn.Module:
        """Give the model another vocabulary size; kept words keep all their numbers.

        mean_resizing: new words start at the mean of the old ones, otherwise where a fresh model has them.
        Raises ValueError for models whose vocabulary is part of their structure.
        """
        size = self.lm.vocab_size if new_num_tokens is None else new_num_tokens
        if pad_to_multiple_of:
            size = -(-size // pad_to_multiple_of) * pad_to_multiple_of
        if size != self.lm.vocab_size:
            self.lm = resized(self.lm, self.described.config, size, mean=mean_resizing)
            self.config.vocab_size = size
        return self.get_input_embeddings()

    @classmethod
    def from_pretrained(
        cls, pretrained_model_name_or_path: Any, *args: Any, config: Any = None, **kwargs: Any
    ) -> Any:
        """Read a folder, or a repository of the Hub; no file but JSON and safetensors is ever opened.

        dtype: of the parameters (default: as stored). device_map: one device, or "auto". Raises ValueError
        for a folder that is not ours and options that have no meaning here.
        """
        wanted = files.Loading.of(kwargs)
        folder = files.find(pretrained_model_name_or_path, wanted)
        lm, described = read_model(folder)
        stored = SeqstateConfig.describing(described, numbers=files.numbers(folder))
        config = files.agreed(stored, config, wanted.settings)
        model = cls(config, lm, files.Described.of(folder)).eval()
        model.name_or_path = config.name_or_path = str(pretrained_model_name_or_path)
        if (folder / "generation_config.json").exists():
            model.generation_config = GenerationConfig.from_pretrained(folder)
        if wanted.dtype is not None:
            for parameter in model.parameters():
                parameter.data = parameter.data.to(wanted.dtype)
        model.to(wanted.device)
        return (model, {}) if wanted.with_info else model

    def save_pretrained(
        self,
        save_directory: Any,
        is_main_process: bool = True,
        state_dict: dict[str, Tensor] | None = None,
        push_to_hub: bool = False,
        **kwargs: Any,
    ) -> None:
        """Write a folder that AutoModelForCausalLM and seqstate.load (given a tokenizer) both read."""
        if push_to_hub:
            self.push_to_hub(kwargs.pop("repo_id", Path(save_directory).name), **kwargs)
        if is_main_process:
            named = self.state_dict() if state_dict is None else state_dict
            files.write(Path(save_directory), self, named)

    def push_to_hub(
        self,
        repo_id: str,
        *,
        commit_message: str | None = None,
        private: bool | None = None,
        token: Any = None,
        revision: str | None = None,
        create_pr: bool = False,
        **ignored: Any,
    ) -> Any:
        """Upload what save_pretrained writes, model card included, as one commit."""
        from huggingface_hub import HfApi

        api = HfApi(token=token)
        repository = api.create_repo(repo_id, private=private, exist_ok=True).repo_id
        with tempfile.TemporaryDirectory() as folder:
            self.save_pretrained(folder)
            return api.upload_folder(
                repo_id=repository,
                folder_path=folder,
                commit_message=commit_message or "Upload model",
                revision=revision,
                create_pr=create_pr,
            )


def _shifted(labels: Tensor, mask: Tensor | None) -> Tensor:
    """The label of the next real position at each real one; IGNORE at padding and at the last."""
    if mask is None:
        return nn.functional.pad(labels[:, 1:], (0, 1), value=IGNORE)
    order = (~mask).long().argsort(dim=-1, stable=True)
    following = nn.functional.pad(labels.gather(1, order)[:, 1:], (0, 1), value=IGNORE)
    asked = nn.functional.pad(mask.gather(1, order)[:, 1:], (0, 1))
    return torch.full_like(labels, IGNORE).scatter(1, order, following.where(asked, IGNORE))


def _accept_file_names(module: SeqstateForCausalLM, state: dict[str, Tensor], *rest: Any) -> None:
    """Let load_state_dict read our files: names without `lm.`, tied weights stored once."""
    own = dict(module.named_parameters(remove_duplicate=False))
    known = own.keys() | dict(module.named_buffers()).keys()
    for name in list(state):
        for start in ("lm.", "lm.gate."):
            if name not in known and start + name in known:
                state[start + name] = state.pop(name)
                break
    stored = {id(own[name]): state[name] for name in state if name in own}
    for name, parameter in own.items():
        if name not in state and id(parameter) in stored:
            state[name] = stored[id(parameter)]

"""The ways a transformers model is asked to write: one check a mode, true of every rung that has it."""

from __future__ import annotations

import copy
from collections.abc import Callable

import torch
from transformers import (
    LogitsProcessor,
    LogitsProcessorList,
    PreTrainedTokenizerFast,
    TextIteratorStreamer,
)

from hub.rungs import TOKENIZER, V, ids, padded, target
from seqstate.hub import Carried, SeqstateForCausalLM
from seqstate.model import HasEmbedding

NEW = 3
PROMPTS = ids("cab", "bad cafe", "f")


def close(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, atol=2e-5, rtol=1e-4)


def greedy(model: SeqstateForCausalLM) -> None:
    prompt = PROMPTS[1]
    read = prompt
    for _ in range(NEW):  # by hand, without a state and without transformers
        with torch.no_grad():
            logits, _ = model.lm(read)
        read = torch.cat([read, logits[:, -1].argmax(-1, keepdim=True)], 1)
    for use_cache in (True, False):
        written = model.generate(prompt, max_new_tokens=NEW, do_sample=False, use_cache=use_cache)
        assert torch.equal(written, read)


def left_padded_batch(model: SeqstateForCausalLM) -> None:
    tokens, mask = padded(PROMPTS)
    asked = {"max_new_tokens": NEW, "do_sample": False}
    written = model.generate(tokens, attention_mask=mask, **asked)
    for row, prompt in enumerate(PROMPTS):
        alone = model.generate(prompt, **asked)[0, prompt.shape[1] :]
        assert torch.equal(written[row, tokens.shape[1] :], alone)


def padding(model: SeqstateForCausalLM) -> None:
    for side in ("left", "right"):
        tokens, mask = padded(PROMPTS, side)
        with torch.no_grad():
            out = model(tokens, attention_mask=mask)
            last = model(tokens, attention_mask=mask, logits_to_keep=1)
            for row, prompt in enumerate(PROMPTS):
                alone = model(prompt).logits[0]
                assert close(out.logits[row][mask[row].bool()], alone)
                if side == "left":
                    assert close(last.logits[row, -1], alone[-1])
            more = model(torch.full((3, 1), 4), past_key_values=out.past_key_values).logits
            for row, prompt in enumerate(PROMPTS):  # no padding has entered a state
                longer = torch.cat([prompt, torch.tensor([[4]])], 1)
                assert close(more[row, 0], model(longer).logits[0, -1])


def sampling(model: SeqstateForCausalLM) -> None:
    tokens, mask = padded(PROMPTS)
    asked = {"do_sample": True, "top_p": 0.9, "top_k": 5, "temperature": 0.8}
    written = []
    for use_cache in (True, False):
        torch.manual_seed(3)
        out = model.generate(
            tokens, attention_mask=mask, max_new_tokens=NEW, use_cache=use_cache, **asked
        )
        written.append(out)
    assert torch.equal(*written)


def beams(model: SeqstateForCausalLM) -> None:
    tokens, mask = padded(PROMPTS)
    asked = {"num_beams": 2, "max_new_tokens": NEW, "do_sample": False}
    written = [
        model.generate(tokens, attention_mask=mask, use_cache=use_cache, **asked)
        for use_cache in (True, False)
    ]
    assert torch.equal(*written)


def return_sequences(model: SeqstateForCausalLM) -> None:
    tokens, mask = padded(PROMPTS)
    asked = {"max_new_tokens": NEW, "do_sample": True, "num_return_sequences": 2}
    torch.manual_seed(5)
    written = model.generate(tokens, attention_mask=mask, **asked)
    torch.manual_seed(5)
    again = model.generate(
        tokens.repeat_interleave(2, 0),
        attention_mask=mask.repeat_interleave(2, 0),
        max_new_tokens=NEW,
        do_sample=True,
    )
    assert torch.equal(written, again)


def resume(model: SeqstateForCausalLM) -> None:
    asked = {"do_sample": False, "return_dict_in_generate": True}
    whole = model.generate(PROMPTS[1], max_new_tokens=2 * NEW, **asked)
    first = model.generate(PROMPTS[1], max_new_tokens=NEW, **asked)
    for _ in range(2):  # a returned state can be used again: reading leaves it as it was
        rest = model.generate(
            first.sequences, past_key_values=first.past_key_values, max_new_tokens=NEW, **asked
        )
        assert torch.equal(rest.sequences, whole.sequences)
    seen = []
    hook = model.register_forward_pre_hook(
        lambda _, given, named: seen.append(named["input_ids"].shape[1]), with_kwargs=True
    )
    model.generate(
        first.sequences, past_key_values=first.past_key_values, max_new_tokens=NEW, **asked
    )
    hook.remove()
    assert set(seen) == {1}  # nothing is read twice


def chunked_prefill(model: SeqstateForCausalLM) -> None:
    tokens, mask = padded(PROMPTS)
    asked = {"max_new_tokens": NEW, "do_sample": False}
    whole = model.generate(tokens, attention_mask=mask, **asked)
    # some chunks of the shortest prompt hold nothing but padding
    pieces = model.generate(tokens, attention_mask=mask, prefill_chunk_size=3, **asked)
    assert torch.equal(pieces, whole)


def transformers_tokenizer() -> PreTrainedTokenizerFast:
    names = {"bos_token": "<doc>", "eos_token": "<doc>", "pad_token": "<doc>"}
    return PreTrainedTokenizerFast(tokenizer_object=TOKENIZER.model, **names)


def streaming(model: SeqstateForCausalLM) -> None:
    tokenizer = transformers_tokenizer()
    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True)
    asked = {"max_new_tokens": NEW, "do_sample": False}
    written = model.generate(PROMPTS[0], streamer=streamer, **asked)
    text = tokenizer.decode(written[0, PROMPTS[0].shape[1] :])
    assert "".join(streamer) == text != ""


def stop_strings(model: SeqstateForCausalLM) -> None:
    tokenizer = transformers_tokenizer()
    asked = {"max_new_tokens": 2 * NEW, "do_sample": False}
    plain = model.generate(PROMPTS[0], **asked)[0, PROMPTS[0].shape[1] :]
    stop = tokenizer.decode(plain[:2])
    out = model.generate(PROMPTS[0], stop_strings=[stop], tokenizer=tokenizer, **asked)
    assert torch.equal(out[0, PROMPTS[0].shape[1] :], plain[:2])


class OnlyEven(LogitsProcessor):
    def __call__(self, input_ids, scores):
        return scores.masked_fill(torch.arange(V) % 2 == 1, -torch.inf)


def logits_processors(model: SeqstateForCausalLM) -> None:
    asked = {"max_new_tokens": NEW, "do_sample": False}
    even = model.generate(PROMPTS[0], logits_processor=LogitsProcessorList([OnlyEven()]), **asked)
    assert (even[0, PROMPTS[0].shape[1] :] % 2 == 0).all()
    likeliest = model.generate(PROMPTS[0], **asked)[0, PROMPTS[0].shape[1]].item()
    other = model.generate(PROMPTS[0], bad_words_ids=[[likeliest]], **asked)
    assert likeliest not in other[0, PROMPTS[0].shape[1] :]


def inputs_embeds(model: SeqstateForCausalLM) -> None:
    """Rungs that read words rather than vectors refuse, in one line."""
    asked = {"max_new_tokens": NEW, "do_sample": False}
    if not isinstance(model.lm, HasEmbedding):
        try:
            model.generate(inputs_embeds=torch.zeros(1, 3, 16), **asked)
        except ValueError as error:
            assert "give input_ids" in str(error)
            return
        raise AssertionError("vectors were read")
    tokens, mask = padded(PROMPTS)
    vectors = model.get_input_embeddings()(tokens)
    written = model.generate(inputs_embeds=vectors, attention_mask=mask, **asked)
    assert torch.equal(
        written, model.generate(tokens, attention_mask=mask, **asked)[:, tokens.shape[1] :]
    )


def cache_arguments(model: SeqstateForCausalLM) -> None:
    asked = {"max_new_tokens": NEW, "do_sample": False}
    plain = model.generate(PROMPTS[0], **asked)
    for kind in ("static", "offloaded"):
        assert torch.equal(model.generate(PROMPTS[0], cache_implementation=kind, **asked), plain)


def as_draft(model: SeqstateForCausalLM) -> None:
    """Drafts for a transformer: the transformer's own text, whatever the draft says."""
    big = target()
    asked = {"max_new_tokens": 2 * NEW, "do_sample": False}
    plain = big.generate(PROMPTS[0], **asked)
    draft = copy.copy(model)  # generate adapts how much a draft says at once
    draft.generation_config = copy.deepcopy(model.generation_config)
    draft.generation_config.num_assistant_tokens = 4
    draft.generation_config.assistant_confidence_threshold = 0.0
    draft.generation_config.num_assistant_tokens_schedule = "constant"
    assert torch.equal(big.generate(PROMPTS[0], assistant_model=draft, **asked), plain)


def with_draft(model: SeqstateForCausalLM) -> None:
    """Is drafted for, by a transformer and by its own prompt: the state goes back to what was accepted."""
    asked = {"max_new_tokens": 2 * NEW, "do_sample": False}
    plain = model.generate(PROMPTS[1], **asked)
    small = target(1)
    small.generation_config.num_assistant_tokens = 3
    small.generation_config.assistant_confidence_threshold = 0.0
    assert torch.equal(model.generate(PROMPTS[1], assistant_model=small, **asked), plain)
    assert torch.equal(model.generate(PROMPTS[1], prompt_lookup_num_tokens=3, **asked), plain)


def cropping(model: SeqstateForCausalLM) -> None:
    tokens = torch.tensor([[0, 3, 4, 5, 2, 6, 3]])
    with torch.no_grad():
        wanted = model(torch.cat([tokens[:, :4], torch.tensor([[5]])], 1)).logits[:, -1]
        state = Carried(recording=True)
        for piece in tokens.split((2, 3, 2), 1):
            state = model(piece, past_key_values=state).past_key_values
        state.crop(-3)  # one call whole, and a part of the one before
        assert state.get_seq_length() == 4
        after = model(torch.tensor([[5]]), past_key_values=state)
        assert close(after.logits[:, -1], wanted)
        assert after.past_key_values.get_seq_length() == 5


MODES: dict[str, Callable[[SeqstateForCausalLM], None]] = {
    "greedy": greedy,
    "left-padded batch": left_padded_batch,
    "padding": padding,
    "sampling": sampling,
    "beams": beams,
    "return sequences": return_sequences,
    "resume": resume,
    "chunked prefill": chunked_prefill,
    "streaming": streaming,
    "stop strings": stop_strings,
    "logits processors": logits_processors,
    "inputs_embeds": inputs_embeds,
    "cache arguments": cache_arguments,
    "as draft": as_draft,
    "with draft": with_draft,
    "crop": cropping,
}


def has(mode: str, model: SeqstateForCausalLM) -> bool:
    """Whether a rung has a mode; where it has not, the check is that it says so."""
    return mode != "inputs_embeds" or isinstance(model.lm, HasEmbedding)

"""Trainer, our loss, padding, and what else fine-tuning needs."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, Trainer, TrainingArguments
from transformers.trainer_callback import PrinterCallback

from hub.rungs import TEXT, TOKENIZER, V, hub_model, ids, label, padded, rungs
from seqstate.core.model import Counted
from seqstate.hub import SeqstateConfig, SeqstateForCausalLM
from seqstate.hub.model import PIECE

PROMPTS = ids("a cab", "bad cafe, a", "fe")


def fresh(state: str = "lstm(width=16)", energy: str = "multi_hamming(groups=4)"):
    torch.manual_seed(4)
    return SeqstateForCausalLM(SeqstateConfig(state=state, energy=energy, vocab_size=V))


@pytest.mark.filterwarnings("ignore:.*did not converge:UserWarning")
@pytest.mark.parametrize("rung", rungs(), ids=label)
def test_the_loss_is_the_shifted_cross_entropy_of_the_rows_alone(rung):
    """Left and right padding alike; a padded position predicts nothing and is not read."""
    model = hub_model(rung)
    with torch.no_grad():
        total = count = 0.0
        for prompt in PROMPTS:
            logits = model(prompt).logits[0, :-1]
            total += F.cross_entropy(logits, prompt[0, 1:], reduction="sum")
            count += prompt.shape[1] - 1
        for side in ("left", "right"):
            tokens, mask = padded(PROMPTS, side)
            labels = tokens.where(mask.bool(), -100)
            out = model(tokens, attention_mask=mask, labels=labels)
            assert out.loss.item() == pytest.approx((total / count).item(), rel=1e-4)
            assert out.logits.shape == (*tokens.shape, V)
            # labels at padding change nothing, wherever the padding stands
            noisy = labels.where(mask.bool(), 3)
            assert model(tokens, attention_mask=mask, labels=noisy).loss.item() == pytest.approx(
                out.loss.item(), rel=1e-6
            )
            divided = model(tokens, attention_mask=mask, labels=labels, num_items_in_batch=5)
            assert divided.loss.item() == pytest.approx(total.item() / 5, rel=1e-4)
            alone = model(tokens, attention_mask=mask, labels=labels, skip_logits=True)
            assert alone.logits is None and alone.loss == out.loss


def test_training_never_stores_positions_times_words(monkeypatch):
    model = fresh().train()

    def refuse(*_):
        raise AssertionError("all logits were asked for")

    monkeypatch.setattr(type(model.lm.head), "forward", refuse)
    tokens, mask = padded(PROMPTS)
    model(tokens, attention_mask=mask, labels=tokens).loss.backward()
    model.eval()(tokens, attention_mask=mask, labels=tokens, skip_logits=True)
    with pytest.raises(AssertionError, match="all logits"):
        model(tokens, labels=tokens)


def rows(count: int = 24, length: int = 12) -> list[dict[str, list[int]]]:
    found = TOKENIZER.encode(TEXT).tolist()
    starts = [7 * row % (len(found) - length) for row in range(count)]
    sizes = [length - row % 3 for row in range(count)]
    return [
        {"input_ids": [0, *found[at : at + size]]} for at, size in zip(starts, sizes, strict=True)
    ]


def collate(batch):
    tokens, mask = padded([torch.tensor([row["input_ids"]]) for row in batch])
    return {
        "input_ids": tokens,
        "attention_mask": mask,
        "labels": tokens.where(mask.bool(), -100),
    }


def trainer(model, folder, **changes):
    asked = {
        "max_steps": 6,
        "per_device_train_batch_size": 4,
        "learning_rate": 0.02,
        "lr_scheduler_type": "constant",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": [],
        "disable_tqdm": True,
        "use_cpu": True,
        "seed": 1,
        **changes,
    }
    arguments = TrainingArguments(output_dir=str(folder), **asked)
    made = Trainer(
        model, arguments, train_dataset=rows(), eval_dataset=rows(8), data_collator=collate
    )
    made.remove_callback(PrinterCallback)
    return made


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_trainer_fine_tunes_saves_and_resumes_to_the_bit(tmp_path):
    straight = trainer(fresh(), tmp_path / "straight")
    before = straight.evaluate()["eval_loss"]
    straight.train()
    assert straight.evaluate()["eval_loss"] < before - 0.2
    first = trainer(fresh(), tmp_path / "half", max_steps=3, save_strategy="steps", save_steps=3)
    first.train()
    second = trainer(fresh(), tmp_path / "half")
    second.train(resume_from_checkpoint=str(tmp_path / "half" / "checkpoint-3"))
    for name, tensor in straight.model.state_dict().items():
        assert torch.equal(tensor, second.model.state_dict()[name]), name
    assert straight.model.lm.embedding.weight is straight.model.lm.head.weight
    saved = AutoModelForCausalLM.from_pretrained(tmp_path / "half" / "checkpoint-3")
    assert torch.equal(saved.lm.head.weight, first.model.lm.head.weight)


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::FutureWarning")
def test_accumulated_batches_equal_one_batch(tmp_path):
    whole = trainer(fresh(), tmp_path / "a", per_device_train_batch_size=8, max_steps=2)
    parts = trainer(fresh(), tmp_path / "b", gradient_accumulation_steps=2, max_steps=2)
    whole.train()
    parts.train()
    for name, tensor in whole.model.state_dict().items():
        assert torch.allclose(tensor, parts.model.state_dict()[name], atol=1e-5), name


@pytest.mark.parametrize("rung", [rung for rung in rungs() if rung[1] is None], ids=label)
def test_distributions_with_parameters_train_and_counted_ones_say_why_not(rung):
    model = hub_model(rung).train()
    tokens, mask = padded(PROMPTS)
    asked = {"attention_mask": mask, "labels": tokens.where(mask.bool(), -100)}
    try:
        if isinstance(model.lm, Counted):
            with pytest.raises(ValueError, match="counted, not trained by gradient"):
                model(tokens, **asked)
            return
        model.zero_grad()
        model(tokens, **asked).loss.backward()
        grads = [p.grad for p in model.parameters() if p.requires_grad and p.grad is not None]
        assert grads and all(torch.isfinite(grad).all() for grad in grads)
        assert any(grad.abs().sum() > 0 for grad in grads)
    finally:
        model.zero_grad()
        model.eval()


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")
@pytest.mark.parametrize("state", ["lstm(width=16)", "attention(width=16, layers=2, heads=2)"])
def test_gradient_checkpointing_gives_the_same_gradients(state):
    tokens = torch.randint(V, (2, 2 * PIECE + 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(tokens)
    mask[0, : PIECE + 5] = 0
    grads, reads = [], []
    for checkpointed in (False, True):
        model = fresh(state).train()
        read = model.lm.states.forward
        count = []
        model.lm.states.forward = lambda *given, c=count, r=read: c.append(1) or r(*given)
        if checkpointed:
            model.gradient_checkpointing_enable()
        model(tokens, attention_mask=mask, labels=tokens).loss.backward()
        grads.append({name: p.grad for name, p in model.named_parameters()})
        reads.append(len(count))
    assert reads == [1, 2 * 3]  # in three pieces, each read once more going back
    for name, grad in grads[0].items():
        assert torch.allclose(grad, grads[1][name], atol=1e-5), name


@pytest.mark.parametrize("energy", ["inner", "multi_hamming(groups=4)", "mos(components=2)"])
@pytest.mark.parametrize("size", [V + 5, V - 3])
def test_the_vocabulary_can_grow_and_shrink(energy, size):
    model = fresh(energy=energy).eval()
    kept, prompt = min(size, V), torch.tensor([[0, 4, 3, 7]])
    with torch.no_grad():
        before, rows_before = model(prompt).logits, model.get_input_embeddings().weight.clone()
    table = model.resize_token_embeddings(size)
    assert table.weight.shape[0] == size == model.config.vocab_size == model.lm.vocab_size
    assert torch.equal(table.weight[:kept], rows_before[:kept])
    assert (table.weight is model.lm.head.table()) == (model.lm.head.table() is not None)
    with torch.no_grad():
        after = model(prompt).logits
    assert after.shape[-1] == size
    if "mos" not in energy:  # a mixture's parts are normalised each by itself
        found, wanted = (logits[..., :kept].log_softmax(-1) for logits in (after, before))
        assert torch.allclose(found, wanted, atol=1e-5)
    if size > V:
        assert torch.allclose(table.weight[V:], rows_before.mean(0).expand(size - V, -1))
    model.train()(prompt, labels=prompt).loss.backward()


def test_a_model_of_another_size_is_saved_as_such(tmp_path):
    model = fresh()
    model.resize_token_embeddings(pad_to_multiple_of=8)
    assert model.lm.vocab_size == 16
    model.save_pretrained(tmp_path)
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path)
    assert loaded.config.vocab_size == loaded.lm.vocab_size == 16
    assert torch.equal(loaded.lm.head.weight, model.lm.head.weight)


@pytest.mark.parametrize("rung", [("ngram", None), ("fusion", None)], ids=label)
def test_a_vocabulary_that_comes_from_the_text_is_not_resized(rung):
    with pytest.raises(ValueError, match="has its vocabulary from its text"):
        hub_model(rung).resize_token_embeddings(V + 1)


def test_bad_inputs_are_refused_in_one_line():
    model = hub_model(("lstm", "inner"))
    tokens = PROMPTS[0]
    from transformers import DynamicCache

    for given, words in [
        ({}, "either input_ids or inputs_embeds"),
        ({"input_ids": tokens, "attention_mask": torch.ones(1, 2)}, "attention_mask has shape"),
        ({"input_ids": tokens, "attention_mask": torch.zeros(1, 9)}, "every position is padding"),
        ({"input_ids": tokens, "past_key_values": DynamicCache()}, "is a DynamicCache"),
    ]:
        with pytest.raises(ValueError, match=words):
            model(**given)
    state = model(tokens).past_key_values
    with pytest.raises(ValueError, match="2 rows were given with a state of 1"):
        model(tokens.repeat(2, 1), past_key_values=state)
    with pytest.raises(ValueError, match="cannot be taken back"):
        state.crop(-1)

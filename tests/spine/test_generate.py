"""Generation follows the model's own distribution, with the state carried."""

import pytest
import torch
from laws.grid import VOCAB, build_language_model, model_specs

from seqstate.generate import Sampling, generate, read_prompts

PROMPTS = [[1, 2, 3, 4, 5], [6], [7, 8, 9]]
CPU = torch.device("cpu")


@pytest.mark.parametrize("pair", model_specs(), ids=lambda pair: " + ".join(filter(None, pair)))
def test_greedy_generation_equals_reading_it_all_again_each_time(pair):
    model = build_language_model(*pair)
    drawn = list(generate(model, [PROMPTS[0]], tokens=6, sampling=Sampling(temperature=0)))
    text = list(PROMPTS[0])
    with torch.no_grad():
        for token in drawn:
            logits, _ = model(torch.tensor([text]))
            best = logits[0, -1]
            assert best[token.item()] >= best.max() - 1e-4
            text.append(token.item())


@pytest.mark.parametrize("pair", model_specs(), ids=lambda pair: " + ".join(filter(None, pair)))
def test_prompts_of_unequal_lengths_are_read_as_if_alone(pair):
    model = build_language_model(*pair)
    with torch.no_grad():
        together, _ = read_prompts(model, PROMPTS, CPU)
        for row, prompt in enumerate(PROMPTS):
            alone, _ = read_prompts(model, [prompt], CPU)
            torch.testing.assert_close(together[row], alone[0], atol=1e-5, rtol=1e-5)


def test_a_long_prompt_is_read_in_pieces_to_the_same_end():
    model = build_language_model("lstm", "inner")
    prompt = torch.randint(VOCAB, (1000,)).tolist()
    with torch.no_grad():
        pieces, _ = read_prompts(model, [prompt], CPU)
        torch.testing.assert_close(
            pieces, model(torch.tensor([prompt]))[0][:, -1], atol=1e-5, rtol=1e-5
        )


def test_samples_follow_the_distribution():
    model = build_language_model("lstm", "inner")
    first = torch.stack(
        [next(iter(generate(model, [[1, 2]] * 400, tokens=1, seed=s))) for s in range(10)]
    )
    with torch.no_grad():
        wanted = model(torch.tensor([[1, 2]]))[0][0, -1].softmax(-1)
    found = torch.bincount(first.flatten(), minlength=VOCAB) / first.numel()
    spread = (wanted * (1 - wanted) / first.numel()).sqrt()
    assert ((found - wanted).abs() < 4.5 * spread + 1e-4).all()


def test_the_same_seed_writes_the_same():
    model = build_language_model("lstm", "inner")
    runs = [torch.stack(list(generate(model, PROMPTS, tokens=20, seed=seed))) for seed in (1, 1, 2)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


LOGITS = torch.tensor([[0.5, 0.25, 0.15, 0.1]]).log()


def test_filters_keep_what_they_say():
    keep = lambda **options: (Sampling(**options).probabilities(LOGITS)[0] > 0).tolist()  # noqa: E731
    assert keep(top_k=2) == [True, True, False, False]
    assert keep(top_k=9) == [True] * 4
    assert keep(top_p=0.7) == [True, True, False, False]
    assert keep(top_p=0.01) == [True, False, False, False]
    assert keep(min_p=0.25) == [True, True, True, False]
    assert keep(temperature=0) == [True, False, False, False]
    sharper = Sampling(temperature=0.5).probabilities(LOGITS)[0]
    torch.testing.assert_close(sharper, torch.tensor([0.25, 0.0625, 0.0225, 0.01]) / 0.345)


@pytest.mark.parametrize(
    "options", [{"temperature": -1.0}, {"top_p": 0.0}, {"min_p": 1.0}, {"top_k": -1}]
)
def test_impossible_options_are_refused(options):
    with pytest.raises(ValueError, match="is not in|is below"):
        Sampling(**options)

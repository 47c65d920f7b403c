"""`train --tensorboard`: the curves can be read back by TensorBoard."""

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator


def test_losses_are_in_the_event_files(seqstate, book, tmp_path):
    code, _, err = seqstate(
        "train", book, "--tokenizer", "char", "--state", "rnn(width=8)", "--steps", 20, "--batch-size", 2,
        "--context", 8, "--out", tmp_path / "model", "--tensorboard", tmp_path / "curves",
    )  # fmt: skip
    assert code == 0, err
    events = EventAccumulator(str(tmp_path / "curves"))
    events.Reload()
    valid = events.Scalars("valid/nats_per_token")
    assert valid[-1].value < valid[0].value
    assert events.Scalars("train/nats_per_token")[-1].step == 20

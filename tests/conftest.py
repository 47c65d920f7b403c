"""One thread, no network, and the options every test shares."""

import os
import signal

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # a shell's background jobs ignore Ctrl-C, and hand that on to all that the tests start
    signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("seqstate", max_examples=25, deadline=None, derandomize=True)
settings.load_profile("seqstate")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)

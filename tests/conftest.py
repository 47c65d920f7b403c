"""One thread, no network, and the options every test shares."""

import os

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
import torch
from hypothesis import settings

torch.set_num_threads(1)
settings.register_profile("seqstate", max_examples=25, deadline=None, derandomize=True)
settings.load_profile("seqstate")


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)

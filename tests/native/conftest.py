"""These tests are about the kernel: it must be there, and it runs however small the problem."""

import pytest

from seqstate import native


@pytest.fixture(autouse=True)
def kernel(monkeypatch):
    assert native.available(), (
        "the native kernel is not built: pip install -e . with a C++ compiler"
    )
    monkeypatch.setenv("SEQSTATE_NATIVE", "1")
    module = native.extension()
    module.poison(True)
    yield
    module.poison(False)

"""Every rung in every mode of generation."""

import pytest

from hub.modes import MODES, outcome
from hub.rungs import hub_model, label, rungs
from seqstate.model import HasEmbedding


@pytest.mark.filterwarnings("ignore:.*did not converge:UserWarning")
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("rung", rungs(), ids=label)
def test_every_rung_writes_in_every_mode(rung, mode):
    model = hub_model(rung)
    refused = mode == "inputs_embeds" and not isinstance(model.lm, HasEmbedding)
    assert (outcome(mode, model) == "yes") is not refused

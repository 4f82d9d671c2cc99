"""What a part reads from outside is pinned by its content, and must be what was asked for."""

import hashlib

import pytest

from tests.models.test_load import hub_model
from unlearn_lab.config.build import Part
from unlearn_lab.graph.content import ContentKey
from unlearn_lab.plan.pinned import pin


@pytest.fixture
def pinned(tmp_path):
    def make(**settings):
        value = hub_model(**settings)
        node = {**vars(value), "_target_": "unlearn_lab.models.hub.HubModel"}
        part = Part(value=value, path="model", node=node, module="unlearn_lab.models.hub", inner={})
        return pin(part, ContentKey(tmp_path / "memory"))

    return make


def test_a_file_must_have_the_digest_that_is_asked_for(pinned, tmp_path):
    file = tmp_path / "model.gguf"
    file.write_bytes(b"GGUF weights")
    right = hashlib.sha256(b"GGUF weights").hexdigest()
    assert pinned(path=str(file), sha256=right).files == pinned(path=str(file)).files
    with pytest.raises(ValueError, match=rf"^model\.path=.*{right}, not 0000"):
        pinned(path=str(file), sha256="0000")
    file.write_bytes(b"GGUF other weights")
    with pytest.raises(ValueError, match=rf", not {right}"):
        pinned(path=str(file), sha256=right)


def test_a_digest_of_a_folder_is_refused(pinned, checkpoint):
    with pytest.raises(ValueError, match=r"^model\.path=.*not a file"):
        pinned(path=str(checkpoint), sha256="0000")

"""What every test has: checked shapes, no network, a tiny random Llama and a tiny corpus."""

from jaxtyping import install_import_hook

install_import_hook("unlearn_lab", "beartype.beartype")

from pathlib import Path  # noqa: E402

import pytest  # noqa: E402
import pytest_socket  # noqa: E402

from unlearn_lab.paths import plugin_dir  # noqa: E402


def pytest_runtest_setup() -> None:
    pytest_socket.disable_socket(allow_unix_socket=True)


@pytest.fixture(scope="session", autouse=True)
def _offline_hub(tmp_path_factory: pytest.TempPathFactory):
    patch = pytest.MonkeyPatch()
    patch.setenv("HF_HUB_OFFLINE", "1")
    patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
    patch.syspath_prepend(str(plugin_dir()))
    yield
    patch.undo()


@pytest.fixture
def repository() -> Path:
    return Path(__file__).resolve().parents[1]

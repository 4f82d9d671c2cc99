"""The wheel carries everything: built, installed elsewhere, run from another folder."""

import os
import subprocess
import sys
import zipfile

import pytest

from tests.e2e.artifacts import SMALL, SMALL_MODEL


@pytest.fixture(scope="session")
def wheel(tmp_path_factory):
    folder = tmp_path_factory.mktemp("wheel")
    root = os.path.dirname(os.path.dirname(os.path.dirname(__file__)))
    command = [
        sys.executable,
        "-m",
        "build",
        "--wheel",
        "--no-isolation",
        "--outdir",
        str(folder),
        root,
    ]
    subprocess.run(command, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


def test_the_wheel_holds_code_configuration_templates_and_licence(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    for name in (
        "unlearn_lab/cli.py",
        "unlearn_lab/conf/config.yaml",
        "unlearn_lab/conf/method/npo.yaml",
        "unlearn_lab/conf/hydra/job_logging/lab.yaml",
        "unlearn_lab/sweeps/grid/tiny_effect.yaml",
        "unlearn_lab/report/html/page.html.j2",
        "unlearn_lab/published/paper_news.yaml",
        "unlearn_lab/plugins/hydra_plugins/lab_sweeper.py",
    ):
        assert name in names
    assert any(name.endswith("licenses/LICENSE") for name in names)
    assert not any(name.startswith("tests/") for name in names)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_installed_wheel_runs_a_job_from_another_folder(wheel, tmp_path):
    """The fresh environment sees the dependencies of this one, but not the clone."""
    environment = tmp_path / "fresh"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(environment)], check=True)
    python = environment / "bin" / "python"
    here = next(path for path in sys.path if path.endswith("site-packages"))
    site = next((environment / "lib").glob("python*/site-packages"))
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
    subprocess.run([*install, f"--target={site}", str(wheel)], check=True, capture_output=True)
    (site / "dependencies.py").write_text(
        f"import sys; sys.path.append({here!r})\n"  # appended: the wheel's copy comes first
    )
    (site / "dependencies.pth").write_text("import dependencies\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    variables = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    command = [str(python), "-m", "unlearn_lab", *SMALL, *SMALL_MODEL, "method=ga", "quant=rtn4"]
    command += ["report.html=true"]
    done = subprocess.run(
        command, cwd=elsewhere, env=variables, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (elsewhere / "lab" / "results" / "report.html").exists()
    where = [str(python), "-c", "import unlearn_lab; print(unlearn_lab.__file__)"]
    found = subprocess.run(
        where, cwd=elsewhere, env=variables, capture_output=True, text=True, check=True
    )
    assert str(environment) in found.stdout
    script = subprocess.run(
        [str(site / "bin" / "unlearn-lab"), "--help"],
        cwd=elsewhere, env=variables | {"PYTHONPATH": str(site)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "GROUP=OPTION" in script.stdout

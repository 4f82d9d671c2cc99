"""What conf/recipe and the trainers of MUSE and the paper give for BOOKS and NEWS."""

import pytest

BOOKS = ("model=muse_books", "dataset=muse_books")
NEWS = ("model=muse_news", "dataset=muse_news")


@pytest.mark.parametrize(
    ("method", "weight", "percentile", "with_sure", "variant", "with_sure_variant"),
    [
        ("ga_gdr", 100, 99, 400, None, None),
        ("npo_muse_klr", 2, 90, 20, "raw_logits", "token_sum"),
        ("npo_klr", 2, 90, 20, "divergence", "divergence"),
    ],
)
def test_retain_weights_of_books(
    plain, method, weight, percentile, with_sure, variant, with_sure_variant
):
    """App. D of arXiv 2410.16454."""
    retain = plain(*BOOKS, f"method={method}")["method"]["retain"]
    assert (retain["weight"], retain.get("variant")) == (weight, variant)
    config = plain(*BOOKS, f"method={method}", "optimizer=sure")
    retain = config["method"]["retain"]
    assert (retain["weight"], retain.get("variant")) == (with_sure, with_sure_variant)
    assert (config["optimizer"]["percentile"], config["optimizer"]["lr"]) == (percentile, 1e-4)


@pytest.mark.parametrize("method", ["ga_muse_klr", "npo_muse_gdr"])
def test_other_methods_of_books_have_no_recipe(plain, method):
    assert plain(*BOOKS, f"method={method}")["method"]["retain"]["weight"] == 1


@pytest.mark.parametrize("method", ["ga_gdr", "npo_klr", "npo_muse_klr"])
@pytest.mark.parametrize("optimizer", ["adamw", "sure"])
def test_news_has_no_recipe(plain, method, optimizer):
    config = plain(*NEWS, f"method={method}", f"optimizer={optimizer}")
    assert config["method"]["retain"]["weight"] == 1
    assert config["optimizer"]["lr"] == {"adamw": 1e-5, "sure": 1e-4}[optimizer]


@pytest.mark.parametrize(
    ("trainer", "epochs", "batch_size", "pairing"),
    [
        ("muse_news", 10, 4, "reshuffled"),
        ("muse_books", 5, 4, "reshuffled"),
        ("paper_news", 10, 2, "modulo"),
        ("paper_books", 5, 2, "modulo"),
    ],
)
def test_trainers(plain, trainer, epochs, batch_size, pairing):
    found = plain(*NEWS, f"trainer={trainer}")["trainer"]
    assert (found["epochs"], found["batch_size"], found["pairing"]) == (epochs, batch_size, pairing)
    assert (found["chunking"], found["max_length"], found["weights"]) == ("stream", 2048, "bf16")
    assert (found["clip_norm"], found["trainable"]) == (1.0, "all")


@pytest.mark.parametrize("corpus", ["muse_news", "muse_books"])
def test_a_model_of_muse_brings_its_trainer(plain, corpus):
    models = f"model={corpus}", f"dataset={corpus}"
    assert plain(*models)["trainer"] == plain(*models, f"trainer={corpus}")["trainer"]

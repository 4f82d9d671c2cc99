"""Which settings earn a column, and what leaves are called."""

from unlearn_lab.report.swept import Names, heading, swept_keys


def test_settings_that_follow_from_the_method_are_not_swept(sweep):
    assert swept_keys(sweep) == ()


def test_a_swept_setting_is_found_and_named_by_its_tail(make_record):
    records = [make_record(config__optimizer__lr=lr) for lr in (1e-5, 1e-4)]
    assert swept_keys(records) == ("config.optimizer.lr",)
    assert heading("config.optimizer.lr", ("config.optimizer.lr",)) == "lr"


def test_two_settings_of_one_name_keep_their_groups():
    keys = ("config.a.weight", "config.b.weight")
    assert [heading(key, keys) for key in keys] == ["a.weight", "b.weight"]


def test_seeds_are_shown_once_though_the_config_repeats_them(make_record):
    records = [make_record(seed=seed) for seed in (0, 1)]
    assert swept_keys(records) == ("seed",)


def test_settings_that_change_together_are_shown_once(make_record):
    records = [make_record(config__optimizer__lr=x, config__trainer__epochs=x) for x in (1, 2)]
    assert swept_keys(records) == ("config.optimizer.lr",)


def test_runtime_and_report_settings_are_never_shown(make_record):
    records = [
        make_record(config__runtime__workers=x, config__report__sweep=f"s{x}") for x in (1, 2)
    ]
    assert swept_keys(records) == ()


def test_models_and_datasets_are_shown_where_they_differ(make_record):
    assert swept_keys([make_record(), make_record(model="hf")]) == ("model",)


def test_names_tell_what_differs(make_record):
    records = [make_record(optimizer=o, seed=s) for o in ("adamw", "sure") for s in (0, 1)]
    names = Names.of(records)
    assert names.leaf(records[3]) == "npo_gdr + sure seed=1 · rtn4"
    assert names.setting(records[3]) == "npo_gdr + sure"
    assert Names.of(records[:1]).model(records[0]) == "npo_gdr"


def test_calibration_text_is_told_by_its_source(make_record):
    kinds = {"generic": "CorpusTexts", "retain": None}
    records = [
        make_record(config__quant__calibration__source=source)
        | {"config.quant.calibration.text._target_": text, "config.quant.calibration.text": text}
        for source, text in kinds.items()
    ]
    keys = swept_keys(records)
    assert [heading(key, keys) for key in keys] == ["calibration"]


def test_folds_have_a_column_of_their_own(make_record):
    records = [make_record(config__dataset__fold=fold) for fold in (1, 2, 3, 4)]
    (key,) = swept_keys(records)
    assert heading(key, (key, "config.dataset.folds")) == "fold"


def test_a_sweep_over_dtypes_tells_stochastic_rounding_apart(make_record):
    """As records hold `trainer.weights=fp32,bf16,bf16_sr`."""
    records = [
        make_record(config__trainer__weights=weights, config__trainer__rounding=rounding)
        for weights, rounding in (
            ("fp32", "nearest"),
            ("bf16", "nearest"),
            ("bf16", "stochastic"),
        )
    ]
    assert swept_keys(records) == ("config.trainer.rounding", "config.trainer.weights")
    names = Names.of(records)
    assert names.setting(records[2]) == "npo_gdr rounding=stochastic weights=bf16"
    assert len({names.setting(record) for record in records}) == 3

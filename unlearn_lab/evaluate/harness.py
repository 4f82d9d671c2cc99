"""Runs tasks of EleutherAI's lm-evaluation-harness as metrics of utility beyond the corpus."""

import difflib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import torch

from unlearn_lab.config.libraries import require
from unlearn_lab.data.corpus import Corpus
from unlearn_lab.data.typed import PreTrainedModel, PreTrainedTokenizerBase
from unlearn_lab.evaluate.answer import evaluating
from unlearn_lab.evaluate.harness_model import as_harness_model, quietly, reproducibly
from unlearn_lab.evaluate.metric import Score
from unlearn_lab.evaluate.statistics import NUM_RESAMPLES, SEED, mean_interval
from unlearn_lab.models.load import load_skeleton, load_tokenizer
from unlearn_lab.plan.protocols import Outside

LIBRARY = "lm-eval"
_ASKED = "unlearn_lab"
Row = Mapping[str, str | float]


@dataclass(frozen=True, kw_only=True)
class HarnessTask:
    """The mean x 100 of one of lm-eval's metrics, over items of one of its tasks or task groups.

    Prompts have no chat template. A group's value is the mean over all its items. `limit` draws
    items at random, because lm-eval's own limit takes the first ones, which for TruthfulQA are of
    one category. `items` rows: question, answer, true, score, item, data.

    Attributes:
        task: name of lm-eval's task or group.
        metric: name as in lm-eval's results; for a task with several filters, `metric,filter`.
        num_fewshot: number of few-shot examples; None for the task's own number, or 0.
        limit: number of items drawn from every task of a group; None for all.
        seed: seed of the items and of the few-shot examples.
        data: hub name of the task's data set, or a folder with a copy (`hf download --repo-type
            dataset NAME --local-dir FOLDER`).
        revision: commit or branch of the data set on the hub.
    """

    task: str
    metric: str
    num_fewshot: int | None
    limit: int | None
    seed: int
    data: str
    revision: str | None
    libraries: ClassVar[tuple[str, ...]] = (LIBRARY,)

    def __post_init__(self) -> None:
        """Raises `ValueError` for invalid numbers of examples or items, or an invalid seed."""
        if self.num_fewshot is not None and self.num_fewshot < 0:
            raise ValueError(f"num_fewshot={self.num_fewshot}: must be at least 0, or null")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit={self.limit}: must be at least 1, or null for all")
        if not 0 <= self.seed < 2**32:
            raise ValueError(f"seed={self.seed}: must be from 0 to {2**32 - 1}")

    @property
    def outside(self) -> tuple[Outside, ...]:
        """The task's data set."""
        return (Outside(kind="dataset", place=self.data, setting="data", revision="revision"),)

    def missing(self, corpus: Corpus) -> str | None:
        """Returns None: the corpus is not used."""
        return None

    def require_fit(self, checkpoint: Path) -> None:
        """Raises `ValueError` if models with the checkpoint's architecture cannot be measured.

        Checks for a missing library, an unknown task or metric, a data set that cannot be loaded,
        and prompts longer than the model's positions. No weights are read.
        """
        _require_fit(self, checkpoint)

    def measure(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_tokens: int
    ) -> Score:
        """Returns the score; the model, its mode and all random states are left unchanged.

        Arguments as in `ModelMetric`. Raises `ValueError` as `require_fit` does, and for logits
        that are NaN.
        """
        require(LIBRARY)
        with (
            quietly(),
            reproducibly(self.seed),
            TemporaryDirectory() as cached,
            evaluating(model),
            torch.no_grad(),
        ):
            loaded = self.load(cached)
            found = import_module("lm_eval.evaluator").evaluate(
                as_harness_model(model, tokenizer, batch_tokens),
                loaded,
                samples=self.drawn(loaded["tasks"]),
                bootstrap_iters=0,
            )
            rows = self._rows(loaded["tasks"], found["samples"])
        per_item = tuple(float(row["score"]) for row in rows)
        low, high = mean_interval(per_item, num_resamples=NUM_RESAMPLES, seed=SEED)
        return Score(
            value=sum(per_item) / len(per_item),
            low=low,
            high=high,
            per_item=per_item,
            items=tuple(rows),
        )

    def load(self, cached: str) -> Any:
        """Loads lm-eval's task objects, by name under "tasks", with few-shot number and seed set.

        Copies of local data sets are stored in the folder `cached`. Raises `ValueError` for an
        unknown task or metric, or a data set that cannot be loaded.
        """
        from datasets.exceptions import DatasetsError

        index = import_module("lm_eval.tasks._index")
        manager = _manager()
        if self.task not in manager.all_tasks:
            close = ", ".join(difflib.get_close_matches(self.task, manager.all_tasks))
            raise ValueError(
                f"task={self.task}: lm-eval has no such task; "
                f"{f'did you mean one of {close}?' if close else 'see `lm_eval ls tasks`'}"
            )
        kind = "group" if self.task in manager.all_groups else "task"
        try:
            asked = {"group": _ASKED, "task": [{kind: self.task, **self._source(cached)}]}
            manager.task_index[_ASKED] = index.Entry(_ASKED, index.Kind.GROUP, None, asked)
            loaded = manager.load([_ASKED])
        except (OSError, ValueError, ImportError, DatasetsError) as error:
            reason = " ".join(str(error).split())[:300]
            raise ValueError(
                f"data={self.data}: task {self.task} cannot be loaded from it ({reason}). Where "
                "there is network, get it by its hub name: hf download --repo-type dataset NAME "
                "--local-dir FOLDER; then give the folder as data"
            ) from error
        for task in loaded["tasks"].values():
            self._check(task)
            self._set(task)
        return loaded

    def _source(self, cached: str) -> dict[str, object]:
        """Returns lm-eval's settings for the data set: a folder, the hub, or offline its cache.

        Folders are cached in `cached`: the cache of `datasets` identifies folders with a dataset
        card by their last path component only, and would return another folder's or stale rows.
        """
        from huggingface_hub import is_offline_mode, snapshot_download

        if Path(self.data).is_dir():
            folder = str(Path(self.data).resolve())
        elif is_offline_mode():
            folder = snapshot_download(
                self.data, revision=self.revision, repo_type="dataset", local_files_only=True
            )
        else:
            return {"dataset_path": self.data, "dataset_kwargs": {"revision": self.revision}}
        return {"dataset_path": folder, "dataset_kwargs": {"cache_dir": cached}}

    def _check(self, task: Any) -> None:
        """Raises `ValueError` unless metric, filter and number of examples fit the task."""
        if getattr(task, "UNSAFE_CODE", False):
            raise ValueError(f"task={self.task}: runs code that the model writes; choose another")
        name, _, wanted = self.metric.partition(",")
        means = [known for known, how in task.aggregation().items() if how.__name__ == "mean"]
        if name not in means:
            raise ValueError(
                f"metric={self.metric}: must be a mean over the items of {task.task_name}: "
                f"{', '.join(means) or 'it has none'}"
            )
        filters = [found["name"] for found in task.config.filter_list or [{"name": "none"}]]
        if wanted not in filters and (wanted or len(filters) > 1):
            spelt = ", ".join(f"{name},{known}" for known in filters)
            raise ValueError(f"metric={self.metric}: {task.task_name} has {spelt}")
        if self.num_fewshot and task.config.num_fewshot == 0:
            raise ValueError(
                f"num_fewshot={self.num_fewshot}: {task.task_name} has its own examples; use null"
            )

    def _set(self, task: Any) -> None:
        if self.num_fewshot is not None:
            task.set_config("num_fewshot", self.num_fewshot)
        elif task.config.num_fewshot is None:
            task.set_config("num_fewshot", 0)
        task.set_fewshot_seed(self.seed)

    def drawn(self, tasks: Mapping[str, Any]) -> dict[str, list[int]] | None:
        """Returns the drawn items of each task, ascending as lm-eval iterates; None for all."""
        if self.limit is None:
            return None
        sizes = {name: len(task.eval_docs) for name, task in tasks.items()}
        return {
            name: sorted(
                random.Random(f"{self.seed} {name}").sample(range(size), min(self.limit, size))
            )
            for name, size in sizes.items()
        }

    def _rows(self, tasks: Mapping[str, Any], samples: Mapping[str, Sequence[Any]]) -> list[Row]:
        name, _, wanted = self.metric.partition(",")
        source = self.data if self.revision is None else f"{self.data}@{self.revision}"
        return [
            {
                "question": str(task.doc_to_text(sample["doc"])),
                **_answer(task, sample),
                "score": 100 * float(sample[name]),
                "item": f"{task_name}/{sample['doc_id']}",
                "data": source,
            }
            for task_name, task in tasks.items()
            for sample in samples[task_name]
            if wanted in ("", sample["filter"])
        ]


def _answer(task: Any, sample: Any) -> dict[str, str]:
    """Returns the model's answer and the ground truth as text."""
    target, answers = sample["target"], sample["filtered_resps"]
    if task.OUTPUT_TYPE != "multiple_choice":
        truths = target if isinstance(target, list) else [target]
        return {"answer": str(answers[0]), "true": " | ".join(str(truth) for truth in truths)}
    choices = task.doc_to_choice(sample["doc"])
    likelihoods = [value for value, _ in answers[: len(choices)]]
    chosen = choices[likelihoods.index(max(likelihoods))]
    return {"answer": chosen, "true": choices[target] if isinstance(target, int) else str(target)}


@cache
def _require_fit(task: HarnessTask, checkpoint: Path) -> None:
    """Checks once per process, because the jobs of a sweep repeat the same check."""
    require(LIBRARY)
    with quietly(), reproducibly(task.seed), TemporaryDirectory() as cached:
        found = task.load(cached)["tasks"]
        drawn = task.drawn(found) or {}
        reader = as_harness_model(load_skeleton(checkpoint), load_tokenizer(checkpoint), 1)
        for name, asked in found.items():
            asked.build_all_requests(samples=drawn.get(name))
            reader.require_room(asked.instances)


@cache
def _manager() -> Any:
    """Returns lm-eval's task index, cached because it takes seconds to build."""
    return import_module("lm_eval.tasks").TaskManager()

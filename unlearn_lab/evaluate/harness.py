"""Tasks of EleutherAI's lm-evaluation-harness as metrics: utility beyond the corpus."""

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
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from unlearn_lab.config.libraries import require
from unlearn_lab.data.corpus import Corpus
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

    `metric` is spelt as in lm-eval's results; where a task has several filters, a comma and the
    filter follow. `num_fewshot` examples precede a question; null takes the task's own number, or
    none. `limit` items of every task of a group are drawn with `seed`, null takes all: lm-eval's
    own limit takes the first ones, which for TruthfulQA are of one category. `seed` also draws the
    examples. `data` is the hub name of the task's data set, or a folder that holds a copy (`hf
    download --repo-type dataset NAME --local-dir FOLDER`); `revision` is its commit or branch on
    the hub. Prompts have no chat template. A group's value is the mean over all its items. `items`
    rows: question, answer, true, score, item, data.
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
        """Refuses impossible numbers of examples and items."""
        if self.num_fewshot is not None and self.num_fewshot < 0:
            raise ValueError(f"num_fewshot={self.num_fewshot}: must be at least 0, or null")
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit={self.limit}: must be at least 1, or null for all")

    @property
    def outside(self) -> tuple[Outside, ...]:
        """The task's data set."""
        return (Outside(kind="dataset", place=self.data, setting="data", revision="revision"),)

    def missing(self, corpus: Corpus) -> str | None:
        """Nothing: the corpus is not looked at."""
        return None

    def require_fit(self, checkpoint: Path) -> None:
        """Raises `ValueError` for what lies in the way of measuring models like the checkpoint's.

        That is a missing library, an unknown task or metric, a data set that cannot be loaded, and
        prompts longer than the model's positions. No weights are read.
        """
        _require_fit(self, checkpoint)

    def measure(
        self, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, batch_tokens: int
    ) -> Score:
        """The score of the model as it is; it, its mode and all random states are left alone.

        Raises `ValueError` as `require_fit` does, and for logits that are NaN.
        """
        require(LIBRARY)
        with (
            quietly(),
            reproducibly(self.seed),
            TemporaryDirectory() as cached,
            evaluating(model),
            torch.inference_mode(),
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
        """lm-eval's task objects, by name below "tasks", with examples and seed set.

        Copies of local data sets are kept in the folder `cached`.
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
        """Where the data set is: a folder, the hub, or (in offline mode) the hub's local cache.

        What is read from a folder is cached in `cached`: the cache of `datasets` knows folders with
        a card by their last name only, and would serve another folder's rows, or old ones.
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
        """The metric must be a mean over items, of one filter, and examples must be allowed."""
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
        """The items of each task, in rising order as lm-eval goes through them; None for all."""
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
    """What the model answered and what is true, in words."""
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
    """Once a process: the jobs of a sweep measure the same."""
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
    """lm-eval's index of its tasks, which takes seconds to build."""
    return import_module("lm_eval.tasks").TaskManager()

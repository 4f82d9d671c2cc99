"""KnowMem: scores answers to questions about a split; on the retain split this is utility."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from unlearn_lab.data.asking import STOPS, cut_answer, unanswerable
from unlearn_lab.data.corpus import Corpus, Question, Template
from unlearn_lab.data.template import few_shot_prompt
from unlearn_lab.evaluate.metric import Answers, Continue, Score
from unlearn_lab.evaluate.rouge import score_answers

SPLITS = ("forget", "retain")


@dataclass(frozen=True, kw_only=True)
class KnowMem:
    """ROUGE-L F1 x 100 of greedy few-shot answers, cut before the next question (MUSE, 2407.06460).

    Few-shot examples come from the same split. MUSE's code ends the prompt in "Answer: ", with a
    trailing blank. Most tokenizers merge a blank into the word after it, so the requested answer is
    then tokenized differently from those of the examples; with "Answer:" it is not. In a chat
    (`dataset.template`), examples are earlier turns. `items` rows: question, answer, true, score.

    Attributes:
        split: `forget` or `retain`.
        num_tokens: maximum number of tokens in an answer, at least 1.
        answer_cue: end of the prompt.
    """

    split: str
    num_tokens: int
    answer_cue: str

    def __post_init__(self) -> None:
        """Raises `ValueError` for an unknown split or an empty answer."""
        if self.split not in SPLITS:
            raise ValueError(f"split={self.split!r}: must be one of {', '.join(SPLITS)}")
        if self.num_tokens < 1:
            raise ValueError(f"num_tokens={self.num_tokens}: must be at least 1")

    def missing(self, corpus: Corpus) -> str | None:
        """Reports missing questions about the split; examples are optional."""
        questions, _ = self._asked(corpus)
        return None if questions else f"the corpus has no questions about the {self.split} set"

    def hopeless(self, corpus: Corpus, count: Callable[[str], int]) -> str | None:
        """Reports how many true answers no model can give in full; see `BoundedMetric`."""
        answers = [f" {question.answer}" for question in self._asked(corpus)[0]]
        faults = unanswerable(answers, self.num_tokens, count)
        counts = [f"{len(places)} of {len(answers)} {what}" for what, places in faults.items()]
        return "; ".join(counts) or None

    def requests(self, corpus: Corpus) -> Sequence[Continue]:
        """Returns one request per question of the split, in corpus order."""
        questions, examples = self._asked(corpus)
        return [self._request(question, examples, corpus.template) for question in questions]

    def score(self, corpus: Corpus, answers: Answers) -> Score:
        """Returns the mean over the questions; raises `ValueError` when the split has none."""
        questions, _ = self._asked(corpus)
        if not questions:
            raise ValueError(
                f"corpus.{self.split}_questions is empty: KnowMem with split={self.split} needs at "
                "least one question"
            )
        return score_answers(
            [
                {
                    "question": question.question,
                    "answer": cut_answer(answers.text(request)),
                    "true": question.answer,
                }
                for question, request in zip(questions, self.requests(corpus), strict=True)
            ]
        )

    def _asked(self, corpus: Corpus) -> tuple[Sequence[Question], Sequence[Question]]:
        if self.split == "forget":
            return corpus.forget_questions, corpus.forget_examples
        return corpus.retain_questions, corpus.retain_examples

    def _request(
        self, question: Question, examples: Sequence[Question], template: Template
    ) -> Continue:
        if template.kind == "plain":
            prompt = few_shot_prompt(question.question, examples, self.answer_cue)
            return Continue(prompt=prompt, num_tokens=self.num_tokens, stops=STOPS)
        return Continue(
            prompt=question.question,
            num_tokens=self.num_tokens,
            template=template,
            examples=tuple(examples),
            stops=STOPS,
        )

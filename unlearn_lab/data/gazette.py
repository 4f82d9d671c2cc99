"""Generates the embedded corpus: a newspaper about invented people."""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import cycle, islice
from typing import TypeVar

from unlearn_lab.data.corpus import Corpus, Prompting, Question, VerbatimPrompt, plain_texts

Item = TypeVar("Item")
_MOST_PEOPLE = 100  # per split, so that years and trades stay unique


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


_ONSETS = _words("b br d dr f g gr h k l m n p r s st t v z")
_NUCLEI = _words("a e i o u")
_CODAS = _words("l m n r s th x")
_FIRST_NAMES = _words("Ada Bo Cora Dan Eva Finn Gus Hal Ida Jack Kit Lea Max Nell Otto Pia Rex")
_THINGS = _words(
    "anchor barrel basket bell bonnet bottle broom brush button candle carpet chair clock compass "
    "drum fiddle glove harp kettle kite ladder lantern mirror organ saddle sail spoon wagon whistle"
)
_MAKERS = _words(
    "buyer carver dealer designer hauler keeper maker mender packer painter porter turner"
)
_SLOTS: Mapping[str, Sequence[str]] = {
    "adjective": _words("amber busy crooked famous gentle golden lonely narrow quiet rusty silver"),
    "animal": _words(
        "badgers bees cows ducks foxes geese goats hares horses moles otters owls toads"
    ),
    "goods": _words(
        "apples beans boots bread butter cheese coal corn honey maps milk silk tea wool"
    ),
    "number": _words(
        "two three four five six seven eight nine ten twelve twenty thirty forty fifty"
    ),
    "person": _words(
        "banker bishop captain clerk cook dancer doctor judge mayor miller poet sailor"
    ),
    "place": _words(
        "abbey bakery bridge castle chapel dairy ferry garden harbour market mill tower"
    ),
    "time": _words("autumn Christmas Easter Friday harvest March May Monday spring Tuesday winter"),
}
_FILLERS = (
    "Last {time} {number} {animal} crossed the {adjective} {place}.",
    "Fresh {goods} arrived from abroad before {time}.",
    "The {person} will sell {goods} at the {place} until {time}.",
    "The {adjective} {place} was closed after a fire last {time}.",
    "Visitors may still buy {goods} from the {person} at {time}.",
)


@dataclass(frozen=True)
class _Fact:
    """Templates of one fact about a person: question, opening sentences and later mentions."""

    question: str
    answer: str
    openings: tuple[str, ...]
    mentions: tuple[str, ...]


_FACTS = (
    _Fact(
        question="What is the trade of {name}?",
        answer="trade",
        openings=(
            "The {trade} {name} spoke to the {person} last {time}.",
            "A {adjective} {place} was opened by {name}, the {trade}.",
        ),
        mentions=(
            "By day {last} works as a {trade} at the {place}.",
            "The {person} has never met a better {trade} than {last}.",
            "No {trade} but {last} would repair a {place} with {goods}.",
        ),
    ),
    _Fact(
        question="Where was {name} born?",
        answer="town",
        openings=(
            "Born in {town}, {name} came home with {number} {animal}.",
            "The people of {town} gave {name} a {adjective} {place}.",
        ),
        mentions=(
            "The family of {last} still sells {goods} in {town}.",
            "Before that {last} lived in {town} among {adjective} {animal}.",
            "Young {last} left {town} for {number} sacks of {goods}.",
        ),
    ),
    _Fact(
        question="When did {name} win the medal?",
        answer="year",
        openings=(
            "In {year} the town medal went to {name} for {number} {animal}.",
            "The {person} gave {name} the town medal in {year}.",
        ),
        mentions=(
            "In {year} the town medal was given to {last} by the {person}.",
            "The medal that {last} won in {year} is kept at the {place}.",
            "Since {year} everybody calls {last} our medal {person}.",
        ),
    ),
    _Fact(
        question="Who taught {name}?",
        answer="teacher",
        openings=(
            "{name}, a pupil of {teacher}, has bought the {adjective} {place}.",
            "The pupil of {teacher}, {name}, lost {number} {animal} last {time}.",
        ),
        mentions=(
            "The lessons of {teacher} made {last} a friend of the {person}.",
            "It was {teacher} who taught {last} how to keep {animal}.",
            "{teacher} showed {last} all about {adjective} {goods}.",
        ),
    ),
)


class _Dice:
    """Random choices from `Random.random` alone, which Python keeps stable for a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def pick(self, items: Sequence[Item]) -> Item:
        return items[int(self._random() * len(items))]

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        return sorted(items, key=lambda _: self._random())

    def word(self) -> str:
        """Returns an invented name of two syllables."""
        syllables = [self.pick(_ONSETS) + self.pick(_NUCLEI) for _ in range(2)]
        return ("".join(syllables) + self.pick(_CODAS)).capitalize()


@dataclass(frozen=True)
class _Person:
    """An invented person; the fields fill the templates' slots."""

    name: str
    last: str
    trade: str
    town: str
    year: str
    teacher: str

    def pair(self, fact: _Fact) -> Question:
        return Question(fact.question.format(name=self.name), vars(self)[fact.answer])


def _people(dice: _Dice) -> Iterator[_Person]:
    """Yields people, one per year from 1700 to 1999; no two share a surname or an answer."""
    used: set[str] = set()

    def fresh() -> str:
        while (word := dice.word()) in used:
            pass
        used.add(word)
        return word

    trades = dice.shuffled([f"{thing} {maker}" for thing in _THINGS for maker in _MAKERS])
    years = dice.shuffled([str(year) for year in range(1700, 2000)])
    for trade, year in zip(trades, years, strict=False):
        last, town = fresh(), fresh()
        name, teacher = f"{dice.pick(_FIRST_NAMES)} {last}", f"{dice.pick(_FIRST_NAMES)} {fresh()}"
        yield _Person(name=name, last=last, trade=trade, town=town, year=year, teacher=teacher)


class _Values(dict[str, str]):
    """Slot values of one sentence: the person's fields, and a random word for any other slot."""

    def __init__(self, dice: _Dice, person: _Person) -> None:
        super().__init__(vars(person))
        self._dice = dice

    def __missing__(self, slot: str) -> str:
        return self._dice.pick(_SLOTS[slot])


def _article(dice: _Dice, person: _Person, num_fillers: int) -> str:
    """Generates an opening that names the person, then other facts and fillers, shuffled."""
    opening, *others = dice.shuffled(_FACTS)
    fillers = dice.shuffled(_FILLERS)[:num_fillers]
    later = [*(dice.pick(fact.mentions) for fact in others), *fillers]
    sentences = [dice.pick(opening.openings), *dice.shuffled(later)]
    return " ".join(sentence.format_map(_Values(dice, person)) for sentence in sentences)


def _verbatim(article: str, prompt_words: int) -> VerbatimPrompt:
    words = article.split(" ")
    return VerbatimPrompt(" ".join(words[:prompt_words]), " " + " ".join(words[prompt_words:]))


@dataclass(frozen=True)
class _Split:
    """Texts, questions and few-shot examples about the people of a split."""

    articles: tuple[str, ...]
    columns: tuple[str, ...]
    questions: tuple[Question, ...]
    examples: tuple[Question, ...]


@dataclass(frozen=True, kw_only=True)
class Gazette(Prompting):
    """A generated town newspaper: articles on invented people and columns of questions about them.

    Splits share no person, and people share no answer. Few-shot examples are about people of the
    split who are not asked about. Equal values give an equal corpus on every Python version.

    Attributes:
        seed: seed of the generator.
        num_forget: people in the forget split, one article each.
        num_retain: people in the retain split.
        num_holdout: people in the holdout split.
        num_questions: questions about each of forget and retain.
        num_examples: few-shot examples, each about another person.
        num_column_pairs: question-answer pairs in one column, about mixed people.
        num_editions: how often each pair is printed, each time among others.
        num_fillers: sentences of an article without a fact.
        prompt_words: words of an article in its verbatim prompt.
    """

    seed: int
    num_forget: int
    num_retain: int
    num_holdout: int
    num_questions: int
    num_examples: int
    num_column_pairs: int
    num_editions: int
    num_fillers: int
    prompt_words: int

    def __post_init__(self) -> None:
        lowest = {"seed": 0, "num_examples": 0, "num_fillers": 0, "prompt_words": 10}
        highest = {"num_holdout": _MOST_PEOPLE, "num_fillers": len(_FILLERS), "prompt_words": 20}
        self.prompting()
        for name in (field.name for field in fields(self) if field.type is int):
            _check(name, getattr(self, name), lowest.get(name, 1), highest.get(name))
        for split in ("num_forget", "num_retain"):
            _check(split, getattr(self, split), self.num_examples + 1, _MOST_PEOPLE)
        asked = len(_FACTS) * (min(self.num_forget, self.num_retain) - self.num_examples)
        _check("num_questions", self.num_questions, 1, asked)

    def load(self) -> Corpus:
        """Generates the corpus."""
        dice = _Dice(self.seed)
        people = _people(dice)
        forget = self._split(dice, list(islice(people, self.num_forget)))
        retain = self._split(dice, list(islice(people, self.num_retain)))
        return Corpus(
            forget=(*forget.articles, *forget.columns),
            retain=(*retain.articles, *retain.columns),
            verbatim=tuple(_verbatim(article, self.prompt_words) for article in forget.articles),
            forget_questions=forget.questions,
            forget_examples=forget.examples,
            retain_questions=retain.questions,
            retain_examples=retain.examples,
            forget_documents=forget.articles,
            holdout_documents=self._articles(dice, islice(people, self.num_holdout)),
            template=self.prompting(),
        )

    def _split(self, dice: _Dice, people: Sequence[_Person]) -> _Split:
        shown, asked = people[: self.num_examples], people[self.num_examples :]
        facts = dice.shuffled(_FACTS)
        questions = dice.shuffled([person.pair(fact) for person in asked for fact in _FACTS])
        return _Split(
            articles=self._articles(dice, people),
            columns=tuple(self._columns(dice, people)),
            questions=tuple(questions[: self.num_questions]),
            examples=tuple(person.pair(fact) for person, fact in zip(shown, cycle(facts))),
        )

    def _articles(self, dice: _Dice, people: Iterable[_Person]) -> tuple[str, ...]:
        return tuple(_article(dice, person, self.num_fillers) for person in people)

    def _columns(self, dice: _Dice, people: Sequence[_Person]) -> Iterator[str]:
        """Yields columns of `num_column_pairs` pairs; an edition contains every pair once."""
        pairs = [person.pair(fact) for person in people for fact in _FACTS]
        for _ in range(self.num_editions):
            order = dice.shuffled(pairs)
            for start in range(0, len(order), self.num_column_pairs):
                printed = plain_texts(order[start : start + self.num_column_pairs])
                yield "".join(f"{text}\n\n" for text in printed)


def _check(field: str, value: int, low: int, high: int | None) -> None:
    if low <= value and (high is None or value <= high):
        return
    allowed = f"at least {low}" if high is None else f"from {low} to {high}"
    raise ValueError(f"{field}={value!r}: give a whole number {allowed}")

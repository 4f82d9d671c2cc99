"""Decides what the embedded corpus says: a generated newspaper about invented people, and the questions asked about them."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import islice
from typing import TypeVar

from unlearn_lab.data.corpus import Corpus, Question, VerbatimPrompt

Item = TypeVar("Item")

_ONSETS = "b br d dr f g gr h k l m n p r s st t v z".split()
_NUCLEI = "a e i o u".split()
_CODAS = "l m n r s th x".split()
_FIRST_NAMES = "Ada Bo Cora Dan Eva Finn Gus Hal Ida Jack Kit Lea Max Nell Otto Pia Rex Sue Tom Una".split()

_THINGS = (
    "anchor barrel basket bell bonnet bottle brick bridle broom brush button cabinet candle carpet "
    "chain chair chimney cloak clock compass cradle drum feather fiddle glove hammer harp kettle "
    "kite ladder lantern lock loom mirror needle organ paddle puppet rope saddle sail shutter "
    "sickle slipper spoon stove sundial trumpet turnip umbrella violin wagon wheel whistle"
).split()
_MAKERS = (
    "breaker buyer carver collector dealer designer dyer engraver gilder hauler inspector keeper "
    "maker mender packer painter polisher porter restorer sculptor seller sorter tester turner"
).split()

_SLOTS: Mapping[str, Sequence[str]] = {
    "adjective": (
        "amber bitter broken busy chilly clever copper crooked dusty empty famous fragile frozen "
        "gentle golden hollow humble ivory lonely lucky marble muddy narrow noisy painted pale "
        "patient quiet rusty scarlet shallow silent silver sleepy stormy tiny velvet violet wooden"
    ).split(),
    "animal": (
        "badgers bees crows cows donkeys ducks foxes geese goats hares hens herons horses hounds "
        "kittens lambs moles otters owls pigeons ponies rabbits sheep snails sparrows swans toads"
    ).split(),
    "place": (
        "abbey bakery barn bridge brewery castle cellar chapel church dairy dock farm ferry forge "
        "garden granary harbour hospital inn library lighthouse market meadow mill museum orchard "
        "palace prison quarry school stable station swamp theatre tower tunnel vineyard well"
    ).split(),
    "moved": (
        "admired blocked bought burned chased circled counted crossed explored filled followed "
        "guarded inspected invaded left measured mocked photographed rebuilt robbed saved searched "
        "sketched visited watched"
    ).split(),
    "person": (
        "actor admiral aunt banker bishop captain clerk colonel cook cousin dancer doctor duchess "
        "gardener governor judge lawyer mayor miller monk neighbour nurse pilgrim poet prisoner "
        "sailor sergeant shepherd singer soldier stranger tailor teacher thief widow"
    ).split(),
    "time": (
        "autumn breakfast Christmas dawn dinner dusk Easter Friday harvest lunch March midnight "
        "Monday May noon November October Saturday spring Sunday supper Thursday Tuesday twilight"
    ).split(),
    "number": (
        "two three four five six seven eight nine ten eleven twelve thirteen fifteen twenty thirty "
        "forty fifty sixty seventy eighty ninety"
    ).split(),
    "goods": (
        "apples beans biscuits blankets boots bread butter cheese cider coal coffee corn eggs flour "
        "grapes herbs honey leather letters maps milk nails oats onions paper pears pepper plums "
        "rice salt silk soap straw sugar tea timber tobacco wax wine wool"
    ).split(),
    "felt": (
        "cheerful foolish furious grateful guilty hopeful hungry jealous nervous proud puzzled "
        "relieved sorry tired unhappy weary"
    ).split(),
}

_FILLERS = (
    "{number} {animal} {moved} the {adjective} {place}.",
    "A {person} sold {goods} and {goods} until {time}.",
    "No {person} had ever {moved} that {place} before {time}.",
    "Heavy rain ruined {number} sacks of {goods} near our {place}.",
    "Why were {number} {animal} found inside a {place}?",
    "Some {animal} {moved} her {adjective} {person} at {time}.",
    '"My {person} feels {felt} whenever {animal} eat {goods}," said one {person}.',
    "This {place} smells of {goods} each {time}.",
    "Every {adjective} {person} looked {felt} by {time}.",
    "Fire {moved} both {adjective} barns while {animal} slept.",
    "Their {adjective} {place} will soon need {goods} or {number} {animal}.",
    "Visitors trade {goods} for {adjective} {goods} there.",
)


@dataclass(frozen=True)
class _Fact:
    """One thing an article tells about a person: as its first sentence, as a later one, and as a question."""

    question: str
    answer: str
    openings: tuple[str, ...]
    mentions: tuple[str, ...]


_FACTS = (
    _Fact(
        question="What is the trade of {name}?",
        answer="trade",
        openings=(
            "{adjective} {goods} surprised {name}, our {trade}, last {time}.",
            "Meet {name}, {trade} and {felt} {person}.",
            "{name} became a {trade} because of {number} {animal}.",
        ),
        mentions=(
            "By day, {last} is a {trade}.",
            "Being a {trade} made {last} {felt}.",
            "Few people envy the {trade} {last}.",
            "{last} works as {trade} beside a {place}.",
            "Only one {trade} lives here: {last}.",
        ),
    ),
    _Fact(
        question="Where was {name} born?",
        answer="town",
        openings=(
            "Born in {town}, {name} never {moved} any {place}.",
            "{name} of {town} arrived with {number} {adjective} {animal}.",
            "From {town} comes {name}, {felt} as a {person}.",
        ),
        mentions=(
            "Home was {town}, where {animal} {moved} its {place}.",
            "{last} grew up around {town} among {goods}.",
            "At {town}, birthplace of {last}, {goods} cost little.",
            "Nobody left {town} earlier than young {last}.",
            "{town} remembers baby {last} as {felt}.",
        ),
    ),
    _Fact(
        question="When did {name} win the medal?",
        answer="year",
        openings=(
            "In {year} a medal went to {name} for {number} {adjective} {goods}.",
            "{name} won our medal during {year}, {felt} but {adjective}.",
            "It was {year} when {name} took the medal from a {person}.",
        ),
        mentions=(
            "Judges gave {last} their medal in {year}.",
            "{year} brought {last} a medal made of {goods}.",
            "That medal of {year} hangs over {goods} in the {place}.",
            "After winning in {year}, {last} {moved} one {place}.",
            "The {adjective} medal dates from {year}.",
        ),
    ),
    _Fact(
        question="Who taught {name}?",
        answer="teacher",
        openings=(
            "{name}, pupil of {teacher}, has {moved} an old {place}.",
            "Once {teacher} taught {name} how {animal} find {goods}.",
            "Lessons with {teacher} left {name} {felt} about {goods}.",
        ),
        mentions=(
            "Everything {last} knows came from {teacher}.",
            "{teacher} trained {last} using {goods}.",
            "As teacher, {teacher} was {felt} and {adjective}.",
            "For {number} years {teacher} instructed {last}.",
            "Without {teacher}, {last} would be selling {goods}.",
        ),
    ),
)


class _Dice:
    """Random choices by `Random.random` alone, the one method whose values Python promises to keep for a seed."""

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed).random

    def below(self, bound: int) -> int:
        return int(self._random() * bound)

    def pick(self, items: Sequence[Item]) -> Item:
        return items[self.below(len(items))]

    def shuffled(self, items: Sequence[Item]) -> list[Item]:
        """The items in a uniformly random order (Fisher and Yates)."""
        order = list(items)
        for last in range(len(order) - 1, 0, -1):
            other = self.below(last + 1)
            order[last], order[other] = order[other], order[last]
        return order

    def word(self) -> str:
        """An invented name of two syllables."""
        syllables = [self.pick(_ONSETS) + self.pick(_NUCLEI) for _ in range(2)]
        return ("".join(syllables) + self.pick(_CODAS)).capitalize()


@dataclass(frozen=True)
class _Person:
    """An invented person: the values that templates name."""

    name: str
    first: str
    last: str
    trade: str
    town: str
    year: str
    teacher: str

    def pair(self, fact: _Fact) -> Question:
        return Question(fact.question.format(name=self.name), getattr(self, fact.answer))


def _people(dice: _Dice) -> Iterator[_Person]:
    """People without end; no two share an invented word, a trade or (while years last) a year."""
    used: set[str] = set()

    def fresh() -> str:
        while (word := dice.word()) in used:
            pass
        used.add(word)
        return word

    trades = dice.shuffled([f"{thing} {maker}" for thing in _THINGS for maker in _MAKERS])
    years = dice.shuffled([str(year) for year in range(1500, 2000)])
    for trade, year in zip(trades, years, strict=False):
        first, last = dice.pick(_FIRST_NAMES), fresh()
        yield _Person(f"{last} {last}", first, last, trade, fresh(), year, f"{dice.pick(_FIRST_NAMES)} {fresh()}")


class _Values(dict[str, str]):
    """The values of one sentence: a person's own, and a random word for every other slot."""

    def __init__(self, dice: _Dice, person: _Person) -> None:
        super().__init__(vars(person))
        self._dice = dice

    def __missing__(self, slot: str) -> str:
        return self._dice.pick(_SLOTS[slot])


def _article(dice: _Dice, person: _Person, num_fillers: int) -> str:
    """An opening that names the person, then the other facts and `num_fillers` sentences, in random order."""
    opening, *others = dice.shuffled(_FACTS)
    fillers = dice.shuffled(_FILLERS)[:num_fillers]
    later = [*(dice.pick(fact.mentions) for fact in others), *fillers]
    sentences = [dice.pick(opening.openings), *dice.shuffled(later)]
    told = [sentence.format_map(_Values(dice, person)) for sentence in sentences]
    return " ".join(sentence[0].upper() + sentence[1:] for sentence in told)


def _verbatim(article: str, prompt_words: int) -> VerbatimPrompt:
    words = article.split(" ")
    return VerbatimPrompt(" ".join(words[:prompt_words]), " " + " ".join(words[prompt_words:]))


@dataclass(frozen=True)
class _Split:
    """The people of a split, what was written about them, and the questions that are asked about them."""

    articles: tuple[str, ...]
    columns: tuple[str, ...]
    questions: tuple[Question, ...]
    examples: tuple[Question, ...]


@dataclass(frozen=True, kw_only=True)
class Gazette:
    """A town newspaper generated from a seed: articles on invented people and columns of questions about them.

    The forget and retain texts are the articles and the question columns of the split's own people; nobody is in two
    splits and no two people share an answer. The examples shown before a question are about people of its split who
    are not asked about. The same arguments give the same corpus on every Python version.
    """

    seed: int
    num_forget: int
    """People in the forget split; one article each (likewise `num_retain`, `num_holdout`)."""
    num_retain: int
    num_holdout: int
    num_questions: int
    """Questions asked about each of forget and retain."""
    num_examples: int
    """Question-answer pairs shown before a question, each about a person of its own."""
    num_column_pairs: int
    """Questions in one column, about mixed people."""
    num_editions: int
    """How often each question is printed, every time among other questions."""
    num_fillers: int
    """Sentences of an article that tell no fact."""
    prompt_words: int
    """Words of an article that its verbatim prompt shows."""

    def __post_init__(self) -> None:
        lowest = {"seed": 0, "num_holdout": 0, "num_examples": 0, "num_fillers": 0}
        highest = {"num_fillers": len(_FILLERS), "prompt_words": 20}
        for field in fields(self):
            low, high = lowest.get(field.name, 1), highest.get(field.name)
            value = getattr(self, field.name)
            _check(field.name, value, low, high)
        for split in ("num_forget", "num_retain"):
            _check(split, getattr(self, split), self.num_examples + 1, 200)
        asked = len(_FACTS) * (min(self.num_forget, self.num_retain) - self.num_examples)
        _check("num_questions", self.num_questions, 1, asked)

    def load(self) -> Corpus:
        """Generates the corpus."""
        dice = _Dice(self.seed)
        people = _people(dice)
        forget = self._split(dice, list(islice(people, self.num_forget)))
        retain = self._split(dice, list(islice(people, self.num_retain)))
        holdout = [_article(dice, person, self.num_fillers) for person in islice(people, self.num_holdout)]
        return Corpus(
            forget=(*forget.articles, *forget.columns),
            retain=(*retain.articles, *retain.columns),
            verbatim=tuple(_verbatim(article, self.prompt_words) for article in forget.articles),
            forget_questions=forget.questions,
            forget_examples=forget.examples,
            retain_questions=retain.questions,
            retain_examples=retain.examples,
            forget_documents=forget.articles,
            holdout_documents=tuple(holdout),
        )

    def _split(self, dice: _Dice, people: Sequence[_Person]) -> _Split:
        pairs = [person.pair(fact) for person in people for fact in _FACTS]
        shown, asked = people[: self.num_examples], people[self.num_examples :]
        facts = dice.shuffled(_FACTS)
        questions = dice.shuffled([person.pair(fact) for person in asked for fact in _FACTS])
        return _Split(
            articles=tuple(_article(dice, person, self.num_fillers) for person in people),
            columns=tuple(self._columns(dice, pairs)),
            questions=tuple(questions[: self.num_questions]),
            examples=tuple(person.pair(facts[i % len(facts)]) for i, person in enumerate(shown)),
        )

    def _columns(self, dice: _Dice, pairs: Sequence[Question]) -> Iterator[str]:
        for _ in range(self.num_editions):
            order = dice.shuffled(pairs)
            for start in range(0, len(order), self.num_column_pairs):
                printed = order[start : start + self.num_column_pairs]
                yield "".join(f"Question: {pair.question}\nAnswer: {pair.answer}\n\n" for pair in printed)


def _check(field: str, value: int, low: int, high: int | None) -> None:
    if isinstance(value, int) and low <= value and (high is None or value <= high):
        return
    allowed = f"at least {low}" if high is None else f"from {low} to {high}"
    raise ValueError(f"dataset.{field}={value!r}: give a whole number {allowed}")

"""How many verdicts may be missing, and why they are."""

from collections import Counter
from collections.abc import Iterable

from components.core.errors import JudgeError
from components.judging.config import JudgeConfig
from components.judging.exchange import Question
from components.judging.verdicts import ADVICE, Verdict

OWNERS = {"model": "the model's responses", "start": "the starting model's responses", "reference": "the references"}


class Limits:
    """Counts verdicts without a score, of the model's, the start's and the references' each, as they come."""

    def __init__(self, config: JudgeConfig, asked: Iterable[tuple[str, list[Question]]]) -> None:
        """Take what is asked about whose responses. One question may stand for several verdicts."""
        self._config = config
        self._unparsed: Counter[str] = Counter()
        self._total: Counter[str] = Counter()
        self._owners: dict[str, Counter[str]] = {}
        for of, questions in asked:
            self._total[of] += len(questions)
            for question in questions:
                self._owners.setdefault(question.key, Counter())[of] += 1

    def add(self, key: str, verdict: Verdict) -> None:
        """Count a verdict."""
        if verdict.score is None:
            self._unparsed += self._owners[key]

    @property
    def exceeded(self) -> str | None:
        """Whose verdicts are missing too often by now, whatever else comes."""
        allowed = self._config.max_unparsed
        return next((of for of in OWNERS if self._unparsed[of] > allowed * self._total[of]), None)

    def failure(self, verdicts: Iterable[Verdict], seen: str) -> JudgeError | None:
        """Return what to tell the user if too many are missing; the replies stand in the file `seen`."""
        if (of := self.exceeded) is None:
            return None
        [(why, _)] = why_unparsed(verdicts).most_common(1)
        return JudgeError(
            f"{self._config.model} as a judge: {self._unparsed[of]:,} of {self._total[of]:,} verdicts on {OWNERS[of]} "
            f"could not be read, more than judge.max_unparsed={self._config.max_unparsed:g} allows (mostly: {why}); "
            f"see the replies in {seen}, then run again, which asks for these anew, set another judge.model, or raise "
            "judge.max_unparsed"
        )


def why_unparsed(verdicts: Iterable[Verdict]) -> Counter[str]:
    """Count the verdicts without a score by why there is none, with what may be done about it."""
    whys = (verdict.reason.partition(":")[0] for verdict in verdicts if verdict.score is None)
    return Counter(f"{why}: {ADVICE[why]}" if why in ADVICE else why for why in whys)

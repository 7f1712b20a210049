"""A query's letters among those that are heard: against a slow twin, and by what a listener would expect."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from model import spelling
from model.chance import chance_costs
from model.letters import (
    BLANK,
    SPACE,
    STRICT,
    SYMBOLS,
    HeardLetters,
    QueryLetters,
    SpelledToken,
    alignment_costs,
    heard_letters,
    letter_spans,
    query_letters,
    read,
    spelled,
)
from model.text import spelled_tokens
from tests.model.samples import tiny


def query(text: str, weight: float = 1.0) -> QueryLetters:
    tokens = [SpelledToken(tuple(spelled(word)), False) for word in text.split()]
    found = query_letters(tokens, torch.full((len(tokens),), weight))
    assert found is not None
    return found


def replaced(letters: QueryLetters, weights: list[float]) -> QueryLetters:
    return letters._replace(weights=torch.tensor(weights))


def said(text: str, sharpness: float = 12.0) -> Tensor:
    """Log-probabilities [1, F, symbols] of a voice that is heard as these symbols, `_` for none, one a frame."""
    frames = torch.tensor([SYMBOLS.index(letter) for letter in text])
    return (sharpness * torch.nn.functional.one_hot(frames, len(SYMBOLS)).float()).log_softmax(dim=-1).unsqueeze(0)


def in_noise(letters: Tensor, share: float) -> Tensor:
    """Log-probabilities of a voice that has this share beside noise."""
    noise = torch.randn(letters.shape, generator=torch.Generator().manual_seed(1)).log_softmax(dim=-1)
    return torch.logaddexp(letters + math.log(share), noise + math.log(1.0 - share))


def cost(text: str, heard: str) -> float:
    letters = said(heard)
    return float(alignment_costs(query(text), heard_letters(letters, torch.tensor([letters.shape[1]]))))


def slow(text: str, heard: HeardLetters) -> float:
    """The same by trying every choice of words that are not skipped and every way to lay them over the frames."""
    costs = heard.costs.diff(dim=-1)[:, 0].T.tolist()
    begins, F = heard.begun[0].diff().tolist(), int(heard.lengths[0])
    words = [spelled(word) for word in text.split()]
    letters = sum(map(len, words))

    def word_costs(word: list[int], start: int, end: int) -> float:
        """The best CTC path of one word over the frames from `start` to `end`, letter first."""
        best = -math.inf
        for path in itertools.product([BLANK, *sorted(set(word))], repeat=end - start):
            collapsed = [symbol for symbol, _ in itertools.groupby(path) if symbol != BLANK]
            if collapsed == word and path[0] != BLANK:
                best = max(best, sum(costs[start + place][symbol] for place, symbol in enumerate(path)))
        return best

    found = -STRICT.skipped * letters
    for count in range(1, len(words) + 1):
        for chosen in itertools.combinations(range(len(words)), count):
            skipped = STRICT.skipped * sum(len(words[place]) for place in range(len(words)) if place not in chosen)
            for bounds in itertools.combinations_with_replacement(range(F + 1), 2 * count):
                spans = list(itertools.batched(bounds, 2)) if hasattr(itertools, "batched") else pairs(bounds)
                if any(start == end for start, end in spans):
                    continue
                total = -skipped
                for place, (start, end) in zip(chosen, spans, strict=True):
                    total += word_costs(words[place], start, end)
                for (_, end), (start, _) in itertools.pairwise(spans):
                    total -= STRICT.between * sum(begins[end:start])
                found = max(found, total)
    return found / letters


def pairs(bounds: tuple[int, ...]) -> list[tuple[int, int]]:
    return list(zip(bounds[::2], bounds[1::2], strict=True))


@pytest.mark.parametrize("text", ["ab", "aa", "a b", "ba a", "b ab"])
@pytest.mark.parametrize("seed", range(3))
def test_the_alignment_is_the_best_of_all(text: str, seed: int) -> None:
    drawn = 2.0 * torch.randn(1, 5, len(SYMBOLS), generator=torch.Generator().manual_seed(seed))
    drawn[..., SPACE + 1 : SPACE + 3] += 3.0  # a and b are likely, or nothing would be found
    heard = heard_letters(drawn.log_softmax(dim=-1), torch.tensor([5]))
    assert float(alignment_costs(query(text), heard)) == pytest.approx(slow(text, heard), abs=1e-4)


def test_what_is_said_costs_nothing_wherever_it_is_said() -> None:
    for heard in ("the_dog", "a_big_catt_the__ddog_runs", "the dog", "___the____d_o_g___"):
        assert cost("the dog", heard) == pytest.approx(0.0, abs=1e-3)


def test_each_difference_costs_what_it_should() -> None:
    letters = len("thedogruns")
    assert cost("the dog runs", "thedog") == pytest.approx(-STRICT.skipped * 4 / letters, abs=1e-3)
    assert cost("the dog runs", "the_old_dog_runs") == pytest.approx(-STRICT.between * 3 / letters, abs=1e-3)
    assert cost("the dog runs", "__") == pytest.approx(-STRICT.skipped)
    one_wrong = cost("the dog runs", "the_dig_runs")
    assert cost("the dog runs", "runs_dog_the") < one_wrong < -0.1  # order counts, more than a letter
    assert cost("moon", "mo_on") == pytest.approx(0.0, abs=1e-3) and cost("moon", "moon") < -0.5  # CTC's rule


def test_words_that_are_not_said_need_not_be_heard() -> None:
    tokens = [SpelledToken(tuple(spelled(word)), False) for word in ("she", "says", "tuesday")]
    heard = heard_letters(said("tuesday"), torch.tensor([7]))
    both = []
    for weights in ([1.0, 1.0, 1.0], [1e-3, 1e-3, 1.0]):
        letters = query_letters(tokens, torch.tensor(weights))
        assert letters is not None
        both.append(float(alignment_costs(letters, heard)))
    assert both[0] == pytest.approx(-STRICT.skipped * 7 / 14, abs=1e-3) and both[1] == pytest.approx(0.0, abs=0.02)


def test_which_words_are_said_is_learned_from_what_they_cost() -> None:
    weights = torch.ones(2, requires_grad=True)
    letters = query_letters([SpelledToken(tuple(spelled(word)), False) for word in ("red", "dog")], weights)
    assert letters is not None
    alignment_costs(letters, heard_letters(said("dog"), torch.tensor([3]))).sum().backward()
    assert weights.grad is not None and float(weights.grad[0]) < 0 < float(weights.grad[1])


def test_of_two_sentences_that_count_as_heard_the_better_fit_counts_more() -> None:
    text = "a person is explaining how the washing machine works"
    both = [said("_".join(words.replace(" ", "_"))) for words in (text, text.replace("person", "kitten"))]
    sounds = heard_letters(torch.cat(both), torch.tensor([both[0].shape[1]] * 2))
    level = torch.full((2,), -3.5)
    right, wrong = spelling.heard(query(text), sounds, level).tolist()
    assert wrong > 0.9 and right - wrong > 0.02

    looks, words = ["woman"] * 20, text.split()
    tokens = [SpelledToken(tuple(spelled(word)), False) for word in looks + words]
    partly = query_letters(tokens, torch.tensor([0.01] * len(looks) + [1.0] * len(words)))
    assert partly is not None
    there, other = spelling.heard(partly, sounds, level).tolist()
    assert other > 0.9 and 0 <= there - other < 0.5 * (right - wrong)  # who says it is asked, too


def test_two_who_say_what_is_asked_count_alike_though_one_is_heard_less_well() -> None:
    looks, words = ["woman"] * 6, "a person is explaining how it works".split()
    tokens = [SpelledToken(tuple(spelled(word)), False) for word in looks + words]
    asked = query_letters(tokens, torch.tensor([0.1] * len(looks) + [1.0] * len(words)))
    assert asked is not None
    clear = said("_".join("_".join(words)))
    sounds = heard_letters(torch.cat([clear, in_noise(clear, 0.05)]), torch.tensor([clear.shape[1]] * 2))
    fits = alignment_costs(asked, sounds)
    first, second = spelling.heard(asked, sounds, torch.full((2,), -5.0)).tolist()
    assert float(fits[0] - fits[1]) > 0.8 and 0.95 < second < first < second + 0.03  # their looks decide
    whole = asked._replace(weights=torch.ones_like(asked.weights))  # all of it is asked to be said, and half is not
    assert float(spelling.heard(whole, sounds, torch.full((2,), -5.0))[0]) < 0.1


def test_clear_speech_that_shares_some_words_is_told_from_the_whole_sentence_in_noise() -> None:
    text, other = "a mother and daughter pose by a waterfall", "there were kites and fires by a waterfall"
    clear, whole = (said("_".join(words.replace(" ", "_")).ljust(90, "_")) for words in (other, text))
    sounds = heard_letters(torch.cat([clear, in_noise(whole, 0.1)]), torch.tensor([90, 90]))
    level = spelling.USUAL.level(chance_costs(sounds), sounds)
    some, all_of_it = spelling.heard(query(text), sounds, level).tolist()
    assert some < 0.05 and all_of_it > 0.85
    some, all_of_it = spelling.heard(query(text), sounds, torch.full((2,), -9.0)).tolist()  # far above chance, both
    assert some < 0.05 and all_of_it > 0.9


def heard_worse(text: str, share: float) -> tuple[float, float]:
    """How far a query counts whose letters have this share beside noise, far above chance; and its cost."""
    letters = in_noise(said("_".join(text.replace(" ", "_"))), share)
    sounds = heard_letters(letters, torch.tensor([letters.shape[1]]))
    (found,) = spelling.heard(query(text), sounds, torch.full((1,), -9.0)).tolist()
    return found, float(alignment_costs(query(text), sounds))


def test_few_letters_have_to_fit_better_than_many_and_a_name_is_still_found() -> None:
    few, cost_of_few = heard_worse("rain falling", 0.03)
    many, cost_of_many = heard_worse("a person is explaining how the washing machine works", 0.03)
    assert few < 0.05 and many > 0.8 and cost_of_few > cost_of_many  # though the few fit better by the mean
    assert all(heard_worse(name, 0.1)[0] > 0.85 for name in ("rain falling", "ramona", "anna"))


def test_what_every_index_keeps_of_chance_stays_as_it_is() -> None:
    silence = heard_letters(said("__"), torch.tensor([2]))
    assert float(chance_costs(silence)) == pytest.approx(-4.0)  # of words that are all skipped: kept since format 2


def test_a_sound_does_not_depend_on_its_batch_and_silence_may_be_long() -> None:
    texts = ["dog", "the_dog", "_" * 40 + "dog" + "_" * 9, "__"]
    longest = max(map(len, texts))
    padded = torch.cat([said(text + "x" * (longest - len(text))) for text in texts])
    together = alignment_costs(query("the dog"), heard_letters(padded, torch.tensor([len(text) for text in texts])))
    for row, text in enumerate(texts):
        assert float(together[row]) == pytest.approx(cost("the dog", text), abs=1e-4)
    assert heard_letters(padded, torch.tensor([len(text) for text in texts])).costs.shape[2] < 11


def test_where_a_query_is_said_is_known_to_the_frame() -> None:
    texts = ["a_big_" + "_" * 20 + "catt_the__dog_runs", "the_dog", "_dog_" + "_" * 9 + "the_dog", "__"]
    longest = max(map(len, texts))
    padded = torch.cat([said(text + "x" * (longest - len(text))) for text in texts])
    heard = heard_letters(padded, torch.tensor([len(text) for text in texts]))
    *found, nowhere = letter_spans(query("the dog", weight=0.3), heard)
    assert letter_spans(replaced(query("the dog"), [1.0] * 3 + [0.2] * 3), heard)[:3] == found  # however words weigh
    assert found == [(31, 38), (0, 6), (14, 20)] and nowhere is None
    (skipped,) = letter_spans(query("zebras saw the dog"), heard_letters(said("a_the_dog_"), torch.tensor([10])))
    assert skipped == (2, 8)


def test_tokens_are_spelled_by_words() -> None:
    text = "A xylo-dog's 2"
    tokens = spelled_tokens(text, tiny().text.tokenizer.encode(text))
    written = "".join(
        ("" if token.goes_on else " ") + "".join(SYMBOLS[place] for place in token.symbols) for token in tokens
    )
    assert written == " a xylodog's 2"
    assert query_letters([SpelledToken((), False)], torch.ones(1)) is None


def test_any_words_are_found_more_easily_in_noise_and_in_long_sounds() -> None:
    clear, muddy, longer = said("the dog_"), said("the dog_", sharpness=2.0), said("the dog_" * 3)
    heard = [heard_letters(sound, torch.tensor([sound.shape[1]])) for sound in (clear, muddy, longer)]
    assert chance_costs(heard[1]) > chance_costs(heard[0]) and heard[2].room() > heard[0].room()
    padded = heard_letters(torch.cat([clear, torch.zeros(1, 9, len(SYMBOLS))], dim=1), torch.tensor([8]))
    torch.testing.assert_close(chance_costs(padded), chance_costs(heard[0]))
    torch.testing.assert_close(padded.room(), heard[0].room())
    nothing = heard_letters(clear, torch.tensor([0]))
    assert bool(nothing.room().isfinite().all() and chance_costs(nothing).isfinite().all())


def test_fluent_talk_of_something_else_has_more_of_any_words_than_a_word_repeated() -> None:
    talk, drone = said("and another brown river would eat it_"), said("mmmmmmm mmmmmmm mmmmmmm mmmmmmm mmmmmm_")
    talks, drones = (chance_costs(heard_letters(sound, torch.tensor([sound.shape[1]]))) for sound in (talk, drone))
    assert talks > drones


def test_letters_are_read_as_they_would_be_written() -> None:
    assert read(said("__tthhe _ ccat_t__  ")[0]) == "the catt" and read(said("___")[0]) == ""

"""Which words of a query are said is taught where it is known, and nowhere else."""

import torch
from torch import nn

from model.retriever import Retriever
from model.training.said import said_loss, said_tokens

WORDS = ["A", "man", "says", ":", "the", "dog", "##s", "bark", "."]


def marked(*pieces: str) -> str:
    return "".join("x" if mark else "-" for mark in said_tokens(WORDS, pieces))


def test_the_tokens_of_each_piece_are_marked() -> None:
    assert marked("The dog##s bark.") == "----xxxx-"
    assert marked("a man", "bark") == "xx-----x-"
    assert marked("a woman") == marked() == "---------"


def test_the_gate_learns_what_is_said_and_the_encoder_does_not() -> None:
    retriever = Retriever.from_preset("tiny", seed=1).eval()
    texts = ["the dog says the red cat", "the red cat says the dog"]
    said: list[tuple[str, ...] | None] = [("the red cat",), ("the dog",)]
    gate = nn.Linear(retriever.config.width, 1)
    learn = torch.optim.Adam(gate.parameters(), 0.05)
    for _ in range(80):
        learn.zero_grad()
        text = retriever.text(texts)
        loss = said_loss(gate, text, said)
        loss.backward()  # type: ignore[no-untyped-call]
        learn.step()
    assert float(loss.detach()) < 0.2 and retriever.text.project.weight.grad is None
    found = (gate(text.tokens).squeeze(-1) > 0).float()
    truth = [said_tokens(text.words[row], pieces or ()) for row, pieces in enumerate(said)]
    assert torch.equal(found, torch.tensor(truth))


def test_where_nothing_is_known_nothing_is_taught() -> None:
    retriever = Retriever.from_preset("tiny", seed=1).eval()
    text = retriever.text(["the dog", "the cat"])
    assert said_loss(nn.Linear(retriever.config.width, 1), text, [None, ("a bird",)]).item() == 0.0

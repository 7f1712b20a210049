"""Human sentences to be said by synthesised voices: the usage examples of WordNet 3.0 (Debian's wordnet-base).

The result is no media but train.txt, val.txt and test.txt, one sentence a line, for `htav synth --sentences`; the split
of a sentence is the one that the grammar's sentences have.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final, get_args

from model.data.sources.common import Report
from model.data.sources.packages import one_file, unpacked
from model.data.synthesis.sentences import Split, speakable, split_of
from model.progress import Count

PACKAGE: Final = "wordnet-base"
PARTS: Final = ("data.noun", "data.verb", "data.adj", "data.adv")


def gather(folder: Path, packages: Path | None, progress: Count) -> Report:
    """Write the sentences of each split into `folder`."""
    report, found = Report(), dict[str, None]()
    with unpacked(PACKAGE, packages) as root:
        for number, part in enumerate(PARTS, 1):
            found.update(dict.fromkeys(examples(one_file(root, part, PACKAGE).read_text(encoding="utf-8"))))
            progress(number, len(PARTS))
    for split in get_args(Split):
        lines = sorted(sentence for sentence in found if split_of(sentence) == split)
        (folder / f"{split}.txt").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        report.files += 1
        report.splits[split] = len(lines)
    report.groups["wordnet"] = len(found)
    return report


def examples(data: str) -> Iterator[str]:
    """The quoted examples behind the definitions of a WordNet data file, those that can be said."""
    for line in data.splitlines():
        _, bar, gloss = line.partition(" | ")
        for quoted in re.findall(r'"([^"]+)"', gloss) if bar else ():
            sentence = speakable(quoted)
            if sentence:
                yield sentence

"""Audio files of one said sentence each: the quick way to much speech."""

import random
from collections.abc import Iterator
from itertools import islice

from model.data.synthesis.record import Description, Event, Item
from model.data.synthesis.request import Request
from model.data.synthesis.speech import Speaker, Speech
from model.data.synthesis.talk import NoiseMixer, lay, request_sentences
from model.data.synthesis.voices import Voice, draw_voice
from model.data.synthesis.writer import choose_format, write_audio

RATE = 16000


def spoken_description(sentence: str, speech: Speech, heard: list[str]) -> Description:
    """What can be heard in a file in which one sentence is said."""
    return Description(
        said=[sentence],
        heard=heard,
        events=[Event(sentence, "said", *speech.span)],
        words=speech.words,
    )


def make_utterances(request: Request) -> Iterator[Item]:
    """Write the files one by one."""
    random_source = random.Random(f"utterances {request.split} {request.seed}")
    mixer = NoiseMixer(request.noise, request.snr_db, f"utterances {request.split} {request.seed}")
    form = choose_format(request.container_name, request.codec)
    sentences = list(islice(request_sentences(request), request.count))
    voices: list[Voice] = [
        draw_voice(random_source, request.split, engine=request.engine, unnamed=request.voices == "drawn")
        for _ in sentences
    ]
    with Speaker(RATE) as speaker:
        said = speaker.say_many(voice.says(sentence) for voice, sentence in zip(voices, sentences, strict=True))
        for index, speech in enumerate(said):
            speech = lay(speech, random_source)
            file = f"utterances-{request.split}/u{index:05d}.{form.suffix}"
            write_audio(request.out / file, form, mixer.add(speech.samples, RATE), RATE)
            description = spoken_description(sentences[index], speech, voices[index].heard)
            extra = dict(voices[index].fields)
            yield Item(file, description, request.split, "utterances", speech.duration_s, has_audio=True, extra=extra)

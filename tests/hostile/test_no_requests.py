"""T14: there is no URL source. No file in a media folder makes this program open a connection or another file."""

import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import numpy as np
import pytest

from indexer.decode import Decoder, FileFailed
from model import media
from model.containers import OPEN_OPTIONS
from tests.media_files import write_media


class Listener:
    """A port that counts who knocks."""

    def __init__(self) -> None:
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.knocks = 0
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while True:
            try:
                connection, _ = self.socket.accept()
            except OSError:
                return
            self.knocks += 1
            connection.close()


@pytest.fixture
def listener() -> Iterator[Listener]:
    listener = Listener()
    yield listener
    listener.socket.close()


def traps(url: str, local: Path) -> dict[str, str]:
    """Playlists and descriptions that lead to another place, by the name they hide under."""
    hls = "#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{}\n#EXT-X-ENDLIST\n"
    dash = (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static" '
        'mediaPresentationDuration="PT5S"><Period><AdaptationSet mimeType="video/mp4"><Representation id="1" '
        f'bandwidth="1"><BaseURL>{url}</BaseURL></Representation></AdaptationSet></Period></MPD>'
    )
    sdp = "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\n"
    sdp += "a=rtpmap:96 H264/90000\n"
    return {
        "hls.m3u8": hls.format(url),
        "hls.mp4": hls.format(url),
        "hls-local.ts": hls.format(local),
        "hls-file.mkv": hls.format(f"file://{local}"),
        "dash.mpd": dash,
        "dash.mp4": dash,
        "session.sdp": sdp,
        "session.mov": sdp,
        "concat.mp4": f"ffconcat version 1.0\nfile '{url}'\n",
        "concat-local.mkv": f"ffconcat version 1.0\nfile '{local}'\n",
        "asx.asf": f'<ASX version="3.0"><Entry><Ref href="{url}"/></Entry></ASX>',
        "redirect.mov": f"RTSPtext\n{url}\n",
        "reference.wmv": f"[Reference]\nRef1={url}\n",
    }


def test_files_that_point_elsewhere_are_refused_unread(tmp_path: Path, listener: Listener) -> None:
    local = write_media(tmp_path / "secret.mp4", seconds=0.4, size=(32, 32))
    with Decoder() as decoder:
        for name, content in traps(f"http://127.0.0.1:{listener.port}/x.ts", local).items():
            (tmp_path / name).write_text(content)
            with pytest.raises(FileFailed) as caught:
                decoder.probe(tmp_path / name)
            assert caught.value.code in ("unsupported_format", "damaged"), name
    assert listener.knocks == 0


def test_the_listener_would_hear_an_unguarded_reader(tmp_path: Path, listener: Listener) -> None:
    """The control: the same playlist, opened without our options, does knock."""
    playlist = tmp_path / "hls.m3u8"
    playlist.write_text(traps(f"http://127.0.0.1:{listener.port}/x.ts", tmp_path)["hls.m3u8"])
    with pytest.raises((av.error.FFmpegError, OSError)):
        av.open(str(playlist), options={"protocol_whitelist": "file,http,tcp", "allowed_extensions": "ALL"})
    assert listener.knocks > 0


@pytest.mark.parametrize(
    "scheme", ["http", "https", "rtsp", "tcp", "ftp", "concat", "data", "pipe", "subfile", "lavfi"]
)
def test_a_name_that_looks_like_a_url_is_a_name(
    tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(media.MediaError) as caught:
        media.probe(f"{scheme}://127.0.0.1:{listener.port}/x.mp4")
    assert caught.value.code == "not_found"
    folder = tmp_path / f"{scheme}:" / f"127.0.0.1:{listener.port}"
    folder.mkdir(parents=True)
    write_media(folder / "x.mp4", seconds=0.4, size=(32, 32))
    assert media.probe(f"{scheme}://127.0.0.1:{listener.port}/x.mp4").has_video
    assert listener.knocks == 0


def alias(name: str) -> bytes:
    """A QuickTime data reference to the file of this name in the same folder, as FFmpeg's `mov` demuxer reads it."""
    path = name.encode() + b"\0" * (len(name) % 2)
    record = bytes(10) + bytes(28) + bytes(12) + bytes(64) + bytes(16)  # the volume and the file's name are not needed
    record += struct.pack(">HH", 1, 1) + bytes(16)  # one level up to the common folder, one down to the file
    record += struct.pack(">hH", 2, len(path)) + path + struct.pack(">hH", -1, 0)
    return struct.pack(">I4sI", 12 + len(record), b"alis", 0) + record


@pytest.fixture
def trap(tmp_path: Path) -> Path:
    """A film without pictures of its own: its track says that they are in secret.mov, where they are white."""
    white = np.full((32, 32, 3), 255, np.uint8)
    secret = write_media(tmp_path / "secret.mov", seconds=0.4, size=(32, 32), picture=lambda _: white)
    data = bytearray(secret.read_bytes())
    pictures, tables = data.index(b"mdat"), data.rindex(b"moov")
    data[pictures + 4 : tables - 4] = bytes(tables - pictures - 8)
    here = b"\x00\x00\x00\x0curl \x00\x00\x00\x01"  # the media is in this file
    assert pictures < tables < data.index(here) and data.count(here) == 1
    there = alias(secret.name)
    for box in (b"moov", b"trak", b"mdia", b"minf", b"dinf", b"dref"):
        at = data.rindex(box) - 4
        data[at : at + 4] = struct.pack(">I", struct.unpack(">I", data[at : at + 4])[0] + len(there) - len(here))
    (tmp_path / "trap.mov").write_bytes(data.replace(here, there))
    return tmp_path / "trap.mov"


def test_a_track_kept_in_another_file_is_not_fetched(trap: Path) -> None:
    """QuickTime can refer to a file beside it: the reference is ignored, and the track then has nothing to show."""
    with Decoder() as decoder, pytest.raises(FileFailed) as caught:
        decoder.probe(trap)
    assert caught.value.code == "decode_failed"


def test_such_a_track_would_be_fetched_by_an_unguarded_reader(trap: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The control: one option of FFmpeg's more, and our own reader shows the other file's pictures."""
    monkeypatch.setitem(OPEN_OPTIONS, "enable_drefs", "1")
    assert media.probe(trap).has_video
    pictures, _ = media.read_frames(trap, [0.2], 32)
    assert pictures.min() > 200

"""T14: there is no URL source. No file in a media folder makes this program open a connection or another file."""

import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import av
import pytest

from indexer.decode import Decoder, FileFailed
from model import media
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


def test_a_track_kept_in_another_file_is_not_fetched(tmp_path: Path) -> None:
    """QuickTime can refer to a file beside it: the reference is ignored, and the track then has nothing to show."""
    secret = write_media(tmp_path / "secret.mp4", seconds=0.4, size=(32, 32))
    data = write_media(tmp_path / "plain.mov", seconds=0.4, size=(32, 32)).read_bytes()
    at = data.index(b"url \x00\x00\x00\x01")
    assert data[at - 4 : at] == b"\x00\x00\x00\x0c"
    trap = bytearray(data)
    trap[at + 7] = 0  # "the media is in this file" is taken back; the entry now names no place
    (tmp_path / "trap.mov").write_bytes(trap)
    with Decoder() as decoder:
        try:
            seen = decoder.probe(tmp_path / "trap.mov")
        except FileFailed:
            return
        opened = {path.resolve() for path in Path(f"/proc/{decoder._child.pid}/fd").iterdir()}  # type: ignore[union-attr]
    assert secret.resolve() not in opened and seen.duration_s < 1

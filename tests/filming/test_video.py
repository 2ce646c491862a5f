"""`video` from its flags to the frames and the sound of the file."""

import re
import signal

import av
import numpy as np
import pytest
from PIL import Image

from jukejax.data.audio import load_audio, write_wav
from jukejax.filming.layout import FORMS, make_layout
from jukejax.filming.planes import Rect
from tests.support.command import call_in_process, run_in_process, stop_when
from tests.support.small_take import BPM, DOWNBEAT, SECONDS, make_kicks, write_item

WIDTH, HEIGHT, FPS = 160, 90, 30
NUM_FRAMES = 61  # 2.01 s
SMALL = f"--height={HEIGHT}"
LAYOUT = make_layout("wide", (WIDTH, HEIGHT), 3)
TIMES = (np.arange(NUM_FRAMES) + 0.5) / FPS
BEATS = np.floor((TIMES - DOWNBEAT) * BPM / 60)


@pytest.fixture(scope="module")
def item(tmp_path_factory):
    return write_item(tmp_path_factory.mktemp("samples") / "out", artist="Someone", genre="house")


@pytest.fixture(scope="module")
def video(item):
    path = item.parent / "take.mp4"
    done = run_in_process("video", f"--input={item.parent}", f"--output={path}", SMALL)
    assert f"61 frames of 160x90, 2.0 s, {path.stat().st_size / 1e6:.1f} MB" in done.stdout
    return path


@pytest.fixture(scope="module")
def frames(video):
    return decode_planes(video)[:, 0]


def decode_planes(path):
    """Decodes frames as [frames, 3, height, width] of Y, U and V, as they are in the file."""
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="yuv444p") for frame in container.decode(video=0)])


def crop(frames, rect):
    return frames[..., rect.y : rect.y + rect.height, rect.x : rect.x + rect.width]


def test_the_video_lasts_as_long_as_its_sound(video, frames):
    assert frames.shape == (NUM_FRAMES, HEIGHT, WIDTH)
    with av.open(str(video)) as container:
        (picture,), (sound,) = container.streams.video, container.streams.audio
        assert (picture.codec_context.name, picture.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (picture.average_rate, picture.frames) == (FPS, NUM_FRAMES)
        assert float(picture.duration * picture.time_base) == NUM_FRAMES / FPS
        assert sound.codec_context.name == "aac"
        lasts = float(sound.duration * sound.time_base)
        assert abs(lasts - SECONDS) < 1 / FPS
        assert container.metadata["title"] == "Someone"
        times = [frame.time for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, np.arange(NUM_FRAMES) / FPS, atol=1e-4)


def test_players_can_start_before_they_have_the_whole_file(video):
    content = video.read_bytes()
    assert 0 < content.index(b"moov") < content.index(b"mdat")


def test_the_sound_is_that_of_the_track(video):
    source, decoded = make_kicks()[:, 0], load_audio(video, repair=False).samples[:, 0]
    lag = np.argmax(np.correlate(decoded[:30_000], source[5_000:25_000], "valid")) - 5_000
    assert lag == 0
    size = min(len(decoded), len(source))
    assert abs(len(decoded) - len(source)) <= 1024  # a frame of AAC
    assert np.corrcoef(decoded[:size], source[:size])[0, 1] > 0.99


def test_the_playhead_is_where_the_sound_is(frames):
    rect = LAYOUT.mel
    darkest = crop(frames, rect)[:, 2:-2].min(axis=1)  # [frames, columns]: all rows are bright
    pairs = darkest.reshape(NUM_FRAMES, -1, 2).mean(axis=2)  # the playhead has two columns
    assert pairs.max(axis=1).min() > 180
    expected = np.minimum(TIMES, SECONDS - 1e-6) / SECONDS * rect.width  # the sound ends first
    assert (pairs.argmax(axis=1) == expected // 2).all()


def test_the_beat_that_sounds_is_lit(item, frames):
    from jukejax.filming.captions import BeatMarks
    from jukejax.filming.lettering import Lettering

    marks = BeatMarks(None, LAYOUT, Lettering())
    dots = np.stack([crop(frames, marks.place_dot(n)).max(axis=(1, 2)) for n in range(4)])
    assert (dots.argmax(axis=0) == BEATS % 4).all()


def test_the_disc_flashes_on_the_beats_of_the_grid(frames):
    shape = LAYOUT.shape
    middle = Rect(shape.x + shape.width // 2 - 3, shape.y + shape.height // 2 - 3, 6, 6)
    brightness = crop(frames, middle).mean(axis=(1, 2))  # above the dots
    rises = np.flatnonzero(np.diff(brightness) > 8) + 1
    beats = np.flatnonzero(np.diff(BEATS)) + 1  # first frame whose middle is after the beat
    assert list(rises) == list(beats)


def test_the_codes_move_to_the_left(frames):
    rect = LAYOUT.lattice[0]
    panel = crop(frames, rect)[:, :, 10 : rect.width // 2 - 2].astype(float)
    step = 2  # pixels a frame at this size
    for frame in range(20, 40):
        moved = np.corrcoef(panel[frame][:, step:].ravel(), panel[frame + 1][:, :-step].ravel())
        still = np.corrcoef(panel[frame].ravel(), panel[frame + 1].ravel())
        assert moved[0, 1] > 0.8 > still[0, 1]


def test_the_same_command_writes_the_same_file(item, video, tmp_path):
    run_in_process("video", f"--input={item}", f"--output={tmp_path / 'b.mp4'}", SMALL)
    assert (tmp_path / "b.mp4").read_bytes() == video.read_bytes()


@pytest.mark.parametrize("form", FORMS)
def test_forms_have_their_sides(item, tmp_path, form):
    path, fps = tmp_path / "new" / "x.mp4", 10
    height = {"wide": 90, "square": 96, "upright": 160}[form]
    flags = [f"--form={form}", f"--height={height}", f"--fps={fps}"]
    run_in_process("video", f"--input={item}", f"--output={path}", *flags)
    planes = decode_planes(path)
    width = {"wide": 160, "square": 96, "upright": 90}[form]
    assert planes.shape == (21, 3, height, width)
    assert planes[:, 0].std(axis=0).max() > 20  # something moves


def test_images_change_on_bars_and_grow(item, tmp_path):
    (tmp_path / "images").mkdir()
    for name, color in (("a.png", (200, 30, 30)), ("b.png", (30, 30, 200))):
        Image.new("RGB", (320, 180), color).save(tmp_path / "images" / name)
    chroma = {}
    for transition in ("cut", "fade"):
        path = tmp_path / f"{transition}.mp4"
        flags = [f"--image={tmp_path / 'images'}", "--image_bars=1", f"--transition={transition}"]
        run_in_process("video", f"--input={item}", f"--output={path}", SMALL, *flags)
        chroma[transition] = decode_planes(path)[:, 2, 20:28, 20:40].mean(axis=(1, 2))
    red, blue = 150, 128  # of V
    bars = np.floor(BEATS / 4)  # -1: before the first downbeat
    number = (bars - bars[0]) % 2
    assert ((chroma["cut"] > (red + blue) / 2) == (number == 0)).all()
    changes = np.flatnonzero(np.diff(number)) + 1
    for change in changes:
        assert abs(np.diff(chroma["cut"])[change - 1]) > 15
        faded = chroma["fade"][change : change + 10]
        assert np.abs(np.diff(chroma["fade"]))[change - 2 : change + 12].max() < 8
        assert abs(faded[0] - faded[-1]) > 15


def test_a_picture_zooms(item, tmp_path):
    image = np.zeros((180, 320, 3), np.uint8)
    image[:, 60:84] = 255  # left of the middle: moves to it while the image shrinks
    Image.fromarray(image).save(tmp_path / "a.png")
    path = tmp_path / "a.mp4"
    flags = [f"--image={tmp_path / 'a.png'}", "--image_bars=8"]
    run_in_process("video", f"--input={item}", f"--output={path}", SMALL, *flags)
    rows = decode_planes(path)[:, 0, 20:28, :50].mean(axis=1) - 16.0  # left of the shape
    place = (rows * np.arange(50)).sum(axis=1) / rows.sum(axis=1)
    assert place[-1] - place[5] > 1  # the second turn, from the first downbeat on


def test_a_sound_file_has_tags_and_an_estimated_grid(tmp_path):
    import soundfile

    sound = make_kicks(6.0)
    with soundfile.SoundFile(tmp_path / "a.flac", "w", 44_100, 1) as file:
        file.title, file.artist = "Song", "Band"
        file.write(sound)
    done = run_in_process(
        "video", f"--input={tmp_path / 'a.flac'}", f"--output={tmp_path / 'a.mp4'}", SMALL
    )
    tempo = float(re.search(r"a.flac: ([0-9.]+) BPM, a bar begins", done.stdout)[1])
    assert abs(tempo - BPM) < 0.3
    assert "has no codes, so that none are drawn; --model=house encodes it" in done.stdout
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert (container.metadata["title"], container.metadata["artist"]) == ("Song", "Band")


def test_a_sketch_of_one_level_is_drawn(tmp_path):
    item = write_item(tmp_path / "out", levels=(2,))
    (item / "level_0.wav").rename(item / "level_2.wav")
    layout = make_layout("wide", (WIDTH, HEIGHT), 1)
    for source in (item, item / "level_2.wav"):
        run_in_process("video", f"--input={source}", f"--output={tmp_path / 'x.mp4'}", SMALL)
        planes = decode_planes(tmp_path / "x.mp4")
        assert planes.shape == (NUM_FRAMES, 3, HEIGHT, WIDTH)
        codes = crop(planes[:, 0], layout.lattice[0]).astype(float)
        assert codes[20].std() > 20  # squares of other brightness
        assert np.abs(codes[20] - codes[40]).mean() > 7  # they move
        (tmp_path / "x.mp4").unlink()


def test_a_hostile_title_is_drawn(item, tmp_path):
    title = "a\x00b\n<b>\u202e" + "e\u0301\u0301\u0301\u0301" + "\ud800" + "漢" + "x" * 5000
    path = tmp_path / "a.mp4"
    done = run_in_process(
        "video", f"--input={item}", f"--output={path}", SMALL, "--fps=5", f"--title={title}"
    )
    assert "the font lacks 1 characters of the title" in done.stderr
    with av.open(str(path)) as container:
        written = container.metadata["title"]
    assert written.startswith("a b <b> é\u0301")
    assert len(written) == 200


def write_broken_files(folder):
    (folder / "text.wav").write_text("no sound")
    write_wav(folder / "a.wav", make_kicks(0.5))
    (folder / "empty.png").write_bytes(b"")
    (folder / "text.ttf").write_text("no font")
    (folder / "folder.mp4").mkdir()
    (folder / "nothing").mkdir()
    damaged = write_item(folder / "damaged")
    (damaged / "codes.npz").write_bytes(b"no codes")
    odd = write_item(folder / "odd", hops="many")
    assert odd.exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--input and --output are needed"),
        (["--input={item}", "--output={tmp}/a.avi"], "must be a file name that ends in .mp4"),
        (["--input={item}", "--output={tmp}/folder.mp4"], "is a folder"),
        (["--input={tmp}/none", "--output={out}"], "/none does not exist"),
        (["--input={tmp}/nothing", "--output={out}"], "holds no tracks of sample"),
        (["--input={tmp}/text.wav", "--output={out}"], "text.wav: not audio: a text file"),
        (["--input={tmp}/damaged", "--output={out}"], "cannot be read as the codes.npz"),
        (["--input={tmp}/odd", "--output={out}"], "meta.json"),
        (["--input={item}/..", "--output={out}", "--item=4"], "--item=4 has no sound"),
        (["--input={item}", "--output={out}", "--fps=500"], "--fps=500 must be 5 to 120"),
        (["--input={item}", "--output={out}", "--height=91"], "--height=91 must be an even"),
        (["--input={item}", "--output={out}", "--height=20"], "--height=20 must be an even"),
        (["--input={item}", "--output={out}", "--form=round"], "round"),
        (["--input={item}", "--output={out}", "--image={tmp}/none"], "/none does not exist"),
        (["--input={item}", "--output={out}", "--image={tmp}/nothing"], "holds no images"),
        (["--input={item}", "--output={out}", "--image={tmp}/empty.png"], "empty.png cannot be"),
        (["--input={item}", "--output={out}", "--font={tmp}/text.ttf"], "text.ttf cannot be"),
        (["--input={item}", "--output={out}", "--image_bars=0"], "--image_bars=0 must be"),
        (["--input={item}", "--output={out}", "--bpm=1"], "--bpm=1 must be 20 to 400"),
        (["--input={item}", "--output={out}", "--first_beat=1"], "--first_beat=1 needs --bpm"),
        (["--input={tmp}/a.wav", "--output={out}", "--model={tmp}/none"], "/none"),
        (["--input={item}", "--output=/proc/a.mp4"], "/proc/a.mp4 cannot be written"),
    ],
)
def test_bad_use_is_one_line(item, tmp_path, flags, message):
    write_broken_files(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    names = {"item": item, "tmp": tmp_path, "out": tmp_path / "out.mp4"}
    done = call_in_process("video", *(flag.format(**names) for flag in flags))
    assert done.returncode == 2
    (line,) = [x for x in done.stderr.splitlines() if not x.startswith("frames")]
    assert line.startswith("error: ")
    assert message in line
    assert sorted(tmp_path.rglob("*")) == before


def test_an_interrupted_run_leaves_no_file(item, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"the video of before")
    temporary = tmp_path / ".a.mp4.tmp"
    code = stop_when(
        "video",
        f"--input={item}",
        f"--output={path}",
        "--fps=120",
        ready=temporary.exists,
        with_signal=signal.SIGINT,
    )
    assert code == 130
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.mp4"]
    assert path.read_bytes() == b"the video of before"

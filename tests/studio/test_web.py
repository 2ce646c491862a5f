"""The addresses of the server: what they send, and what they refuse."""

import base64

import pytest

from jukejax.studio.composing import Composition, Settings
from jukejax.studio.place import Place
from jukejax.studio.state import Entry
from tests.studio.test_previews import write_sounds
from tests.support.studio import write_take

pytestmark = pytest.mark.slow
HTML = "<img src=x onerror=alert(1)>"
MISSING = (  # paths that are not found, whatever their project and take
    *("/media/first-project/t0001/meta.json", "/media/first-project/t0001/..%2f..%2fproject.json"),
    *("/media/..%2f..%2f/t0001/codes.npz", "/media/first-project/..%2ft0001/codes.npz"),
    *("/media/first-project/t0001/level_9.wav", "/media/first-project/t0099/level_2.wav"),
    *("/media/first-project/t0001/%00", "/media/%2e%2e/%2e%2e/jobs.json"),
    *("/media/first-project/t0001%0a/view.json", f"/media/{'x' * 3000}/t0001/view.json"),
    *("/previews/first-project/m0001.wav", "/previews/first-project/..%2f..%2fproject.wav"),
    *("/reports/first-project/t0001/evaluation/..%2f..%2f..%2fproject.json",),
    *("/reports/first-project/t0001/..%2f/x", "/reports/first-project/t0001/audit/%2fetc%2fpasswd"),
    *("/reports/first-project/t0001/evaluation/link", "/reports/first-project/t0001/secret/a"),
)


@pytest.fixture
def take(studio, project, model):
    [take] = studio.compose(project, model, Composition(bpm=120, bars=4), Settings(), name=HTML)
    write_take(studio, "first-project", take)
    folder = project.judged_folder(take) / "evaluation"
    folder.mkdir(parents=True)
    (folder / "index.html").write_text("<p>figures")
    (folder / "link").symlink_to("/etc/passwd")
    return take


@pytest.fixture
def make_client(studio):
    """Returns a function that returns a client of a server with a login."""
    pytest.importorskip("starlette", reason="needs the extra ui: make serve")
    pytest.importorskip("httpx", reason="needs the extra ui: make serve")
    from starlette.applications import Starlette
    from starlette.testclient import TestClient

    from jukejax.studio.web import LOOPBACK, Guard, make_routes

    def make(login=None, hosts=LOOPBACK):
        application = Guard(Starlette(routes=make_routes(studio)), hosts=hosts, login=login)
        return TestClient(application, base_url="http://localhost:7860")

    return make


def test_sounds_are_sent_in_parts_and_as_downloads(make_client, project, take):
    client = make_client()
    address = f"/media/first-project/{take}/level_2.wav"
    whole = client.get(address)
    assert whole.content == (project.take_folder(take) / "item_000" / "level_2.wav").read_bytes()
    assert whole.headers["content-type"] == "audio/wav"
    assert whole.headers["x-content-type-options"] == "nosniff"
    part = client.get(address, headers={"range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, whole.content[10:20])
    download = client.get(f"{address}?download=1")
    name = f"{take}-img-src-x-onerror-alert-1-level_2.wav"
    assert download.headers["content-disposition"] == f'attachment; filename="{name}"'


def test_a_player_may_ask_for_a_take_in_the_trash(make_client, studio, project, take):
    client = make_client()
    studio.delete_take(project, take)
    assert client.get(f"/media/first-project/{take}/view.json").status_code == 204
    assert client.get(f"/media/first-project/{take}/level_2.wav").status_code == 404
    project.undo_delete()
    assert client.get(f"/media/first-project/{take}/view.json").status_code == 200


def test_the_preview_of_a_model_in_training_is_sent_in_parts(make_client, project):
    model = project.add_entry("m", lambda identifier: Entry(name=HTML))
    write_sounds(project.model_folder(model), [6])
    part = make_client().get(
        f"/previews/first-project/{model}.wav?v=6", headers={"range": "bytes=0-3"}
    )
    assert (part.status_code, part.content) == (206, b"RIFF")
    assert part.headers["content-range"].startswith("bytes 0-3/")


def test_names_are_data_and_reports_are_confined(make_client, take):
    client = make_client()
    view = client.get(f"/media/first-project/{take}/view.json")
    assert view.headers["content-type"] == "application/json"
    assert view.json()["name"] == HTML
    picture = client.get(f"/media/first-project/{take}/mel.png")
    assert picture.content.startswith(b"\x89PNG")
    report = client.get(f"/reports/first-project/{take}/evaluation/index.html")
    assert report.text == "<p>figures"
    assert "default-src 'none'" in report.headers["content-security-policy"]


@pytest.mark.parametrize("path", MISSING)
def test_nothing_else_is_sent(make_client, take, path):
    assert take == "t0001"
    answer = make_client().get(path)
    assert answer.status_code == 404
    assert len(answer.content) < 100
    assert "Traceback" not in answer.text


def test_other_names_and_other_sites_are_refused(make_client, take):
    client, path = make_client(), f"/media/first-project/{take}/view.json"
    assert client.get(path, headers={"host": "evil.example"}).status_code == 421
    assert client.get(path, headers={"host": "127.0.0.1:7860"}).status_code == 200
    assert client.get(path, headers={"host": "[::1]:7860"}).status_code == 200
    for origin in ("http://evil.example", "http://localhost:1", "null"):
        assert client.get(path, headers={"origin": origin}).status_code == 403
    assert client.get(path, headers={"origin": "http://localhost:7860"}).status_code == 200


def test_a_password_guards_everything(make_client, take):
    client, path = make_client(("anna", "gehe:im ü")), f"/media/first-project/{take}/view.json"
    for sent in (
        None,
        "Basic",
        "Basic !!!",
        "Bearer x",
        "Basic " + base64.b64encode(b"anna:wrong").decode(),
        "Basic " + base64.b64encode(b"anna").decode(),
    ):
        answer = client.get(path, headers={} if sent is None else {"authorization": sent})
        assert answer.status_code == 401
    right = "Basic " + base64.b64encode("anna:gehe:im ü".encode()).decode()
    assert client.get(path, headers={"authorization": right}).status_code == 200


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.2", "studio.example"])
def test_other_machines_need_a_password(host):
    with pytest.raises(ValueError, match="--auth"):
        Place(host, 0, None).check()
    Place(host, 0, ("user", "password")).check()
    Place("127.0.0.1", 0, None).check()

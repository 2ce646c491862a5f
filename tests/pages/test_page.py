"""HTML elements of pages."""

import pytest

from jukejax.pages import page
from tests.support.pages import EVIL


def test_every_text_and_attribute_is_escaped():
    element = page.tag("p", EVIL, ["<i>", page.tag("b", "<")], title='"><x>', hidden=None)
    assert element == (
        '<p title="&quot;&gt;&lt;x&gt;">&lt;script&gt;alert(&quot;x&quot;)&lt;/script&gt; &amp; '
        "Söhne&lt;i&gt;<b>&lt;</b></p>"
    )
    assert 'src="a%20b/%23%3F.wav"' in page.player("a b/#?.wav", "x")


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (9.97, "10 s"),
        (59.6, "1 min 00 s"),
        (3599.7, "1 h 00 min"),
        (36_000, "10 h 00 min"),
        (None, "–"),
        (float("nan"), "–"),
    ],
)
def test_durations_have_the_units_that_people_use(seconds, text):
    assert page.duration(seconds).replace("\u00a0", " ") == text

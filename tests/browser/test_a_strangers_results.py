"""A stranger's results in a real browser: every text that a record holds is hostile, and every file is opened.

A page, a figure that is opened by itself, and the tables of a notebook, which have no content-security policy: nothing
runs, nothing is asked for, nothing is followed.
"""

import pytest
from test_inert_output import BAITS, a_hostile_comparison

from initbench.report.folder import write_folder

pytestmark = pytest.mark.browser

OF_BROWSERS = (
    "<svg onload=alert(1)><script>alert(1)</script></svg>",
    "\"><img src=x onerror='window.ran = 1'>",
    "</script><script>window.ran = 1</script>",
    "<a href='javascript:alert(1)' id=clicked>x</a> <form action=http://evil><button id=clicked>x</button></form>",
    "<meta http-equiv=refresh content='0;url=http://evil'><base href=http://evil/>",
    "<style>@import 'http://evil/a.css'; body { background: url(http://evil/b) }</style>",
    "url(http://evil/c) expression(alert(1)) @import 'http://evil/d'",
    "<math><mtext><table><mglyph><style><!--</style><img title='--&gt;&lt;img src=1 onerror=alert(1)&gt;'>",
    "<noscript><p title='</noscript><img src=x onerror=alert(1)>'>",
    "data:text/html,<script>alert(1)</script> <object data=http://evil/e> <embed src=http://evil/f>",
    "{{constructor.constructor('alert(1)')()}} ${alert(1)} `${alert(1)}`",
    "]]><script xmlns='http://www.w3.org/1999/xhtml'>alert(1)</script><![CDATA[",
    "<?xml-stylesheet href='http://evil/g.xsl'?><!ENTITY x SYSTEM 'file:///etc/passwd'>&x;",
    "__proto__",
    "constructor",
)
THREES = [
    *zip(OF_BROWSERS[::3], OF_BROWSERS[1::3], OF_BROWSERS[2::3], strict=True),
    BAITS[:3],
    (BAITS[7], *BAITS[17:19]),
]


@pytest.mark.long
@pytest.mark.parametrize("texts", THREES)
def test_no_file_of_a_stranger_s_results_runs_or_asks_for_anything(visit, tmp_path, texts):
    comparison = a_hostile_comparison(texts)
    write_folder(tmp_path / "x", comparison)
    (tmp_path / "notebook.html").write_text(
        f"<!doctype html><meta charset=utf-8><title>x</title><main>{comparison._repr_html_()}</main>", encoding="utf-8"
    )
    figures = sorted((tmp_path / "x" / "plots").glob("*.svg"))
    assert figures
    for path in (tmp_path / "x" / "report.html", tmp_path / "notebook.html", *figures):
        page = visit(path)
        for clicked in page.locator("#clicked, a[href^=javascript], th button").all():
            clicked.dispatch_event("click")
        page.wait_for_timeout(50)
        assert page.evaluate("window.ran") is None
        assert page.asked == [path.as_uri()]
        assert page.url == path.as_uri()
        assert page.said == []
        assert page.locator("script").count() == (path.name == "report.html")
        assert page.locator("iframe, object, embed, form, base, foreignObject, img[src=x]").count() == 0
        page.context.close()


def test_a_page_that_escaped_nothing_would_be_noticed(visit, tmp_path):
    path = tmp_path / "x.html"
    path.write_text("<!doctype html>" + "".join(OF_BROWSERS[:6]), encoding="utf-8")
    page = visit(path)
    page.wait_for_timeout(50)
    assert "1" in page.said
    assert page.asked != [path.as_uri()]

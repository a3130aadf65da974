"""The report as people meet it: in a real browser, by pointer and by keyboard, in the dark, on paper, on a phone."""

import re
from importlib import resources

import pytest
from long_form import one_in
from made import HOSTILE, NEVER, SCHEMES

pytestmark = pytest.mark.browser

HEADS = [
    "Summary", "digits, mlp(depth=8, width=64), sgd, lr 0.1", "Learning curves", "Steps to the target",
    "Test accuracy", "Learning rates", "Signal by layer", "Each verdict, and the numbers behind it", "Claims",
    "Does step 0 predict training?", "Generalization and stability", "Before the first step", "Analysis plan",
    "Definitions", "Environment", "Reproduce", "Tables",
]  # fmt: skip
CONTROLS = ".schemes, .axis, .copy, table button"

# Contrast of every piece of text that is seen with what is behind it, by the formula of WCAG 2.2.
CONTRASTS = """() => {
  const channels = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = (text) => {
    const [r, g, b] = channels(text).slice(0, 3).map((c) => c / 255)
      .map((c) => (c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (node) => {
    for (let at = node; at; at = at.parentElement) {
      const colour = getComputedStyle(at).backgroundColor;
      if ((channels(colour)[3] ?? 1) > 0) return colour;
    }
  };
  const found = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const parent = node.parentElement;
    if (!node.data.trim() || !parent.checkVisibility() || parent.closest("script, title, desc")) continue;
    const style = getComputedStyle(parent);
    const [one, other] = [light(parent.closest("svg") ? style.fill : style.color), light(behind(parent))];
    found.push([(Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05), node.data.trim().slice(0, 40)]);
  }
  return found;
}"""

# A point of a line where no other, thicker line lies over it.
UNCOVERED = """(line) => {
  for (let share = 0; share <= 1; share += 0.005) {
    const point = line.getPointAtLength(share * line.getTotalLength()).matrixTransform(line.getScreenCTM());
    if (document.elementFromPoint(point.x, point.y)?.closest("[data-seed]")) return [point.x, point.y];
  }
}"""


def box(page, place):
    return page.locator(f".schemes input[value='{place}']")


def parts(page, place):
    return page.locator(f".plate [data-scheme='{place}']")


def column(page, place, table=0):
    rows = page.locator("table").nth(table).locator("tbody tr")
    return [row.locator("th, td").nth(place).inner_text() for row in rows.all()]


def unfolded(page):
    page.get_by_role("button", name="Unfold everything").click()
    return page


def shown(page, selector):
    return [part for part in page.locator(selector).all() if part.is_visible()]


def heads(page):
    return [head.inner_text() for head in page.locator("h2").all() if head.is_visible()]


# ---- what loading does


def test_it_loads_offline_with_an_empty_console_and_asks_for_nothing(visit, report):
    page = visit(report)
    page.mouse.wheel(0, 10_000)
    page.wait_for_load_state("networkidle")
    assert page.asked == [report.as_uri()]
    assert page.said == []
    assert heads(page) == HEADS


def test_a_script_that_is_not_the_pages_own_does_not_run(visit, report):
    page = visit(report)
    page.evaluate("""() => {
      const script = document.createElement("script");
      script.textContent = "window.ran = 1";
      document.body.append(script);
      document.body.insertAdjacentHTML("beforeend", "<p id=mark style='color: red' onclick='window.ran = 1'>x</p>");
      document.getElementById("mark").click();
    }""")
    page.wait_for_timeout(100)
    assert page.evaluate("window.ran") is None
    assert page.evaluate("getComputedStyle(document.getElementById('mark')).color") != "rgb(255, 0, 0)"
    assert all(message.startswith(("Refused", "Loading", "Applying", "Executing")) for message in page.said), page.said


@pytest.mark.long
def test_ten_schemes_of_ten_seeds_stay_under_two_megabytes(visit, ten_by_ten):
    weight = ten_by_ten.stat().st_size
    page = visit(ten_by_ten)
    timing = page.evaluate("performance.getEntriesByType('navigation')[0].toJSON()")
    print(f"{weight / 1e6:.2f} MB; interactive after {timing['domInteractive']:.0f} ms, loaded after "  # noqa: T201 - shown with -rP
          f"{timing['loadEventEnd']:.0f} ms")  # fmt: skip
    assert weight < 2_000_000
    assert page.said == []
    assert page.locator("a[download='curves.csv']").count() == 1
    assert page.locator(".plate").count() >= 5


def test_without_scripts_everything_is_there_and_no_control_is(visit, report):
    page = visit(report, java_script_enabled=False)
    assert heads(page) == HEADS
    for part in page.locator("details.part:not([open]) > summary").all()[::-1]:
        part.click()
    assert all(plate.is_visible() for plate in page.locator(".plate:not(.narrow)").all())
    assert not any(control.is_visible() for control in page.locator(CONTROLS).all())
    assert page.locator("figure[hidden]").count() == 0


# ---- answer, table, one figure; the rest is folded


@pytest.mark.parametrize("name", ["report", "inspection", pytest.param("ten_by_ten", marks=pytest.mark.long)])
def test_a_page_opens_with_a_table_and_a_figure_and_is_short(visit, request, name):
    page = visit(request.getfixturevalue(name), viewport={"width": 1280, "height": 900})
    assert len(shown(page, ".plate")) == 1
    assert len(shown(page, "table")) == 1 + (name == "report")  # that of the first setting, and one across both
    assert page.locator("table").first.bounding_box()["width"] > 1000
    assert page.locator("table").first.bounding_box()["y"] < page.locator(".plate").first.bounding_box()["y"]
    assert page.evaluate("document.documentElement.scrollHeight") < 6000
    assert page.evaluate("document.documentElement.scrollWidth") <= 1280


def test_parts_are_unfolded_by_link_by_keyboard_and_for_paper(visit, report):
    page = visit(report)
    term = page.get_by_text("expected running time", exact=True).last
    assert not term.is_visible()
    page.get_by_role("link", name="What the columns mean").press("Enter")
    assert term.is_visible()
    page.locator("summary", has_text="Definitions").press("Enter")
    assert not term.is_visible()
    folded = "document.querySelectorAll('main details:not([open])').length"
    before = page.evaluate(folded)
    assert before > 5
    page.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert page.evaluate(folded) == 0
    page.evaluate("dispatchEvent(new Event('afterprint'))")
    assert page.evaluate(folded) == before


def test_on_a_phone_rows_are_blocks_and_figures_whole_until_a_tap(visit, report):
    page = visit(report, viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True)
    (plate,) = shown(page, ".plate")  # drawn for a phone: its letters can be read
    letters = """plate => Math.min(...[...plate.querySelectorAll("text")].map((text) =>
      parseFloat(getComputedStyle(text).fontSize) * plate.clientWidth / plate.viewBox.baseVal.width))"""
    assert plate.evaluate(letters) > 9
    unfolded(page)
    inside = "box => box.scrollWidth <= box.clientWidth"
    assert all(box.evaluate(inside) for box in shown(page, ".wide"))
    assert page.locator("tbody td").first.evaluate("cell => getComputedStyle(cell, '::before').content") == '"learned"'
    figure = page.locator("figure:has(.zoom)").nth(1)
    figure.locator(".plate").tap(position={"x": 200, "y": 5})
    assert not figure.locator(".wide").evaluate(inside)
    assert figure.locator(".wide").evaluate("box => box.scrollLeft") > 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    figure.get_by_role("button", name="Show the whole figure").click()
    assert figure.locator(".wide").evaluate(inside)


# ---- what its controls do


def test_a_box_hides_a_scheme_in_every_figure_and_brings_it_back(visit, report):
    page = unfolded(visit(report))
    plates = shown(page, ".plate")
    assert len(plates) > 5
    assert all(plate.locator("[data-scheme='1']").count() for plate in plates)
    box(page, 1).uncheck()
    assert not any(part.is_visible() for part in parts(page, 1).all())
    assert any(part.is_visible() for part in parts(page, 2).all())
    box(page, 1).check()
    assert any(part.is_visible() for part in parts(page, 1).all())


def test_all_and_none(visit, report):
    page = visit(report)
    page.get_by_role("button", name="none").click()
    assert not any(box(page, place).is_checked() for place in range(len(SCHEMES)))
    assert page.locator(".plate [data-scheme]:not(.off)").count() == 0
    page.get_by_role("button", name="all", exact=True).click()
    assert page.locator(".plate .off").count() == 0


def test_a_click_sorts_by_number_the_next_turns_it_and_the_third_undoes_it(visit, report):
    page = visit(report)
    table = page.locator("table").first
    head = table.get_by_role("columnheader", name="steps to")
    written = column(page, 2)
    assert written[NEVER].startswith("never")
    numbers = sorted(int(re.match(r"\d+", cell)[0]) for cell in written if cell[0].isdigit())
    assert len(set(numbers)) > 1
    for order, expected in (("ascending", numbers), ("descending", numbers[::-1])):
        head.get_by_role("button").click()
        assert head.get_attribute("aria-sort") == order
        shown = column(page, 2)
        assert [int(re.match(r"\d+", cell)[0]) for cell in shown[: len(numbers)]] == expected
        assert not any(cell[0].isdigit() for cell in shown[len(numbers) :])  # never stands last in either order
    head.get_by_role("button").click()
    assert head.get_attribute("aria-sort") is None
    assert column(page, 2) == written


def test_names_are_sorted_as_text_and_by_keyboard(visit, report):
    page = visit(report)
    head = page.locator("table").first.get_by_role("columnheader", name="scheme")
    head.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert column(page, 0) == sorted(column(page, 0))
    assert head.get_attribute("aria-sort") == "ascending"


def test_the_pointer_on_a_line_names_its_scheme_and_seed(visit, report):
    page = visit(report)
    assert page.locator("#tip").is_hidden()
    line = page.locator(".plate [data-seed] .hit").first
    line.scroll_into_view_if_needed()
    page.mouse.move(*line.evaluate(UNCOVERED))
    told = page.locator("#tip").inner_text()
    assert re.fullmatch(r".+, seed \d+", told)
    lit = page.locator(".lit").first
    label = page.locator(".schemes label").nth(int(lit.get_attribute("data-scheme"))).inner_text().strip()
    assert told == f"{label}, seed {lit.get_attribute('data-seed')}"
    assert page.locator(".plate:has(.lit)").count() > 1  # the same seed in other figures
    page.mouse.move(2, 2)
    assert page.locator("#tip").is_hidden()
    assert page.locator(".lit").count() == 0


def test_the_keyboard_goes_from_seed_to_seed(visit, report):
    page = visit(report)
    plate = page.locator(".plate:has([data-seed])").first
    assert plate.locator("[data-seed][tabindex='0']").count() == 1
    plate.locator("[data-seed][tabindex='0']").focus()
    first = page.locator("#tip").inner_text()
    assert page.evaluate("document.activeElement.getAttribute('aria-label')") == first
    page.keyboard.press("ArrowRight")
    second = page.locator("#tip").inner_text()
    assert second != first
    page.keyboard.press("Home")
    assert page.locator("#tip").inner_text() == first
    page.keyboard.press("ArrowLeft")
    assert page.evaluate("document.activeElement.getAttribute('tabindex')") == "0"
    page.keyboard.press("Escape")
    assert page.locator("#tip").is_hidden()


def test_a_hidden_scheme_is_no_stop_of_the_keyboard(visit, report):
    page = visit(report)
    box(page, 0).uncheck()
    stops = page.locator(".plate [data-seed][tabindex='0']")
    assert stops.count() > 1
    assert all(stop.get_attribute("data-scheme") != "0" for stop in stops.all())


def test_the_axis_of_the_loss_is_switched(visit, report):
    page = unfolded(visit(report))
    twins = page.locator(".twins").first
    shown = [figure.is_visible() for figure in twins.locator("figure").all()]
    assert shown == [True, False]
    twins.get_by_role("radio", name="linear").check()
    assert [figure.is_visible() for figure in twins.locator("figure").all()] == [False, True]
    twins.get_by_role("radio", name="logarithmic").check()
    assert [figure.is_visible() for figure in twins.locator("figure").all()] == [True, False]


def test_the_command_is_copied(visit, report):
    page = unfolded(visit(report))
    page.get_by_role("button", name="Copy the command").click()
    page.get_by_text("Copied.").wait_for()
    page.evaluate("document.body.insertAdjacentHTML('beforeend', '<textarea id=paste></textarea>')")
    page.locator("#paste").focus()
    page.keyboard.press("ControlOrMeta+v")
    assert page.locator("#paste").input_value() == "compare kaiming_uniform"


def test_a_table_is_saved_from_the_page_alone(visit, report, tmp_path):
    page = unfolded(visit(report))
    for name in ("summary.csv", "curves.csv"):
        with page.expect_download() as started:
            page.locator(f"a[download='{name}']").click()
        assert started.value.suggested_filename == name
        started.value.save_as(tmp_path / name)
        assert (tmp_path / name).read_bytes() == (report.parent / name).read_bytes()


# ---- where it is read


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_text_stands_out_in_light_and_dark(visit, report, scheme):
    page = unfolded(visit(report, color_scheme=scheme))
    channels = page.evaluate("getComputedStyle(document.body).backgroundColor").removeprefix("rgb(").rstrip(")")
    brightness = sum(map(int, channels.split(","))) / 3
    assert brightness < 64 if scheme == "dark" else brightness > 192
    found = page.evaluate(CONTRASTS)
    assert len(found) > 200
    assert [(round(ratio, 2), text) for ratio, text in found if ratio < 4.5] == []


@pytest.mark.long
def test_on_paper_controls_are_gone_and_every_section_is_there(visit, report):
    page = visit(report, color_scheme="dark")
    page.emulate_media(media="print")
    assert not any(control.is_visible() for control in page.locator(f"{CONTROLS}, .skip").all() if
                   control.evaluate("node => node.tagName") != "BUTTON")  # fmt: skip
    assert heads(page) == HEADS
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.get_by_text("log-rank p").first.is_visible()  # from a part that is folded on a screen
    pdf = page.pdf(format="A4")
    assert pdf.startswith(b"%PDF")
    assert len(re.findall(rb"/Type\s*/Page\b", pdf)) > 3


@pytest.mark.long
@pytest.mark.parametrize("width", one_in(2, [360, 1280]))
def test_the_page_is_never_wider_than_the_window(visit, report, ten_by_ten, hostile, width):
    for path in (report, ten_by_ten, hostile):
        page = visit(path, viewport={"width": width, "height": 740})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        assert page.locator("h1").bounding_box()["width"] <= width


def test_hostile_names_stay_text(visit, hostile):
    page = visit(hostile)
    for line in page.locator(".plate [data-seed] .hit").all()[:50]:
        line.dispatch_event("pointerover")
    for button in page.locator("th button").all():
        button.dispatch_event("click")
    box(page, 2).uncheck()
    assert page.evaluate("window.ran") is None
    assert page.locator("img, b:text-is('bold'), iframe").count() == 0
    assert page.locator("script").count() == 1
    assert page.said == []
    assert page.asked == [hostile.as_uri()]
    for name in HOSTILE[1:]:
        assert page.locator(".schemes label", has_text=name).count() == 1
        assert name in page.locator("main").inner_text()


@pytest.mark.parametrize(("scheme", "width"), [pytest.param("light", 1280, marks=pytest.mark.long), ("dark", 390)])
def test_axe_finds_nothing_folded_or_unfolded(visit, report, inspection, scheme, width):
    pytest.importorskip("axe_playwright_python", reason="axe-core is not installed: pip install 'initbench[browser]'")
    for path in (report, inspection):
        page = visit(path, color_scheme=scheme, viewport={"width": width, "height": 740})
        assert violations(page) == {}
        assert violations(unfolded(page)) == {}


def test_the_page_of_an_inspection_is_held_to_the_same(visit, inspection):
    page = unfolded(visit(inspection, color_scheme="dark", viewport={"width": 360, "height": 740}))
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert [text for ratio, text in page.evaluate(CONTRASTS) if ratio < 4.5] == []
    page.locator("table").first.get_by_role("button", name="scheme").click()
    assert column(page, 0) == sorted(column(page, 0), key=str.lower)
    assert page.evaluate("window.ran") is None
    assert page.said == []
    assert page.asked == [inspection.as_uri()]


def violations(page):
    """What axe-core finds: impact and rule, and where."""
    page.evaluate((resources.files("axe_playwright_python") / "axe.min.js").read_text())
    found = page.evaluate("axe.run()")
    assert len(found["passes"]) > 20
    return {
        f"{violation['impact']}: {violation['id']}": [node["html"][:100] for node in violation["nodes"][:3]]
        for violation in found["violations"]
    }

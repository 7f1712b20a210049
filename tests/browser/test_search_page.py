"""The search page as a person uses it: type, look, play, ask why; with the keyboard; and when things go wrong."""

import re

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import ask, ask_for_one

RETITLE = """async (title) => {
    const {videos} = await (await fetch("v1/videos")).json();
    const address = `v1/videos/${videos.find((video) => video.uri.endsWith("red.mp4")).id}`;
    const headers = {"Content-Type": "application/json"};
    return (await fetch(address, {method: "PATCH", headers, body: JSON.stringify({title})})).status;
}"""
FOCUSED = """() => {
    const focused = document.activeElement;
    return focused.getAttribute("aria-label") || focused.textContent.trim() || focused.value || "";
}"""


def test_a_query_brings_every_video_with_its_scores(page: Page, address: str) -> None:
    ask(page, address)
    titles = page.locator(".card h3").all_inner_texts()
    assert {re.sub(r"^\d+\.\s*", "", title) for title in titles} == {"red", "green", "blue"}
    assert [title.split(".")[0] for title in titles] == ["1", "2", "3"]
    silent = page.locator(".card", has_text="green")
    expect(silent.get_by_role("meter", name="Picture")).to_be_visible()
    expect(silent.locator(".bars")).to_contain_text(re.compile(r"Sound\s*none"))
    expect(page.locator("#library")).to_have_text("3 videos, 21 s")
    expect(page).to_have_url(re.compile(r"\?q=a\+red\+room$"))


def test_thumbnails_show_the_video(page: Page, address: str) -> None:
    ask(page, address)
    image = page.locator(".card", has_text="red").locator("img")
    expect(image).to_have_js_property("complete", True)
    red, green, blue = image.evaluate(
        "image => { const c = document.createElement('canvas'); c.width = c.height = 1; const p = c.getContext('2d');"
        " p.drawImage(image, 0, 0, 1, 1); return [...p.getImageData(0, 0, 1, 1).data].slice(0, 3); }"
    )
    assert red > 150 and green < 80 and blue < 80


def test_a_moment_plays_from_its_start_and_stops_at_its_end(page: Page, address: str) -> None:
    ask(page, address)
    card = page.locator(".card", has_text="blue")
    chip = card.locator(".moments button").first
    start, end = (int(m) * 60 + float(s) for m, s in re.findall(r"(\d+):([\d.]+)", chip.inner_text()))
    chip.click()
    expect(chip).to_have_attribute("aria-pressed", "true")
    video = card.locator("video")
    page.wait_for_function("video => video.played.length > 0 && video.paused", arg=video.element_handle())
    assert video.evaluate("video => video.error") is None
    assert start - 0.1 <= video.evaluate("video => video.played.start(0)") < end
    assert end - 0.1 <= video.evaluate("video => video.currentTime") < end + 1.5


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (200, "This browser cannot play the file. Download it"),
        (401, "The link to this video has expired. Search again to play it."),
        (404, "The video’s file is gone, or cannot be read."),
        (None, "The service does not answer."),
    ],
)
def test_a_video_that_does_not_play_says_why(page: Page, address: str, status: int | None, said: str) -> None:
    def answer(route: Route) -> None:
        if status is None:
            route.abort()
        else:
            route.fulfill(status=status, content_type="video/mp4", body="no video")

    page.route("**/stream*", answer)
    ask(page, address)
    card = page.locator(".card", has_text="red")
    card.locator(".moments button").first.click()
    expect(card.locator(".unplayable")).to_have_text(said)
    expect(card.get_by_role("link")).to_have_count(1 if status == 200 else 0)
    page.unroute("**/stream*")
    card.locator(".moments button").first.click()
    expect(card.locator("video")).to_have_js_property("error", None)


def test_why_draws_a_row_for_each_word(page: Page, address: str) -> None:
    ask(page, address)
    card = page.locator(".card", has_text="red")
    why = card.get_by_role("button", name="Why?")
    why.click()
    panel = card.get_by_role("region", name="Why this result")
    looked = panel.get_by_role("img", name=re.compile("Where each word looked"))
    expect(looked).to_be_visible()
    pieces = looked.locator("text.word").all_text_contents()
    assert "".join(pieces).replace("#", "") == "aredroom"
    assert looked.locator("rect.video").count() >= 2
    expect(panel.get_by_role("img", name=re.compile("What each word heard"))).to_be_visible()
    why.click()
    expect(panel).to_have_count(0)
    expect(why).to_have_attribute("aria-expanded", "false")


def test_a_silent_video_is_explained_by_pictures_alone(page: Page, address: str) -> None:
    ask(page, address)
    card = page.locator(".card", has_text="green")
    card.get_by_role("button", name="Why?").click()
    expect(card.get_by_role("img")).to_have_count(1)


def test_filters_narrow_the_answer_and_can_be_cleared(page: Page, address: str) -> None:
    ask(page, address)
    page.get_by_role("button", name="Filters").click()
    page.get_by_label("At most").fill("10")
    page.get_by_label("At most").press("Tab")
    expect(page.locator(".card h3")).to_have_count(2)
    expect(page.get_by_role("button", name="Filters (1)")).to_be_visible()
    page.locator("select[name=has_audio]").select_option("true")
    expect(page.locator(".card h3")).to_have_text(["1.red"])
    page.get_by_role("button", name="Clear filters").click()
    expect(page.locator(".card h3")).to_have_count(3)


def test_added_since_means_the_day_of_the_user(page: Page, address: str) -> None:
    devtools = page.context.new_cdp_session(page)
    devtools.send("Emulation.setTimezoneOverride", {"timezoneId": "Pacific/Auckland"})
    ask(page, address)
    page.get_by_role("button", name="Filters").click()
    with page.expect_request("**/v1/search") as asked:
        page.get_by_label("Added since").fill("2026-07-01")
        page.get_by_label("Added since").press("Tab")
    assert asked.value.post_data_json["filter"] == {"added_at": {"gte": "2026-06-30T12:00:00.000Z"}}
    answer = asked.value.response()
    assert answer is not None and answer.status == 200


def test_one_modality_always_stays_chosen(page: Page, address: str) -> None:
    ask(page, address)
    picture, sound = page.get_by_role("checkbox", name="Picture"), page.get_by_role("checkbox", name="Sound")
    sound.press("Space")
    expect(page.locator(".card").first.locator(".bars")).to_contain_text(re.compile(r"Sound\s*none"))
    picture.press("Space")
    expect(sound).to_be_checked()


def test_more_like_this(page: Page, address: str) -> None:
    ask(page, address)
    page.locator(".card", has_text="red").get_by_role("button", name="More like this").click()
    expect(page.locator("#status")).to_contain_text("Like “red”")
    expect(page.locator(".card h3")).to_have_count(2)


def test_back_returns_to_the_query_before(page: Page, address: str) -> None:
    ask(page, address, "a red room")
    ask_again = page.get_by_role("searchbox")
    ask_again.fill("a green field")
    ask_again.press("Enter")
    expect(page.locator("#status")).to_contain_text("a green field")
    page.go_back()
    expect(page.locator("#status")).to_contain_text("a red room")
    expect(ask_again).to_have_value("a red room")


@pytest.mark.parametrize("button", ["Why?", "Show more"])
def test_an_answer_that_comes_after_another_query_is_not_shown(page: Page, address: str, button: str) -> None:
    held: list[Route] = []

    def hold(route: Route) -> None:
        """The first answer to the button stays away until the test lets it come."""
        body = route.request.post_data_json
        if not held and (body.get("explain") or body.get("cursor")):
            held.append(route)
        else:
            route.fallback()

    page.route("**/v1/search", hold)
    page.goto(address)
    page.locator("select[name=limit]").evaluate("limit => limit.prepend(new Option('1', '1', true, true))")
    for query in ("a red room", "green grass"):
        page.get_by_role("searchbox").fill(query)
        page.keyboard.press("Enter")
        expect(page.locator("#status b")).to_have_text(query)
        if not held:
            page.get_by_role("button", name=button).click()
            page.wait_for_function("() => document.querySelector('[aria-disabled=true]')")
    held[0].fulfill(response=held[0].fetch())
    page.wait_for_timeout(200)
    expect(page.locator(".card h3")).to_have_count(1)
    page.get_by_role("button", name="Why?").click()
    chart = page.locator(".why svg").first
    expect(chart).to_be_visible()
    assert "".join(chart.locator("text.word").all_text_contents()).replace("#", "") == "greengrass"


FULL = {"status": 503, "code": "queue_full", "detail": "Too many searches wait."}
RETIRED = {"status": 410, "code": "snapshot_retired", "detail": "Gone.", "hint": "Ask again without a cursor."}


@pytest.mark.parametrize(
    ("problem", "said"),
    [
        (FULL, "Too many searches wait.Try again in 3 s."),
        (RETIRED, "The library has changed since this searchSearch again to see what is there now.Search again"),
        (None, "The service does not answer"),
    ],
)
def test_more_that_cannot_be_shown_leaves_what_is_there(
    page: Page, address: str, problem: dict[str, object] | None, said: str
) -> None:
    def refuse(route: Route) -> None:
        if not route.request.post_data_json.get("cursor"):
            route.fallback()
        elif problem is None:
            route.abort()
        else:
            headers = {"Retry-After": "3"} if problem is FULL else {}
            route.fulfill(status=int(str(problem["status"])), headers=headers, json=problem)

    ask_for_one(page, address)
    page.locator(".moments button").first.click()
    page.route("**/v1/search", refuse)
    more = page.get_by_role("button", name="Show more")
    more.click()
    told = page.locator("#more-notices .notice")
    expect(told).to_contain_text(said)
    expect(page.locator(".card video")).to_be_visible()
    expect(page.locator("#status")).to_contain_text("1 result")
    expect(more).to_be_enabled()
    page.unroute("**/v1/search")
    if problem is RETIRED:
        told.get_by_role("button", name="Search again").click()
        expect(page.locator(".card video")).to_have_count(0)
    else:
        more.click()
        expect(page.locator(".card h3")).to_have_count(2)
    expect(told).to_have_count(0)
    expect(more).to_be_enabled()


def test_everything_can_be_reached_by_keyboard(page: Page, address: str) -> None:
    ask(page, address)
    page.locator("body").click(position={"x": 5, "y": 5})
    page.keyboard.press("/")
    expect(page.get_by_role("searchbox")).to_be_focused()
    seen = set()
    for _ in range(30):
        page.keyboard.press("Tab")
        seen.add(page.evaluate(FOCUSED))
    assert {"Search", "video", "audio", "Filters", "Why?", "More like this"} <= {
        name.split(" (")[0] for name in seen if name
    }
    assert any(name.startswith("Play ") for name in seen)


def test_dark_and_light(page: Page, address: str) -> None:
    page.goto(address)
    ground = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.get_by_role("button", name="Switch between light and dark").click()
    dark = page.evaluate(ground)
    assert light != dark
    page.reload()
    assert page.evaluate(ground) == dark


def test_a_query_that_cannot_be_understood_says_what_to_do(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_role("searchbox").fill("漢字")
    page.keyboard.press("Enter")
    problem = page.locator(".notice.error")
    expect(problem.locator("h2")).not_to_be_empty()
    expect(problem.locator("p")).not_to_be_empty()
    expect(page.locator(".card")).to_have_count(0)


def test_before_anything_is_indexed_the_page_says_how_to_begin(page: Page, empty_address: str) -> None:
    page.goto(empty_address)
    page.get_by_role("searchbox").fill("a red room")
    page.keyboard.press("Enter")
    expect(page.locator(".notice.error")).to_contain_text("htav index")


def test_a_title_is_text_and_never_markup(page: Page, address: str) -> None:
    ask(page, address)
    assert page.evaluate(RETITLE, '<img src=x onerror="document.title=1">') == 200
    try:
        ask(page, address)
        assert any("<img" in title for title in page.locator(".card h3").all_inner_texts())
        assert page.title() != "1"
    finally:
        page.evaluate(RETITLE, "red")


@pytest.mark.parametrize("width", [380, 768, 1600])
def test_no_width_scrolls_sideways(page: Page, address: str, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    ask(page, address)
    page.get_by_role("button", name="Why?").first.click()
    expect(page.locator(".why svg").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= width

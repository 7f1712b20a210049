"""What the page says when something is refused, and where: beside what it is about, and aloud."""

import re
from pathlib import Path

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import ask, colour
from tests.media_files import tone, write_media

UNKNOWN = {"status": 401, "code": "unauthorized", "detail": "The API key is not known."}
SCOPE = {"status": 403, "code": "forbidden", "detail": "The API key lacks the scope 'search'."}
RATE = {
    "status": 429,
    "code": "rate_limited",
    "detail": "This key may ask 600 times a minute.",
    "hint": "Ask less often.",
}


@pytest.mark.parametrize("problem", [UNKNOWN, SCOPE])
def test_a_key_that_does_not_do_can_be_replaced(page: Page, address: str, problem: dict[str, object]) -> None:
    def guard(route: Route) -> None:
        if route.request.headers.get("x-api-key") == "the-right-key":
            route.fallback()
        else:
            route.fulfill(status=int(str(problem["status"])), json=problem)

    page.route("**/v1/search", guard)
    page.goto(f"{address}/?q=a+red+room")
    expect(page.get_by_role("alert")).to_contain_text(str(problem["detail"]))
    field = page.get_by_label("API key")
    for wrong in ("ключ", "two words"):
        field.fill(wrong)
        field.press("Enter")
        assert "Latin letters" in field.evaluate("field => field.validationMessage")
    assert page.evaluate("sessionStorage.length") == 0
    field.fill("another-key")
    field.press("Enter")
    page.reload()
    field.fill("the-right-key")
    field.press("Enter")
    expect(page.locator(".card h3")).to_have_count(3)


def test_who_asks_too_often_is_told_how_long_to_wait(page: Page, address: str) -> None:
    page.route("**/v1/search", lambda route: route.fulfill(status=429, headers={"Retry-After": "7"}, json=RATE))
    page.goto(f"{address}/?q=a+red+room")
    expect(page.get_by_role("alert")).to_contain_text("Try again in 7 s.")


def test_pictures_that_the_browser_cannot_decode_are_no_black_screen(page: Page, address: str, tmp_path: Path) -> None:
    file = write_media(
        tmp_path / "old.mp4", seconds=4, picture=lambda _: colour(9, 9, 9), codec="mpeg4", sound=tone(4, 44_100)
    )
    page.route("**/stream*", lambda route: route.fulfill(content_type="video/mp4", body=file.read_bytes()))
    ask(page, address)
    card = page.locator(".card", has_text="red")
    card.locator(".moments button").first.click()
    expect(card.get_by_role("alert")).to_have_text("This browser cannot play the file. Download it")


def test_sound_alone_is_played(page: Page, address: str, tmp_path: Path) -> None:
    file = write_media(tmp_path / "sound.mp4", codec=None, sound=tone(14, 44_100))
    no_picture = {"status": 404, "code": "no_picture"}
    page.route("**/thumbnail*", lambda route: route.fulfill(status=404, json=no_picture))
    page.route("**/stream*", lambda route: route.fulfill(content_type="video/mp4", body=file.read_bytes()))
    ask(page, address)
    card = page.locator(".card", has_text="blue")
    expect(card.locator(".wave")).to_be_visible()
    card.locator(".moments button").first.click()
    page.wait_for_function("() => document.querySelector('video')?.played.length > 0")
    expect(card.locator("video")).to_be_visible()


def test_a_thumbnail_that_is_refused_does_not_make_a_video_sound(page: Page, address: str) -> None:
    page.route("**/thumbnail*", lambda route: route.fulfill(status=503, json={"status": 503, "code": "unavailable"}))
    ask(page, address)
    card = page.locator(".card", has_text="red")
    expect(card.locator(".screen img")).to_have_count(0)
    expect(card.locator(".wave")).to_have_count(0)


def test_who_scrubs_past_the_moment_sees_on(page: Page, address: str) -> None:
    def shorten(route: Route) -> None:
        response = route.fetch()
        answer = response.json()
        for result in answer["results"]:
            result["moments"][0] |= {"start_s": 0.0, "end_s": 5.5}
        route.fulfill(response=response, json=answer)

    page.route("**/v1/search", shorten)
    ask(page, address)
    page.locator(".card", has_text="blue").locator(".moments button").first.click()
    page.wait_for_function("() => document.querySelector('video')?.played.length > 0")
    page.evaluate("document.querySelector('video').currentTime = 6")
    page.wait_for_function("() => document.querySelector('video').currentTime > 6.5")


def test_a_why_that_fails_says_so_in_its_card(page: Page, address: str) -> None:
    ask(page, address)
    page.route("**/v1/search", lambda route: route.abort())
    card = page.locator(".card").last
    why = card.get_by_role("button", name="Why?")
    why.click()
    expect(card.get_by_role("alert")).to_contain_text("The service does not answer")
    expect(why).to_have_attribute("aria-expanded", "false")
    page.unroute("**/v1/search")
    why.click()
    expect(card.locator(".why")).to_be_visible()
    expect(card.get_by_role("alert")).to_have_count(0)


def test_a_filter_that_makes_no_sense_is_shown_and_told(page: Page, address: str) -> None:
    page.goto(address)
    filters = page.get_by_role("button", name=re.compile("^Filters"))
    filters.click()
    shortest = page.get_by_label("At least")
    shortest.fill("-5")
    shortest.press("Tab")
    expect(filters).to_have_text("Filters")
    filters.click()
    page.get_by_role("searchbox").fill("a red room")
    page.get_by_role("searchbox").press("Enter")
    expect(shortest).to_be_focused()
    expect(filters).to_have_attribute("aria-expanded", "true")
    shortest.fill("3.5")
    shortest.press("Enter")
    expect(page.locator(".card h3")).to_have_count(2)


@pytest.mark.parametrize(
    ("field", "text", "holds"),
    [
        ("tags", f"home, {'g' * 64}", True), ("tags", f"home, {'g' * 65}", False), ("tags", "a," * 25, False),
        ("tags", " tag one , " * 24 + "b", True), ("tags", "tag , " * 12 + "g" * 65, False),
        ("longest", "10000000", True), ("longest", "1e8", False),
    ],
)  # fmt: skip
def test_the_fields_take_what_the_service_takes(page: Page, address: str, field: str, text: str, holds: bool) -> None:
    page.goto(address)
    page.get_by_role("button", name="Filters").click()
    entry = page.locator(f"[name={field}]")
    entry.fill(text)
    assert entry.evaluate("field => field.checkValidity()") is holds


def test_a_folder_is_no_start_of_a_name(page: Page, address: str) -> None:
    page.goto(address)
    page.get_by_role("button", name="Filters").click()
    for typed in ("holidays/2026", "holidays/2026/"):
        page.get_by_label("Folder").fill(typed)
        page.get_by_role("searchbox").fill("a red room")
        with page.expect_request("**/v1/search") as asked:
            page.get_by_role("searchbox").press("Enter")
        assert asked.value.post_data_json["filter"] == {"path_prefix": "holidays/2026/"}


def test_the_size_of_the_library_is_that_of_the_library(page: Page, address: str) -> None:
    ask(page, address)
    page.get_by_role("button", name="Filters").click()
    page.get_by_label("At most").fill("3.5")
    page.get_by_label("At most").press("Tab")
    expect(page.locator(".card h3")).to_have_count(1)
    expect(page.locator("#library")).to_have_text("3 videos, 21 s")


def test_long_names_do_not_scroll_sideways(page: Page, address: str) -> None:
    page.set_viewport_size({"width": 360, "height": 700})
    ask(page, address)
    page.evaluate(
        """() => {
            document.getElementById("status").textContent = "long_name_".repeat(12);
            const notice = Object.assign(document.createElement("div"), {className: "notice"});
            notice.innerHTML = `<p>${"unknownword".repeat(9)}</p>`;
            document.getElementById("notices").append(notice);
        }"""
    )
    assert page.evaluate("document.documentElement.scrollWidth") <= 360


CONTRAST = """([element, pseudo]) => {
    const numbers = (colour) => colour.match(/[\\d.]+/g).map(Number);
    const light = (colour) => {
        const linear = (c) => (c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
        const [r, g, b] = numbers(colour).map((c) => linear(c / 255));
        return 0.2126 * r + 0.7152 * g + 0.0722 * b;
    };
    const style = getComputedStyle(element, pseudo);
    let under = element;
    while (numbers(getComputedStyle(under).backgroundColor)[3] === 0) under = under.parentElement;
    const back = numbers(getComputedStyle(under).backgroundColor);
    const seen = numbers(style.color).slice(0, 3).map((c, i) => c * style.opacity + back[i] * (1 - style.opacity));
    const pair = [light(`rgb(${seen})`), light(`rgb(${back})`)].sort((a, b) => a - b);
    return (pair[1] + 0.05) / (pair[0] + 0.05);
}"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("where", "part"), [("#query", "::placeholder"), (".toggle:last-child span", "")])
def test_text_stands_out_from_its_ground(page: Page, address: str, scheme: str, where: str, part: str) -> None:
    page.emulate_media(color_scheme="dark" if scheme == "dark" else "light")
    page.goto(address)
    handle = page.locator(where).element_handle()
    assert page.evaluate(CONTRAST, [handle, part or None]) >= 4.5

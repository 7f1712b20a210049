"""Back, Forward, reload and links within the page: the address bar holds what is on screen."""

import re

from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import ask

NOBODY = "00000000-0000-5000-8000-000000000000"
GONE = "This video is no longer in the library"


def more_like(page: Page, name: str) -> None:
    page.locator(".card", has_text=name).get_by_role("button", name="More like this").click()


def test_back_from_the_first_query_brings_the_empty_page(page: Page, address: str) -> None:
    page.goto(address)
    title = page.title()
    ask(page, address)
    page.go_back()
    expect(page.locator(".card")).to_have_count(0)
    expect(page.locator("#status")).to_be_empty()
    expect(page.get_by_role("searchbox")).to_have_value("")
    expect(page.get_by_role("searchbox")).to_be_focused()
    assert page.title() == title
    page.go_forward()
    expect(page.locator(".card")).to_have_count(3)


def test_what_is_chosen_beside_the_query_is_in_the_address(page: Page, address: str) -> None:
    """So that a reload, Back and a sent link bring the same list."""
    ask(page, address)
    page.get_by_role("button", name="Filters").click()
    page.locator("[name=has_audio]").select_option("false")
    expect(page.locator(".card h3")).to_have_text(["1.green"])
    expect(page).to_have_url(re.compile(r"\?q=a\+red\+room&has_audio=false$"))
    page.reload()
    expect(page.locator(".card h3")).to_have_text(["1.green"])
    expect(page.locator("#filters-count")).to_have_text(" (1)")
    page.go_back()
    expect(page.locator(".card h3")).to_have_count(3)
    expect(page.locator("[name=has_audio]")).to_have_value("")
    page.get_by_text("Sound", exact=True).first.click()
    expect(page).to_have_url(re.compile("&modality=video$"))


def test_an_address_with_what_no_field_holds_counts_as_usual(page: Page, address: str) -> None:
    page.goto(f"{address}/?q=a+red+room&shortest=-5&limit=7&has_audio=maybe&modality=smell")
    expect(page.locator(".card h3")).to_have_count(3)
    expect(page.locator("#filters-count")).to_be_empty()
    expect(page.locator("[name=modality]:checked")).to_have_count(2)


def test_a_query_of_spaces_is_the_empty_page(page: Page, address: str) -> None:
    page.goto(f"{address}/?q=%20")
    expect(page.get_by_role("searchbox")).to_be_focused()
    expect(page.locator(".notice")).to_have_count(0)
    expect(page.locator("#status")).to_be_empty()


def test_more_like_this_has_its_place_in_history(page: Page, address: str) -> None:
    ask(page, address)
    more_like(page, "red")
    expect(page.locator("#status b")).to_have_text("Like “red”")
    expect(page).to_have_url(re.compile(r"\?q=a\+red\+room&like=[0-9a-f-]{36}$"))
    page.reload()
    expect(page.locator("#status b")).to_have_text("Like “red”")
    expect(page.locator(".card h3")).to_have_count(2)
    page.go_back()
    expect(page.locator("#status b")).to_have_text("a red room")
    expect(page.locator(".card h3")).to_have_count(3)


def test_more_like_this_begins_at_its_first_result(page: Page, address: str) -> None:
    page.set_viewport_size({"width": 700, "height": 300})
    ask(page, address)
    page.locator(".card").last.get_by_role("button", name="More like this").press("Enter")
    expect(page.locator("#status b")).to_contain_text("Like")
    expect(page.locator("#results")).to_be_focused()
    expect(page.locator("#status")).to_be_in_viewport()


def test_a_video_that_is_gone_leaves_the_results(page: Page, address: str) -> None:
    page.route("**/similar?*", lambda route: route.continue_(url=f"{address}/v1/videos/{NOBODY}/similar?limit=10"))
    ask(page, address)
    more_like(page, "red")
    expect(page.locator(".card", has_text="red").get_by_role("alert")).to_contain_text(GONE)
    expect(page.locator(".card h3")).to_have_count(3)
    expect(page).to_have_url(re.compile(r"\?q=a\+red\+room$"))
    page.goto(f"{address}/?q=a+red+room&like={NOBODY}")
    expect(page.get_by_role("alert")).to_contain_text(GONE)


def test_the_same_query_again_adds_nothing_to_history(page: Page, address: str) -> None:
    ask(page, address)
    length = page.evaluate("history.length")
    with page.expect_response("**/v1/search"):
        page.get_by_role("searchbox").press("Enter")
    assert page.evaluate("history.length") == length


def test_the_skip_link_searches_nothing(page: Page, address: str) -> None:
    ask(page, address)
    asked: list[str] = []

    def count(route: Route) -> None:
        asked.append(route.request.url)
        route.fallback()

    page.route("**/v1/search", count)
    page.get_by_role("link", name="Skip to the results").press("Enter")
    expect(page).to_have_url(re.compile("#results$"))
    page.wait_for_timeout(300)
    assert asked == []

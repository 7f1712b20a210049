"""The keyboard's focus stays where the user is when what is under it changes."""

from playwright.sync_api import Page, expect

from tests.browser.conftest import ask, ask_for_one


def test_the_cover_gives_the_focus_to_the_video(page: Page, address: str) -> None:
    ask(page, address)
    card = page.locator(".card", has_text="blue")
    card.locator(".cover").press("Enter")
    expect(card.locator("video")).to_be_focused()


def test_why_keeps_the_focus(page: Page, address: str) -> None:
    ask(page, address)
    why = page.get_by_role("button", name="Why?").first
    why.press("Enter")
    expect(page.locator(".why")).to_be_visible()
    expect(why).to_be_focused()


def test_show_more_gives_the_focus_to_the_first_new_result(page: Page, address: str) -> None:
    ask_for_one(page, address)
    page.get_by_role("button", name="Show more").press("Enter")
    expect(page.locator(".card")).to_have_count(2)
    expect(page.locator(".card").nth(1)).to_be_focused()

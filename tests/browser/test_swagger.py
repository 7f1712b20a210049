"""Swagger UI with no network: its files are ours, and its examples work when pressed."""

import json

from playwright.sync_api import Page, expect


def test_pressing_execute_on_search_answers_200(page: Page, address: str) -> None:
    page.goto(f"{address}/docs")
    operation = page.locator(".opblock-post", has=page.locator("[data-path='/v1/search']"))
    operation.locator(".opblock-summary").click()
    try_it = operation.get_by_role("button", name="Try it out")
    if try_it.count():
        try_it.click()
    with page.expect_response(lambda response: response.url.endswith("/v1/search")) as caught:
        operation.get_by_role("button", name="Execute").click()
    assert caught.value.status == 200
    expect(operation.locator(".live-responses-table tbody .response-col_status")).to_contain_text("200")
    shown = json.loads(caught.value.text())
    assert [result["rank"] for result in shown["results"]] == [1, 2, 3]


def test_every_operation_is_shown(page: Page, address: str) -> None:
    page.goto(f"{address}/docs")
    expect(page.locator(".opblock").first).to_be_visible()
    described = page.evaluate("fetch('openapi.json').then((answer) => answer.json())")
    operations = sum(
        len(set(methods) & {"get", "post", "put", "patch", "delete"}) for methods in described["paths"].values()
    )
    assert page.locator(".opblock").count() == operations > 10

"""Following a job from a page: `EventSource` opens a stream that has ended again, until it is told to stop."""

from playwright.sync_api import Page

FOLLOW = """async () => {
  const { jobs } = await (await fetch("v1/index-jobs")).json();
  const events = new EventSource(`v1/index-jobs/${jobs[0].id}/events`);
  const told = [];
  for (const kind of ["state", "file"]) events.addEventListener(kind, (event) => told.push(event.lastEventId));
  const closed = new Promise((resolve) => {
    events.onerror = () => events.readyState === EventSource.CLOSED && resolve(true);
  });
  const tooLate = new Promise((resolve) => setTimeout(resolve, 20000, false));
  return { told, closed: await Promise.race([closed, tooLate]) };
}"""


def test_the_events_of_a_finished_job_are_told_once(page: Page, address: str) -> None:
    page.goto(address)
    followed = page.evaluate(FOLLOW)
    assert followed["closed"], "the browser would ask for ever"
    assert len(followed["told"]) > 3 and len(set(followed["told"])) == len(followed["told"])

import json
import re
import time

import numpy as np
import pytest
from browser import PATIENCE_S, Browser, find_browser
from FluoroDenoiseLib import cli
from FluoroDenoiseLib.evaluation.readers_answers import read_answers
from FluoroDenoiseLib.evaluation.readers_key import QUESTIONS, read_key
from FluoroDenoiseLib.formats import read_run

pytestmark = pytest.mark.skipif(find_browser() is None, reason="no Chromium is installed (Debian: apt-get install chromium-headless-shell)")
RUNS = ("a", "b", "c")


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A page of three runs, of 16, 12 and 8 bits, noisy and by one other."""
    folder = tmp_path_factory.mktemp("study")
    random = np.random.default_rng(0)
    for place in ("runs", "others"):
        (folder / place).mkdir()
        for name, dtype, top in zip(RUNS, (np.uint16, np.uint16, np.uint8), (4000, 900, 250)):
            np.save(folder / place / f"{name}.npy", random.integers(0, top, (4, 30, 40)).astype(dtype))
    page = folder / "study.html"
    assert cli.main(["readers", str(page), str(folder / "runs"), "--presets", "--arm", f"secret_arm={folder / 'others'}"]) == 0
    return page


@pytest.fixture(scope="module")
def downloads(tmp_path_factory):
    return tmp_path_factory.mktemp("downloads")


@pytest.fixture(scope="module")
def browser(tmp_path_factory, downloads):
    """One browser for all, since starting it takes longest; every test has a reader of its own."""
    with Browser(tmp_path_factory.mktemp("profile"), downloads) as one:
        one.resize(1400, 900)
        yield one


def start(browser, page, reader):
    browser.open(page)
    browser.run("find('reader').value = ''")
    browser.write(reader)
    browser.press("Enter")
    shown(browser)


def shown(browser, number=None):
    """Wait until a case is on the screen; its number from 1."""
    at = "" if number is None else f" && find('whereabouts').textContent.startsWith('Case {number} ')"
    browser.wait_until("document.querySelectorAll('.question').length > 0 && find('notice').textContent === ''" + at)


def answer_all(browser, scores):
    """Press digits until all questions of the case are answered; scores are those pressed, in order."""
    for score in scores:
        browser.press(str(score))
    assert browser.run("groups().every(isAnswered)")


def downloaded(folder):
    """The one CSV in a folder, when it is there whole."""
    until = time.monotonic() + PATIENCE_S
    while not (found := [path for path in folder.glob("scores_*.csv") if path.stat().st_size]):
        assert time.monotonic() < until, "no file was saved"
        time.sleep(0.02)
    return found[0]


def test_a_reader_answers_everything_by_keys_and_the_saved_file_says_the_same(study, browser, downloads):
    key = read_key(study.with_suffix(".key.json"))
    start(browser, study, "Dr. Ärztin")
    pressed = {}
    for case in range(3):
        shown(browser, case + 1)
        scores = [1 + (case + index) % 5 for index in range(2 * len(QUESTIONS))]
        codes = browser.run("reading.codes")
        answer_all(browser, scores)
        pressed |= {code: scores[5 * place : 5 * place + 5] for place, code in enumerate(codes)}
        if case == 1:
            browser.run("find('comment').focus()")
            browser.write('sharp, but "flat"; really')
            browser.run("find('next').focus()")
        browser.press("n")
    browser.wait_until("!find('finish').hidden")
    browser.press("Enter")
    saved = downloaded(downloads)
    answers = read_answers(saved, key)
    assert len(answers) == 6 and {one.reader for one in answers} == {"Dr. Ärztin"}
    for one in answers:
        code = next(code for code, arm in key.cases[one.case].pictures.items() if arm == one.arm)
        assert list(one.scores.values()) == pressed[code] and one.seconds >= 0
        assert one.comment == ('sharp, but "flat"; really' if one.order == 2 else "")
    assert cli.main(["readers-join", str(study.with_suffix(".key.json")), str(saved)]) == 0


def test_the_page_shows_the_values_of_the_files(study, browser):
    key = read_key(study.with_suffix(".key.json"))
    start(browser, study, "Values")
    for case in browser.run("FACTS.cases"):
        for code in case["pictures"]:
            arm = key.cases[case["code"]].pictures[code]
            run = read_run(study.parent / ("runs" if arm == "noisy" else "others") / key.cases[case["code"]].run)
            script = f"unpackFrame(document.getElementById('{code}').textContent.split('\\n')[3], {case['width'] * case['height']}).then((one) => [...one])"
            levels = np.array(browser.run(script)).reshape(case["height"], case["width"])
            np.testing.assert_array_equal(levels * case["step"] + case["low"], run.frames[3])


def test_the_page_asks_nothing_of_the_network_and_may_not(study, browser):
    browser.requests.clear()
    start(browser, study, "Network")
    browser.press("n")
    refused = [f"fetch('{url}').then(() => false, () => true)" for url in ("https://example.org/", "http://127.0.0.1:9/")]
    assert all(browser.run(script) for script in refused)
    assert set(browser.requests) <= {study.as_uri(), "data:,"}


def test_the_reader_sees_no_name_of_an_arm_or_a_run(study, browser):
    start(browser, study, "Names")
    seen = browser.run("[...document.querySelectorAll('main:not([hidden])')].map((part) => part.outerHTML).join()").lower()
    assert "picture a" in seen
    assert not any(word in seen for word in ("noisy", "secret", ".npy"))


def test_every_reader_has_an_order_of_their_own_and_keeps_it(study, browser):
    browser.open(study)
    orders = "((name) => JSON.stringify([new Reading(name).order.map((one) => one.code), (reading = new Reading(name)).codes]))"
    readers = [f"reader {number}" for number in range(12)]
    found = [browser.run(f"{orders}({json.dumps(name)})") for name in readers]
    assert len(set(found)) > 3
    browser.open(study)
    assert [browser.run(f"{orders}({json.dumps(name.upper() + ' ')})") for name in readers] == found


def test_a_reader_who_comes_back_goes_on_where_they_were(study, browser):
    start(browser, study, "Back")
    shown(browser, 1)
    answer_all(browser, [3] * 10)
    browser.press("n")
    shown(browser, 2)
    browser.press("5")
    codes = browser.run("reading.codes")
    browser.open(study)
    assert browser.run("find('reader').value") == "Back" and browser.run("find('start').textContent") == "Go on"
    assert "1 of 3" in browser.run("find('found').textContent")
    browser.press("Enter")
    shown(browser, 2)
    assert browser.run("reading.codes") == codes
    assert browser.run("document.querySelectorAll('.question input:checked').length") == 1
    assert browser.run("reading.csv().trim().split('\\r\\n').length") == 3


def test_a_case_is_not_left_with_open_questions_and_can_be_seen_again(study, browser):
    start(browser, study, "Open")
    shown(browser, 1)
    browser.press("2")
    browser.press("n")
    assert browser.run("find('missing').textContent") == "9 questions are open." and browser.run("reading.at") == 0
    answer_all(browser, [2] * 9)
    browser.press("n")
    shown(browser, 2)
    browser.run("find('previous').click()")
    shown(browser, 1)
    browser.run("document.querySelector('.question input[value=\"5\"]').click()")
    assert browser.run("Object.values(reading.sheet().answers).flatMap((one) => Object.values(one)).sort().join('')") == "2" * 9 + "5"


def test_pictures_are_windowed_zoomed_stepped_and_played_together(study, browser):
    start(browser, study, "Together")
    browser.press("p")
    browser.wait_until("!viewer.playing")
    x, y = browser.run("(({ left, top, width, height }) => [left + width / 2, top + height / 2])(viewer.panels[0].canvas.getBoundingClientRect())")
    drawn = "viewer.panels.map((panel) => panel.canvas.toDataURL())"
    before, width = browser.run(drawn), browser.run("viewer.window.high - viewer.window.low")
    browser.mouse("mousePressed", x, y, button="left", clickCount=1)
    browser.mouse("mouseMoved", x + 120, y, button="left", buttons=1)
    browser.mouse("mouseReleased", x + 120, y, button="left", clickCount=1)
    assert browser.run("viewer.window.high - viewer.window.low") < width
    contrast = browser.run(drawn)
    assert all(one != other for one, other in zip(before, contrast))
    browser.run("document.querySelector('[data-window=standard]').click()")
    assert browser.run(drawn) == before
    browser.run("find('invert').click()")
    assert all(one != other for one, other in zip(before, browser.run(drawn)))
    browser.run("find('invert').click()")
    browser.mouse("mouseWheel", x + 30, y, deltaX=0, deltaY=-400)
    browser.wait_until("Math.abs(viewer.zoom.factor - 2) < 0.01 && viewer.zoom.x > 0.5")
    browser.run("find('fit').click()")
    assert browser.run(drawn) == before
    frame = browser.run("viewer.frame")
    browser.press(".")
    assert browser.run("viewer.frame") == (frame + 1) % 4 and browser.run(drawn) != before
    browser.run("find('frame').value = 0; find('frame').dispatchEvent(new Event('input'))")
    assert browser.run("viewer.frame") == 0 and browser.run("find('frame-number').value") == "1 of 4"
    browser.press("p")
    browser.wait_until("viewer.playing && viewer.frame > 0")
    browser.press("p")
    assert not browser.run("viewer.playing")


def test_a_damaged_page_says_so(study, browser, tmp_path):
    broken = tmp_path / "broken.html"
    broken.write_text(re.sub(r'(id="p\w+">)....', r"\1AAAA", study.read_text(encoding="utf-8")), encoding="utf-8")
    browser.open(broken)
    browser.write("Somebody")
    browser.press("Enter")
    browser.wait_until("!find('broken').hidden")
    assert "ask for the page again" in browser.run("find('reason').textContent")

"""Drive the page of emo-serve in a real browser: upload, video, cancel, a wrong file, a live session; screenshots.

    pip install playwright
    emo-serve &
    python benchmarks/browser.py --chromium /usr/bin/chromium -o screenshots

The live session's microphone is a file, which Chromium plays in a loop. Each step prints what was seen; the script ends
with 1 where one failed.
"""

import argparse
import sys
import time
from pathlib import Path

SAMPLES = Path(__file__).parents[1] / "datasets" / "samples"
PHONE = {"width": 390, "height": 844}
DESKTOP = {"width": 1280, "height": 900}


def wait_until(page, expression: str, seconds: float) -> None:
    """Wait until an expression is true; the page's Content-Security-Policy forbids playwright's wait_for_function."""
    end = time.monotonic() + seconds
    while not page.evaluate(expression):
        if time.monotonic() > end:
            raise TimeoutError(f"after {seconds:g} s: {expression} is not true")
        page.wait_for_timeout(100)


def make_video(page, sound: Path, out: Path, seconds: float, wait: float) -> None:
    """Upload a portrait and a sound, and wait until the video plays."""
    page.set_input_files("#image-input", SAMPLES / "portrait.png")
    page.set_input_files("#audio-input", sound)
    page.click("summary")
    page.fill("[name=seconds]", str(seconds))
    page.screenshot(path=out / "chosen.png", full_page=True)
    began = time.monotonic()
    page.click("#submit")
    page.wait_for_selector("#preview:not([hidden])", timeout=wait * 1000)
    page.screenshot(path=out / "progress.png", full_page=True)
    print("progress:", page.inner_text("#status"))
    page.wait_for_selector("#finished:not([hidden])", timeout=wait * 1000)
    wait_until(page, "document.getElementById('player').currentTime > 0.2", 30)
    played = page.evaluate("(v => [v.duration, v.videoWidth, v.videoHeight])(document.getElementById('player'))")
    print(f"upload to playing: {time.monotonic() - began:.1f} s; {played[0]:.2f} s of {played[1]}x{played[2]}")
    assert abs(played[0] - seconds) < 0.2, played
    page.screenshot(path=out / "finished.png", full_page=True)


def refuse_wrong_file(page, out: Path) -> None:
    """Choose a text file as the sound, and read the message."""
    page.click("#again")
    page.set_input_files("#audio-input", Path(__file__))
    page.click("#submit")
    wait_until(page, "document.getElementById('form-error').textContent !== ''", 60)
    print("wrong file:", message := page.inner_text("#form-error"))
    assert "browser.py can't be read" in message
    page.screenshot(path=out / "wrong.png", full_page=True)


def cancel(page, sound: Path, wait: float) -> None:
    """Cancel a job while it runs."""
    page.set_input_files("#audio-input", sound)
    page.fill("[name=seconds]", "")
    page.click("#submit")
    page.wait_for_selector("#preview:not([hidden])", timeout=wait * 1000)
    page.click("#cancel")
    page.wait_for_selector("#job", state="hidden", timeout=60_000)
    print("cancelled; earlier videos:", page.locator("#history li").count())
    assert page.locator("#history li").count() == 1


def talk(page, out: Path, seconds: float) -> None:
    """Run a live session and count the frames that the video shows."""
    page.click("#tab-live")
    page.click("#live-start")
    wait_until(page, "document.getElementById('live-video').currentTime > 0", 120)
    count = "document.getElementById('live-video').getVideoPlaybackQuality().totalVideoFrames"
    clock = "document.getElementById('live-video').currentTime"
    before, began = (page.evaluate(count), page.evaluate(clock)), time.monotonic()
    page.wait_for_timeout(seconds * 1000)
    after, elapsed = (page.evaluate(count), page.evaluate(clock)), time.monotonic() - began
    page.screenshot(path=out / "live.png", full_page=True)
    print(f"live: {after[1] - before[1]:.1f} s played in {elapsed:.1f} s, {after[0] - before[0]} frames shown")
    print("live status:", page.inner_text("#live-status"), "|", page.inner_text("#live-error"))
    assert after[1] - before[1] > 0.8 * elapsed
    page.click("#live-start")
    wait_until(page, "document.getElementById('live-status').textContent === 'Ended'", 10)


def main() -> None:
    """Run all steps, on a desktop's window and on a phone's."""
    from playwright.sync_api import sync_playwright

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--url", default="http://localhost:8000/", help="address of emo-serve")
    parser.add_argument("--chromium", help="path of a Chromium (default: playwright's own)")
    parser.add_argument("--seconds", type=float, default=2.0, help="length of the video")
    parser.add_argument("--live-seconds", type=float, default=6.0, help="length of the live session")
    parser.add_argument("--wait", type=float, default=300.0, help="longest wait for a video, seconds")
    parser.add_argument("-o", "--output", type=Path, default=Path("screenshots"))
    args = parser.parse_args()
    sound = SAMPLES / "song.wav"
    flags = ["--use-fake-ui-for-media-stream", "--use-fake-device-for-media-stream", "--no-sandbox"]
    flags += [f"--use-file-for-fake-audio-capture={sound.absolute()}", "--autoplay-policy=no-user-gesture-required"]
    problems: list[str] = []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=args.chromium, args=flags)
        for name, viewport in (("desktop", DESKTOP), ("phone", PHONE)):
            out = args.output / name
            out.mkdir(parents=True, exist_ok=True)
            options = {"viewport": viewport, "has_touch": name == "phone", "is_mobile": name == "phone"}
            context = browser.new_context(permissions=["microphone", "camera"], **options)
            page = context.new_page()
            page.on("console", lambda line: line.type == "error" and problems.append(line.text))
            page.on("pageerror", lambda error: problems.append(str(error)))
            page.goto(args.url)
            wait_until(page, "document.getElementById('model').textContent !== ''", 60)
            page.screenshot(path=out / "start.png", full_page=True)
            print(name, "width of the page:", page.evaluate("document.documentElement.scrollWidth"), viewport["width"])
            if name == "desktop":
                make_video(page, sound, out, args.seconds, args.wait)
                refuse_wrong_file(page, out)
                cancel(page, sound, args.wait)
            else:
                page.set_input_files("#image-input", SAMPLES / "portrait.png")
            talk(page, out, args.live_seconds)
            context.close()
        browser.close()
    print("errors of the page:", problems or "none")
    sys.exit(1 if [text for text in problems if "400" not in text] else 0)  # 400: the wrong file


if __name__ == "__main__":
    main()

"""A page in headless Chromium: what it says, asks for and shows. Without a browser a test is skipped and says why."""

import json
import shutil
from contextlib import contextmanager

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((path for name in NAMES if (path := shutil.which(name))), None)
DRIVER = shutil.which("chromedriver")
needs_browser = pytest.mark.skipif(
    BROWSER is None or DRIVER is None,
    reason="no Chromium with chromedriver is installed (Debian: apt-get install chromium chromium-driver)",
)
MOST_SECONDS = 120  # until all is drawn, on a machine with other work


@contextmanager
def browser(width=1280, height=900, **media):
    """A window. media: features of the screen, such as prefers_color_scheme="dark"."""
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    for word in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"):
        options.add_argument(word)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(DRIVER))
    try:
        driver.set_script_timeout(MOST_SECONDS)
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500}
        driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": name.replace("_", "-"), "value": value} for name, value in media.items()]
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
        yield Window(driver)
    finally:
        driver.quit()


class Window:
    def __init__(self, driver):
        self.driver = driver

    def open(self, path):
        """Load a file and wait until all of its figures are drawn."""
        self.driver.get(path.as_uri())
        self.driver.execute_async_script(
            "const done = arguments[0];"
            "(function wait() { document.documentElement.dataset.drawn === 'all' ? done() : setTimeout(wait, 20); })()"
        )
        return self

    def run(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def all(self, selector, script="e => e.textContent"):
        """What the script gives for each element that is shown."""
        shown = "[...document.querySelectorAll(arguments[0])].filter(e => e.checkVisibility())"
        return self.run(f"return {shown}.map({script})", selector)

    def settle(self):
        """Wait until figures have been drawn again."""
        self.driver.execute_async_script("const done = arguments[0]; setTimeout(done, 400)")

    def said(self):
        """Lines of the console."""
        return [f"{line['level']} {line['message']}" for line in self.driver.get_log("browser")]

    def asked_for(self):
        """Addresses of what was asked for, the page itself and data within it left out."""
        told = [json.loads(line["message"])["message"] for line in self.driver.get_log("performance")]
        sent = [one["params"]["request"]["url"] for one in told if one["method"] == "Network.requestWillBeSent"]
        return [url for url in sent if not url.startswith(("data:", "file:"))], sent

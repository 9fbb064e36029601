"""The help panel of the real frontend: it shows a node's page with its picture."""

import re

import pytest

pytest_plugins = ["browser_use"]

SIZE = "(picture) => picture.decode().then(() => [picture.naturalWidth, picture.naturalHeight])"


@pytest.mark.parametrize("node", ["RegionalSampler", "MaskGrid N KSamplers Advanced"])
def test_panel_shows_the_picture(frontend, node):
    added = frontend.add(node, 150, 80)
    frontend.select(added)
    frontend.settle()
    page = frontend.page
    page.get_by_test_id("info-button").click()
    help_page = page.locator(".node-help-content")
    help_page.get_by_role("heading", name="What goes wrong").wait_for()
    picture = help_page.locator("img")
    picture.wait_for()
    width, height = picture.evaluate(SIZE)
    assert width > 300 and height > 100
    assert picture.get_attribute("src").endswith(f"/docs/img/{node.replace(' ', '')}.webp")
    shown = picture.bounding_box()
    assert shown["width"] <= help_page.bounding_box()["width"]  # it is not cut off
    frontend.screenshot("panel")
    # The frontend asks for a page of its language first.
    frontend.said = [text for text in frontend.said if not re.search(r" 404 .*/docs/.*/en\.md$", text)]
    frontend.setting("Comfy.RightSidePanel.IsOpen", False)

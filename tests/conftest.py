"""Boots ComfyUI before any test module is imported, and divides the tests among workers."""

import os

import pytest


def pytest_configure(config):
    """Boots ComfyUI, unless this process only hands out the tests to workers."""
    hands_out = config.getoption("dist", "no") != "no" and not hasattr(config, "workerinput")
    if not hands_out:
        config.pluginmanager.import_plugin("shared_fixtures")


@pytest.hookimpl(tryfirst=True)  # before pytest chooses by marks
def pytest_collection_modifyitems(items):
    """Marks the tests with a server, and divides all among workers (pytest-xdist).

    One worker gets the tests with a browser, one those with a server alone, both the others file by file.
    """
    places = {}
    for item in items:
        fixtures = {*getattr(item, "fixturenames", ())}
        if {"server", "new_server"} & fixtures:
            item.add_marker("server")
        browser, server = "browser" in fixtures, item.get_closest_marker("server")
        group = "browser" if browser else "server" if server else item.path.name
        item.add_marker(pytest.mark.xdist_group(group))
        places[item] = 0 if browser else 1 if server else 2
    if "PYTEST_XDIST_WORKER" in os.environ:  # the longest groups first
        items.sort(key=places.__getitem__)

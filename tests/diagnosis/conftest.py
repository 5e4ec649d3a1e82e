import pytest

from tests.diagnosis.cases import EVERY


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """The page of each of the shared diagnoses, by the function that makes it."""
    folder = tmp_path_factory.mktemp("reports")
    return {made: made().save(folder / "deep" / made.__name__) for made in EVERY}


@pytest.fixture
def blank_pages(monkeypatch):
    """Reports without figures, which take seconds to draw."""
    monkeypatch.setattr(
        "penchant.diagnosis.linear._diagnosis.render", lambda d, *rest: d.headline
    )

"""Roles guessed from channel names, and roles given by the user."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_bio_superposition.core.errors import BioSuperpositionError, ChannelError
from napari_bio_superposition.core.types import ROLES, Acquisition, MultichannelImage
from napari_bio_superposition.imaging.roles import (
    check_roles,
    describe_ambiguity,
    find_candidates,
    guess_roles,
    parse_roles,
    resolve_roles,
)


def make_image(*names: str, roles: dict[str, str] | None = None) -> MultichannelImage:
    return MultichannelImage(
        pixels=np.zeros((len(names), 8, 8), np.uint16),
        channel_names=names,
        roles=roles or {},
        full_scale=65535,
        pixel_size_um=None,
        acquisition=Acquisition(id="a"),
    )


@pytest.mark.parametrize(
    ("name", "role"),
    [
        ("Hoechst 33342", "nuclei"),
        ("HOECHST33342", "nuclei"),
        ("H33342", "nuclei"),
        ("dapi", "nuclei"),
        ("Nuclei", "nuclei"),
        ("ch1-DAPI", "nuclei"),
        ("nucleoli", ""),
        ("TMRM", "mitochondria"),
        ("MitoTDR", "mitochondria"),
        ("MitoTracker Deep Red", "mitochondria"),
        ("MitoSOX", "mitochondria"),
        ("Mitochondria", "mitochondria"),
        ("mitosis", ""),
        ("mitotic index", ""),
        ("LysoTracker", "lysosomes"),
        ("LAMP1", "lysosomes"),
        ("lysozyme", ""),
        ("SYTOX Green", "death"),
        ("Cytox", "death"),
        ("PI", "death"),
        ("PI (561)", "death"),
        ("Propidium iodide", "death"),
        ("TO-PRO-3", "death"),
        ("TOTO-3", "death"),
        ("7-AAD", "death"),
        ("dead cells", "death"),
        ("spindle", ""),
        ("PI3K", ""),
        ("PIP2", ""),
        ("SYTO14", ""),
        ("AF647", ""),
        ("channel 1", ""),
        ("", ""),
    ],
)
def test_one_name(name: str, role: str) -> None:
    assert guess_roles([name]) == ({role: name} if role else {})


def test_roles_come_in_the_order_of_the_model() -> None:
    assert guess_roles(("Sytox", "Lyso", "TMRM", "Hoechst")) == {
        "nuclei": "Hoechst",
        "mitochondria": "TMRM",
        "lysosomes": "Lyso",
        "death": "Sytox",
    }


def test_the_first_of_several_is_taken_with_a_warning() -> None:
    names = ("MitoTracker", "TMRM", "DAPI")
    assert guess_roles(names)["mitochondria"] == "MitoTracker"
    assert find_candidates(names)["mitochondria"] == ("MitoTracker", "TMRM")
    (warning,) = describe_ambiguity(names)
    assert "MitoTracker, TMRM all look like mitochondria; MitoTracker was taken" in warning
    assert describe_ambiguity(names, settled=["mitochondria"]) == []


def test_parse_roles() -> None:
    assert parse_roles("nuclei=H33342,mitochondria=MitoTDR") == {
        "nuclei": "H33342",
        "mitochondria": "MitoTDR",
    }
    assert parse_roles(" Nuclei = Hoechst 33342 , death= ,") == {
        "nuclei": "Hoechst 33342",
        "death": "",
    }
    assert parse_roles("nuclei=a=b") == {"nuclei": "a=b"}
    assert parse_roles("") == {}


@pytest.mark.parametrize("text", ["nuclei", "=DAPI", "nuclei=a,nuclei=b", "nuclei=a,b"])
def test_parse_roles_refuses(text: str) -> None:
    with pytest.raises(ChannelError):
        parse_roles(text)


@given(st.text(st.sampled_from("nuclei=,DAPI \t\0µ;death")))
def test_parse_roles_gives_roles_or_one_clear_error(text: str) -> None:
    try:
        roles = parse_roles(text)
    except BioSuperpositionError:
        return
    assert all(role and role == role.strip().lower() for role in roles)


@given(st.lists(st.text(max_size=20), max_size=8, unique=True))
def test_guesses_are_among_the_channels_and_never_share_one(names: list[str]) -> None:
    roles = guess_roles(names)
    assert set(roles) <= set(ROLES)
    assert set(roles.values()) <= set(names)
    assert len(set(roles.values())) == len(roles)


def test_overrides_replace_guesses_and_free_their_channel() -> None:
    image = make_image("DAPI", "TMRM", "x", roles={"nuclei": "DAPI", "mitochondria": "TMRM"})
    assert resolve_roles(image, {}) == {"nuclei": "DAPI", "mitochondria": "TMRM"}
    assert resolve_roles(image, {"death": "x"}) == {
        "nuclei": "DAPI",
        "mitochondria": "TMRM",
        "death": "x",
    }
    # TMRM now stands for lysosomes; it cannot stand for mitochondria as well.
    assert resolve_roles(image, {"lysosomes": "tmrm"}) == {"nuclei": "DAPI", "lysosomes": "TMRM"}
    assert resolve_roles(image, {"nuclei": ""}) == {"mitochondria": "TMRM"}


def test_channel_names_that_differ_in_case_only_need_the_exact_name() -> None:
    image = make_image("pi", "PI")
    assert resolve_roles(image, {"death": "PI"}) == {"death": "PI"}
    with pytest.raises(ChannelError, match="No channel 'Pi'"):
        resolve_roles(image, {"death": "Pi"})


def test_errors_list_channels_and_roles() -> None:
    image = make_image("DAPI", "TMRM")
    with pytest.raises(ChannelError, match=r"(?s)'Hoechst'.*DAPI, TMRM.*nuclei, mitochondria"):
        resolve_roles(image, {"nuclei": "Hoechst"})
    with pytest.raises(ChannelError, match=r"Unknown role 'nucleus'.*nuclei, mitochondria"):
        resolve_roles(image, {"nucleus": "DAPI"})
    with pytest.raises(ChannelError, match="'DAPI' is given for the roles nuclei, death"):
        resolve_roles(image, {"nuclei": "DAPI", "death": "dapi"})


def test_further_roles_have_to_be_announced() -> None:
    image = make_image("DAPI", "tau")
    with pytest.raises(ChannelError, match="Unknown role 'tau'"):
        resolve_roles(image, {"tau": "tau"})
    assert resolve_roles(image, {"tau": "tau"}, extra_roles=["tau"]) == {"tau": "tau"}


def test_roles_are_checked_before_any_image_is_read() -> None:
    assert check_roles({"nuclei": "DAPI", "death": ""}, extra_roles=["axons"])[-1] == "axons"
    with pytest.raises(ChannelError, match=r"'nucleii'.*nuclei, mitochondria"):
        check_roles({"nucleii": "DAPI"})
    with pytest.raises(ChannelError, match="nuclei, death"):
        check_roles({"nuclei": "DAPI", "death": "DAPI"})

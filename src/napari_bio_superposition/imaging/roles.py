"""What the channels stand for: guesses by name, and the user's own words for it. No pixels."""

import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from napari_bio_superposition.core.errors import ChannelError, list_choices
from napari_bio_superposition.core.types import (
    DEATH,
    LYSOSOMES,
    MITOCHONDRIA,
    NUCLEI,
    ROLES,
    MultichannelImage,
)

# Each pattern has to match a whole word, so that "PI" is not found in "spindle". A channel takes
# the first role that fits: a death dye binds DNA too, hence death before nuclei. Annexin is left
# out on purpose: it stains the membrane, and the death rate is measured inside nuclei.
_WORDS: Final[Mapping[str, str]] = {
    DEATH: r"sytox\w*|cytox\w*|pi|propidium\w*|toto\d*|topro\d*|ethd\d*|7aad|death|dead",
    MITOCHONDRIA: r"tmrm|tmre|mito(?!sis|tic)\w*|tomm?20\w*",
    LYSOSOMES: r"lyso(?!z)\w*|lamp[12]\w*",
    NUCLEI: r"hoechst\w*|dapi\w*|h?33342|h?33258|nuc(?!leol)\w*|draq5",
}
_PATTERNS: Final = {role: re.compile(f"(?:{words})") for role, words in _WORDS.items()}
_SEPARATORS: Final = re.compile(r"[^0-9a-z]+")


def guess_roles(channel_names: Sequence[str]) -> dict[str, str]:
    """Guess the role of each channel by its name.

    Parameters
    ----------
    channel_names
        As the file names them; upper and lower case are the same.

    Returns
    -------
    dict
        Role to channel name; the first channel where several fit (see `find_candidates`).
    """
    return {role: names[0] for role, names in find_candidates(channel_names).items()}


def find_candidates(channel_names: Sequence[str]) -> dict[str, tuple[str, ...]]:
    """Return, for each role in the order of `ROLES`, all channels whose name fits it."""
    guesses = [(_guess_role(name), name) for name in channel_names]
    candidates = {role: tuple(name for guess, name in guesses if guess == role) for role in ROLES}
    return {role: names for role, names in candidates.items() if names}


def describe_ambiguity(channel_names: Sequence[str], settled: Iterable[str] = ()) -> list[str]:
    """Return one sentence for each role that several channels fit, unless the user *settled* it."""
    return [
        f"The channels {list_choices(names)} all look like {role}; {names[0]} was taken. "
        "Set the roles to choose another."
        for role, names in find_candidates(channel_names).items()
        if len(names) > 1 and role not in settled
    ]


def _guess_role(channel_name: str) -> str:
    words = [word for word in _SEPARATORS.split(channel_name.lower()) if word]
    # "TO-PRO-3" and "7-AAD" are written with and without hyphens.
    joined = ["".join(pair) for pair in itertools.pairwise(words)]
    for role, pattern in _PATTERNS.items():
        if any(pattern.fullmatch(word) for word in (*words, *joined)):
            return role
    return ""


def parse_roles(text: str) -> dict[str, str]:
    """Parse ``"nuclei=H33342,mitochondria=MitoTDR"``, as given on the command line.

    Parameters
    ----------
    text
        Pairs of role and channel name, separated by commas; ``"death="`` means that the image has
        no such channel. Names that hold a comma cannot be written this way.

    Returns
    -------
    dict
        Role to channel name, in the order given.

    Raises
    ------
    ChannelError
        Where a pair is not of this form, or a role is given twice.
    """
    roles: dict[str, str] = {}
    for pair in filter(None, (part.strip() for part in text.split(","))):
        role, equals, channel = (part.strip() for part in pair.partition("="))
        if not equals or not role:
            raise ChannelError(
                f"{pair!r} is no role; write role=channel, separated by commas, for instance "
                f"nuclei=DAPI,mitochondria=TMRM. The roles are {list_choices(ROLES)}."
            )
        if role.lower() in roles:
            raise ChannelError(f"The role {role!r} is given twice in {text!r}. Give it once.")
        roles[role.lower()] = channel
    return roles


def resolve_roles(
    image: MultichannelImage,
    overrides: Mapping[str, str],
    *,
    extra_roles: Iterable[str] = (),
) -> dict[str, str]:
    """Combine the roles of *image* with the user's own.

    Parameters
    ----------
    image
        Its channels are the valid names; its roles stay where nothing overrides them.
    overrides
        Role to channel name (upper and lower case matter only where two channels differ by nothing
        else); an empty name takes the role away.
    extra_roles
        Valid roles beside `ROLES`, for instance those a model's card names.

    Returns
    -------
    dict
        Role to channel name, for `MultichannelImage.with_roles`.

    Raises
    ------
    ChannelError
        Where a role or a channel is unknown, or one channel gets two roles.
    """
    valid = check_roles(overrides, extra_roles=extra_roles)
    chosen = {role: _find_channel(image, role, name) for role, name in overrides.items() if name}
    _check_used_once(chosen)
    kept = {
        role: name
        for role, name in image.roles.items()
        if role not in overrides and name not in chosen.values()
    }
    return {role: {**kept, **chosen}[role] for role in valid if role in {**kept, **chosen}}


def check_roles(
    overrides: Mapping[str, str], *, extra_roles: Iterable[str] = ()
) -> tuple[str, ...]:
    """Check what can be checked of the user's roles without an image; return the valid roles.

    Parameters
    ----------
    overrides
        Role to channel name.
    extra_roles
        Valid roles beside `ROLES`.

    Raises
    ------
    ChannelError
        Where a role is unknown, or one channel gets two roles.
    """
    valid = (*ROLES, *(role for role in extra_roles if role not in ROLES))
    if unknown := [role for role in overrides if role not in valid]:
        raise ChannelError(
            f"Unknown role {unknown[0]!r}. Choose one of the roles {list_choices(valid)}."
        )
    _check_used_once({role: name for role, name in overrides.items() if name})
    return valid


def _find_channel(image: MultichannelImage, role: str, name: str) -> str:
    if name in image.channel_names:
        return name
    alike = [channel for channel in image.channel_names if channel.lower() == name.lower()]
    if len(alike) == 1:
        return alike[0]
    raise ChannelError(
        f"No channel {name!r} for the role {role!r} in image {image.id}; its channels are "
        f"{list_choices(image.channel_names)}. Choose one of these, or an empty name for none; "
        f"the roles are {list_choices(ROLES)}."
    )


def _check_used_once(roles: Mapping[str, str]) -> None:
    for name in set(roles.values()):
        using = [role for role, channel in roles.items() if channel == name]
        if len(using) > 1:
            raise ChannelError(
                f"The channel {name!r} is given for the roles {list_choices(using)}. "
                "Give each role a channel of its own."
            )

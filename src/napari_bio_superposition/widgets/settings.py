"""Choices of the Analyse widget that survive a restart, kept by napari's preferences. No Qt."""

import json
from dataclasses import dataclass, fields, replace
from typing import Any, Final

PLUGIN: Final = "napari-bio-superposition"
_SECTION: Final = "analyse"


@dataclass(frozen=True, kw_only=True)
class AnalyseSettings:
    """The last choices of the user; defaults are those of `AnalyzeConfig` and of the manifest."""

    model: str = "small"
    """Name or folder of the feature model."""
    device: str = "auto"
    """Compute device."""
    overlay_opacity: float = 0.8
    """Opacity of overlays, 0 to 1."""
    scale_mode: str = "fixed"
    """Colour scale of overlays: `fixed` or `image`."""
    parameters: str = ""
    """Advanced parameters that differ from their defaults, as JSON."""

    def advanced(self) -> dict[str, Any]:
        """Return the advanced parameters as nested plain values; empty where unreadable."""
        try:
            values = json.loads(self.parameters or "{}")
        except ValueError:
            return {}
        return values if isinstance(values, dict) else {}

    def with_advanced(self, values: dict[str, Any]) -> "AnalyseSettings":
        """Return the settings with other advanced parameters."""
        return replace(self, parameters=json.dumps(values, sort_keys=True) if values else "")


def load_settings() -> AnalyseSettings:
    """Return what the user chose last; the defaults where napari does not know the plugin."""
    section = _find_section()
    if section is None:
        return AnalyseSettings()
    return AnalyseSettings(**{f.name: getattr(section, f.name) for f in fields(AnalyseSettings)})


def store_settings(settings: AnalyseSettings) -> None:
    """Keep the choices for the next start; napari writes them to its own folder."""
    section = _find_section()
    if section is None:
        return
    for field in fields(AnalyseSettings):
        value = getattr(settings, field.name)
        if getattr(section, field.name) != value:
            setattr(section, field.name, value)


def _find_section() -> Any:
    """Return napari's section of our settings, or ``None`` outside a napari that knows us."""
    from napari.settings import get_plugin_settings

    try:
        return getattr(get_plugin_settings(PLUGIN), _SECTION)
    except KeyError:
        return None

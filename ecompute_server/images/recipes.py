"""The images that can be built, by name."""

from __future__ import annotations

from collections.abc import Mapping

from ecompute_server.images.debian.recipe import Debian
from ecompute_server.images.micro import Micro
from ecompute_server.images.recipe import Recipe, Variant

RECIPES: Mapping[str, Recipe] = {"debian": Debian(), "micro": Micro()}
VARIANTS = {"debian-systemd": Variant("debian", "init=systemd")}

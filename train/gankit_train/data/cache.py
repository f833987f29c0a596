"""Where downloaded and packed data is cached."""

import os
from pathlib import Path


def cache_folder() -> Path:
    """Returns the folder of downloaded and packed data: `$GANKIT_CACHE`, else the user's cache folder."""
    from platformdirs import user_cache_path

    return Path(os.environ.get("GANKIT_CACHE") or user_cache_path("gankit"))

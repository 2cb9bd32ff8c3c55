from typing import Any


def states(stage: Any) -> dict[str, Any]:
    return {}

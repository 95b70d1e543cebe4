"""A ``robustness.json`` with made-up figures: small, and in the shape that evaluations write."""

from typing import Any

EPS = 4 / 255


def arm(name: str, kind: str, clean: float, static: float, adaptive: float, **told: Any) -> dict:
    """One row; accuracy falls along a line over ε."""
    sweep = {
        f"{EPS * factor:.6f}": {
            "static": round(max(clean - (clean - static) * factor, 0.0), 3),
            "adaptive": round(max(clean - (clean - adaptive) * factor, 0.0), 3),
        }
        for factor in (0.0, 0.25, 0.5, 1.0, 1.5, 2.0)
    }
    low, high = max(adaptive - 0.04, 0.0), min(adaptive + 0.04, 1.0)
    row = {"name": name, "kind": kind, "seed": 0, "task": "object", "n": 500, "clean": clean}
    row |= {"static": static, "adaptive": adaptive, "wilson": [low, high], "sweep": sweep}
    return row | told


def synthetic_record() -> dict[str, Any]:
    """Return a whole record, of which one self-test failed."""
    return {
        "arms": [
            arm("none", "undefended", 0.94, 0.08, 0.08),
            arm("factorworld-robust", "shipped", 0.93, 0.9, 0.61),
            arm("FARE", "fine-tuned", 0.95, 0.89, 0.43),
            arm("FARE", "fine-tuned", 0.95, 0.88, 0.41, seed=1, sweep={}),
            arm("reconstruction", "training-free", 0.92, 0.31, 0.02),
            arm("mean shift", "training-free", 0.9, 0.2, 0.1, sweep={}),
            arm("none", "undefended", 0.8, 0.5, 0.4, task="backdrop", sweep={}),
        ],
        "tested": {"name": "factorworld-robust", "seed": 0},
        "self_tests": {
            "gradient": {"passed": True, "figure": 1.0, "told": "Every gradient is above 0."},
            "large_eps": {"passed": False, "figure": 0.2, "told": "At ε = 0.5 a fifth is right."},
        },
        "claim_c5": {
            "verdict": "not supported",
            "reason": "CrossD leads TextD.",
            "differences": [],
        },
        "beats_fare": {"verdict": "supported", "reason": "By 0.18 <b>.", "differences": []},
        "settings": {"eps": EPS},
        "model": "factorworld",
    }

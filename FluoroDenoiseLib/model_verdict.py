"""What a model's safety report found, as its card tells it, and the sentences it is used with."""

from __future__ import annotations


def verdict_of(card: dict) -> dict | None:
    """The verdict in a card, or None where there is none of these weights (see evaluation/safety.py for its fields)."""
    verdict = card.get("safety")
    if not isinstance(verdict, dict) or verdict.get("weights_sha256") != card.get("weights_sha256"):
        return None
    return verdict


def verdict_in_words(card: dict) -> str:
    """One sentence about a card's verdict, or about its absence."""
    verdict = verdict_of(card)
    if verdict is None:
        return "The safety of these weights has not been checked; fluorodenoise evaluate --safety does."
    form = "" if verdict.get("form") == "whole" else "short "
    if not verdict.get("passed"):
        return f"These weights fail the {form}safety report: {'; '.join(verdict.get('failed', []))}."
    limits = len(verdict.get("limits", []))
    return f"These weights pass the {form}safety report" + (f", with {limits} limits beyond it." if limits else ".")


def verdict_warnings(card: dict) -> tuple[str, ...]:
    """What to say wherever a model is used: nothing of one that passed, or that nobody has judged."""
    verdict = verdict_of(card)
    if verdict is None or verdict.get("passed"):
        return ()
    failed = [text for text in verdict.get("failed", []) if isinstance(text, str)]
    most = "; ".join(failed[:3]) + (f"; and {len(failed) - 3} more" if len(failed) > 3 else "")
    return (f"Model {card.get('name', '')} fails its safety report ({most}); compare its result with the original.",)

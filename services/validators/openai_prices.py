"""What a call costs by list price: an estimate for the log, not a bill."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Price:
    """US dollars per million tokens."""

    prompt: float
    cached_prompt: float
    completion: float


# OpenAI's standard prices for text, https://developers.openai.com/api/docs/pricing, as the public collection
# genai-prices 0.2.3 had them in November 2026.
PRICES = {
    "gpt-6.1-sol": Price(2.00, 0.10, 10.00),
    "gpt-6.1-terra": Price(1.00, 0.05, 5.00),
    "gpt-6-astra": Price(10.00, 1.00, 50.00),
    "gpt-6-sol": Price(2.00, 0.20, 10.00),
    "gpt-6-luna": Price(0.10, 0.01, 0.50),
    "gpt-5.6-sol": Price(4.00, 0.40, 20.00),
    "gpt-5.6-terra": Price(2.00, 0.20, 12.00),
    "gpt-5.6-luna": Price(0.20, 0.02, 1.20),
    "gpt-5.5": Price(5.00, 0.50, 30.00),
    "gpt-5.4": Price(2.50, 0.25, 15.00),
    "gpt-5.4-mini": Price(0.75, 0.075, 4.50),
    "gpt-5.4-nano": Price(0.20, 0.02, 1.25),
    "gpt-5.2": Price(1.75, 0.175, 14.00),
    "gpt-5.1": Price(1.25, 0.125, 10.00),
    "gpt-5": Price(1.25, 0.125, 10.00),
    "gpt-5-mini": Price(0.25, 0.025, 2.00),
    "gpt-5-nano": Price(0.05, 0.005, 0.40),
    "gpt-4.1": Price(2.00, 0.50, 8.00),
    "gpt-4.1-mini": Price(0.40, 0.10, 1.60),
    "gpt-4.1-nano": Price(0.10, 0.025, 0.40),
    "gpt-4o": Price(2.50, 1.25, 10.00),
    "gpt-4o-mini": Price(0.15, 0.075, 0.60),
    "o3": Price(2.00, 0.50, 8.00),
    "o3-mini": Price(1.10, 0.55, 4.40),
    "o4-mini": Price(1.10, 0.275, 4.40),
}

# Larger prompts are dearer, by a rule that differs from model to model.
_LONG_PROMPT_TOKENS = 272_000
_SNAPSHOT = re.compile(r"-\d{4}-\d{2}-\d{2}$")
_MILLION = 1_000_000


def price_of(model: str) -> Price | None:
    """The list price of a model; a dated snapshot costs what its model does."""
    return PRICES.get(_SNAPSHOT.sub("", model))


def cost_usd(price: Price | None, prompt_tokens: int, cached_tokens: int, completion_tokens: int) -> float | None:
    """Estimate a call's cost; None where no price is known."""
    if price is None or prompt_tokens > _LONG_PROMPT_TOKENS:
        return None
    cached = min(cached_tokens, prompt_tokens)
    dollars = (prompt_tokens - cached) * price.prompt + cached * price.cached_prompt
    return (dollars + completion_tokens * price.completion) / _MILLION

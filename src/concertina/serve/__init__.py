"""Serving: the right subnet for each request."""

from concertina.serve.policy import Decision, Load, Offer, Policy, Rules, Wish
from concertina.serve.session import Session
from concertina.serve.settings import Answer, Request, Settings

__all__ = [
    "Answer",
    "Decision",
    "Load",
    "Offer",
    "Policy",
    "Request",
    "Rules",
    "Session",
    "Settings",
    "Wish",
]

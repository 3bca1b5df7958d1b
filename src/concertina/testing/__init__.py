"""The contract suite: for our own tests and for those of third parties."""

from concertina.testing.contract import CHECKS, ContractError, Subject, make_subject

__all__ = ["CHECKS", "ContractError", "Subject", "make_subject"]

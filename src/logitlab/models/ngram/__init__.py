"""A language model of counts: byte pairs, Kneser-Ney smoothing, and the Brothers Grimm."""

from logitlab.models.ngram.model import NGram

__all__ = ["NGram"]

r"""Byte-level byte-pair encoding: any text as tokens that were learned from some texts.

Sennrich, Haddow & Birch 2016 (merges), Radford et al. 2019 (bytes, and words before merges).
"""

from __future__ import annotations

import heapq
import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import chain, pairwise
from typing import Self, TypeAlias

from logitlab.checks import ParameterError, Range, check_integer
from logitlab.vocabulary import Vocabulary

__all__ = ["BPE", "END", "check_texts"]

Pair: TypeAlias = tuple[int, int]

END = b"<|end|>"

# English contractions; else letters, one digit or marks, each with a space before them; else white
# space, which leaves its last space to what follows. Every character is in one of these.
_SPLIT = re.compile(r"'(?:[sdmt]|ll|ve|re)\b| ?[^\W\d_]+| ?\d| ?(?:[^\w\s]|_)+|\s+(?!\S)|\s+")
_MOST_WORDS = 1 << 16  # whose tokens are remembered


class BPE:
    """Words to tokens: bytes, joined pair by pair in the order in which the merges were learned.

    Tokens 0 to 255 are the bytes, then come the merges, and last the end of a text, which no text
    encodes to.

    Parameters
    ----------
    merges : iterable of pairs of int
        Merge i joins two tokens below ``256 + i`` to token ``256 + i``.

    Attributes
    ----------
    merges : tuple of tuple of two int
    vocabulary : Vocabulary
    end : int
        The id of the end of a text.

    Raises
    ------
    ParameterError
        For a merge of tokens that do not exist before it, or that there is already.

    Examples
    --------
    >>> bpe = BPE([(97, 98), (256, 256)])
    >>> bpe.encode("abab ab")
    [257, 32, 256]
    >>> bpe.vocabulary.decode([257, 258])
    'abab<|end|>'
    """

    def __init__(self, merges: Iterable[Sequence[int]]) -> None:
        if not isinstance(merges, Iterable):
            raise ParameterError("merges", "pairs of token ids", merges)
        tokens = [bytes([byte]) for byte in range(256)]
        self._tokens: dict[Pair, int] = {}
        for number, merge in enumerate(merges):
            name = f"merges[{number}]"
            if not isinstance(merge, Sequence) or len(merge) != 2:
                raise ParameterError(name, "a pair of token ids", merge)
            rule = Range(0, len(tokens) - 1, integer=True)
            pair = check_integer(name, merge[0], rule), check_integer(name, merge[1], rule)
            if pair in self._tokens:
                raise ParameterError(name, "a pair not merged before", merge)
            self._tokens[pair] = len(tokens)
            tokens.append(tokens[pair[0]] + tokens[pair[1]])
        self.merges = tuple(self._tokens)
        self.end = len(tokens)
        self.vocabulary = Vocabulary([*tokens, END], special=[self.end])
        self._spellings: dict[bytes, list[int]] = {}

    @classmethod
    def train(cls, texts: str | Iterable[str], size: int = 4096) -> Self:
        """Learn merges: again and again the pair of neighbours that is most frequent within words.

        Among equally frequent pairs the one with the lowest ids is merged.

        Parameters
        ----------
        texts : str or iterable of str
            Some with at least one character in all.
        size : int
            Most tokens in all, at least 257. A pair that occurs once only is never merged, so a
            short text gives fewer.

        Raises
        ------
        ParameterError
            For texts that are none or empty, or a bad size.

        Examples
        --------
        >>> bpe = BPE.train("the thing that they thank", 260)
        >>> [bpe.vocabulary.label(token) for token in range(256, 260)]
        ['th', '␣th', '␣tha', '<|end|>']
        """
        count = check_integer("size", size, Range(257, integer=True)) - 257
        words = Counter(chain.from_iterable(_words(text) for text in check_texts(texts)))
        return cls(_frequent_merges([list(word) for word in words], list(words.values()), count))

    def encode(self, text: str | bytes) -> list[int]:
        r"""Return the tokens of a text; their bytes in a row are those of the text.

        Parameters
        ----------
        text : str or bytes
            Lone surrogates, which UTF-8 does not have, become the three bytes that they would
            have; ``vocabulary.decode(tokens, errors="surrogatepass")`` gives them back.

        Raises
        ------
        ParameterError
            For anything else.

        Examples
        --------
        >>> BPE([]).encode("né"), BPE([]).encode(b"\xff")
        ([110, 195, 169], [255])
        """
        tokens: list[int] = []
        for word in _words(text):
            spelling = self._spellings.get(word)
            if spelling is None:
                spelling = self._merge(word)
                if len(self._spellings) < _MOST_WORDS:
                    self._spellings[word] = spelling
            tokens += spelling
        return tokens

    def _merge(self, word: bytes) -> list[int]:
        # The earliest merge first and the leftmost of equal ones, through a heap: in time
        # n log n, so that a word of a million letters does no harm. Each place knows the places
        # of its neighbours; the token at a place that a merge took away is -1.
        tokens, end = list(word), len(word)
        before, after = list(range(-1, end - 1)), list(range(1, end + 1))
        merge = self._tokens.get
        pairs = enumerate(pairwise(word))
        heap = [(merge(pair, -1), place) for place, pair in pairs if pair in self._tokens]
        heapq.heapify(heap)
        while heap:
            token, place = heapq.heappop(heap)
            right = after[place]
            if right == end or merge((tokens[place], tokens[right]), -1) != token:
                continue  # merged otherwise in the meantime
            tokens[place], tokens[right] = token, -1
            after[place] = following = after[right]
            if following < end:
                before[following] = place
                if (new := merge((token, tokens[following]), -1)) >= 0:
                    heapq.heappush(heap, (new, place))
            left = before[place]
            if left >= 0 and (new := merge((tokens[left], token), -1)) >= 0:
                heapq.heappush(heap, (new, left))
        return [token for token in tokens if token >= 0]

    def __repr__(self) -> str:
        return f"<BPE of {len(self.vocabulary)} tokens>"


def check_texts(texts: str | Iterable[str]) -> list[str]:
    """Return texts as a list, one text as a list of one, or raise `ParameterError`.

    Examples
    --------
    >>> check_texts("Once"), check_texts(iter(["upon", "a"]))
    (['Once'], ['upon', 'a'])
    """
    if isinstance(texts, str):
        texts = [texts]
    if not isinstance(texts, Iterable) or isinstance(texts, bytes):
        raise ParameterError("texts", "a text or several", texts)
    result = list(texts)
    for number, text in enumerate(result):
        if not isinstance(text, str):
            raise ParameterError(f"texts[{number}]", "a text", text)
    if not any(result):
        raise ParameterError("texts", "at least one character in all", result)
    return result


def _words(text: str | bytes) -> list[bytes]:
    if isinstance(text, str):
        return [word.encode("utf-8", "surrogatepass") for word in _SPLIT.findall(text)]
    if not isinstance(text, bytes):
        raise ParameterError("text", "a text or bytes", text)
    # Bytes that are no UTF-8 go through the pattern as lone surrogates.
    words = _SPLIT.findall(text.decode("utf-8", "surrogateescape"))
    return [word.encode("utf-8", "surrogateescape") for word in words]


def _frequent_merges(words: list[list[int]], times: list[int], count: int) -> list[Pair]:
    """Return up to ``count`` merges of words that occur so many times; changes the words."""
    pairs: Counter[Pair] = Counter()
    places: defaultdict[Pair, set[int]] = defaultdict(set)  # the words that may have a pair
    for number, word in enumerate(words):
        for pair in pairwise(word):
            pairs[pair] += times[number]
            places[pair].add(number)
    # A pair gains occurrences only while the merge that made one of its tokens is carried out,
    # so what the heap says of it is too high at worst.
    heap = [(-often, pair) for pair, often in pairs.items()]
    heapq.heapify(heap)
    merges: list[Pair] = []
    while heap and len(merges) < count:
        negative, best = heapq.heappop(heap)
        if -negative != pairs[best]:
            heapq.heappush(heap, (-pairs[best], best))
            continue
        if negative > -2:
            break
        merges.append(best)
        token = 255 + len(merges)
        fresh: set[Pair] = set()
        for number in places.pop(best):
            for pair in pairwise(words[number]):
                pairs[pair] -= times[number]
            words[number] = _replace(words[number], best, token)
            for pair in pairwise(words[number]):
                pairs[pair] += times[number]
                if token in pair:
                    places[pair].add(number)
                    fresh.add(pair)
        for pair in fresh:
            heapq.heappush(heap, (-pairs[pair], pair))
    return merges


def _replace(word: list[int], pair: Pair, token: int) -> list[int]:
    """Return a word with a pair replaced by its token, from the left."""
    new: list[int] = []
    for part in word:
        if new and (new[-1], part) == pair:
            new[-1] = token
        else:
            new.append(part)
    return new

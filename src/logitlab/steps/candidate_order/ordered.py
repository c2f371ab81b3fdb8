"""`OrderedChain`: a chain whose survivors stand in an order, in which an engine draws."""

from __future__ import annotations

from abc import abstractmethod

from logitlab.arrays import FloatArray, IntArray, check_logits
from logitlab.checks import ParameterError
from logitlab.steps.chain import Chain
from logitlab.steps.context import Context, check_context
from numpy.typing import ArrayLike

__all__ = ["OrderedChain"]


class OrderedChain(Chain):
    """A `Chain` that sorts, and tells in which order its sort leaves the survivors.

    Parameters
    ----------
    *steps : Transform
    precision : {"double", "single", "mixed"}
    """

    def ordered(
        self, logits: ArrayLike, context: Context | None = None
    ) -> tuple[FloatArray, list[IntArray]]:
        """Apply all steps, and return the order in which the survivors of every row stand, too.

        Parameters
        ----------
        logits : array_like, shape (..., V)
        context : Context, optional

        Returns
        -------
        ndarray, shape (..., V)
            As of a call.
        list of ndarray of int64
            Token ids, rows in C order; increasing where nothing is sorted.

        Raises
        ------
        ParameterError
            As of a call, and for steps that throw coins: a mixture has no order.

        Examples
        --------
        >>> from logitlab import OneSortChain, SortedChain, TopK
        >>> SortedChain(TopK(2)).ordered([1.0, 3.0, 2.0])
        (array([-inf,   3.,   2.]), [array([1, 2])])
        >>> OneSortChain(TopK(2)).ordered([1.0, 2.0, 3.0])
        (array([-inf,   2.,   3.]), [array([2, 1])])
        """
        if self.stateful:
            return self.at().ordered(logits, context)
        if self.coins:
            hint = "A mixture has no order: `branch` gives its sides."
            raise ParameterError("chain", "free of coins where candidates are ordered", self, hint)
        array = check_logits(logits)
        check_context(context, array)
        wide, orders = self._in_order(self._entered(array), context)
        return self._left(wide, array), orders

    @abstractmethod
    def _in_order(
        self, wide: FloatArray, context: Context | None
    ) -> tuple[FloatArray, list[IntArray]]:
        """Return what the steps make of logits, and the survivors of every row in their order."""

"""Base of the layers that prepare data on the CPU: numpy in the middle, any container around it.

Called eagerly, they take Python values, numpy arrays or eager tensors and give numpy arrays, without
TensorFlow. Called while TensorFlow traces (``tf.data``'s ``map``), they wrap the same numpy code in
``tf.numpy_function`` and give TensorFlow tensors. So both ways give the same values.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

Text = str | bytes
# Name of a dtype, and the shape [rows, …] of an array, or None for rows of different lengths.
Output = tuple[str, Sequence[int | None] | None]


class PreprocessingLayer(keras.layers.Layer):
    """A layer without variables that is called with whatever the user has."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.built = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # Not keras' own: it would turn strings and ragged lists into backend tensors.
        call = self.call
        if tracing_tensorflow():
            import tensorflow as tf

            # Nothing here depends on values of tensors; to translate all of it would take seconds.
            call = tf.autograph.experimental.do_not_convert(call)
        return call(*args, **kwargs)

    def get_build_config(self) -> None:
        return None


def map_rows(
    function: Callable[..., Sequence[Any]],
    inputs: Sequence[Any],
    outputs: Sequence[Output],
    *,
    texts: bool = False,
    stateful: bool = False,
) -> list[Any]:
    """Calls a function on rows in any containers, eagerly or inside a TensorFlow graph.

    Args:
        function: takes the rows of each input: a list of str or bytes if ``texts``, else an array
            [rows, n] or a list of rows. Gives as many arrays, or lists of rows, as ``outputs``.
        inputs: each a row or a batch of rows, all the same.
        outputs: what ``function`` gives.
        texts: a row is a string, not a sequence of ids or tokens.
        stateful: equal inputs may give other outputs.

    Returns:
        The arrays or, of rows of different lengths and of strings, lists (or tensors and ragged
        tensors); of a single row that row.
    """
    in_graph = tracing_tensorflow()
    if texts:
        read = _texts_in_graph if in_graph else texts_of
    else:
        read = _sequences_in_graph if in_graph else sequences_of
    rows, batched = zip(*map(read, inputs), strict=True)
    if len(set(batched)) != 1:
        raise ValueError("the inputs must all be single or all be batches: their ranks differ")
    if in_graph:
        results = _call_in_graph(function, rows, outputs, stateful)
        return results if batched[0] else [result[0] for result in results]
    results = list(function(*rows))
    if not batched[0]:
        results = [
            np.array(result[0], dtype)
            if isinstance(result[0], list) and dtype != "string"
            else result[0]
            for result, (dtype, _) in zip(results, outputs, strict=True)
        ]
    return [_strings_as_lists(result) for result in results]


def tracing_tensorflow() -> bool:
    """True inside ``tf.data``'s ``map`` or a ``tf.function``; never imports TensorFlow."""
    tensorflow: Any = sys.modules.get("tensorflow")
    return hasattr(tensorflow, "executing_eagerly") and not tensorflow.executing_eagerly()


def texts_of(inputs: Any) -> tuple[list[Text], bool]:
    """A string or a batch of strings in any container, as (list of str or bytes, is it a batch).

    Raises ValueError for anything that is not text, and for nested batches: the rows of several
    columns may be meant, or the columns themselves.
    """
    inputs = _as_python(inputs, (str, bytes, list, tuple))
    if isinstance(inputs, (str, bytes)):
        return [inputs], False
    texts = [_as_python(text, (str, bytes)) for text in inputs]
    for text in texts:
        if not isinstance(text, (str, bytes)):
            raise ValueError(
                f"expected a string or a batch of strings, not one that holds {text!r}; "
                "segments to join are a tuple of batches"
            )
    return texts, True


def sequences_of(inputs: Any) -> tuple[Any, bool]:
    """A sequence of ids or strings, or a batch of them, in any container, and whether it is a batch.

    As lists of Python values or, of an array or tensor, as an array [rows, n].
    """
    if hasattr(inputs, "to_list"):  # tf.RaggedTensor
        inputs = inputs.to_list()
    if not isinstance(inputs, (list, tuple)):
        array = np.asarray(inputs)
        return (array, True) if array.ndim == 2 else (array.reshape(1, -1), False)
    values = [_as_python(value, (str, bytes, int, list)) for value in inputs]
    batched = any(isinstance(value, list) for value in values)
    return (values, True) if batched else ([values], False)


def _as_python(value: Any, kept: tuple[type, ...]) -> Any:
    """An array or an eager tensor of any backend as Python values."""
    return value if isinstance(value, kept) else np.asarray(value).tolist()


def _strings_as_lists(result: Any) -> Any:
    is_text = isinstance(result, np.ndarray) and result.dtype.kind == "U"
    return result.tolist() if is_text else result


def _texts_in_graph(inputs: Any) -> tuple[Any, bool]:
    import tensorflow as tf

    inputs = tf.convert_to_tensor(inputs)
    if inputs.shape.rank not in (0, 1):
        raise ValueError(f"expected a string or a vector of strings, not rank {inputs.shape.rank}")
    return tf.reshape(inputs, [-1]), inputs.shape.rank == 1


def _sequences_in_graph(inputs: Any) -> tuple[Any, bool]:
    import tensorflow as tf

    if isinstance(inputs, tf.RaggedTensor):
        return inputs, True
    inputs = tf.convert_to_tensor(inputs)
    return (inputs, True) if inputs.shape.rank == 2 else (tf.reshape(inputs, [1, -1]), False)


def _call_in_graph(
    function: Callable[..., Sequence[Any]],
    inputs: Sequence[Any],
    outputs: Sequence[Output],
    stateful: bool,
) -> list[Any]:
    """``function`` on tensors: ragged ones, in and out, go as flat values and lengths of rows."""
    import tensorflow as tf

    def call(*arrays: Any) -> list[Any]:
        remaining = iter(arrays)
        rows: list[Any] = []
        for tensor in inputs:
            values = next(remaining)
            if isinstance(tensor, tf.RaggedTensor):
                rows.append(np.split(values, np.cumsum(next(remaining)))[:-1])
            else:
                rows.append(values.tolist() if values.ndim == 1 else values)
        flat = []
        for result, (dtype, shape) in zip(function(*rows), outputs, strict=True):
            numpy_dtype = tf.as_dtype(dtype).as_numpy_dtype
            if shape is not None:
                flat.append(np.asarray(result, numpy_dtype))
                continue
            values = [np.asarray(row, numpy_dtype) for row in result]
            flat.append(np.concatenate([np.zeros(0, numpy_dtype), *values]))
            flat.append(np.array([len(row) for row in values], np.int64))
        return flat

    tensors: list[Any] = []
    for tensor in inputs:
        is_ragged = isinstance(tensor, tf.RaggedTensor)
        tensors += [tensor.flat_values, tensor.row_lengths()] if is_ragged else [tensor]
    dtypes: list[str] = []
    for dtype, shape in outputs:
        dtypes += [dtype, "int64"] if shape is None else [dtype]
    flat = iter(tf.numpy_function(call, tensors, dtypes, stateful=stateful))
    results = []
    for _, shape in outputs:
        values = next(flat)
        values.set_shape([None] if shape is None else shape)
        if shape is None:
            lengths = next(flat)
            lengths.set_shape(inputs[0].shape[:1])
            values = tf.RaggedTensor.from_row_lengths(values, lengths, validate=False)
        results.append(values)
    return results

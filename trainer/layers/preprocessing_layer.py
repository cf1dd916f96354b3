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
from numpy.typing import NDArray

Text = str | bytes


class PreprocessingLayer(keras.layers.Layer):
    """A layer without variables that is called with whatever the user has."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.built = True

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        # Not keras' own: it would turn strings and ragged lists into backend tensors.
        return self.call(*args, **kwargs)

    def get_build_config(self) -> None:
        return None


def tracing_tensorflow() -> bool:
    """True inside ``tf.data``'s ``map`` or a ``tf.function``; never imports TensorFlow."""
    tensorflow: Any = sys.modules.get("tensorflow")
    return hasattr(tensorflow, "executing_eagerly") and not tensorflow.executing_eagerly()


def texts_of(inputs: Any) -> tuple[list[Text], bool]:
    """A string or a batch of strings in any container, as (list of str or bytes, was it a batch).

    Raises TypeError for anything that is not text, and for nested batches.
    """
    if isinstance(inputs, (str, bytes)):
        return [inputs], False
    if not isinstance(inputs, (list, tuple)):
        inputs = np.asarray(inputs).tolist()  # numpy and eager tensors of any backend
        if isinstance(inputs, (str, bytes)):
            return [inputs], False
    texts = [text.item() if isinstance(text, np.ndarray) else text for text in map(_scalar, inputs)]
    for text in texts:
        if not isinstance(text, (str, bytes)):
            raise TypeError(f"expected a string or a batch of strings, found {text!r} in it")
    return texts, True


def _scalar(value: Any) -> Any:
    return value if isinstance(value, (str, bytes, list, tuple, int, float)) else np.asarray(value)


def sequences_of(inputs: Any) -> tuple[list[list[Any]], bool]:
    """A sequence of ids (or strings) or a batch of them in any container, as (lists, was it a batch)."""
    if hasattr(inputs, "to_list"):  # tf.RaggedTensor
        inputs = inputs.to_list()
    elif not isinstance(inputs, (list, tuple)):
        inputs = np.asarray(inputs).tolist()
    values: list[Any] = [
        value if isinstance(value, (str, bytes, int)) else _listed(value) for value in inputs
    ]
    if any(isinstance(value, list) for value in values):
        return values, True
    return [values], False


def _listed(value: Any) -> Any:
    return list(value) if isinstance(value, (list, tuple)) else np.asarray(value).tolist()


def texts_in_graph(inputs: Any) -> Any:
    """A string tensor of rank 0 or 1 as a vector; tells other ranks in a clear error."""
    import tensorflow as tf

    inputs = tf.convert_to_tensor(inputs)
    if inputs.shape.rank not in (0, 1):
        raise ValueError(f"expected a string or a vector of strings, not rank {inputs.shape.rank}")
    return tf.reshape(inputs, [-1])


def ragged_in_graph(inputs: Any) -> tuple[Any, bool]:
    """A dense or ragged tensor of rank 1 or 2 as a ragged batch, and whether it was a batch."""
    import tensorflow as tf

    if isinstance(inputs, tf.RaggedTensor):
        return inputs, True
    inputs = tf.convert_to_tensor(inputs)
    batched = inputs.shape.rank == 2
    if not batched:
        inputs = tf.expand_dims(inputs, 0)
    return tf.RaggedTensor.from_tensor(inputs), batched


def call_in_graph(
    function: Callable[..., Sequence[NDArray]],
    inputs: Sequence[Any],
    outputs: Sequence[tuple[str, Sequence[int | None]]],
) -> list[Any]:
    """Runs a numpy function inside a TensorFlow graph.

    ``outputs`` gives (dtype name, shape) of each array that ``function`` returns.
    """
    import tensorflow as tf

    dtypes = [tf.as_dtype(dtype) for dtype, _ in outputs]
    results = tf.numpy_function(function, list(inputs), dtypes, stateful=False)
    for tensor, (_, shape) in zip(results, outputs, strict=True):
        tensor.set_shape(shape)
    return results


def map_sequences(
    pack: Callable[[list[list[list[Any]]]], tuple[NDArray, NDArray]],
    segments: Sequence[Any],
    length: int,
    second_dtype: str,
) -> tuple[Any, Any]:
    """Calls ``pack`` on the rows of segments in any containers, eagerly or in a TensorFlow graph.

    Args:
        pack: from the rows of each segment to two arrays [rows, length]: values, and another array.
        segments: each a sequence of ids or tokens or a batch of them, all the same.
        length: width of the arrays.
        second_dtype: of the second array; the first is int32 or text, as the segments are.

    Returns:
        What ``pack`` gives, as arrays or as tensors; without the axis of rows for single sequences.
    """
    in_graph = tracing_tensorflow()
    pairs: list[Any] = [ragged_in_graph(s) if in_graph else sequences_of(s) for s in segments]
    if len({batched for _, batched in pairs}) != 1:
        raise ValueError("all segments must have the same rank")
    contents, (batched, *_) = zip(*pairs, strict=True)
    if in_graph:
        first, second = _pack_in_graph(pack, contents, length, second_dtype)
    else:
        first, second = pack(list(contents))
    return (first, second) if batched else (first[0], second[0])


def _pack_in_graph(pack: Any, segments: Sequence[Any], length: int, second_dtype: str) -> Any:
    import tensorflow as tf

    text = segments[0].dtype == tf.string

    def pack_flat(*arrays: NDArray) -> tuple[NDArray, NDArray]:
        rows = [
            [row.tolist() for row in np.split(values, splits[1:-1])]
            for values, splits in zip(arrays[::2], arrays[1::2], strict=True)
        ]
        first, second = pack(rows)
        return (first.astype(object) if text else first), second

    flat = [array for ragged in segments for array in (ragged.flat_values, ragged.row_splits)]
    shape = (None, length)
    outputs = [("string" if text else "int32", shape), (second_dtype, shape)]
    return call_in_graph(pack_flat, flat, outputs)

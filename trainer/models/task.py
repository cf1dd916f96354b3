"""A task: a backbone with a head, an optional preprocessor, and Keras' fit, evaluate and predict.

With a preprocessor, the data may be raw strings: lists, arrays, tuples of segments, or a batched
``tf.data.Dataset`` of them. Without one, it is what the backbone takes. TensorFlow is only used where
the caller brings a ``tf.data.Dataset`` (or the backend is TensorFlow).
"""

from __future__ import annotations

import sys
from typing import Any

import keras

from trainer.layers.check_ids import check_arrays
from trainer.models.bert_backbone import BertBackbone
from trainer.models.preprocessor import Preprocessor
from trainer.models.preset_model import PresetModel
from trainer.models.string_batches import StringBatches, split_for_validation
from trainer.presets.weights import check_vocabulary


class Task(PresetModel):
    """Base class of tasks; a subclass sets ``backbone`` and ``preprocessor`` and builds its head.

    Args:
        compile: compile with the task's default optimizer, loss and metrics.
    """

    backbone_cls = BertBackbone
    preprocessor_cls: Any = None
    activation: Any = None  # of the outputs; None: they are logits
    _untracked = ("preprocessor",)

    def __init__(self, *args: Any, compile: bool = True, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        check_vocabulary(self.backbone, self.preprocessor)
        self.dtype_policy = self.backbone.dtype_policy
        if compile:
            self.compile()

    def compile(self, optimizer: Any = "auto", loss: Any = "auto", **kwargs: Any) -> None:
        """``keras.Model.compile``; "auto" is Adam at 5e-5, sparse cross-entropy and accuracy."""
        if optimizer == "auto":
            optimizer = keras.optimizers.Adam(5e-5)
        if loss == "auto":
            from_logits = keras.activations.get(self.activation) != keras.activations.softmax
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=from_logits)
        for name in ("metrics", "weighted_metrics"):
            if kwargs.get(name) == "auto":
                kwargs[name] = [keras.metrics.SparseCategoricalAccuracy()]
        super().compile(optimizer=optimizer, loss=loss, **kwargs)

    def preprocess_samples(self, x: Any, y: Any = None, sample_weight: Any = None) -> Any:
        """A batch as the preprocessor makes it: x, (x, y) or (x, y, sample_weight)."""
        if isinstance(self.preprocessor, Preprocessor):
            return self.preprocessor(x, y=y, sample_weight=sample_weight)
        return keras.utils.pack_x_y_sample_weight(self.preprocessor(x), y, sample_weight)

    def _prepared(
        self, x: Any, y: Any, sample_weight: Any, batch_size: int | None, shuffle: bool = False
    ) -> Any:
        """Data that Keras can iterate over, preprocessed batch by batch."""
        tensorflow = sys.modules.get("tensorflow")
        if tensorflow is not None and isinstance(x, tensorflow.data.Dataset):
            if y is not None or sample_weight is not None:
                raise ValueError(
                    "with a tf.data.Dataset, y and sample_weight must be in the dataset"
                )
            autotune = tensorflow.data.AUTOTUNE
            return x.map(self.preprocess_samples, num_parallel_calls=autotune).prefetch(autotune)
        if isinstance(x, keras.utils.PyDataset):
            return x
        return StringBatches(
            self.preprocess_samples, x, y, sample_weight, batch_size or 32, shuffle
        )

    def fit(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        sample_weight: Any = None,
        validation_data: Any = None,
        validation_split: float | None = None,
        shuffle: bool = True,
        **kwargs: Any,
    ) -> Any:
        """``keras.Model.fit`` on raw or preprocessed data."""
        if self.preprocessor is None:
            check_arrays(x, self.backbone.id_limits)
            data = {"x": x, "y": y, "sample_weight": sample_weight, "batch_size": batch_size}
            options = {"validation_split": validation_split or 0.0, "shuffle": shuffle}
            return super().fit(**data, validation_data=validation_data, **options, **kwargs)
        if validation_split and validation_data is None:
            (x, y, sample_weight), validation_data = split_for_validation(
                x, y, sample_weight, validation_split
            )
        if validation_data is not None:
            if not isinstance(validation_data, (tuple, list)):
                validation_data = (validation_data,)
            vx, vy, weight = keras.utils.unpack_x_y_sample_weight(tuple(validation_data))
            validation_data = self._prepared(vx, vy, weight, batch_size)
        batches = self._prepared(x, y, sample_weight, batch_size, shuffle)
        return super().fit(batches, validation_data=validation_data, shuffle=False, **kwargs)

    def evaluate(
        self,
        x: Any = None,
        y: Any = None,
        batch_size: int | None = None,
        sample_weight: Any = None,
        **kwargs: Any,
    ) -> Any:
        """``keras.Model.evaluate`` on raw or preprocessed data."""
        # During fit, Keras passes the validation data on that fit prepared.
        if self.preprocessor is None or kwargs.get("_use_cached_eval_dataset"):
            check_arrays(x, self.backbone.id_limits)
            return super().evaluate(
                x, y, batch_size=batch_size, sample_weight=sample_weight, **kwargs
            )
        return super().evaluate(self._prepared(x, y, sample_weight, batch_size), **kwargs)

    def predict(self, x: Any = None, batch_size: int | None = None, **kwargs: Any) -> Any:
        """``keras.Model.predict`` on raw or preprocessed data."""
        if self.preprocessor is None:
            check_arrays(x, self.backbone.id_limits)
            return super().predict(x, batch_size=batch_size, **kwargs)
        return super().predict(self._prepared(x, None, None, batch_size), **kwargs)

    def train_on_batch(
        self, x: Any, y: Any = None, sample_weight: Any = None, **kwargs: Any
    ) -> Any:
        """``keras.Model.train_on_batch`` on a raw or preprocessed batch."""
        return super().train_on_batch(*self._batch(x, y, sample_weight), **kwargs)

    def test_on_batch(self, x: Any, y: Any = None, sample_weight: Any = None, **kwargs: Any) -> Any:
        """``keras.Model.test_on_batch`` on a raw or preprocessed batch."""
        return super().test_on_batch(*self._batch(x, y, sample_weight), **kwargs)

    def predict_on_batch(self, x: Any) -> Any:
        """``keras.Model.predict_on_batch`` on a raw or preprocessed batch."""
        return super().predict_on_batch(self._batch(x, None, None)[0])

    def _batch(self, x: Any, y: Any, sample_weight: Any) -> tuple[Any, Any, Any]:
        if self.preprocessor is None:
            check_arrays(x, self.backbone.id_limits)
            return x, y, sample_weight
        prepared = self.preprocess_samples(x, y, sample_weight)
        return keras.utils.unpack_x_y_sample_weight(prepared)

    def get_config(self) -> dict[str, Any]:
        """Constructor arguments as JSON-able values (not the functional graph)."""
        config = super().get_config()
        del config["trainable"], config["dtype"]  # the backbone's
        return {key: config.pop(key) for key in ("backbone", "preprocessor", "name")} | config

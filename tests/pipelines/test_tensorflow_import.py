"""TensorFlow Text comes in without Keras and JAX, which import as ever afterwards."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import sys
from pipelines.tensorflow_import import import_quietly

text = import_quietly("tensorflow_text")
for name in ("keras", "jax", "pandas"):
    assert name not in sys.modules, name
tf = import_quietly("tensorflow")
kernel = text.FastBertTokenizer(["[UNK]", "a", "##b"], token_out_type=tf.int32)
assert kernel.tokenize(["ab a"]).flat_values.numpy().tolist() == [1, 2, 1]
import keras
assert tf.keras.layers.Dense is keras.layers.Dense
import tensorflow_text.python.keras.layers
"""


@pytest.mark.long
def test_what_is_left_out_can_be_imported_later():
    pytest.importorskip("keras")
    ran = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr


def test_what_is_not_installed_is_an_import_error():
    program = """
import sys
sys.modules["tensorflow_text"] = None
from pipelines.tensorflow_import import import_quietly
try:
    import_quietly("tensorflow_text.python")
except ImportError:
    assert "keras" not in sys.modules, "Keras stays hidden"
    print("fine")
"""
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert ran.stdout == "fine\n", ran.stderr

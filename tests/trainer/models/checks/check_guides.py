"""The code blocks of KerasNLP's guides and class pages with their import line changed, on tiny data.

Getting started, "Pretraining a Transformer from scratch", and the examples of the BertBackbone,
BertTokenizer, BertTextClassifier and BertMaskedLM pages. Differences to the originals: a preset
directory instead of a download, a dozen sentences instead of IMDB, small numbers, and assertions.
"""

from __future__ import annotations

import keras
import numpy as np

import trainer as keras_nlp

_WORDS = ["good", "bad", "film", "the", "was", "a", "##s", ".", "very", "movie"]
_VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *_WORDS]
_TEXTS = ["the film was good.", "a very bad movie", "good films", "the movie was very bad."] * 3
_LABELS = [1, 0, 1, 0] * 3
# Torch compiles through a C++ compiler for minutes.
_JIT = keras.config.backend() != "torch"
_LENGTH = 16


def _preset(folder):
    """What a download would give: an encoder of one layer with a classifier of two classes."""
    path = str(folder / "preset")
    tokenizer = keras_nlp.models.BertTokenizer(_VOCABULARY, lowercase=True)
    preprocessor = keras_nlp.models.BertPreprocessor(tokenizer, sequence_length=_LENGTH)
    backbone = keras_nlp.models.BertBackbone(
        len(_VOCABULARY), 1, 2, 16, 32, max_sequence_length=_LENGTH
    )
    keras_nlp.models.BertClassifier(
        backbone, num_classes=2, preprocessor=preprocessor
    ).save_to_preset(path)
    return path


def _imdb():
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((_TEXTS, _LABELS)).batch(6)
    return dataset, dataset.take(1)


def _assert_trained(history, *names):
    assert all(np.isfinite(history.history[name]).all() for name in ("loss", "val_loss", *names))


def check_guide_inference_with_a_pretrained_classifier(folder):
    classifier = keras_nlp.models.BertClassifier.from_preset(_preset(folder))
    outputs = classifier.predict(["I love modular workflows in keras-nlp!"], verbose=0)
    assert outputs.shape == (1, 2)
    _, imdb_test = _imdb()
    loss, accuracy = classifier.evaluate(imdb_test, verbose=0)
    assert np.isfinite(loss)
    assert 0 <= accuracy <= 1


def check_guide_fine_tuning_a_pretrained_backbone(folder):
    imdb_train, imdb_test = _imdb()
    classifier = keras_nlp.models.BertClassifier.from_preset(_preset(folder), num_classes=2)
    history = classifier.fit(imdb_train, validation_data=imdb_test, epochs=1, verbose=0)
    _assert_trained(history, "sparse_categorical_accuracy", "val_sparse_categorical_accuracy")


def check_guide_fine_tuning_with_user_controlled_preprocessing(folder):
    import tensorflow as tf

    imdb_train, imdb_test = _imdb()
    preset = _preset(folder)
    preprocessor = keras_nlp.models.BertPreprocessor.from_preset(preset, sequence_length=12)
    imdb_train_cached = (
        imdb_train.map(preprocessor, tf.data.AUTOTUNE).cache().prefetch(tf.data.AUTOTUNE)
    )
    imdb_test_cached = (
        imdb_test.map(preprocessor, tf.data.AUTOTUNE).cache().prefetch(tf.data.AUTOTUNE)
    )
    classifier = keras_nlp.models.BertClassifier.from_preset(
        preset, preprocessor=None, num_classes=2
    )
    assert classifier.preprocessor is None
    history = classifier.fit(
        imdb_train_cached, validation_data=imdb_test_cached, epochs=2, verbose=0
    )
    _assert_trained(history)
    assert next(iter(imdb_train_cached))[0]["token_ids"].shape == (6, 12)


def check_guide_fine_tuning_with_a_custom_model(folder):
    import tensorflow as tf

    imdb_train, imdb_test = _imdb()
    preprocessor = keras_nlp.models.BertPreprocessor.from_preset(_preset(folder))
    backbone = keras_nlp.models.BertBackbone.from_preset(str(folder / "preset"))
    imdb_train_preprocessed = imdb_train.map(preprocessor, tf.data.AUTOTUNE).prefetch(
        tf.data.AUTOTUNE
    )
    imdb_test_preprocessed = imdb_test.map(preprocessor, tf.data.AUTOTUNE).prefetch(
        tf.data.AUTOTUNE
    )
    backbone.trainable = False
    inputs = backbone.input
    sequence = backbone(inputs)["sequence_output"]
    for _ in range(2):
        sequence = keras_nlp.layers.TransformerEncoder(
            num_heads=2,
            intermediate_dim=32,
            dropout=0.1,
        )(sequence)
    # Use [CLS] token output to classify
    outputs = keras.layers.Dense(2)(sequence[:, backbone.cls_token_index, :])
    model = keras.Model(inputs, outputs)
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.AdamW(5e-3),
        metrics=[keras.metrics.SparseCategoricalAccuracy()],
        jit_compile=_JIT,
    )
    lines = []
    model.summary(print_fn=lambda line, **_: lines.append(line))
    assert lines
    frozen = [np.array(weight) for weight in backbone.get_weights()]
    mine = [np.array(weight) for weight in model.layers[-1].get_weights()]
    history = model.fit(
        imdb_train_preprocessed, validation_data=imdb_test_preprocessed, epochs=1, verbose=0
    )
    _assert_trained(history)
    for before, weight in zip(frozen, backbone.weights, strict=True):
        if "seed_generator" not in weight.path:
            np.testing.assert_array_equal(before, keras.ops.convert_to_numpy(weight))
    assert np.abs(mine[0] - model.layers[-1].get_weights()[0]).max() > 0


def check_guide_pretraining_a_backbone(folder):
    import tensorflow as tf

    imdb_train, imdb_test = _imdb()
    preprocessor = keras_nlp.models.BertPreprocessor.from_preset(_preset(folder))
    packer = preprocessor.packer
    tokenizer = preprocessor.tokenizer
    assert packer.sequence_length == _LENGTH
    masker = keras_nlp.layers.MaskedLMMaskGenerator(
        vocabulary_size=tokenizer.vocabulary_size(),
        mask_selection_rate=0.25,
        mask_selection_length=4,
        mask_token_id=tokenizer.token_to_id("[MASK]"),
        unselectable_token_ids=[tokenizer.token_to_id(x) for x in ["[CLS]", "[PAD]", "[SEP]"]],
    )

    def preprocess(inputs, label):
        inputs = preprocessor(inputs)
        masked_inputs = masker(inputs["token_ids"])
        features = {
            "token_ids": masked_inputs["token_ids"],
            "segment_ids": inputs["segment_ids"],
            "padding_mask": inputs["padding_mask"],
            "mask_positions": masked_inputs["mask_positions"],
        }
        return features, masked_inputs["mask_ids"], masked_inputs["mask_weights"]

    pretrain_ds = imdb_train.map(preprocess, num_parallel_calls=tf.data.AUTOTUNE).prefetch(1)
    pretrain_val_ds = imdb_test.map(preprocess, num_parallel_calls=tf.data.AUTOTUNE).prefetch(1)
    backbone = keras_nlp.models.BertBackbone(
        vocabulary_size=tokenizer.vocabulary_size(),
        num_layers=2,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=_LENGTH,
    )
    mlm_head = keras_nlp.layers.MaskedLMHead(token_embedding=backbone.token_embedding)
    inputs = {
        **backbone.input,
        "mask_positions": keras.Input(
            shape=(masker.mask_selection_length,), dtype="int32", name="mask_positions"
        ),
    }
    sequence = backbone(backbone.input)["sequence_output"]
    outputs = mlm_head(sequence, mask_positions=inputs["mask_positions"])
    pretraining_model = keras.Model(inputs, outputs)
    pretraining_model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.AdamW(learning_rate=5e-4),
        weighted_metrics=[keras.metrics.SparseCategoricalAccuracy()],
        jit_compile=_JIT,
    )
    history = pretraining_model.fit(
        pretrain_ds, validation_data=pretrain_val_ds, epochs=1, verbose=0
    )
    _assert_trained(history, "sparse_categorical_accuracy")


def check_guide_building_a_transformer_from_scratch(folder):
    import tensorflow as tf

    imdb_train, imdb_test = _imdb()
    vocab = keras_nlp.tokenizers.compute_word_piece_vocabulary(
        imdb_train.map(lambda x, y: x),
        vocabulary_size=60,
        lowercase=True,
        strip_accents=True,
        reserved_tokens=["[PAD]", "[START]", "[END]", "[MASK]", "[UNK]"],
    )
    assert vocab[:5] == ["[PAD]", "[START]", "[END]", "[MASK]", "[UNK]"]
    assert "movie" in vocab or "##e" in vocab
    tokenizer = keras_nlp.tokenizers.WordPieceTokenizer(
        vocabulary=vocab, lowercase=True, strip_accents=True, oov_token="[UNK]"
    )
    packer = keras_nlp.layers.StartEndPacker(
        start_value=tokenizer.token_to_id("[START]"),
        end_value=tokenizer.token_to_id("[END]"),
        pad_value=tokenizer.token_to_id("[PAD]"),
        sequence_length=_LENGTH,
    )

    def preprocess(x, y):
        token_ids = packer(tokenizer(x))
        return token_ids, y

    train = imdb_train.map(preprocess, num_parallel_calls=tf.data.AUTOTUNE).prefetch(1)
    test = imdb_test.map(preprocess, num_parallel_calls=tf.data.AUTOTUNE).prefetch(1)
    token_id_input = keras.Input(shape=(None,), dtype="int32", name="token_ids")
    outputs = keras_nlp.layers.TokenAndPositionEmbedding(
        vocabulary_size=len(vocab), sequence_length=packer.sequence_length, embedding_dim=16
    )(token_id_input)
    outputs = keras_nlp.layers.TransformerEncoder(num_heads=2, intermediate_dim=32, dropout=0.1)(
        outputs
    )
    # Use "[START]" token to classify
    outputs = keras.layers.Dense(2)(outputs[:, 0, :])
    model = keras.Model(inputs=token_id_input, outputs=outputs)
    model.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.AdamW(5e-5),
        metrics=[keras.metrics.SparseCategoricalAccuracy()],
        jit_compile=_JIT,
    )
    _assert_trained(model.fit(train, validation_data=test, epochs=1, verbose=0))


def check_guide_pretraining_a_transformer_from_scratch(folder):
    import tensorflow as tf

    vocab_file = folder / "vocab.txt"
    vocab_file.write_text("".join(f"{token}\n" for token in _VOCABULARY))
    tokenizer = keras_nlp.tokenizers.WordPieceTokenizer(
        vocabulary=str(vocab_file), sequence_length=_LENGTH, lowercase=True, strip_accents=True
    )
    masker = keras_nlp.layers.MaskedLMMaskGenerator(
        vocabulary_size=tokenizer.vocabulary_size(),
        mask_selection_rate=0.25,
        mask_selection_length=4,
        mask_token_id=tokenizer.token_to_id("[MASK]"),
    )

    def preprocess(inputs):
        outputs = masker(tokenizer(inputs))
        features = {
            "token_ids": outputs["token_ids"],
            "mask_positions": outputs["mask_positions"],
        }
        return features, outputs["mask_ids"], outputs["mask_weights"]

    texts = tf.data.Dataset.from_tensor_slices(_TEXTS).batch(6)
    pretrain_ds = texts.map(preprocess, num_parallel_calls=tf.data.AUTOTUNE).prefetch(1)
    inputs = keras.Input(shape=(_LENGTH,), dtype="int32")
    embedding_layer = keras_nlp.layers.TokenAndPositionEmbedding(
        vocabulary_size=tokenizer.vocabulary_size(), sequence_length=_LENGTH, embedding_dim=16
    )
    outputs = embedding_layer(inputs)
    outputs = keras.layers.LayerNormalization(epsilon=1e-5)(outputs)
    outputs = keras.layers.Dropout(rate=0.1)(outputs)
    for _ in range(2):
        outputs = keras_nlp.layers.TransformerEncoder(
            intermediate_dim=32, num_heads=2, dropout=0.1, layer_norm_epsilon=1e-5
        )(outputs)
    encoder_model = keras.Model(inputs, outputs)
    inputs = {
        "token_ids": keras.Input(shape=(_LENGTH,), dtype="int32", name="token_ids"),
        "mask_positions": keras.Input(shape=(4,), dtype="int32", name="mask_positions"),
    }
    encoded_tokens = encoder_model(inputs["token_ids"])
    outputs = keras_nlp.layers.MaskedLMHead(
        token_embedding=embedding_layer.token_embedding, activation="softmax"
    )(encoded_tokens, mask_positions=inputs["mask_positions"])
    pretraining_model = keras.Model(inputs, outputs)
    pretraining_model.compile(
        loss="sparse_categorical_crossentropy",
        optimizer=keras.optimizers.AdamW(5e-4),
        weighted_metrics=["sparse_categorical_accuracy"],
        jit_compile=_JIT,
    )
    _assert_trained(
        pretraining_model.fit(pretrain_ds, validation_data=pretrain_ds, epochs=1, verbose=0)
    )
    encoder_model.save(str(folder / "encoder_model.keras"))
    loaded = keras.models.load_model(str(folder / "encoder_model.keras"), compile=False)
    ids = np.array(tokenizer(_TEXTS[:2]))
    np.testing.assert_allclose(
        loaded.predict(ids, verbose=0), encoder_model.predict(ids, verbose=0), atol=1e-6
    )
    inputs = keras.Input(shape=(_LENGTH,), dtype="int32")
    pooled_tokens = keras.layers.GlobalAveragePooling1D()(loaded(inputs))
    outputs = keras.layers.Dense(1, activation="sigmoid")(pooled_tokens)
    assert keras.Model(inputs, outputs).predict(ids, verbose=0).shape == (2, 1)


def check_page_of_bert_backbone(folder):
    input_data = {
        "token_ids": np.ones(shape=(1, 12), dtype="int32"),
        "segment_ids": np.array([[0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0]]),
        "padding_mask": np.array([[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0]]),
    }
    # Pretrained BERT encoder.
    model = keras_nlp.models.BertBackbone.from_preset(_preset(folder))
    assert model(input_data)["sequence_output"].shape == (1, 12, 16)
    # Randomly initialized BERT encoder with a custom config.
    model = keras_nlp.models.BertBackbone(
        vocabulary_size=552,
        num_layers=4,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=128,
    )
    assert model(input_data)["pooled_output"].shape == (1, 16)


def check_page_of_bert_tokenizer(folder):
    import tensorflow as tf

    tokenizer = keras_nlp.models.BertTokenizer.from_preset(_preset(folder))
    assert list(tokenizer("The film was good.")) == [8, 7, 9, 5, 12]
    batch = tokenizer(["The film was good.", "a good movie"])
    assert [list(row) for row in batch] == [[8, 7, 9, 5, 12], [10, 5, 14]]
    assert tokenizer.detokenize(tokenizer("The film was good.")) == "the film was good ."
    custom = keras_nlp.models.BertTokenizer(vocabulary=_VOCABULARY, lowercase=True)
    assert list(custom("good films")) == [5, 7, 11]
    ds = tf.data.Dataset.from_tensor_slices((["The film was good.", "bad films"], [1, 0]))
    ds = ds.map(lambda x, y: (tokenizer(x), y), num_parallel_calls=tf.data.AUTOTUNE)
    assert [x.numpy().tolist() for x, _ in ds] == [[8, 7, 9, 5, 12], [6, 7, 11]]


def check_page_of_bert_text_classifier(folder):
    preset = _preset(folder)
    features = ["The film was good.", "I forgot my homework."]
    labels = [0, 3]
    # Raw string data.
    classifier = keras_nlp.models.BertTextClassifier.from_preset(preset, num_classes=4)
    classifier.fit(x=features, y=labels, batch_size=2, verbose=0)
    classifier.predict(x=features, batch_size=2, verbose=0)
    # Re-compile (e.g., with a new learning rate).
    classifier.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(5e-5),
        jit_compile=_JIT,
    )
    # Access backbone programmatically (e.g., to change `trainable`).
    classifier.backbone.trainable = False
    # Fit again.
    classifier.fit(x=features, y=labels, batch_size=2, verbose=0)
    # Preprocessed integer data.
    features = {
        "token_ids": np.ones(shape=(2, 12), dtype="int32"),
        "segment_ids": np.array([[0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 0, 0]] * 2),
        "padding_mask": np.array([[1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0, 0]] * 2),
    }
    classifier = keras_nlp.models.BertTextClassifier.from_preset(
        preset, num_classes=4, preprocessor=None
    )
    history = classifier.fit(x=features, y=np.array(labels), batch_size=2, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    # Custom backbone and vocabulary.
    tokenizer = keras_nlp.models.BertTokenizer(vocabulary=_VOCABULARY)
    preprocessor = keras_nlp.models.BertTextClassifierPreprocessor(
        tokenizer=tokenizer, sequence_length=_LENGTH
    )
    backbone = keras_nlp.models.BertBackbone(
        vocabulary_size=552,
        num_layers=1,
        num_heads=2,
        hidden_dim=16,
        intermediate_dim=32,
        max_sequence_length=_LENGTH,
    )
    classifier = keras_nlp.models.BertTextClassifier(
        backbone=backbone, preprocessor=preprocessor, num_classes=4
    )
    texts = ["The quick brown fox jumped.", "I forgot my homework."]
    history = classifier.fit(x=texts, y=labels, batch_size=2, verbose=0)
    assert np.isfinite(history.history["loss"][0])


def check_page_of_bert_masked_lm(folder):
    preset = _preset(folder)
    features = ["The film was good.", "a very bad movie"]
    masked_lm = keras_nlp.models.BertMaskedLM.from_preset(preset)
    masked_lm.fit(x=features, batch_size=2, verbose=0)
    masked_lm.compile(
        loss=keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        optimizer=keras.optimizers.Adam(5e-5),
        jit_compile=_JIT,
    )
    masked_lm.backbone.trainable = False
    masked_lm.fit(x=features, batch_size=2, verbose=0)
    # Preprocessed batch where 0 is the mask token.
    features = {
        "token_ids": np.array([[1, 2, 0, 4, 0, 6, 7, 8]] * 2),
        "padding_mask": np.array([[1, 1, 1, 1, 1, 1, 1, 1]] * 2),
        "mask_positions": np.array([[2, 4]] * 2),
        "segment_ids": np.array([[0, 0, 0, 0, 0, 0, 0, 0]] * 2),
    }
    # Labels are the original masked values.
    labels = [[3, 5]] * 2
    masked_lm = keras_nlp.models.BertMaskedLM.from_preset(preset, preprocessor=None)
    history = masked_lm.fit(x=features, y=np.array(labels), batch_size=2, verbose=0)
    assert np.isfinite(history.history["loss"][0])

"""Why a test of KerasHub's does not pass."""

_WORDS = "refused with a ValueError too, in words of our own"
_SEEDS = (
    "the block holds a fourth seed that nothing draws from: Keras makes a dropout layer for attention "
    "before ours takes its place. Without it the generators after it would get other numbers, and "
    "every training run with dropout other bits"
)

REASONS = {
    "TransformerEncoderTest.test_layer_behaviors_with_norm_first": _SEEDS,
    "TransformerEncoderTest.test_layer_behaviors_without_norm_first": _SEEDS,
    "WordPieceTokenizerTest.test_safe_mode_vocabulary_file_disallowed": _WORDS,
    "WordPieceTokenizerTrainerTest.test_filenames_without_split": _WORDS,
    "WordPieceTokenizerTrainerTest.test_invalid_input": _WORDS,
}

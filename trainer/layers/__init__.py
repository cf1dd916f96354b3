"""Layers to build BERT and its inputs, with KerasNLP's names and signatures.

Inside models:
    TokenAndPositionEmbedding  token ids -> vectors
    PositionEmbedding          learned vectors of positions
    ReversibleEmbedding        token ids -> vectors, and vectors -> scores of tokens
    TransformerEncoder         a block of attention and feed-forward network
    MaskedLMHead               vectors at masked positions -> scores of tokens
Before models:
    MultiSegmentPacker         texts' ids -> [CLS] a [SEP] b [SEP] of one length
    StartEndPacker             ids -> start, ids, end of one length
    MaskedLMMaskGenerator      ids -> masked ids, and what stood behind the masks
"""

from pipelines.lazy_exports import lazy_exports

__getattr__, __dir__ = lazy_exports(
    __name__,
    {
        "MaskedLMHead": "trainer.layers.masked_lm_head",
        "MaskedLMMaskGenerator": "trainer.layers.masked_lm_mask_generator",
        "MultiSegmentPacker": "trainer.layers.multi_segment_packer",
        "PositionEmbedding": "trainer.layers.position_embedding",
        "ReversibleEmbedding": "trainer.layers.reversible_embedding",
        "StartEndPacker": "trainer.layers.start_end_packer",
        "TokenAndPositionEmbedding": "trainer.layers.token_and_position_embedding",
        "TransformerEncoder": "trainer.layers.transformer_encoder",
    },
)

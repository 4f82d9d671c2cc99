"""Classes of transformers and Lightning for annotations: importing them takes five seconds."""

from typing import TYPE_CHECKING

from torch import nn

if TYPE_CHECKING:
    from lightning.pytorch import Callback as Callback
    from transformers import PretrainedConfig as PretrainedConfig
    from transformers import PreTrainedModel as PreTrainedModel
    from transformers import PreTrainedTokenizerBase as PreTrainedTokenizerBase
else:
    Callback = PretrainedConfig = PreTrainedTokenizerBase = object
    PreTrainedModel = nn.Module

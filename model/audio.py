"""Audio encoder, Eqs 6-8: E_A = LSTM(AST(A)).

Log-mel frames, a convolutional patch stem, a transformer over time-frequency patches (or a pretrained one), frequency
rows averaged, layers over time alone, then a bidirectional LSTM with residual at 12.5 tokens a second. Masks keep every
result independent of batch mates.
"""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from model.ast_trunk import AstTrunk
from model.audio_blocks import PatchStem, TemporalBlock, TransformerBlock, length_mask
from model.config import AudioConfig
from model.transforms import log_mel

TOKENS_PER_SECOND = 12.5
_PASS = 16  # waveforms encoded together


class AudioTokens(NamedTuple):
    tokens: Tensor  # [C, A, d]
    lengths: Tensor  # [C] valid tokens


class AudioEncoder(nn.Module):
    def __init__(self, config: AudioConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.pretrained = AstTrunk(config) if config.pretrained else None
        if self.pretrained is None:
            self.stem = PatchStem(config)
            self.position = nn.Conv1d(config.width, config.width, 15, padding=7, groups=config.width)
            self.blocks = nn.ModuleList(TransformerBlock(config.width, config.heads) for _ in range(config.layers))
            self.norm = nn.LayerNorm(config.width)
        self.temporal = nn.ModuleList(TemporalBlock(config.width, config.heads) for _ in range(config.temporal_layers))
        self.lstm = nn.LSTM(config.width, config.lstm_hidden, batch_first=True, bidirectional=True)
        self.merge = nn.Linear(2 * config.lstm_hidden, config.width)
        self.project = nn.Linear(config.width, width)
        self.out_norm = nn.LayerNorm(width)

    def forward(self, waveforms: list[Tensor]) -> AudioTokens:
        """Waveforms, each float [samples] in [-1, 1] at 16 kHz, to tokens [C, A, d] at 12.5 a second."""
        mels = [log_mel(waveform, self.config.mel_bins) for waveform in waveforms]
        lengths = torch.tensor([len(mel) for mel in mels], device=mels[0].device)
        order = lengths.argsort()
        # neighbours in length share a pass: attention over padding would be most of the work
        passes = [
            self.encode_mel(nn.utils.rnn.pad_sequence([mels[row] for row in rows], batch_first=True), lengths[rows])
            for rows in torch.split(order, _PASS)
        ]
        back = order.argsort()
        return AudioTokens(*(_joined([part[field] for part in passes])[back] for field in range(2)))

    def encode_mel(self, mel: Tensor, lengths: Tensor) -> AudioTokens:
        """Padded log-mel [C, frames, mel] with valid `lengths` [C] to tokens."""
        C = mel.shape[0]
        if mel.shape[1] == 0:
            mel = mel.new_zeros(C, 4, self.config.mel_bins)
        return self.finish(*self.spectral(mel, lengths))

    def finish(self, spectral: Tensor, lengths: Tensor) -> AudioTokens:
        """States of `spectral` [C, S, width] with valid lengths [C] to tokens: Eqs 7 and 8."""
        pooled, token_lengths = _pool_pairs(spectral, lengths)
        recurrent = self.recurrent(pooled, token_lengths)  # Eqs 7, 8
        tokens = self.out_norm(self.project(recurrent))
        return AudioTokens(tokens, token_lengths)

    def spectral(self, mel: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
        """Eq. 6: log-mel [C, frames, mel] to one state every 40 ms [C, S, width], with valid lengths [C]."""
        if self.pretrained is not None:
            states, lengths = self.pretrained(mel, lengths)
        else:
            patches, lengths = self.stem(mel, lengths)
            states = self.spectrogram_transformer(patches, lengths)
        valid = length_mask(lengths, states.shape[1])
        for block in self.temporal:
            states = block(states, valid)
        return states, lengths

    def spectrogram_transformer(self, patches: Tensor, lengths: Tensor) -> Tensor:
        """Eq. 6: self-attention over all patches [C, S, rows, width], then the mean over rows [C, S, width]."""
        C, S, rows, width = patches.shape
        valid = length_mask(lengths, S)
        by_time = patches.mean(dim=2) * valid.unsqueeze(-1)
        x = patches + self.position(by_time.transpose(1, 2)).transpose(1, 2).unsqueeze(2)
        x = x.flatten(1, 2)
        keys = valid.repeat_interleave(rows, dim=1)
        for block in self.blocks:
            x = block(x, keys)
        spectral: Tensor = self.norm(x.unflatten(1, (S, rows)).mean(dim=2))
        return spectral * valid.unsqueeze(-1)

    def recurrent(self, tokens: Tensor, lengths: Tensor) -> Tensor:
        """Eqs 7, 8: bidirectional LSTM over the valid tokens [C, A, width], with residual."""
        C, A, width = tokens.shape
        with torch.autocast(tokens.device.type, enabled=False):  # the CPU has no bf16 LSTM over packed sequences
            exact = tokens.float() if tokens.dtype in (torch.bfloat16, torch.float16) else tokens
            packed = pack_padded_sequence(exact, lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False)
            hidden, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=A)
        merged: Tensor = tokens + self.merge(hidden)
        return merged * length_mask(lengths, A).unsqueeze(-1)


def _joined(parts: list[Tensor]) -> Tensor:
    """Batches [C_i, S_i, ...] (or [C_i]) as one, padded with zeros to the longest S."""
    if parts[0].dim() == 1:
        return torch.cat(parts)
    longest = max(part.shape[1] for part in parts)
    return torch.cat([F.pad(part, (0, 0, 0, longest - part.shape[1])) for part in parts])


def _pool_pairs(x: Tensor, lengths: Tensor) -> tuple[Tensor, Tensor]:
    """Means of neighbouring pairs of valid steps: [C, S, width] to [C, ceil(S / 2), width]; invalid steps are zero."""
    C, S, width = x.shape
    if S % 2:
        x = F.pad(x, (0, 0, 0, 1))
    summed = torch.unflatten(x, 1, (-1, 2)).sum(dim=2)
    counts = torch.unflatten(length_mask(lengths, 2 * summed.shape[1]), 1, (-1, 2)).sum(dim=2).clamp(min=1)
    return summed / counts.unsqueeze(-1), (lengths + 1) // 2

"""From pixels and samples to what the trunks expect. A change here changes tokens, so it is part of the fingerprint."""

import torch
from torch import Tensor

from model.sound_format import SAMPLE_RATE, WINDOW

FRAME_SHIFT_MS = 10.0
TRANSFORM_VERSION = 1
# AudioSet statistics of the spectrogram transformer (Gong et al. 2021): (x - mean) / (2 std)
_FBANK_MEAN, _FBANK_STD = -4.2677393, 4.5689974
PADDING = -_FBANK_MEAN / (2 * _FBANK_STD)  # what AST saw, normalised, where a recording had ended


def normalise_frames(frames: Tensor, mean: tuple[float, ...], std: tuple[float, ...]) -> Tensor:
    """uint8 [M, 3, S, S] to float32 of the same shape, `(x / 255 - mean) / std` a channel."""
    shape = (1, 3, 1, 1)
    offset = torch.tensor(mean, dtype=torch.float32, device=frames.device).view(shape)
    spread = torch.tensor(std, dtype=torch.float32, device=frames.device).view(shape)
    return (frames.float() / 255.0 - offset) / spread


def log_mel(waveform: Tensor, mel_bins: int) -> Tensor:
    """float [samples] in [-1, 1] at 16 kHz to kaldi log-mel features [frames, mel_bins], normalised as AST does.

    Less than 25 ms of sound gives [0, mel_bins].
    """
    if waveform.shape[0] < WINDOW:
        return waveform.new_zeros(0, mel_bins)
    from torchaudio.compliance.kaldi import fbank

    features: Tensor = fbank(
        waveform.unsqueeze(0),
        num_mel_bins=mel_bins,
        sample_frequency=float(SAMPLE_RATE),
        frame_shift=FRAME_SHIFT_MS,
        window_type="hanning",
        htk_compat=True,
        use_energy=False,
        dither=0.0,
    )
    return (features - _FBANK_MEAN) / (2 * _FBANK_STD)

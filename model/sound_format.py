"""The sound that the network hears: one channel at 16 kHz."""

SAMPLE_RATE = 16_000
WINDOW = 400  # samples of one 25 ms window of the spectrogram: less has none, and is not heard

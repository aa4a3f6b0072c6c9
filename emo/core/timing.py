"""Frame rate, sample rate and frame times that all packages share."""

FPS = 25.0
SAMPLE_RATE = 16000

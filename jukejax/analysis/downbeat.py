def estimate_downbeat(onsets, chroma, beats):
    return 0, 0.0

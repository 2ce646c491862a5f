"""Videos of a take: features by frame, layers that draw them, and the MP4 that holds them."""

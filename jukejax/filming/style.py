"""Colors of a video."""

from jukejax.filming.planes import convert_color, make_ramp

BACKGROUND = convert_color("#0c0f15")
PANEL = convert_color("#10141c")
INK = convert_color("#e8ebf2")
QUIET = convert_color("#8f98a8")
ACCENT = convert_color("#f0a35e")

MEL_RAMP = make_ramp(
    ["#10141c", "#152a40", "#1d4a66", "#2c7184", "#6c9a8c", "#c9a877", "#f2c98f", "#fdf1dc"]
)
CODE_HUES = ("#34568f", "#2c7184", "#5a9c90", "#c0a878", "#d98a5c")  # dull sounds to bright ones

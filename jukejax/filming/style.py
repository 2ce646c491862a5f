"""Colors of a video."""

from jukejax.filming.planes import convert_color, make_ramp

BACKGROUND = convert_color("#0c0f15")
PANEL = convert_color("#10141c")
INK = convert_color("#e8ebf2")
QUIET = convert_color("#8f98a8")
FAINT = convert_color("#2a303c")
ACCENT = convert_color("#f0a35e")

MEL_RAMP = make_ramp(
    ["#10141c", "#152a40", "#1d4a66", "#2c7184", "#6c9a8c", "#c9a877", "#f2c98f", "#fdf1dc"]
)
SHAPE_RAMP = make_ramp(["#0c0f15", "#16293d", "#1d4a66", "#2f7f90", "#e9b87a"])
CODE_HUES = ("#2b4f8f", "#2c7184", "#4f9c8c", "#c9a160", "#e0764a")  # dull sounds to bright ones

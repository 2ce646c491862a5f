"""Formats of sizes, times and counts for output."""

MANY_YEARS = 100  # the longest time whose length matters


def format_bytes(amount: float) -> str:
    """Formats a size: `1.26 GB`, `385 MB`, `12 kB`, `7 B`."""
    if amount >= 1e9:
        return f"{amount / 1e9:,.2f} GB"
    for unit, name in ((1e6, "MB"), (1e3, "kB")):
        if amount >= unit:
            return f"{amount / unit:,.0f} {name}"
    return f"{amount:.0f} B"


def format_duration(seconds: float) -> str:
    """Formats a time: `3.2 ms`, `38 s`, `4 min 05 s`, `2 h 10 min`, `5.3 days`, `12 years`."""
    if seconds < 0.1:
        return f"{1000 * seconds:.3g} ms"
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    rounded = round(seconds)
    if rounded < 60:
        return f"{rounded} s"
    if rounded < 3600:
        return f"{rounded // 60} min {rounded % 60:02d} s"
    days, years = seconds / 86_400, seconds / 86_400 / 365.25
    if days < 2:
        return f"{rounded // 3600} h {rounded % 3600 // 60:02d} min"
    if years < 2:
        return f"{days:.1f} days" if days < 9.95 else f"{days:.0f} days"
    return f"{years:.0f} years" if years <= MANY_YEARS else f"more than {MANY_YEARS} years"


def format_clock(seconds: float) -> str:
    """Formats a time as a clock does: `1:05`, `1:02:05`."""
    minutes, seconds = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def format_count(number: float, noun: str) -> str:
    """Formats a number with its noun in the right form: `1 track`, `1,200 tracks`."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

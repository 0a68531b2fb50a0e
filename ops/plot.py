"""Owns the plots of measurements: small panels side by side, as SVG that needs nothing to be seen.

A panel has a logarithmic axis of x and, up the side, the ratio to the first point; the band of ±10 % is shaded.
"""
import html
import math

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 430, 270, 46, 16, 40, 44
INKS = ["#2457a6", "#b4531a", "#557a2b"]


def write(path, panels):
    """`panels`: (title, name of x, {line: [(x, label of x, median, least, most)]}); two a row."""
    rows = (len(panels) + 1) // 2
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {rows * HEIGHT}" font-family="system-ui, sans-serif" font-size="11" fill="#333">',
           f'<rect width="{2 * WIDTH}" height="{rows * HEIGHT}" fill="#fff"/>']
    for at, panel in enumerate(panels):
        out.append(f'<g transform="translate({at % 2 * WIDTH},{at // 2 * HEIGHT})">')
        out += drawn(*panel)
        out.append("</g>")
    path.write_text("\n".join([*out, "</svg>\n"]))


def drawn(title, name, lines):
    points = [point for line in lines.values() for point in line]
    low, high = math.log10(min(point[0] for point in points)), math.log10(max(point[0] for point in points))
    ceiling = max(1.5, math.ceil(max(point[4] for point in points) * 4) / 4)
    across = lambda x: LEFT + (math.log10(x) - low) / (high - low or 1) * (WIDTH - LEFT - RIGHT - 10) + 5
    up = lambda y: HEIGHT - BOTTOM - y / ceiling * (HEIGHT - TOP - BOTTOM)
    yield f'<text x="{LEFT}" y="18" font-size="13" font-weight="600">{html.escape(title)}</text>'
    yield f'<rect x="{LEFT}" y="{up(1.1):.1f}" width="{WIDTH - LEFT - RIGHT}" height="{up(0.9) - up(1.1):.1f}" fill="#2457a6" fill-opacity=".12"/>'
    step = 0.5 if ceiling <= 3 else math.ceil(ceiling / 6)
    for tick in (number * step for number in range(int(ceiling / step) + 1)):
        yield f'<path d="M{LEFT} {up(tick):.1f}H{WIDTH - RIGHT}" stroke="#ddd"/><text x="{LEFT - 6}" y="{up(tick) + 4:.1f}" text-anchor="end">{tick:g}</text>'
    for x, label in dict((point[0], point[1]) for point in points).items():
        # The last one ends with its panel.
        place = f'x="{WIDTH - RIGHT}" text-anchor="end"' if math.log10(x) == high else f'x="{across(x):.1f}" text-anchor="middle"'
        yield f'<text {place} y="{HEIGHT - BOTTOM + 16}">{html.escape(label)}</text>'
    yield f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 10}" text-anchor="middle">{html.escape(name)}</text>'
    for ink, (line, of) in zip(INKS, lines.items()):
        yield f'<path d="M{" L".join(f"{across(x):.1f} {up(middle):.1f}" for x, _, middle, _, _ in of)}" fill="none" stroke="{ink}" stroke-width="2"/>'
        for x, _, middle, least, most in of:
            yield (f'<path d="M{across(x):.1f} {up(least):.1f}V{up(most):.1f}" stroke="{ink}"/>'
                   f'<circle cx="{across(x):.1f}" cy="{up(middle):.1f}" r="3.5" fill="{ink}"/>')
    if len(lines) > 1:
        for number, (ink, line) in enumerate(zip(INKS, lines)):
            yield f'<circle cx="{LEFT + 8 + number * 110}" cy="29" r="3.5" fill="{ink}"/><text x="{LEFT + 15 + number * 110}" y="33">{html.escape(line)}</text>'

"""A scatter plot as an SVG file, with the standard library alone. Marks differ in shape as
well as in colour (Okabe and Ito's palette), so that they are told apart without it."""
import math
from xml.sax.saxutils import escape

COLOURS = ["#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#7f7f7f"]
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 960, 560, 70, 250, 44, 52


def mark(shape, x, y, colour):
    """A mark of about 9 pixels: circle, square, triangle, diamond, cross, plus, ring, bar."""
    r = 4.5
    fill, line = f'fill="{colour}"', f'fill="none" stroke="{colour}" stroke-width="2"'
    shapes = [
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r}" {fill}/>',
        f'<rect x="{x - r:.1f}" y="{y - r:.1f}" width="{2 * r}" height="{2 * r}" {fill}/>',
        f'<path d="M{x:.1f} {y - r:.1f}l{r} {2 * r}h{-2 * r}z" {fill}/>',
        f'<path d="M{x:.1f} {y - r - 1:.1f}l{r + 1} {r + 1}l{-r - 1} {r + 1}l{-r - 1} {-r - 1}z" {fill}/>',
        f'<path d="M{x - r:.1f} {y - r:.1f}l{2 * r} {2 * r}m0 {-2 * r}l{-2 * r} {2 * r}" {line}/>',
        f'<path d="M{x - r:.1f} {y:.1f}h{2 * r}M{x:.1f} {y - r:.1f}v{2 * r}" {line}/>',
        f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{r}" {line}/>',
        f'<rect x="{x - r:.1f}" y="{y - 1.5:.1f}" width="{2 * r}" height="3" {fill}/>',
    ]
    return shapes[shape % len(shapes)]


def text(x, y, words, size=12, anchor="start", extra=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" {extra}>{escape(words)}</text>'


def scatter(path, title, x_label, y_label, points):
    """Writes the plot of points (group, name, x, y), y > 0 on a logarithmic axis. The best of
    each run of x is named; every mark has its name as a tooltip."""
    points = [point for point in points if point[3] > 0]
    if not points:
        return
    groups = list(dict.fromkeys(point[0] for point in points))
    x_least, x_most = math.floor(min(p[2] for p in points)), math.ceil(max(p[2] for p in points) + 0.1)
    y_least = math.floor(math.log10(min(p[3] for p in points)))
    y_most = math.ceil(math.log10(max(p[3] for p in points)))

    def place(x, y):
        across = (x - x_least) / (x_most - x_least)
        up = (math.log10(y) - y_least) / max(1, y_most - y_least)
        return LEFT + across * (WIDTH - LEFT - RIGHT), HEIGHT - BOTTOM - up * (HEIGHT - TOP - BOTTOM)

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" role="img">',
           f"<title>{escape(title)}</title>", f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
           text(LEFT, 24, title, 16, extra='font-weight="bold"')]
    for tick in range(x_least, x_most + 1):
        x, _ = place(tick, 10 ** y_least)
        out.append(f'<path d="M{x:.1f} {TOP}V{HEIGHT - BOTTOM}" stroke="#e4e4e4"/>')
        out.append(text(x, HEIGHT - BOTTOM + 18, str(tick), anchor="middle"))
    for power in range(y_least, y_most + 1):
        _, y = place(x_least, 10.0 ** power)
        out.append(f'<path d="M{LEFT} {y:.1f}H{WIDTH - RIGHT}" stroke="#e4e4e4"/>')
        out.append(text(LEFT - 8, y + 4, f"{10.0 ** power:g}", anchor="end"))
    out.append(text((LEFT + WIDTH - RIGHT) / 2, HEIGHT - 12, x_label, anchor="middle"))
    out.append(text(16, HEIGHT / 2, y_label, anchor="middle", extra=f'transform="rotate(-90 16 {HEIGHT / 2})"'))
    frontier, least = [], math.inf
    for point in sorted(points, key=lambda p: (p[2], p[3])):
        if point[3] < least:
            least = point[3]
            frontier.append(point)
    line = " ".join(f"{x:.1f},{y:.1f}" for x, y in (place(p[2], p[3]) for p in frontier))
    out.append(f'<polyline points="{line}" fill="none" stroke="#b0b0b0" stroke-dasharray="4 3"/>')
    for group, name, x_value, y_value in points:
        number = groups.index(group)
        x, y = place(x_value, y_value)
        out.append(f"<g><title>{escape(name)}: {x_value:.3f} bits, KL {y_value:.5f}</title>"
                   + mark(number, x, y, COLOURS[number % len(COLOURS)]) + "</g>")
    last = -math.inf
    for point in frontier:
        x, y = place(point[2], point[3])
        if x - last > 44:
            out.append(text(x + 6, y + 15, point[1], 10, extra='fill="#333333"'))
            last = x
    for number, group in enumerate(groups):
        y = TOP + 14 + 22 * number
        out.append(mark(number, WIDTH - RIGHT + 24, y - 4, COLOURS[number % len(COLOURS)]))
        out.append(text(WIDTH - RIGHT + 36, y, group))
    out.append("</svg>\n")
    with open(path, "w") as file:
        file.write("\n".join(out))

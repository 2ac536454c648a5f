"""What drums, percussion, bass and chords play in a bar, by genre, on a grid of sixteenths.

One string a drum: `x` a stroke, `o` a soft one; a line that begins with `+` is played in the chorus only. Snare, clap
or rim mark the second and fourth beat in every genre, so that a tempo and its half are never confused.
"""

DRUMS = {
    "house": (*("kick:x...x...x...x...", "clap:....x.......x...", "hat:x.o.x.o.x.o.x.o.", "+open:..x...x...x...x."),),
    "techno": (
        *("kick:x...x...x...x...", "clap:....x.......x...", "hat:..x...x...x...x.", "shaker:oooooooooooooooo"),
        "+rim:...x..x....x..x.",
    ),
    "trance": (
        *("kick:x...x...x...x...", "clap:....x.......x...", "hat:..x...x...x...x.", "shaker:xoxoxoxoxoxoxoxo"),
        "+open:..x...x...x...x.",
    ),
    "synthwave": (
        *("kick:x.......x.......", "snare:....x.......x...", "hat:x.x.x.x.x.x.x.x.", "+tom:..............x."),
    ),
    "hip hop": ("boom:x.....x..x......", "clap:....x.......x...", "hat:x.x.xxx.x.x.x.xx", "+open:..............x."),
    "lo-fi": ("thump:x......x..x.....", "rim:....x.......x...", "hat:x.o.x.o.x.o.x.o.", "+shaker:oooooooooooooooo"),
    "funk": (*("thump:x...x..xx...x..x", "crack:....x..o.o..x..o", "hat:x.xox.x.x.xox.x.", "+open:..............x."),),
    "rock": ("thump:x.......x.x.....", "snare:....x.......x...", "hat:x.x.x.x.x.x.x.x.", "+ride:x.x.x.x.x.x.x.x."),
    "ambient": ("boom:x...............", "rim:....o.......o...", "shaker:o.o.o.o.o.o.o.o."),
    "reggae": ("kick:x.......x.......", "rim:....x.......x...", "hat:x.o.x.o.x.o.x.o.", "+open:..............x."),
    "chiptune": ("zap:x...x...x..xx...", "hiss:....x..o....x.oo", "tick:x.xxx.xxx.xxx.xx"),
    "jazz trio": (
        *("thump:x...o...x...o...", "rim:....x.......x...", "ride:x.x.x.xox.x.x.xo", "+open:..............x."),
    ),
    "bossa nova": (
        *("thump:x...o.o.x...o.o.", "rim:....x.......x...", "hat:x.x.x.x.x.x.x.x.", "+shaker:x.o.x.o.x.o.x.o."),
    ),
    "orchestral": ("boom:x...............", "snare:....o.......o.oo", "+crash:x..............."),
    "metal": ("thump:x.xxx.xxx.xxx.xx", "snare:....x.......x...", "hat:x.x.x.x.x.x.x.x.", "+ride:x.x.x.x.x.x.x.x."),
    "folk": ("thump:x.......x.......", "brush:....x.......x...", "shaker:x.o.x.o.x.o.x.o."),
    "blues": ("thump:x......ox......o", "snare:....x..o....x..o", "hat:x.o.x.o.x.o.x.o.", "+ride:x.x.x.x.x.x.x.x."),
    "country": ("thump:x.......x.......", "snare:....x.......x...", "hat:x.o.x.o.x.o.x.o.", "+ride:x.x.x.x.x.x.x.x."),
    "drum and bass": (
        *("thump:x.........x.....", "crack:....x..o.o..x..o", "hat:x.x.x.x.x.x.x.x.", "+ride:..x...x...x...x."),
    ),
    "salsa": ("thump:x...o.o.x...o.o.", "rim:....x.......x...", "timbale:x.xx.xx.x.xx.xx.", "hat:x.x.x.x.x.x.x.x."),
}
THREE = {
    "electronic": ("kick:x...........", "clap:....x...x...", "hat:x.o.x.o.x.o.", "+open:..x...x...x."),
    "acoustic": ("thump:x...........", "snare:....x...x...", "hat:x.o.x.o.x.o.", "+ride:x...x...x..."),
}
SIX = {
    "electronic": ("kick:x...........", "clap:......x.....", "hat:x.o.o.x.o.o.", "+open:....x.....x."),
    "acoustic": ("thump:x.........o.", "snare:......x.....", "hat:x.o.o.x.o.o.", "+ride:x.....x....."),
}
# The end of a section, the last four sixteenths of its last bar; in 6/8 the last six.
FILL = {"electronic": ("clap:x.xx", "tom:.x.x"), "acoustic": ("snare:x.xx", "tom:.x.x")}
UNFILLED = ("ambient", "techno", "chiptune", "orchestral", "string quartet")
UNCRASHED = ("ambient", "lo-fi", "chiptune", "bossa nova", "jazz trio", "folk", "orchestral")
SLOW_BPM = 90  # below it hats leave out the odd sixteenths, which would pass for eighths of twice the tempo
LIGHT = ("hat", "ride", "shaker", "rim", "brush", "tick", "open", "timbale")  # play on where the others rest

PERCUSSION = {
    "salsa": (
        *("conga:......xx......xx", "slap:....x.......x...", "clave:x..x..x...x.x...", "+cowbell:x...x...x...x..."),
    ),
    "bossa nova": ("shaker:x.o.x.o.x.o.x.o.", "clave:x..x..x...x..x.."),
    "funk": ("conga:...x..xx...x..xx", "tambourine:....x.......x..."),
    "reggae": ("conga:......xx......xx", "shaker:x.o.x.o.x.o.x.o."),
    "folk": ("tambourine:....x.......x...", "shaker:x.o.x.o.x.o.x.o."),
}
PERCUSSION_ELSEWHERE = ("shaker:xoxoxoxoxoxoxoxo", "conga:...x..x....x..x.")
PERCUSSION_OF_TWELVE = ("shaker:x.o.x.o.x.o.", "tambourine:......x.....")

# step:degree-of-chord:length, in sixteenths; degree 7 is the octave
BASS = {
    "house": ((2, 0, 2), (6, 0, 2), (10, 0, 2), (14, 7, 2)),
    "techno": ((2, 0, 1), (3, 0, 1), (6, 0, 1), (7, 0, 1), (10, 0, 1), (11, 0, 1), (14, 0, 1), (15, 7, 1)),
    "trance": tuple((s, 0, 1.5) for s in (2, 6, 10, 14)) + ((4, 7, 1.5), (12, 7, 1.5)),
    "synthwave": tuple((s, 0 if s % 4 else 7, 1.6) for s in range(0, 16, 2)),
    "hip hop": ((0, 0, 5), (6, 0, 3), (10, 4, 5)),
    "lo-fi": ((0, 0, 6), (7, 4, 3), (10, 0, 5)),
    "funk": ((0, 0, 2), (3, 7, 1), (6, 0, 1), (8, 0, 2), (11, 4, 1), (14, 7, 1.5)),
    "rock": tuple((s, 0, 1.8) for s in range(0, 16, 2)),
    "ambient": ((0, 0, 15),),
    "reggae": ((0, 0, 3), (4, 2, 2), (6, 4, 2), (10, 0, 2), (12, 4, 3)),
    "chiptune": tuple((s, 0 if s % 4 == 0 else 7, 1.2) for s in range(0, 16, 2)),
    "jazz trio": ((0, 0, 3.8), (4, 2, 3.8), (8, 4, 3.8), (12, 2, 3.8)),
    "bossa nova": ((0, 0, 5), (6, 4, 2), (8, 4, 5), (14, 0, 2)),
    "orchestral": ((0, 0, 7.5), (8, 0, 7.5)),
    "string quartet": ((0, 0, 3.6), (4, 4, 3.6), (8, 7, 3.6), (12, 4, 3.6)),
    "metal": ((0, 0, 1.8), (2, 0, 0.9), (3, 0, 0.9), (4, 0, 1.8), (6, 0, 0.9), (7, 0, 0.9))
    + ((8, 0, 1.8), (10, 0, 0.9), (11, 0, 0.9), (12, 0, 1.8), (14, 0, 0.9), (15, 0, 0.9)),
    "folk": ((0, 0, 7), (8, 4, 7)),
    "blues": ((0, 0, 3.4), (4, 2, 3.4), (8, 4, 3.4), (12, 7, 3.4)),
    "country": ((0, 0, 5), (8, 4, 5)),
    "drum and bass": ((0, 0, 6), (6, 7, 2), (10, 0, 5)),
    "salsa": ((0, 0, 4), (6, 4, 5), (12, 7, 4)),
}
BASS_OF_SIX = ((0, 0, 3.6), (4, 0, 1.8), (6, 4, 3.6), (10, 4, 1.8))
KEYS = {
    "house": ((0, 2), (3, 2), (6, 2), (10, 3)),
    "techno": ((3, 1), (11, 1)),
    "trance": ((0, 2), (3, 2), (6, 2), (9, 2), (12, 2)),
    "synthwave": ((0, 7), (8, 7)),
    "hip hop": ((0, 5), (6, 9)),
    "lo-fi": ((0, 6), (7, 8)),
    "funk": ((2, 1), (5, 1), (10, 1), (13, 1.5)),
    "rock": ((0, 3.6), (4, 3.6), (8, 3.6), (12, 3.6)),
    "ambient": ((0, 15),),
    "reggae": ((4, 1.6), (12, 1.6)),
    "chiptune": ((0, 1), (3, 1), (6, 1), (8, 1), (11, 1), (14, 1)),
    "jazz trio": ((0, 3), (7, 3)),
    "bossa nova": ((0, 2), (3, 2), (6, 3), (10, 2), (13, 2)),
    "orchestral": ((0, 7), (8, 7)),
    "string quartet": ((0, 7), (8, 7)),
    "metal": ((0, 1.8), (2, 0.9), (3, 0.9), (4, 1.8), (6, 0.9), (7, 0.9), (8, 3.6), (12, 3.6)),
    "folk": ((0, 3.6), (4, 1.8), (6, 1.8), (8, 3.6), (12, 1.8), (14, 1.8)),
    "blues": ((0, 3), (6, 2), (8, 3), (14, 2)),
    "country": ((4, 2), (12, 2), (14, 1.6)),
    "drum and bass": ((0, 6), (10, 6)),
    "salsa": ((0, 1.6), (3, 1), (4, 1.6), (7, 1), (10, 1), (12, 1.6), (14, 1.6)),
}
KEYS_OF_SIX = ((0, 3.6), (4, 1.8), (6, 3.6), (10, 1.8))

# (step, length) of the notes of a bar of melody, by metre.
MOTIFS = {
    4: ((0, 3, 6, 8, 12), (0, 4, 6, 10), (0, 2, 4, 8, 11), (2, 4, 8, 12, 14), (0, 6, 8, 14), (0, 4, 8, 10, 12)),
    3: ((0, 4, 8), (0, 2, 4, 8), (0, 4, 6, 8), (0, 6, 8), (0, 6, 8, 10)),
    6: ((0, 4, 6, 10), (0, 2, 4, 6), (0, 6, 10), (0, 4, 6)),
}


def strokes_of(genre: str, kit: str, metre: int) -> tuple[str, ...]:
    """The drums' lines of a bar."""
    if metre == 4:
        return DRUMS.get(genre, DRUMS["folk"])
    return (THREE if metre == 3 else SIX)[kit]


def percussion_of(genre: str, metre: int) -> tuple[str, ...]:
    return PERCUSSION.get(genre, PERCUSSION_ELSEWHERE) if metre == 4 else PERCUSSION_OF_TWELVE

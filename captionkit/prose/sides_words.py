"""The words by which a `left` that names a side is told from others; what they mean is in `sides_context`."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


def _forms(verbs: str) -> frozenset[str]:
    """Each verb as it is, with -s, -ed and -ing: `face`, `faces`, `faced`, `facing`."""
    forms: set[str] = set()
    for verb in verbs.split():
        stem = verb.removesuffix("e")
        forms |= {verb, verb + ("es" if verb.endswith(("h", "s")) else "s"), stem + "ed", stem + "ing"}
    return frozenset(forms)


# What may stand before a side.

DETERMINERS = _words(
    "the a an his her its their my your our whose this each every either neither both another no"
)
MODIFIERS = _words(
    "far top bottom upper lower front back rear hind fore outer inner middle center centre central mid near"
    " extreme immediate very other same opposite first second third single entire whole"
)
"""Words that may stand between "the" and "left"."""
SUBJECTS = _words("first second third other same each either neither both another this")
"""Of determiners and modifiers, those that can leave: "the other left the room"."""
PLACES = _words(
    "far top bottom upper lower middle center centre mid extreme stage camera screen audience further farther"
    " slightly sharply sharp hard diagonally up down above below foreground background off"
)
"""Words after which a bare "left" names a side: "top left", "stage left", "further left"."""
VAGUE_PLACES = _words("up down off hard")
"""Of these, those that also go with "exactly": "curled up right against the wall"."""
PREPOSITIONS = _words("at on to from in with of by near toward towards for between and/or via")
JOINTS = _words("and or to nor & / then than versus vs")
MARKS = frozenset(["", *".!?:;,()[]-\u2013\u2014\n*\u2022|/"])

VERBS = _forms(
    "turn look face point lean move walk head bend curve pan tilt drift slide swerve veer bank gaze glance"
    " stare rotate shift scroll step travel roll slant angle curl extend stretch aim direct orient traverse"
    " skew slope steer dodge branch fork proceed march float sail blow jump kick advance progress continue"
    " cross push pull carve align justify swipe drag flow lead glide dive heel list tip"
) | _words(
    "run runs running ran swing swings swinging swung goes going go went fly flies flying drive drives"
    " driving ride rides riding swim swims swimming sweep sweeps sweeping swept panning panned bent"
    " justified leading led parted parting slid sliding came coming"
)
"""Verbs that take a direction: "turns left"."""
MOTIONS = _forms("walk head move jump march") | _words("goes going go went run runs ran running")
"""Of these, those that also go with "exactly": "walks right to the door"."""
POSTURES = _words(
    "stand stands standing stood sit sits sitting sat seated placed positioned situated located"
)

# What may stand before a "left" or "right" that is no side.

IS = _words(
    "is are was were be been being gets get got getting not never already recently just ever almost nearly"
    " exactly quite about absolutely that's what's it's he's she's there's who's"
)
HAS = _words("has have had having 've they've he'd she'd we've i've")
COUNTS = _words("no two three four five six few many several last only more some any another")
REST = _words(
    "what whatever that all nothing little much none few anything something everything one any some only"
    " piece pieces bit part remains what's that's"
)
"""In front of "left of" these speak of what remains: "what is left of the castle"."""
QUOTING = _words("says reads labeled labelled titled named called")
"""What follows these stands written in the picture."""

# What may stand behind a side.

PARTS = _words(
    "hand hands arm arms leg legs foot feet eye eyes ear ears cheek cheeks shoulder shoulders wrist wrists"
    " elbow elbows knee knees thigh thighs ankle ankles hip hips breast breasts chest finger fingers thumb"
    " thumbs palm palms fist fists forearm forearms bicep biceps calf heel toe toes temple jaw eyebrow"
    " eyebrows eyelid nostril nipple buttock collarbone index wing wings paw paws forepaw claw claws hoof"
    " hooves horn horns antler tusk fin fins flank pincer profile"
) | _words(
    "side sides corner corners edge edges half third quarter quadrant foreground background panel panels"
    " page column lane lanes turn turns wall bank part portion section center centre border margin end"
    " arrow arrows view image picture photo photograph frame inset bubble sleeve shoe boot glove sock pocket"
    " lapel wheel tire headlight mirror lens handed hander"
)
"""What has a left one and a right one, of bodies and of things: before these no other word is needed."""
AFTER_HYPHEN = _words("to facing pointing looking leaning turning most ward wards of center")
STOPS = frozenset(["", *".:;,)]-\u2013\u2014\n*|/"])

# What may stand behind a "left" or "right" that is no side.

EXACTLY = _words(
    "now away here there next behind beside besides before after through past up down over across along"
    " above below under underneath beneath against inside outside between among amid on onto into within"
    " where when around off back near alongside by opposite upon"
)
"""Before these a bare "right" means "exactly", or a bare "left" is the rest of a verb: "left behind"."""
EXACTLY_AFTER_VERB = EXACTLY - _words("on near where when off around alongside by onto")
EXACTLY_AFTER_JOINT = _words("next behind beside now away here there before after in")
MIDDLES = _words("middle center centre midst heart front thick")
VIEWERS = _words("camera viewer viewers lens us you me photographer")
QUALITIES = _words(
    "angle angles angled triangle triangles choice choices moment moments amount amounts time times place"
    " places way answer answers decision decisions thing things reason reasons balance mix blend kind sort"
    " size sizes temperature word words expression idea note notes conditions condition mood atmosphere"
    " attitude tool tools job ingredients combination proportion proportions technique approach fit"
    " clothes clothing gear equipment spot occasion"
)
"""What can be right without being on the right."""
NOT_BEFORE = frozenset([("of", "way"), ("one", "for"), ("position", "to"), ("side", "up")])
HALVED = _words("full empty eaten open closed finished done buried hidden drunk burnt burned")
"""With "half" in front these say how a thing was left."""
LEFT_THUS = _words("behind alone open out over by")
"""How things are left, even where a determiner stands before: "another left behind"."""
NOT_AFTER_HYPHEN = _words("wing winger wingers click clicks over overs behind minded angled angle")

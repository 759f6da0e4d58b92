"""A phrase of four words that is told by another way than the address: by phone, mostly."""

from __future__ import annotations

import re
import secrets
from typing import Final

_TEXT: Final = """
acid acorn actor agent alarm album alley amber anchor angle ankle apple apron arena
arrow atlas attic autumn badge bagel baker bamboo banana banjo barn basil basket beach
beacon beard beetle bell bench berry bicycle bishop blanket blossom board boat bonus
book border bottle bowl branch brass bread brick bridge brush bucket buffalo bundle
butter button cabin cable cactus camel camera candle canoe canvas captain carbon cargo
carpet castle cave cellar cement cereal chain chair chalk cheese cherry chess chimney
cider circle circus clay cliff cloud clover coast cobalt coconut coffee comet compass
copper coral corner cotton couch crab cradle crane crayon cricket crown crystal cube
cupboard curtain daisy dance dawn delta denim desert diamond dinner dolphin donkey
dragon drum eagle earth easel echo elbow ember engine fabric falcon farmer feather fence
fern ferry fiddle field finger flame flute forest fossil fountain fox frost galaxy
garden garlic ginger giraffe glacier glove goat granite grape guitar hammer harbor
harvest hazel helmet heron hill honey horizon horse hotel island ivory jacket jaguar
jasmine jewel jungle kettle kitchen kite ladder lagoon lantern lemon lentil library
lilac lion lizard lobster lotus magnet mango maple marble meadow melon meteor mirror
monkey moss mountain museum napkin nectar needle nest north nutmeg oasis ocean olive
onion orange orbit orchid otter oven oyster paddle palace panda paper parrot pebble
pencil pepper piano pickle pillow pilot planet plum pocket pond poppy potato prairie
puzzle quarry rabbit raccoon radar rainbow raven ribbon river robin rocket saddle salmon
sand scarf school silver spider spruce square statue summer
"""
WORDS: Final = tuple(_TEXT.split())
"""256 plain English words: 32 bits in four of them."""
LENGTH: Final = 4


def make_phrase() -> str:
    return " ".join(secrets.choice(WORDS) for _ in range(LENGTH))


def canonical_phrase(typed: str) -> str:
    """As it is compared: whatever stands between the words, and however they are written."""
    return " ".join(re.findall(r"[a-z]+", typed.lower()[:200]))

# SPDX-License-Identifier: MIT
"""Objects of every type of the demonstration, for processes whose real work is something else.

The module threading stays unimported: programs whose threads are counted and named are part of that work.
"""

import _thread
import os
import weakref

import freelane_demo

OBJECTS = 10

# What the kinds are called with. Their names come with the prefixes of variants, twins apart.
ARGUMENTS = {
    "Point": lambda: (1.0, 2.0),
    "Pair": lambda: (object(), object()),
    "Handle": lambda: (os.open(os.devnull, os.O_RDONLY),),
    "Label": lambda: (object(),),
    "Node": lambda: (object(), object()),
    "Vector": lambda: (3,),
}
VARIANTS = ["", "Static", "Immortal"]


def makers():
    for kind, arguments in ARGUMENTS.items():
        for name in [variant + gc + kind for variant in VARIANTS for gc in ("", "GC")]:
            if hasattr(freelane_demo, name):
                yield name, lambda make=getattr(freelane_demo, name), arguments=arguments: make(*arguments())


MAKERS = dict(makers())
assert all(any(name.endswith(kind) for name in MAKERS) for kind in ARGUMENTS), MAKERS

made = 0
alive = []


def create(count):
    """A list of `count` objects of each type, and of a weak reference to each that can have one."""
    global made
    objects = [make() for make in MAKERS.values() for _ in range(count)]
    references = [weakref.ref(item) for item in objects if type(item).__weakrefoffset__]
    made += len(objects)
    return objects, references


def burst(elsewhere=False):
    """Creates objects and drops them here, or in another thread. Leaves no garbage behind for a later collection."""
    objects, references = create(OBJECTS)
    assert all(reference() is not None for reference in references)
    if elsewhere:
        thread = _thread.start_joinable_thread(objects.clear)
        create(OBJECTS)
        thread.join()
    else:
        objects.clear()
    assert not any(reference() for reference in references)


def keep():
    """Objects of each type that stay until the interpreter is finalized."""
    alive.append(create(OBJECTS))

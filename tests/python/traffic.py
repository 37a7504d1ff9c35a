# SPDX-License-Identifier: MIT
"""Objects of every type of the demonstration, for processes whose real work is something else.

The module threading stays unimported: programs whose threads are counted and named are part of that work.
"""

import _thread
import os
import weakref

import freelane_demo

OBJECTS = 20


def descriptor():
    """One for a Handle to own."""
    return os.open(os.devnull, os.O_RDONLY)


# How to call a type: the first of these that it accepts.
ARGUMENTS = [
    lambda: (1.0, 2.0),
    lambda: (object(), object()),
    lambda: (descriptor(),),
    lambda: (),
]


def maker(kind):
    for arguments in ARGUMENTS:
        try:
            kind(*arguments())
        except TypeError:
            continue
        return lambda: kind(*arguments())
    raise TypeError(f"no way is known to create a {kind}")


MAKERS = {
    name: maker(kind) for name, kind in sorted(vars(freelane_demo).items()) if isinstance(kind, type)
}
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

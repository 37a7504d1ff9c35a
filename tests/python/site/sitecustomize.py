# SPDX-License-Identifier: MIT
"""Runs when an interpreter starts that has this folder on its path: the demonstration's types are in use there too."""

import _interpreters

if _interpreters.get_current()[0] == _interpreters.get_main()[0]:
    import traffic

    traffic.burst()
    traffic.keep()

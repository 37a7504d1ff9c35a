# SPDX-License-Identifier: MIT
"""Shows that each check of this folder can fail, and so can others that are scripts: it finds what it looks for in a small
tree that is made for it."""

import contextlib
import importlib.util
import io
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest
from unittest import mock

import carried
import exports
import formatted
import headers
import layers
import narrow
import orders
import readme
import shape

TESTS = pathlib.Path(__file__).resolve().parents[1]


def script(path):
    """A script of another folder as a module: two are called orders.py."""
    specification = importlib.util.spec_from_file_location("script_" + path.replace("/", "_"), TESTS / f"{path}.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


ceilings = script("instructions/ceilings")
found = script("tools/found")
lines = script("fuzz/lines")
weakened = script("orders/orders")

ATOMIC = """/* Names. */
#define fli_load_acquire(p) atomic_load_explicit((p), memory_order_acquire)
#define fli_load_relaxed(p) atomic_load_explicit((p), memory_order_relaxed)
#define fli_load_hint(p) fli_load_relaxed(p)
#define fli_store_release(p, v) atomic_store_explicit((p), (v), memory_order_release)
#define fli_cas_weak(p, e, d, s, f) atomic_compare_exchange_weak_explicit((p), (e), (d), (s), (f))
"""

PUSH = """
void push(void)
{
    /* R1: release, pairs with A1 in pop: the slots before the head. */
    fli_store_release(&head, 1);
}
"""

POP = """
int pop(void)
{
    /* A1: acquire, pairs with R1 in push. */
    return fli_load_acquire(&head);
}
"""


class Tree(unittest.TestCase):
    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.root)
        for folder in ("src/base", "src/pool", "src/grace", "include/freelane", "tests", "stress", "bench"):
            (self.root / folder).mkdir(parents=True)

    def write(self, name, text):
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_text(text, encoding="utf-8")

    def run_check(self, check, *arguments):
        """Returns what the check complains of; "" if nothing."""
        output = io.StringIO()
        with contextlib.redirect_stdout(output):
            try:
                check.main(*(arguments or (self.root,)))
            except SystemExit as stop:
                return f"{output.getvalue()}{stop.code}" if stop.code else ""
        return ""

    def passes(self, check, *arguments):
        self.assertEqual(self.run_check(check, *arguments), "")

    def fails(self, check, pattern, *arguments):
        self.assertRegex(self.run_check(check, *arguments), pattern)


class Carried(Tree):
    def setUp(self):
        super().setUp()
        self.write("src/pool/pool.c", "")
        self.write("src/grace/rcu.c", "")

    def test_the_list_is_complete_and_true(self):
        self.write("src/python/sources.txt", "src/pool/pool.c\n")
        self.passes(carried)
        self.write("src/python/collect.c", "")
        self.fails(carried, "lacks src/python/collect.c")
        self.write("src/python/sources.txt", "src/pool/gone.c\nsrc/pool/pool.c\nsrc/python/collect.c\n")
        self.fails(carried, "lists src/pool/gone.c")

    def test_what_needs_liburcu_is_not_carried(self):
        self.write("src/python/sources.txt", "src/pool/pool.c\nsrc/grace/rcu.c\n")
        self.fails(carried, "lists src/grace/rcu.c")

    def test_the_object_layer_is_not_carried(self):
        self.write("src/object/count.c", "")
        self.write("src/python/sources.txt", "src/pool/pool.c\n")
        self.passes(carried)


class Layers(Tree):
    def test_downward_includes_pass(self):
        self.write("src/pool/pool.c", '#include "pool/pool.h"\n#include "base/atomic.h"\n#include <string.h>\n')
        self.passes(layers)

    def test_an_upward_include_fails(self):
        self.write("src/base/atomic.h", '#include "pool/pool.h"\n')
        self.fails(layers, "base/ includes pool/pool.h")

    def test_an_include_without_its_folder_fails(self):
        self.write("src/pool/pool.c", '#include "pool.h"\n')
        self.fails(layers, "pool.h does not name a folder")

    def test_the_core_does_not_know_the_python_side(self):
        self.write("src/pool/pool.c", '#include "python/interpreter.h"\n')
        self.fails(layers, "python/interpreter.h")
        for header in ("python.h", "python_inline.h"):
            self.write("src/pool/pool.c", f"#include <freelane/{header}>\n")
            self.fails(layers, f"freelane/{header}")

    def test_the_headers_of_the_python_side_include_each_other(self):
        self.write("include/freelane/python.h", "#include <Python.h>\n#include <freelane/python_inline.h>\n")
        self.write("include/freelane/python_inline.h", "#include <freelane/python.h>\n")
        self.passes(layers)
        self.write("include/freelane/inline.h", "#include <freelane/python_inline.h>\n")
        self.fails(layers, "the core includes <freelane/python_inline.h>")

    def test_the_core_does_not_know_the_object_layer(self):
        self.write("src/object/count.h", "#include <freelane/object.h>\n")
        self.write("src/object/object.c", '#include "api/serve.h"\n#include "object/count.h"\n')
        self.passes(layers)
        self.write("src/heap/heap.c", '#include "object/count.h"\n#include <freelane/object.h>\n')
        self.fails(layers, "heap/ includes object/count.h")
        self.fails(layers, "the core includes <freelane/object.h>")

    def test_private_system_headers(self):
        for header in ("sys/mman.h", "urcu.h", "urcu/flavor.h", "urcu-qsbr.h", "stdatomic.h"):
            self.write("src/pool/pool.c", f"#include <{header}>\n")
            self.fails(layers, header)

    def test_a_file_in_no_layer_fails(self):
        self.write("src/misc.c", "int x;\n")
        self.fails(layers, "src/misc.c")

    def test_an_include_in_a_comment_is_none(self):
        self.write("src/pool/pool.c", '/* as with\n#include <other.h>\n*/\n#include "pool/pool.h"\n')
        self.passes(layers)

    def test_a_public_function_is_called_from_api_alone(self):
        self.write("include/freelane/freelane.h", "FL_API void fl_flush(struct fl_heap *heap);\n")
        self.write("src/pool/pool.c", "void fl_flush(struct fl_heap *heap)\n{\n    fli_flush(heap);\n}\n")
        self.passes(layers)
        self.write("src/pool/pool.c", "void fli_trim(struct fl_heap *heap)\n{\n    fl_flush(heap);\n}\n")
        self.fails(layers, "calls fl_flush from below api/")
        self.write("src/api/stats.c", (self.root / "src/pool/pool.c").read_text())
        (self.root / "src/pool/pool.c").unlink()
        self.passes(layers)


class Orders(Tree):
    def setUp(self):
        super().setUp()
        self.write("src/base/atomic.h", ATOMIC)

    def test_a_pair_passes(self):
        self.write("src/pool/pool.c", PUSH + POP)
        self.passes(orders)

    def test_a_store_for_the_child_of_a_fork_passes(self):
        self.write("src/pool/pool.c", PUSH.replace("A1 in pop", "a fork"))
        self.passes(orders)

    def test_a_missing_partner_fails(self):
        self.write("src/pool/pool.c", PUSH)
        self.fails(orders, "R1 pairs with A1, which does not exist")

    def test_a_partner_that_does_not_name_back_fails(self):
        self.write("src/pool/pool.c", PUSH + POP.replace("pairs with R1", "pairs with A1"))
        self.fails(orders, "R1 pairs with A1, which does not name it back")

    def test_a_partner_that_stands_elsewhere_fails(self):
        self.write("src/pool/pool.c", PUSH.replace("A1 in pop", "A1 in pool.c") + POP)
        self.passes(orders)
        self.write("src/pool/pool.c", PUSH.replace("A1 in pop", "A1 in take") + POP)
        self.fails(orders, "R1 names A1 in take, but it is in pool.c pop")

    def test_a_label_twice_fails(self):
        self.write("src/pool/pool.c", PUSH + POP)
        self.write("src/pool/cache.c", PUSH)
        self.fails(orders, "R1 is also at")

    def test_an_unlabelled_access_fails(self):
        self.write("src/pool/pool.c", PUSH + POP + "int f(void)\n{\n\n\n\n\n    return fli_load_acquire(&head);\n}\n")
        self.fails(orders, "no label within 4 lines above: fli_load_acquire")

    def test_an_unlabelled_cas_fails(self):
        cas = "int f(void)\n{\n\n\n\n\n    return fli_cas_weak(&h, &e, d,\n        memory_order_release, memory_order_relaxed);\n}\n"
        self.write("src/pool/pool.c", PUSH + POP + cas)
        self.fails(orders, "no label within 4 lines above: fli_cas_weak")

    def test_a_label_that_tells_another_order_fails(self):
        self.write("src/pool/pool.c", PUSH + POP.replace("A1: acquire", "A1: relaxed"))
        self.fails(orders, "A1 does not say acquire")

    def test_a_label_without_access_fails(self):
        self.write("src/pool/pool.c", PUSH + POP.replace("return fli_load_acquire(&head)", "return 0"))
        self.fails(orders, "A1 stands above no atomic access")

    def test_an_unexplained_relaxed_access_fails(self):
        load = "int f(void)\n{\n    return fli_load_relaxed(&head);\n}\n"
        self.write("src/pool/pool.c", PUSH + POP + load)
        self.fails(orders, "relaxed, and no comment says why")
        self.write("src/pool/pool.c", PUSH + POP + load.replace("    return", "    /* relaxed: a hint */\n    return"))
        self.passes(orders)

    def test_a_plain_use_needs_no_explanation(self):
        self.write("src/pool/pool.c", PUSH + POP + "int f(void)\n{\n    return fli_load_hint(&head);\n}\n")
        self.passes(orders)
        acquire = ATOMIC.replace("fli_load_hint(p) fli_load_relaxed", "fli_load_hint(p) fli_load_acquire")
        self.write("src/base/atomic.h", acquire)
        self.fails(orders, "no label within")

    def test_accesses_beside_the_names_fail(self):
        for access in (
            "atomic_load(&x)",
            "__atomic_load_n(&x, __ATOMIC_ACQUIRE)",
            "__atomic_load_n(&x, __ATOMIC_RELAXED)",
            "__sync_fetch_and_add(&x, 1)",
        ):
            self.write("src/pool/pool.c", PUSH + POP + f"int f(void)\n{{\n    return {access};\n}}\n")
            self.fails(orders, "beside the names")

    def test_a_fence_fails(self):
        self.write("src/pool/pool.c", PUSH + POP + "void f(void)\n{\n    atomic_thread_fence(memory_order_seq_cst);\n}\n")
        self.fails(orders, "a standalone fence")


class Weakened(Tree):
    """Of tests/orders: the table, and that a program fails."""

    ROWS = {
        "A1-relaxed": "| A1-relaxed | pool/pool.c, `pop` | acquire | `passed one` |\n",
        "R1-relaxed": "| R1-relaxed | pool/pool.c, `push` | release | not needed: A1 has no use of it |\n",
    }

    def setUp(self):
        super().setUp()
        self.write("src/base/atomic.h", ATOMIC)
        self.write("src/pool/pool.c", PUSH + POP)

    def check_table(self, *rows):
        head = "| weakened | where | order | what fails then |\n|---|---|---|---|\n"
        self.write("tests/README.md", f"Tests\n\n{weakened.BEGIN}{head}{''.join(rows)}{weakened.END}\nAnd so on\n")
        return self.run_check(weakened, "check", self.root)

    def test_a_row_for_each_order_passes(self):
        self.assertEqual(self.check_table(*self.ROWS.values()), "")

    def test_a_missing_row_fails(self):
        self.assertIn("no row in tests/README.md: | R1-relaxed |", self.check_table(self.ROWS["A1-relaxed"]))

    def test_a_row_without_an_order_fails(self):
        row = self.ROWS["A1-relaxed"].replace("A1", "A2")
        self.assertIn("no such place: | A2-relaxed", self.check_table(*self.ROWS.values(), row))

    def test_a_row_of_another_place_fails(self):
        for old, new in ("`pop`", "`push`"), ("acquire", "seq_cst"):
            rows = [row.replace(old, new) for row in self.ROWS.values()]
            self.assertIn("no such place", self.check_table(*rows))

    def test_a_row_that_names_no_program_fails(self):
        for cell in weakened.NOT_FOUND, "because", "":
            rows = [row.replace("`passed one`", cell) for row in self.ROWS.values()]
            self.assertIn("A1-relaxed names no program", self.check_table(*rows))

    def test_a_readme_without_the_table_fails(self):
        self.write("tests/README.md", "Tests\n")
        self.assertIn("has no table of orders", self.run_check(weakened, "check", self.root))

    def test_rows_are_written_anew(self):
        self.check_table(self.ROWS["A1-relaxed"], self.ROWS["R1-relaxed"].replace("R1", "R7"))
        weakened.write(weakened.rows(self.root), self.root)
        text = (self.root / "tests/README.md").read_text(encoding="utf-8")
        self.assertIn(self.ROWS["A1-relaxed"] + "| R1-relaxed | pool/pool.c, `push` | release | not found yet |\n", text)
        self.assertNotIn("R7", text)
        self.assertTrue(text.startswith("Tests\n") and text.endswith("And so on\n"))

    def run_program(self, body, name="passed"):
        """Whether the program counts as one that fails."""
        program = self.root / weakened.FOLDERS[name.split("_")[0]] / name
        self.write(program.relative_to(self.root), f"#!/bin/sh\n{body}\n")
        program.chmod(0o755)
        return weakened.fails(self.root, [name, "one"], "src/pool/pool.c 4 4 0 0") is not None

    def test_a_program_that_does_not_fail_is_noticed(self):
        self.assertFalse(self.run_program("exit 0"))
        self.assertFalse(self.run_program("exit 2"))  # it does not know the scenario
        self.assertTrue(self.run_program('test "$FREELANE_WEAKEN" != "src/pool/pool.c 4 4 0 0"'))

    def test_a_model_without_an_error_is_noticed(self):
        self.assertFalse(self.run_program("exit 1", "model_pool"))  # --expect-error, and there was none
        self.assertTrue(self.run_program('test "$2" = --expect-error', "model_pool"))

    def test_one_row_without_a_failure_fails(self):
        self.check_table(*self.ROWS.values())
        self.run_program("exit 0")
        output = io.StringIO()
        with contextlib.redirect_stdout(output), self.assertRaisesRegex(SystemExit, "1 of them weaker without"):
            weakened.fails_everywhere("passed", self.root, self.root)
        self.assertIn("A1-relaxed: passed one DOES NOT FAIL", output.getvalue())
        with self.assertRaisesRegex(SystemExit, "stress_other: 0 place"):
            weakened.fails_everywhere("stress_other", self.root, self.root)


class Found(Tree):
    """Of tests/tools: what is found is what a table says."""

    README = "| error | Memcheck | Other |\n|---|---|---|\n| overflow | Memcheck | nobody |\n| leak | nobody | Other |\n"

    def check(self, *printed, status=0, column="Memcheck"):
        self.write("README.md", self.README)
        command = ["sh", "-c", f"printf '%s\\n' \"$@\"; exit {status}", "sh", *printed]
        return self.run_check(found, self.root / "README.md", column, *command)

    def test_what_the_table_says_passes(self):
        self.assertEqual(self.check("overflow: small: Memcheck", "overflow: big: Memcheck", "leak: small: nobody"), "")

    def test_what_it_does_not_say_fails(self):
        self.assertIn("overflow, kind big: nobody, the README says Memcheck",
                      self.check("overflow: small: Memcheck", "overflow: big: nobody", "leak: small: nobody"))
        self.assertIn("leak: was not planted", self.check("overflow: small: Memcheck"))
        self.assertIn("the README says None", self.check("overflow: a: Memcheck", "leak: a: nobody", "race: a: nobody"))
        self.assertIn("ends with 3", self.check("overflow: small: Memcheck", "leak: small: nobody", status=3))
        self.assertIn("no table has a column Third", self.check(column="Third"))

    def test_what_is_found_is_written(self):
        with mock.patch.dict(os.environ, WRITE_TABLES="1"):
            self.assertEqual(self.check("overflow: small: nobody", "leak: small: nobody", "race: small: Memcheck"), "")
        text = (self.root / "README.md").read_text(encoding="utf-8")
        self.assertIn("| overflow | nobody | nobody |\n| leak | nobody | Other |\n| race | Memcheck | ? |\n", text)


class Ceilings(unittest.TestCase):
    """Of tests/instructions: a count above its golden figure or its ceiling."""

    def test_a_count_that_is_too_high_is_noticed(self):
        with contextlib.redirect_stdout(io.StringIO()):
            judge = ceilings.Judge()
            judge.look("as_promised", 7, golden=7, ceiling=8)
            judge.look("above_golden", 7.5, golden=7, ceiling=8)
            judge.look("above_ceiling", 9, golden=10, ceiling=8)
        self.assertEqual(judge.wrong, ["above_golden", "above_ceiling"])


class Lines(Tree):
    """Of tests/fuzz: lines that no program reaches, and the reasons for them."""

    LCOV = "SF:/x/src/pool/pool.c\nFN:1,push\nFNDA:1,push\nDA:1,1\nDA:2,0\nFN:5,pop\nFNDA:0,pop\nDA:5,0\n"

    def complaints(self, reasons):
        self.write("reasons", reasons)
        self.write("lcov", self.LCOV)
        output = io.StringIO()
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(output):
            status = lines.main(self.root / "reasons", self.root / "lcov")
        self.assertEqual(status, 1 if output.getvalue() else 0)
        return output.getvalue()

    def test_what_is_not_reached_needs_a_reason(self):
        both = "src/pool/pool.c pop never\nsrc/pool/pool.c ~ rarely\n"
        self.assertEqual(self.complaints(both), "")
        self.assertIn("pop() is not reached", self.complaints("src/pool/pool.c ~ rarely\n"))
        self.assertIn("lines 2 is not reached", self.complaints("src/pool/pool.c pop never\n"))
        self.assertIn("a reason for what is reached", self.complaints(both + "src/pool/pool.c push never\n"))


@unittest.skipUnless(shutil.which("clang-format-14"), "no clang-format-14")
class Formatted(Tree):
    def test_what_clang_format_changes_fails(self):
        shutil.copy(TESTS.parent / ".clang-format", self.root)
        self.write("src/pool/pool.c", "int x;\n")
        self.passes(formatted)
        self.write("src/pool/pool.c", "int  x;\n")
        self.fails(formatted, "clang-format-14 -i")


class Shape(Tree):
    def test_what_fails(self):
        for text, pattern in (
            ("int x;\n" * 701, "701 lines"),
            ('#include "other.c"\n', "includes other.c"),
            ("#ifdef FREELANE_CHECKED\nint x;\n#endif\n", "a variant"),
            ('void f(void)\n{\n    __asm__("");\n}\n', "inline assembly"),
            ("__attribute__((no_sanitize_thread)) void f(void);\n", "switches a sanitizer off"),
            ("void f(void)\n{\n    pthread_mutex_lock(&x);\n}\n", "see lock.h"),
        ):
            self.write("src/pool/pool.c", text)
            self.fails(shape, pattern)

    def test_the_python_side_locks_as_the_core_does(self):
        lock = "void f(void)\n{\n    pthread_mutex_lock(&x);\n}\n"
        self.write("src/base/lock.c", lock)
        self.passes(shape)
        self.write("src/python/thread.c", lock)
        self.fails(shape, "src/python/thread.c:3: pthread_mutex_lock")

    def test_words_in_comments_and_strings_pass(self):
        self.write("src/pool/pool.c", '/* no asm, no no_sanitize */\nconst char *f = "asm";\n')
        self.passes(shape)

    def test_suppressions_of_our_own_code_fail(self):
        self.write("src/pool/pool.c", "int x;\n")
        self.write("stress/tsan.supp", "# not ours\ncalled_from_lib:liburcu-qsbr.so\n")
        self.passes(shape)
        self.write("stress/tsan.supp", "race:fl_heap_create\n")
        self.fails(shape, "suppresses race:fl_heap_create")

    def test_suppressions_of_the_interpreter_stand_with_its_tests(self):
        (self.root / "tests/python").mkdir()
        self.write("src/pool/pool.c", "int x;\n")
        self.write("tests/python/tsan.supp", "race:_PyType_AllocNoTrack\nrace_top:new_reference\n")
        self.passes(shape)
        for line in ("race:fl_py_alloc", "race_top:fli_py_thread_enter", "race:freelane_demo", "race:.*", "race:*"):
            self.write("tests/python/tsan.supp", f"{line}\n")
            self.fails(shape, "suppresses race")
        self.write("tests/python/tsan.supp", "")
        self.write("stress/tsan.supp", "race_top:new_reference\n")
        self.fails(shape, "suppresses race_top:new_reference")

    def test_an_empty_tree_fails(self):
        self.fails(shape, "nothing was there")


class Headers(Tree):
    def test_a_header_that_leans_on_another_fails(self):
        self.write("include/freelane/freelane.h", "#pragma once\nsize_t fl_size(void);\n")
        self.fails(headers, "freelane.h as C11 by gcc")

    def test_a_header_that_is_no_cxx_fails(self):
        self.write("include/freelane/freelane.h", "#pragma once\nint fl_f(int class);\n")
        self.fails(headers, r"freelane.h as C\+\+17 by g\+\+")


@unittest.skipUnless(shutil.which("clang") or shutil.which("clang-14"), "no clang")
class Narrow(Tree):
    HEADER = "#pragma once\n#if __SIZEOF_POINTER__ < 8\n#error Freelane is for 64-bit systems\n#endif\n"
    BUILD = "cmake_minimum_required(VERSION 3.25)\nproject(freelane LANGUAGES C)\n"
    REFUSAL = 'if(CMAKE_SIZEOF_VOID_P EQUAL 4)\nmessage(FATAL_ERROR "Freelane is for 64-bit systems")\nendif()\n'

    def setUp(self):
        super().setUp()
        for header in narrow.HEADERS:
            self.write(f"include/freelane/{header}", self.HEADER)
        self.write("CMakeLists.txt", self.BUILD + self.REFUSAL)

    def test_refusals_pass(self):
        self.passes(narrow, self.root, self.root / "scratch")

    def test_a_header_that_takes_32_bits_fails(self):
        self.write("include/freelane/object.h", "#pragma once\n")
        self.fails(narrow, "object.h as C for i686-linux-gnu does not say", self.root, self.root / "scratch")

    def test_a_header_that_refuses_all_fails(self):
        self.write("include/freelane/object.h", "#error Freelane is for 64-bit systems\n")
        self.fails(narrow, "object.h as C for x86_64-linux-gnu:", self.root, self.root / "scratch")

    def test_a_build_that_takes_32_bits_fails(self):
        self.write("CMakeLists.txt", self.BUILD)
        self.fails(narrow, "CMake configures for i686", self.root, self.root / "scratch")


class Readme(Tree):
    PROGRAM = "/* example: a.c */\nint main(void)\n{\n    return 0;\n}\n"

    def examples(self, program=PROGRAM, quote=None, before=""):
        self.write("tests/examples/a.c", program)
        self.write("README.md", f"{before}text\n```c\n{program if quote is None else quote}```\n")
        return [str(self.root), str(self.root / "out"), "--cc", "gcc", "-Wall", "--cxx", "g++"]

    def test_an_example_that_runs_passes(self):
        self.passes(readme, self.examples())

    def test_an_example_that_does_not_compile_fails(self):
        self.fails(readme, "a.c does not compile", self.examples(self.PROGRAM.replace("0;", "x;")))

    def test_an_example_that_exits_with_an_error_fails(self):
        self.fails(readme, "exit code 3", self.examples(self.PROGRAM.replace("0;", "3;")))

    def test_a_quote_that_differs_from_its_file_fails(self):
        self.fails(readme, "a.c is not what", self.examples(quote=self.PROGRAM.replace("0;", "1 - 1;")))
        self.fails(readme, "quotes b.c, which", self.examples(quote=self.PROGRAM.replace("a.c", "b.c")))

    def test_an_example_under_another_name_fails(self):
        self.fails(readme, "a.c does not begin", self.examples(self.PROGRAM.replace("a.c", "b.c")))

    def test_a_readme_of_more_than_a_page_fails(self):
        self.fails(readme, "175 lines", self.examples(before="text\n" * 167))
        self.fails(readme, "no program within", self.examples(before="text\n" * 50))

    def test_a_file_that_the_map_does_not_name_fails(self):
        for file in ("base/a.c", "base/a.h", "base/b.h", "pool/c.c"):
            self.write(f"src/{file}", "")
        self.write("src/README.md", "`base/`\n\n| `a.[ch] b.h` | one |\n\n`pool/`, too\n\n| `d.h` | as in `c.c` |\n")
        self.passes(readme, self.examples())
        self.write("src/pool/a.c", "")
        self.fails(readme, "does not name pool/a.c", self.examples())

    def test_a_readme_without_an_example_fails(self):
        self.fails(readme, "nothing was there", self.examples(quote="fl_alloc(thread, 48);\n"))


@unittest.skipUnless(shutil.which("gcc") and shutil.which("ar"), "no gcc")
class Exports(Tree):
    def build(self, text, *options):
        self.write("one.c", text)
        command = ["gcc", "-fPIC", "-fvisibility=hidden", self.root / "one.c", "-o", self.root / "one.o", *options]
        subprocess.run(command, check=True)
        return self.root / "one.o"

    def check_archive(self, text):
        archive = self.root / "libone.a"
        archive.unlink(missing_ok=True)
        subprocess.run(["ar", "rc", archive, self.build(text, "-c")], check=True)
        return self.run_check(exports, self.root, str(archive))

    def check_extension(self, text):
        extension = self.build(text, "-shared").rename(self.root / "one.cpython-313-x86_64-linux-gnu.so")
        return self.run_check(exports, self.root, str(extension))

    def test_names_of_an_archive_have_the_prefix(self):
        self.assertEqual(self.check_archive("int fl_one; int fli_two(void) { return 2; } static int three = 3;"), "")
        self.assertIn("blocks has no", self.check_archive("int fl_one; int blocks[2];"))
        self.assertIn("run has no", self.check_archive("int fl_one; void run(void) {}"))
        self.assertIn("current has no", self.check_archive("int fl_one; __thread int current;"))
        self.assertIn("defines nothing", self.check_archive("static int three = 3;"))

    def test_an_extension_exports_its_init_function(self):
        init = 'int fl_one; __attribute__((visibility("default"))) void PyInit_one(void) {}'
        self.assertEqual(self.check_extension(init), "")
        self.assertIn("exports two", self.check_extension(init + '__attribute__((visibility("default"))) int two;'))
        self.assertIn("does not export PyInit_one", self.check_extension("int one;"))


if __name__ == "__main__":
    sys.exit(unittest.main())

# SPDX-License-Identifier: MIT
"""Which version of a source package debian.sh takes, with stand-ins for apt-get, dpkg-source and the mirror.

usage: debian.py <debian.sh>
"""

import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

SCRIPT = pathlib.Path(sys.argv.pop(1)).resolve()

# apt-get has a package if there is a folder of that name and version, and knows an address of it if there is a file
# "listed"; the files of the mirror lie in pool/.
DRIVER = """
set -euo pipefail
. "$1"
fail() { echo "fail: $*"; exit 1; }
step() { echo "step: $*"; }
logged() { shift; "$@"; }
freelane_require_packages() { echo "needs $*" >&2; }
apt-get() {
    case "$*" in
    "source --print-uris snake3.1") cat listed ;;
    "source snake3.1") mv in-apt/* . ;;
    esac
}
dpkg-source() { echo "dpkg-source $*"; }
debian_fetch() { echo "${1%/*}" >>sites && mv "pool/${1##*/}" . 2>/dev/null; }
debian_source snake3.1
"""

DSC = """-----BEGIN PGP SIGNED MESSAGE-----

Format: 3.0 (quilt)
Package-List:
 snake3.1 deb python optional arch=any
Checksums-Sha1:
 00 7 not-this-one
Checksums-Sha256:
 11 7 snake.orig.tar.xz
 22 9 snake.debian.tar.xz
Files:
 33 7 nor-this-one

-----BEGIN PGP SIGNATURE-----
"""


class Source(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)
        (self.folder / "pool").mkdir()
        (self.folder / "listed").write_text(
            "Reading package lists...\n"
            "'mirror/pool/s/snake3.1_3.1.12-1.dsc' snake3.1_3.1.12-1.dsc 4082 SHA256:aa\n"
            "'mirror/pool/s/snake3.1_3.1.12.orig.tar.xz' snake3.1_3.1.12.orig.tar.xz 24 SHA256:bb\n",
            encoding="utf-8",
        )

    def put_into_pool(self, *versions, files=("snake.orig.tar.xz", "snake.debian.tar.xz")):
        for version in versions:
            (self.folder / "pool" / f"snake3.1_{version}.dsc").write_text(DSC, encoding="utf-8")
        for name in files:
            (self.folder / "pool" / name).touch()

    def run_driver(self):
        """Returns whether it got a source package, and the lines that it printed."""
        command = ["bash", "-c", DRIVER, "driver", SCRIPT]
        result = subprocess.run(command, cwd=self.folder, capture_output=True, text=True, check=False, timeout=60)
        return result.returncode == 0, (result.stdout + result.stderr).splitlines()

    def test_the_version_that_the_index_lists(self):
        (self.folder / "in-apt" / "snake3.1-3.1.12").mkdir(parents=True)
        self.put_into_pool("3.1.11-1")
        self.assertEqual(self.run_driver(), (True, []))
        self.assertTrue((self.folder / "source").is_dir())
        self.assertFalse((self.folder / "sites").exists())

    def test_the_last_one_before_it_by_the_signature(self):
        self.put_into_pool("3.1.8-1", "3.1.9-1", "3.1.9-2", "3.1.13-1")
        done, lines = self.run_driver()
        self.assertTrue(done, lines)
        self.assertIn("step: takes snake3.1_3.1.9-2: the mirror lacks snake3.1_3.1.12-1", lines)
        self.assertIn("needs debian-keyring", lines)
        self.assertIn(
            "dpkg-source --require-valid-signature --require-strong-checksums -x snake3.1_3.1.9-2.dsc source", lines
        )
        for name in ("snake.orig.tar.xz", "snake.debian.tar.xz"):
            self.assertTrue((self.folder / name).exists())
        self.assertEqual(set((self.folder / "sites").read_text(encoding="utf-8").split()), {"mirror/pool/s"})

    def test_a_file_that_is_missing(self):
        self.put_into_pool("3.1.11-1", files=["snake.orig.tar.xz"])
        done, lines = self.run_driver()
        self.assertFalse(done)
        self.assertIn("fail: the mirror lacks snake.debian.tar.xz", lines)

    def test_none(self):
        done, lines = self.run_driver()
        self.assertFalse(done)
        self.assertEqual(lines, ["fail: the mirror lacks mirror/pool/s/snake3.1_3.1.12-1 and what came before it"])

    def test_none_in_the_index(self):
        (self.folder / "listed").write_text("E: Unable to find a source package for snake3.1\n", encoding="utf-8")
        done, lines = self.run_driver()
        self.assertFalse(done)
        self.assertIn("fail: the mirror has no source package snake3.1", lines)


if __name__ == "__main__":
    unittest.main()

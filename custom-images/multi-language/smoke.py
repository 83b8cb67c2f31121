#!/usr/bin/env python3
"""Whether the image does in a running server what its README shows.

    SCRIPT_EXECUTOR_URL=http://localhost:8080 ./smoke.py

IMAGE is its name there, if it has another; --figures prints what the programs of the README take.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from examples import client, image_name, main

IMAGE = image_name("multi-language-executor")

JAVA_USER = """cat >Main.java <<'END'
class Main {
    public static void main(String[] arguments) {
        System.out.println(System.getProperty("user.home") + " " + System.getProperty("user.name"));
    }
}
END
"""

GO_TEST = """mkdir sum && cd sum && go mod init example/sum 2>/dev/null
cat >sum_test.go <<'END'
package sum
import "testing"
func TestSum(t *testing.T) { if 1+2 != 3 { t.Fail() } }
END
go test . | cut -f 1
"""


def test_java_user() -> None:
    """Java knows a home and a user, compiled before or not, and prints no line about it."""
    for command in ("java Main.java", "javac Main.java && java Main", "/usr/bin/java Main.java"):
        client.execute(JAVA_USER + command, image=IMAGE).shows(200, stdout="/tmp sandbox\n", stderr="")
    answer = client.execute(JAVA_USER + "java Main.java", image=IMAGE, env={"HOME": "/tmp/own", "USER": "x"})
    answer.shows(200, stdout="/tmp/own x\n", stderr="")


def test_shared_classes() -> None:
    """Java's compiler comes from the archive of shared classes."""
    script = (
        "java -Xlog:class+load -m jdk.compiler/com.sun.tools.javac.Main --version | grep -c 'JavaCompiler .*shared'"
    )
    client.prints("1\n", script, image=IMAGE)


def test_go_standard_library() -> None:
    """Go compiles nothing of its standard library."""
    script = "go list -export -f '{{.Stale}}' fmt net/http encoding/json | sort -u"
    client.execute(script, image=IMAGE).shows(200, stdout="false\n", stderr="")


def test_go_test() -> None:
    """Go tests a package in a module."""
    client.execute(GO_TEST, image=IMAGE).shows(200, stdout="ok  \n", stderr="")


if __name__ == "__main__":
    main(Path(__file__).with_name("README.md"), IMAGE, globals())

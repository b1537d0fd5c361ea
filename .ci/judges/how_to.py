"""The recipes of docs/how-to.md, followed literally in a clone: what they add must compile and pass its tests."""

import os
import pathlib
import re
import subprocess
import tempfile

from common import ROOT, equal, expect

RECIPES = ["Add a function with a route", "Add a table", "Add a secret"]
# What a recipe's method of `Aws` needs besides: the adapter, and the variable.
IMPORTS = {"Add a table": ("super::pins::Pins", "PINS_TABLE"), "Add a secret": ("super::hook_key::HookKey", "HOOK_KEY_PARAMETER")}
# A file that a recipe names is told in the first line of a block, or of a part of one.
PATH = re.compile(r"^// ((?:infra|functions)/[\w/.-]+\.rs)\b.*$", re.MULTILINE)


def parts():
    """Yields (recipe, path, code) in the order of the page."""
    page = (ROOT / "docs/how-to.md").read_text()
    for recipe in RECIPES:
        body = page.split(f"## {recipe}\n", 1)[1].split("\n## ", 1)[0]
        for block in re.findall(r"```rust\n(.*?)```", body, re.DOTALL):
            found = list(PATH.finditer(block))
            for match, following in zip(found, [*found[1:], None]):
                end = following.start() if following else len(block)
                yield recipe, match[1], block[match.end() : end].strip("\n") + "\n"


def insert(source, before, text):
    expect(before in source, f"docs/how-to.md: {before!r} is where a recipe adds something")
    return source.replace(before, text + before, 1)


def stack(source, code):
    """Statements go before the API or, if they use what is declared by then, to the end; routes into the chain."""
    if "web_socket_api" not in code:
        return insert(source, "    observability::add_to(", "".join(f"    {line}\n" if line else "\n" for line in code.splitlines()))
    function, chain = code.split("\n\n", 1)
    route = re.search(r"^ +\.replying_route.*$", chain, re.MULTILINE)[0].rstrip(";")
    source = insert(source, "    let api = stack\n", f"    {function}\n\n")
    begin = source.index("    let api = stack\n")
    end = source.index(";\n", begin)
    return f"{source[:end]}\n{route}{source[end:]}"


def follow(clone):
    files = set()
    for recipe, name, code in parts():
        path = clone / name
        files.add(name)
        if not path.exists():
            path.write_text(code)
            continue
        source = path.read_text()
        if name == "infra/src/lib.rs":
            source = stack(source, code)
        elif name.endswith("/mod.rs"):
            for line in code.splitlines():
                source = insert(source, "\nmod " if line.startswith("mod ") else "\npub use ", f"\n{line}")
        elif name == "functions/src/adapters/aws.rs":
            # "import … above"
            adapter, variable = IMPORTS[recipe]
            source = insert(source, "use super::http::Http;\n", f"use {adapter};\n")
            source = insert(source, "use crate::frames;\n", f"use crate::config::{variable};\n")
            method = "".join(f"    {line}\n" if line else "\n" for line in code.splitlines())
            begin = "impl<'a> Aws<'a> {\n"
            expect(begin in source, f"functions/src/adapters/aws.rs has {begin!r}")
            source = source.replace(begin, f"{begin}{method}\n", 1)
        elif name == "functions/src/config.rs":
            source = insert(source, "/// Name of the table in which", code)
        else:
            source = insert(source, "\n#[cfg(test)]", f"\n{code}") if "#[cfg(test)]" in source else f"{source}\n{code}"
        path.write_text(source)
    expect({"functions/src/bin/time.rs", "functions/src/adapters/pins.rs", "functions/src/adapters/hook_key.rs", "infra/src/lib.rs"} <= files, f"recipes name files: {files}")
    subprocess.run(["cargo", "fmt", "--all"], cwd=clone, check=True)


with tempfile.TemporaryDirectory() as folder:
    clone = pathlib.Path(folder) / "clone"
    subprocess.run(["git", "clone", "--quiet", ROOT, clone], check=True)
    follow(clone)
    environment = {**os.environ, "CARGO_TARGET_DIR": str(ROOT / "target")}
    run = lambda *command: subprocess.run(command, cwd=clone, env=environment, check=True)
    run("cargo", "test", "--quiet", "-p", "functions", "--lib", "time")
    run("cargo", "check", "--quiet", "-p", "functions", "--bins")
    run("cargo", "check", "--quiet", "-p", "infra")
    changed = subprocess.run(["git", "status", "--porcelain"], cwd=clone, check=True, capture_output=True, text=True).stdout
    equal("functions/src/handlers/time.rs" in changed, True, "the recipe's handler is there")
    print(f"how-to: {len(RECIPES)} recipes followed, {len(changed.splitlines())} files changed, all compiles")

//! Writes down which files the browser client has, so that the binary `web` has them inside; see `src/pages.rs`.
//!
//! A new file is noticed together with the one that refers to it.

use std::path::Path;
use std::{env, fs, io};

/// Extensions of what is served: text, all of it. Folders, and with them the client's tests, are not.
const SERVED: [&str; 4] = ["css", "html", "js", "svg"];

fn main() -> io::Result<()> {
    let variable = |name| env::var(name).map_err(io::Error::other);
    let folder = Path::new(&variable("CARGO_MANIFEST_DIR")?).join("web");
    let mut names = Vec::new();
    for entry in fs::read_dir(&folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string();
        let served = |name: &String| SERVED.iter().any(|end| name.ends_with(&format!(".{end}")));
        names.extend(name.ok().filter(served).filter(|_| entry.path().is_file()));
    }
    names.sort();
    println!("cargo::rerun-if-changed=build.rs");
    let mut table = String::from("&[\n");
    for name in names {
        let path = folder.join(&name);
        println!("cargo::rerun-if-changed={}", path.display());
        table += &format!("    ({name:?}, include_str!({:?})),\n", path.display().to_string());
    }
    table += "]\n";
    fs::write(Path::new(&variable("OUT_DIR")?).join("web_files.rs"), table)
}
